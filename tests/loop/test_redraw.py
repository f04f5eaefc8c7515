"""The last evaluation drawn again: an honest one passes, one that was changed is named."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from data.records import Evaluated
from loop.evaluation import FIGURES, NAME, SLATES, redrawn
from loop.selfcheck import Check
from loop.study import Study, configure

Change = Callable[[Evaluated], Evaluated]


@pytest.fixture(scope="module")
def moons(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...], run) -> Iterator[Study]:
    """One generation of picks by an honest type and an adversary; to be looked at only."""
    settings = [*tiny_moons, "curation.picks=100", "curation.adversarial=0.3", "evaluation.samples=800"]
    study = run(Study.create(tmp_path_factory.mktemp("moons") / "study", configure("moons", settings, seed=5)), 1)
    yield study
    study.store.close()


def checks(study: Study, seed: int = 1) -> dict[str, Check]:
    return {check.name: check for check in redrawn(study, np.random.default_rng(seed))}


def change(study: Study, column: str, dtype: str, some: slice, by: float) -> None:
    """Adds a number to some values of the last generation's evaluation."""
    (blob,) = study.store.db.conn.execute(f"SELECT {column} FROM evaluation WHERE t = 1").fetchone()
    values = np.frombuffer(blob, dtype).copy()
    values[some] += np.asarray(by).astype(dtype)
    with study.store.write() as db:
        db.conn.execute(f"UPDATE evaluation SET {column} = ? WHERE t = 1", [values.tobytes()])


def test_an_honest_evaluation_is_drawn_again_whatever_the_batch(moons: Study, simulated_digits: Study):
    for study, last, n in ((moons, 1, 500), (simulated_digits, 2, 32)):
        found = checks(study)
        assert found[NAME].verdict == "pass" and found[NAME].figures["differing"] == 0, found[NAME].sentence
        assert found[FIGURES].verdict == "pass" and found[NAME].n == n
        assert f"generation {last}'s evaluation" in found[NAME].sentence and "0 differ" in found[NAME].sentence
        assert 0 < found[NAME].figures["detectable_share"] < 0.2


CHANGES = {
    "a tenth of the rewards": ("rewards", "<f8", slice(0, 80), 1.0),
    "all rewards, a little": ("rewards", "<f8", slice(0, 800), 0.1),
    "another type's rewards": ("rewards", "<f8", slice(800, 1600), 1.0),
    "classes": ("labels", "<i4", slice(0, 800, 8), 1),
    "points": ("points", "<f4", slice(0, 1600, 10), 0.5),
}


@pytest.mark.parametrize(("column", "dtype", "some", "by"), CHANGES.values(), ids=CHANGES)
def test_a_changed_evaluation_is_named(moons: Study, copy_of, column: str, dtype: str, some: slice, by: float):
    study = copy_of(moons)
    change(study, column, dtype, some, by)
    found = checks(study)[NAME]
    assert found.verdict == "fail" and re.search(r"isn't what the checkpoint draws", found.sentence)


def test_a_change_of_the_stated_share_is_found_in_four_studies_of_five(moons: Study, copy_of):
    study = copy_of(moons)
    share = checks(study)[NAME].figures["detectable_share"]
    change(study, "rewards", "<f8", slice(0, round(800 * share)), 5.0)
    verdicts = [checks(study, seed)[NAME].verdict for seed in range(40)]
    assert verdicts.count("fail") >= 24


def test_samples_in_slates_are_drawn_again_from_their_seeds(moons: Study, simulated_digits: Study, copy_of):
    for study, n in ((moons, 200), (simulated_digits, 32)):
        found = checks(study)[SLATES]
        assert found.verdict == "pass" and found.n == n and "0 differ" in found.sentence, found.sentence
    for statement in ("UPDATE sample SET seed = seed + 1", "UPDATE sample SET reward = reward - 0.5"):
        study = copy_of(moons)
        with study.store.write() as db:
            db.conn.execute(statement)
        assert checks(study)[SLATES].verdict == "fail" and checks(study)[NAME].verdict == "pass"


def test_figures_that_are_not_those_of_the_samples_are_named(moons: Study, copy_of):
    study = copy_of(moons)
    with study.store.write() as db:
        db.conn.execute(
            "UPDATE generation SET metrics_json = json_set(metrics_json, '$.mean_reward.value', 0.5) WHERE t = 0"
        )
    found = checks(study)
    assert found[FIGURES].verdict == "fail" and "differ in generation 0" in found[FIGURES].sentence
    assert found[NAME].verdict == "pass"


def test_without_a_checkpoint_or_an_evaluation_there_is_nothing_to_compare(moons: Study, copy_of, make):
    study = copy_of(moons)
    study.checkpoint_path(1).write_bytes(b"no weights")
    assert checks(study)[NAME].verdict == "not applicable" and "can't be done" in checks(study)[NAME].sentence
    with study.store.write() as db:
        db.conn.execute("DELETE FROM evaluation")
    assert "kept no evaluation" in checks(study)[NAME].sentence
    assert redrawn(make("moons"), np.random.default_rng(0)) == []


def test_settings_that_were_changed_since_do_not_matter(moons: Study, copy_of):
    study = copy_of(moons)
    text = study.path.joinpath("study.toml").read_text()
    study.path.joinpath("study.toml").write_text(re.sub(r"(?m)^gamma = .*$", "gamma = 77.0", text))
    study = Study.open(study.path)
    assert study.config.reward.gamma == 77.0 and checks(study)[NAME].verdict == "pass"
    study.store.close()

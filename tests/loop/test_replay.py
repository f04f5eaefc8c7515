"""Replays: the same weights where nothing is changed, other ones otherwise, from the same log and generation 0."""

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.choice_log import Source, find_format
from data.choice_log.export import export
from data.store import queries
from loop.evidence.study import build
from loop.importing import import_log
from loop.raters.quality import refresh
from loop.replay import ImportedLog, begin, replayed_config, run, turns
from loop.selfcheck import self_checks
from loop.simulate import simulate
from loop.study import Study, StudyExistsError, configure, faults
from loop.worker import Worker

Make = Callable[..., Study]


def quiet(phase: str, done: int, total: int) -> None:
    """Reports nothing."""


def replayed(source: Study, out: Path, *settings: str, **given: Any) -> Study:
    """A finished replay."""
    run(begin(source, out, replayed_config(source.config, settings, given)), out, quiet)
    return Study.open(out)


def weights(study: Study) -> list[str]:
    return [row.checkpoint_sha256 for row in study.store.generations()]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...]) -> Iterator[Study]:
    """A moons study of three simulated generations with real data in the mix, to be looked at only."""
    config = configure("moons", [*tiny_moons, "mix.lam=1"], seed=5)
    study = Study.create(tmp_path_factory.mktemp("source") / "old", config)
    simulate(study, 3, quiet)
    yield study
    study.store.close()


@pytest.fixture(scope="module")
def unchanged(source: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    study = replayed(source, tmp_path_factory.mktemp("unchanged") / "new")
    yield study
    study.store.close()


@pytest.fixture(scope="module")
def other(source: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """The same log with twice as many picks in the mix."""
    study = replayed(source, tmp_path_factory.mktemp("other") / "new", **{"mix.lam": 2.0})
    yield study
    study.store.close()


def test_with_unchanged_settings_every_checkpoint_and_figure_is_the_same(source: Study, unchanged: Study, fingerprint):
    assert fingerprint(unchanged) == fingerprint(source)
    for old, new in zip(source.store.generations(), unchanged.store.generations(), strict=True):
        stored = [one.measurements.as_json() for one in (old, new)]
        measured = [{key: value for key, value in one.items() if key != "seconds"} for one in stored]
        assert measured[0] == measured[1] and (old.config, old.policy) == (new.config, new.policy)
        kept = [study.store.evaluation(old.t) for study in (source, unchanged)]
        assert kept[0] is not None and kept[1] is not None and np.array_equal(kept[0].rewards, kept[1].rewards)
    assert queries.foreign_generations(unchanged.store) == []
    verdicts = [[(one.claim, one.t, one.verdict) for one in build(study).claims] for study in (source, unchanged)]
    assert verdicts[0] == verdicts[1] and any(word != "not applicable" for _, _, word in verdicts[0])


def test_another_mix_gives_other_weights_from_the_same_generation_0_and_picks(source: Study, other: Study):
    old, new = source.store.generations(), other.store.generations()
    assert weights(other)[0] == weights(source)[0] and not set(weights(other)[1:]) & set(weights(source))
    assert [row.pick_cut for row in new] == [row.pick_cut for row in old]
    assert [row.n_curated for row in new] == [row.n_curated for row in old]
    assert new[1].measurements.training and new[1].measurements.training.shares_asked == (1 / 3, 2 / 3)
    assert new[1].policy.startswith("mix lam=2")
    assert list(queries.curation_picks(other.store)) == list(queries.curation_picks(source.store))
    assert faults(other) == []
    assert other.store.value("PRAGMA foreign_key_check") is None
    (event,) = other.store.events(kinds=("replayed",))
    assert event["detail"] == {"of": "old", "generations": 3, "changed": {"mix.lam": {"was": 1.0, "now": 2.0}}}


def test_a_counterfactual_claims_nothing_that_assumes_own_samples(source: Study, other: Study):
    evidence = build(other)
    assert (evidence.replay_of, evidence.own_picks, build(source).own_picks) == ("old", False, True)
    applied = {one.claim for one in evidence.claims if one.verdict != "not applicable"}
    assert applied == {"C5 reversed"}  # it needs the real data in the mix, whoever picked what
    assert all("another study's generators" in one.reason for one in evidence.claims if one.claim not in applied)
    assert all(one.predicted is None and one.transmission is None for one in evidence.generations)
    assert all(set(one.floors) == set() and set(one.ceilings) <= {"C5 reversed"} for one in evidence.generations)


def test_the_self_check_leaves_out_what_compares_slates_with_the_new_generators(other: Study):
    checks = self_checks(other.store, other.config)
    fresh = {one.t: one.verdict for one in checks if one.name == "fresh draws"}
    assert fresh == {0: "pass", 1: "not applicable", 2: "not applicable"}
    assert {one.verdict for one in checks} <= {"pass", "not applicable"}


def test_the_long_table_of_a_replay_names_the_generators_that_drew(source: Study, other: Study, tmp_path: Path):
    for study in (source, other):
        export(Source(study.store, "old", "salt"), find_format("long-csv"), tmp_path / f"{study.path.name}.csv")
    assert (tmp_path / "old.csv").read_bytes() == (tmp_path / "new.csv").read_bytes()


@pytest.mark.parametrize("setting", ["mix.policy=accumulate", "curation.extend=accumulate", "train.finetune_seed=1"])
def test_other_policies_and_randomness(source: Study, tmp_path: Path, setting: str):
    study = replayed(source, tmp_path / "new", setting)
    training = study.store.generations()[2].measurements.training
    assert training and list(training.rows) == {
        "mix.policy=accumulate": [300, 200, 200],
        "curation.extend=accumulate": [300, 400],
    }.get(setting, [300, 200])
    assert weights(study)[-1] != weights(source)[-1] and faults(study) == []
    assert {one.verdict for one in self_checks(study.store, study.config)} <= {"pass", "not applicable"}
    study.store.close()


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_with_the_same_weights(source: Study, unchanged: Study, tmp_path: Path, run_and_die):
    out = tmp_path / "new"
    draft = begin(source, out, source.config)
    run_and_die(Path(__file__), draft, "publishing", 3)  # generation 2 is trained, and not published yet
    assert not out.exists() and len(Study.open(draft.path).store.generations()) == 2
    with pytest.raises(StudyExistsError, match=r"unfinished replay .* mix.lam is 1.0 there, and 3.0 was asked for"):
        begin(source, out, replayed_config(source.config, ["mix.lam=3.0"], {}))
    study = replayed(source, out)
    assert weights(study) == weights(unchanged)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    study.store.close()


@pytest.mark.parametrize("setting", ["curation.k=5", "reward.gamma=1", "seed=4", "train.pretrain_steps=9", "data.n=10"])
def test_what_made_the_log_and_generation_0_is_not_changed(source: Study, setting: str):
    with pytest.raises(ValueError, match=f"{setting.split('=')[0]} can't be changed in a replay"):
        replayed_config(source.config, [setting], {})


def test_what_can_not_be_replayed_is_refused_and_leaves_nothing(source: Study, make: Make, tmp_path: Path):
    folder = tmp_path / "here"
    folder.mkdir()
    export(Source(source.store, "old"), find_format("long-csv"), folder / "log.csv")
    import_log(folder / "log.csv", folder / "imported", source.config)
    empty = make("moons")
    with pytest.raises(ValueError, match="nothing to replay yet"):
        begin(empty, folder / "new", empty.config)
    with pytest.raises(StudyExistsError, match="something at"):
        begin(source, folder / "imported", source.config)
    with pytest.raises(ValueError, match="needs a proxy's picks"):
        begin(source, folder / "new", replayed_config(source.config, ["curation.extend=proxy"], {}))
    assert sorted(path.name for path in folder.iterdir()) == ["imported", "log.csv"]


def test_the_imported_copy_of_a_log_trains_one_generation_on_all_its_picks(source: Study, make: Make, tmp_path: Path):
    """Whoever drew its samples: an import has no generators. Points need no images."""
    export(Source(source.store, "old"), find_format("long-csv"), tmp_path / "log.csv")
    import_log(tmp_path / "log.csv", tmp_path / "imported", source.config)
    log = Study.open(tmp_path / "imported")
    config = replayed_config(log.config, ["reward.gamma=1"], {}, ImportedLog.of(log))
    run(begin(log, tmp_path / "new", config), tmp_path / "new", quiet)
    study, wanted = Study.open(tmp_path / "new"), queries.count_curation_picks(source.store, after=0)
    assert [row.n_curated for row in study.store.generations()] == [0, wanted] and study.config.reward.gamma == 1
    evidence = build(study)
    applying = {claim.claim for claim in evidence.claims if claim.verdict != "not applicable"}
    assert evidence.imported and applying == {"C5 reversed"}  # which holds whatever is picked
    assert faults(study) == []
    assert {check.verdict for check in self_checks(study.store, study.config)} <= {"pass", "not applicable"}
    for opened in (study, log):
        opened.store.close()


def test_a_replay_takes_no_picks(unchanged: Study):
    with pytest.raises(ValueError, match="replays the log of old"):
        simulate(unchanged, 4, quiet)
    with pytest.raises(ValueError, match="replays the log of old"):
        Worker(unchanged)


def test_another_rule_on_flags_leaves_out_other_peoples_picks(make: Make, people, tmp_path: Path):
    quick = ("schedule.picks=12", "pool.size=24", "pool.audit=0", "curation.extend=none", "quality.too_fast_ms=200")
    source = make("digits", *quick, "train.pretrain_steps=2", "train.finetune_steps=2", name="crowd")
    Worker(source).run(once=True)
    fast, slow = people(source, 4, "ann"), people(source, 8, "bob")
    with source.store.write() as db:
        db.conn.execute("UPDATE pick SET rt_ms = 100 WHERE id <= ?", [fast[-1]])
    Worker(source).run(once=True)
    refresh(source.store, source.config.quality)
    assert source.store.generations()[1].n_curated == 12

    study = replayed(source, tmp_path / "careful", **{"quality.exclude_picks": ["too_fast"]})
    assert study.store.generations()[1].n_curated == 8
    assert turns(study)[0].excluded == {"too_fast": 4} and slow[0] > fast[-1]
    assert weights(study)[0] == weights(source)[0] and weights(study)[1] != weights(source)[1]
    assert faults(study) == [] and study.store.value("SELECT count(*) FROM identity") == 0
    assert queries.free_slates(study.store) == [] and queries.free_slates(source.store) != []
    with pytest.raises(ValueError, match="No pick is left to train generation 1 on"):
        given = {"quality.too_fast_ms": 10_000, "quality.exclude_picks": ["too_fast"]}
        begin(source, tmp_path / "none", replayed_config(source.config, (), given))
    study.store.close()


def test_a_proxys_picks_train_again_but_not_under_another_rule(make: Make, people, tmp_path: Path):
    quick = ("schedule.picks=12", "pool.size=24", "pool.audit=0", "curation.extend=proxy")
    source = make("digits", *quick, "train.pretrain_steps=2", "train.finetune_steps=2", name="crowd")
    Worker(source).run(once=True)
    people(source, 12)
    Worker(source).run(once=True)
    study = replayed(source, tmp_path / "same")
    assert weights(study) == weights(source) and turns(study)[0].n_proxy == 48
    study.store.close()
    with pytest.raises(ValueError, match="The proxy learned from picks"):
        begin(source, tmp_path / "new", replayed_config(source.config, ["quality.exclude_picks=['too_fast']"], {}))
    study = replayed(source, tmp_path / "plain", "quality.exclude_picks=['too_fast']", "curation.extend=none")
    curated = study.store.generations()[1].measurements.curated
    assert curated and curated.as_json() == {"asked": 12, "human": 12, "sim": 0, "proxy": 0}
    study.store.close()


def run_until(path: Path, phase: str, nth: int) -> None:
    """Goes on with a replay and dies at the nth report of a phase."""
    seen = itertools.count(1)

    def report(at: str, done: int, total: int) -> None:
        if at == phase and next(seen) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    run(Study.open(path), path.with_name("new"), report)


if __name__ == "__main__":
    run_until(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

"""Whole tiny studies with simulated users. Run as a script, this file is a study that is killed half-way."""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.images import decode_png
from data.store import queries
from loop.generators import load_generator
from loop.raters.journey import worker_status
from loop.simulate import simulate
from loop.slates import draw, to_pixels
from loop.study import Study, WorkerRunningError, configure, faults, only_worker, open_or_create
from model.checkpoint import load

Make = Callable[..., Study]


def picked(study: Study) -> list[dict]:
    return list(queries.curation_picks(study.store))


def test_a_moons_study_has_what_was_asked_for_and_moves_where_the_reward_is(make: Make, run):
    study = run(make("moons", "train.finetune_steps=100", "train.pretrain_steps=200"))
    generations = study.store.generations()
    assert [(row.t, row.parent_t, row.n_real, row.n_curated) for row in generations] == [
        (0, None, 300, 0), (1, 0, 0, 200), (2, 1, 0, 200),
    ]  # fmt: skip
    assert [row.measurements.curated and row.measurements.curated.as_json() for row in generations[1:]] == [
        {"asked": 200, "human": 0, "sim": 200, "proxy": 0}
    ] * 2
    assert queries.count_slates(study.store, "curation", 0) == 200 == queries.count_slates(study.store, "curation", 1)
    assert study.store.value("SELECT count(*) FROM sample") == 2 * 200 * 2
    assert study.store.value("SELECT count(DISTINCT seed) FROM sample") == 800
    assert faults(study) == []
    first, last = generations[0].measurements.mean_reward, generations[2].measurements.mean_reward
    assert first and last and last.value > first.value + 4 * (first.se + last.se)
    slates = list(study.store.rows("SELECT id FROM slate WHERE t = 0"))
    shown = list(queries.slate_samples(study.store, [row["id"] for row in slates]))
    chosen = [row["reward"] for row in picked(study) if row["t"] == 0]
    assert np.mean(chosen) > np.mean([row["reward"] for row in shown])


def test_the_pages_are_told_of_a_running_simulation(make: Make):
    study, phases = make("moons"), set()

    def report(phase: str, done: int, total: int) -> None:
        phases.add(worker_status(study.store)["phase"])

    simulate(study, 1, report)
    assert {"preparing", "curating", "training"} <= phases
    assert worker_status(study.store)["phase"] == "absent"


def test_a_digits_study_has_what_was_asked_for(simulated_digits: Study):
    store = simulated_digits.store
    assert [(row.n_real, row.n_curated) for row in store.generations()] == [(300, 0), (300, 60), (300, 60)]
    assert len(picked(simulated_digits)) == 120
    assert store.value("SELECT count(*) FROM sample") == 120 * 4 == store.value("SELECT count(*) FROM slate_item")
    assert store.value("SELECT count(*) FROM pick WHERE outcome != 'pick'") == 0
    assert faults(simulated_digits) == []


def test_the_cuts_divide_the_picks_among_the_generations(simulated_digits: Study):
    cuts = [row.pick_cut for row in simulated_digits.store.generations()]
    assert cuts == [0, 60, 120]
    for t, (after, until) in enumerate(itertools.pairwise(cuts)):
        rows = list(queries.curation_picks(simulated_digits.store, after=after, until=until))
        assert len(rows) == 60 and {row["t"] for row in rows} == {t}


def test_the_picked_samples_images_are_kept_and_are_what_their_seeds_give(simulated_digits: Study):
    for t in (0, 1):
        rows = [row for row in picked(simulated_digits) if row["t"] == t]
        pixels = to_pixels(draw(load_generator(simulated_digits, t), np.array([row["seed"] for row in rows])))
        for row, wanted in zip(rows, pixels, strict=True):
            png = simulated_digits.store.image(row["image_sha256"])
            assert png is not None
            np.testing.assert_array_equal(decode_png(png), wanted)


def test_each_generation_keeps_its_settings_figures_and_picture(simulated_digits: Study):
    for row in simulated_digits.store.generations():
        assert row.config == json.loads(json.dumps(simulated_digits.config.as_json()))
        assert sum(row.measurements.class_shares) == pytest.approx(1) and row.measurements.n == 200
        assert row.measurements.grid_sha256
        assert simulated_digits.store.image(row.measurements.grid_sha256) is not None
        assert row.measurements.nn_ratio and row.measurements.nn_ratio > 0
    assert simulated_digits.store.status("real")["n"] == 300


@pytest.mark.parametrize("preset", ["moons", "digits"])
def test_the_same_seed_gives_the_same_picks_and_weights_and_another_one_others(
    make: Make, run, fingerprint, preset: str
):
    first, again, other = (
        fingerprint(run(make(preset, "curation.extend=none", seed=seed), generations=1)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["picks"] != other["picks"] and first["generations"] != other["generations"]


def test_going_on_later_is_the_same_as_going_on_at_once(make: Make, run, fingerprint):
    in_parts = make("moons")
    for generations in (0, 1, 1, 2):
        run(in_parts, generations)
    assert fingerprint(in_parts) == fingerprint(run(make("moons")))


def test_k_inf_stores_the_picked_samples_alone(make: Make, run):
    study = run(make("moons", "curation.k=inf", "curation.inf_pool=6"), generations=1)
    slates = list(study.store.rows("SELECT k FROM slate"))
    assert len(slates) == 200 and {row["k"] for row in slates} == {None}
    assert study.store.value("SELECT count(*) FROM slate_item") == 200
    rows = picked(study)
    assert {row["position"] for row in rows} == {0}
    assert len({row["seed"] for row in rows}) > 100  # draws may repeat
    assert study.store.generations()[1].n_curated == 200 and faults(study) == []


@pytest.mark.parametrize(("lam", "n_real"), [("1", 300), ("0.5", 300), ("inf", 0)])
def test_real_data_stay_in_the_mix_unless_the_loop_is_pure(make: Make, run, lam: str, n_real: int):
    generation = run(make("moons", f"mix.lam={lam}"), generations=1).store.generations()[1]
    assert (generation.n_real, generation.n_curated) == (n_real, 200)
    assert generation.policy.startswith(f"mix lam={lam}")


def test_a_restart_trains_fresh_weights_and_else_the_parents_are_fine_tuned(make: Make, run):
    tuned, fresh = run(make("moons"), 1), run(make("moons", "train.restart=true"), 1)
    (first, second), (same, restarted) = tuned.store.generations(), fresh.store.generations()
    assert first.checkpoint_sha256 == same.checkpoint_sha256 != second.checkpoint_sha256
    assert load(tuned.checkpoint_path(1)).parent == first.checkpoint_sha256
    assert load(fresh.checkpoint_path(1)).parent is None
    assert restarted.checkpoint_sha256 != second.checkpoint_sha256


def test_the_count_of_picks_follows_lam_when_none_is_asked_for(make: Make, run):
    study = run(make("moons", "curation.picks=0", "mix.lam=0.5"), generations=1)
    assert study.store.generations()[1].n_curated == 150


def test_a_study_that_someone_works_on_or_people_picked_in_is_left_alone(make: Make, run, fill):
    study = make("moons")
    with only_worker(study.path), pytest.raises(WorkerRunningError, match="running"):
        run(study)
    assert study.store.generations() == []
    study.store.add_session("ann", study.store.add_rater("human"))
    with pytest.raises(ValueError, match="People have picked"):
        run(study)
    assert study.store.generations() == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("reward.kind=math:nothing", r"reward\.kind"),
        ("network.kind=unet", r"network\.kind"),
        ("reward.kind=math:isfinite", "element"),
    ],
)
def test_settings_that_do_not_go_together_stop_before_anything_is_published(make: Make, run, setting: str, message):
    study = make("moons", setting)
    with pytest.raises((ValueError, TypeError), match=message):
        run(study)
    assert study.store.generations() == []


def test_a_reward_of_ones_own_is_used(make: Make, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_rewards.py").write_text("def left(x):\n    return -8 * x[:, 0]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    study = run(make("moons", "reward.kind=my_rewards:left"), generations=1)
    for row in queries.slate_samples(study.store, [1, 2, 3]):
        assert row["reward"] == pytest.approx(-8 * json.loads(row["point_json"])[0], rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "reward"),
    [(("reward.kind=no_rewards:none",), "the reward"),
     (("curation.adversarial=0.5", "adversary.kind=no_rewards:none"), "the reward of 'adversary'")],
)  # fmt: skip
def test_a_reward_of_ones_own_that_is_no_number_stops_with_a_sentence(
    make: Make, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...], reward: str
):
    lines = ("def none(x):", "    r = -x[:, 0]", "    r[1::3] = float('nan')", "    return r")
    (tmp_path / "no_rewards.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    study = make("moons", *settings)
    with pytest.raises(ValueError, match=f"^{reward} must give one finite number per sample; of [0-9,]+ samples"):
        run(study)
    assert study.store.generations() == []


def test_the_same_command_finds_the_study_and_other_settings_are_refused(tmp_path: Path, tiny_moons):
    open_or_create(tmp_path / "s", "moons", tiny_moons, seed=1, generations=3).store.close()
    for preset, settings in (("moons", tiny_moons), (None, ()), (None, ["curation.k=2"])):
        open_or_create(tmp_path / "s", preset, settings, seed=1, generations=None).store.close()
    for preset, settings, seed in (("moons", [*tiny_moons, "curation.k=5"], 1), (None, ["curation.k=5"], 1),
                                   (None, (), 2), ("gaussians", (), None)):  # fmt: skip
        with pytest.raises(ValueError, match="with other settings"):
            open_or_create(tmp_path / "s", preset, settings, seed=seed, generations=None)


KILLS = [  # phases at whose nth report the process dies, one after the other
    ("pretraining", 1), ("pretraining", 3), ("evaluating", 1),  # while learning the real data
    ("curating", 2), ("curating", 2), ("training", 1),  # while users pick
    ("training", 2), ("measuring", 1), ("publishing", 2),  # in the turns
]  # fmt: skip


THREE_CHUNKS = ["curation.picks=5100", "curation.k=2"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...], run, fingerprint):
    """The fingerprint of a run of three chunks of picks that nothing has disturbed."""
    study = Study.create(tmp_path_factory.mktemp("run") / "s", configure("moons", [*tiny_moons, *THREE_CHUNKS], seed=4))
    result = fingerprint(run(study))
    study.store.close()
    return result


@pytest.mark.slow  # a kill at each place one by one: test_kills.py
def test_a_run_killed_nine_times_ends_as_an_undisturbed_one(make: Make, run_and_die, run, fingerprint, undisturbed):
    study = make("moons", *THREE_CHUNKS, seed=4)
    for phase, nth in KILLS:
        run_and_die(Path(__file__), study, phase, nth)
    resumed = run(Study.open(study.path))
    assert faults(resumed) == []
    assert fingerprint(resumed) == undisturbed
    assert resumed.store.value("SELECT count(DISTINCT seed) FROM sample") == 2 * 5100 * 2  # chunks share no draw
    assert {file.suffix for file in resumed.checkpoints.iterdir() if file.name[0] != "."} == {".json", ".safetensors"}


@pytest.mark.slow
def test_a_transformer_killed_in_training_ends_with_the_same_weights(tmp_path: Path, run_and_die, run, fingerprint):
    """It has no snapshots: training begins anew, from the same seed."""
    settings = ("network.kind=gpt", "network.width=16", "network.depth=1", "network.heads=2", "train.restart=true",
                "train.pretrain_steps=60", "data.n=60", "data.characters=20000", "data.length=16", "curation.k=1",
                "mix.policy=accumulate", "evaluation.samples=100")  # fmt: skip
    killed, whole = (Study.create(tmp_path / name, configure("text", settings)) for name in ("killed", "whole"))
    run_and_die(Path(__file__), killed, "training", 2)
    resumed = Study.open(killed.path)
    assert resumed.store.latest_cut() == (0, 0) and not resumed.checkpoint_path(1).exists()
    assert fingerprint(run(resumed, 1)) == fingerprint(run(whole, 1)) and faults(resumed) == []
    for study in (resumed, whole):
        study.store.close()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def simulate_until(path: Path, phase: str, nth: int) -> None:
    from loop import evaluation
    from loop.simulate import simulate

    calls = 0

    def report(now: str, done: int, total: int) -> None:
        nonlocal calls
        calls += now == phase
        if now == phase and calls == nth:
            die()

    if phase == "measuring":  # the new weights are saved, and not published yet
        measure = evaluation.Evaluator.of

        def measured(self, generator, t: int, *more):
            report("measuring" if t else "", 0, 1)
            return measure(self, generator, t, *more)

        evaluation.Evaluator.of = measured
    simulate(Study.open(path), 2, report)


if __name__ == "__main__":
    simulate_until(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

"""Sweeps: grids and their names, sweep.toml, several processes at a time. Run as a script, it is a sweep that dies."""

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from scipy.stats import t as student_t

from data.records import Generation
from loop.evidence import study as evidence_file
from loop.evidence.schema import Estimate, Evidence
from loop.study import ERRORS, Study, StudyExistsError, configure
from loop.sweep import run as running
from loop.sweep.grid import (
    Cell,
    Sweep,
    SweepRunningError,
    combinations,
    label,
    only_sweep,
    parse_grid,
    read,
    requested_sweep,
    short_names,
    write,
)
from loop.sweep.results import over_seeds, responses
from loop.sweep.run import Ended, Pace, Step, run, standing, threads_and_jobs
from tests.loop.processes import run_script

GRID = {"curation.k": [2, 4], "mix.lam": [math.inf, 1]}


def sweep(**changes: object) -> Sweep:
    return replace(Sweep("moons", GRID, seeds=2), **changes)  # pyright: ignore[reportArgumentType]


GRIDS = {
    "numbers": ("curation.k=2,4,8", [2, 4, 8]),
    "infinity": ("mix.lam=inf,1", [math.inf, 1]),
    "spaces": (" curation.k = 2, 4 ", [2, 4]),
    "words": ("data.dataset=moons,gaussians", ["moons", "gaussians"]),
    "quoted": ('app.title="a,b",c', ['"a', 'b"', "c"]),
    "quoted, all": ('app.title="a,b","c"', ["a,b", "c"]),
    "lists": ("reward.center=[[2.0,0.5],[0,0]]", [[2.0, 0.5], [0, 0]]),
    "lists without the outer brackets": ("reward.center=[2.0,0.5],[0,0]", [[2.0, 0.5], [0, 0]]),
    "one list": ("reward.center=[[2.0,0.5]]", [[2.0, 0.5]]),
    "empty": ("curation.k=", []),
}


@pytest.mark.parametrize(("text", "values"), GRIDS.values(), ids=GRIDS)
def test_a_grid_is_read(text: str, values: list):
    assert list(parse_grid([text]).values()) == [values]


def test_a_grid_refuses_what_it_cannot_read():
    for options, part in (
        (["curation.k"], "key=value"),
        (["=2"], "key=value"),
        (["curation.k=2", "curation.k=4"], "given twice"),
        (["app.title=a,,b"], "empty value"),
    ):
        with pytest.raises(ValueError, match=part):
            parse_grid(options)


def test_there_is_a_study_for_each_combination_and_seed_all_of_one_seed_first():
    cells = sweep(settings=("reward.gamma=3",), generations=2).cells()
    assert [cell.name for cell in cells] == [
        f"k={k},lam={lam},seed={seed}" for seed in (0, 1) for k in (2, 4) for lam in ("inf", "1")
    ]
    for cell in cells:
        wanted = ["reward.gamma=3", *(f"{key}={value}" for key, value in cell.values.items())]
        assert cell.config == configure("moons", wanted, seed=cell.config.seed, generations=2)
    assert [[cell.config.seed for cell in combination] for combination in combinations(cells)] == [[0, 1]] * 4


WRONG = {
    "no grid": (sweep(grid={}), "--grid curation.k=2,4,8"),
    "unknown preset": (sweep(preset="mnist"), "'mnist'"),
    "unknown key": (sweep(grid={"curation.kk": [1]}), "did you mean curation.k?"),
    "a table": (sweep(grid={"curation": [1]}), "no setting 'curation'"),
    "unknown setting": (sweep(settings=("mix.lamb=1",)), "did you mean mix.lam?"),
    "no values": (sweep(grid={"curation.k": []}), "curation.k has no values"),
    "bad value": (sweep(grid={"mix.lam": [1, 0]}), "--grid mix.lam=0: mix.lam: Input should be greater than 0"),
    "bad combination": (
        sweep(grid={"curation.k": [2, 3]}, settings=("curation.position_bias=[0.1,0]",)),
        "--grid curation.k=3: curation: .* 2 entries",
    ),
    "the same value": (sweep(grid={"curation.k": [2, 4, 2.0]}), "curation.k: 2 and 2.0 are the same"),
    "the same infinity": (sweep(grid={"mix.lam": [1], "curation.k": ["inf", math.inf]}), "inf and inf are the same"),
    "the same list": (sweep(grid={"reward.center": [[1, 0], [1.0, 0.0]]}), "are the same"),
    "set as well": (sweep(settings=("curation.k=3",)), "both in --grid and in --set"),
    "seed": (sweep(grid={"seed": [1, 2]}), "use --seeds"),
    "seed, set": (sweep(settings=("seed=1",)), "use --seeds"),
    "generations": (sweep(grid={"generations": [1, 2]}), "use --generations"),
    "no seeds": (sweep(seeds=0), "--seeds must be 1 or more"),
    "too many": (sweep(seeds=100_000), "400,000 studies"),
}


@pytest.mark.parametrize(("wrong", "part"), WRONG.values(), ids=WRONG)
def test_a_sweep_that_is_wrong_says_how(wrong: Sweep, part: str):
    with pytest.raises(ValueError, match=part):
        wrong.cells()


def test_values_make_readable_and_different_names():
    assert [label(value) for value in (2, 2.0, math.inf, "inf", 0.25, True, (2.0, 0.5), (), [-1, 0])] == [
        "2", "2", "inf", "inf", "0.25", "true", "2_0.5", "none", "-1_0",
    ]  # fmt: skip
    assert [label(value) for value in (1e30, 1e-4, -0.5)] == ["1e+30", "0.0001", "-0.5"]
    odd = ["a/b", "a b", "a_b", "x" * 300, "x" * 299, "../..", ""]
    names = [label(value) for value in odd]
    assert len(set(names)) == len(odd) and all("/" not in name and name and len(name) <= 50 for name in names)


def test_a_setting_keeps_its_table_where_the_name_alone_is_not_clear():
    keys = ["curation.k", "reward.kind", "adversary.kind"]
    assert short_names(keys) == {"curation.k": "k", "reward.kind": "reward.kind", "adversary.kind": "adversary.kind"}


def test_what_is_written_is_read_again(tmp_path: Path):
    grid = {"curation.k": [2, math.inf], "reward.center": [[2.0, 0.5], [0, 0]], "reward.kind": ["ball", 'a:"b"']}
    for written in (sweep(grid=grid, settings=("data.n=300", 'app.title="x"'), generations=3), sweep()):
        write(tmp_path / "new", written)
        assert read(tmp_path / "new") == written
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sweep.toml"]


def test_a_record_that_cannot_be_read_says_so(tmp_path: Path):
    for text in ("preset = ", "preset = 'moons'", "seeds = 1\npreset = 'moons'\nsettings = []\ngrid = 3"):
        (tmp_path / "sweep.toml").write_text(text)
        with pytest.raises(ValueError, match="can't be read"):
            read(tmp_path)


def test_what_is_left_out_is_as_recorded_and_more_of_it_extends(tmp_path: Path):
    known = sweep(settings=("data.n=300",), generations=3)
    write(tmp_path, known)
    assert requested_sweep(tmp_path, None, {}, None, (), None) == known
    assert requested_sweep(tmp_path, "moons", GRID, 2, ["data.n=300"], 3) == known
    more = requested_sweep(tmp_path, None, {"mix.lam": [0.5, 1.0, "inf"], "curation.k": [4, 8, 2]}, 3, (), 5)
    assert more == replace(known, grid={"curation.k": [2, 4, 8], "mix.lam": [math.inf, 1, 0.5]}, seeds=3, generations=5)
    assert {cell.name for cell in known.cells()} < {cell.name for cell in more.cells()}


OTHERS = {
    "preset": (("gaussians", {}, None, (), None), "its preset is moons"),
    "settings": ((None, {}, None, ("data.n=400",), None), "--set data.n=300"),
    "fewer values": ((None, {**GRID, "curation.k": [2, 8]}, None, (), None), "curation.k takes 2, 4"),
    "fewer keys": ((None, {"curation.k": [2, 4]}, None, (), None), "varies curation.k and mix.lam"),
    "fewer seeds": ((None, {}, 1, (), None), "has 2 seeds"),
    "fewer generations": ((None, {}, None, (), 1), "last generation is 3"),
}


@pytest.mark.parametrize(("asked", "part"), OTHERS.values(), ids=OTHERS)
def test_another_sweep_is_refused(tmp_path: Path, asked: tuple, part: str):
    write(tmp_path, sweep(settings=("data.n=300",), generations=3))
    with pytest.raises(ValueError, match=f"another sweep at .*{part}"):
        requested_sweep(tmp_path, *asked)


def test_a_sweep_needs_a_folder_of_its_own_and_a_preset_to_begin(tmp_path: Path, make: Callable[..., Study]):
    study = make("moons")
    (tmp_path / "file").touch()
    for folder, part in ((study.path, "a study at"), (tmp_path / "file", "a file at"), (tmp_path / "x", "no sweep at")):
        with pytest.raises(ValueError, match=part):
            requested_sweep(folder, None, GRID, None, (), None)
    assert not (tmp_path / "x").exists()


def test_two_sweeps_do_not_run_in_one_folder(tmp_path: Path):
    with only_sweep(tmp_path), pytest.raises(SweepRunningError, match="already"), only_sweep(tmp_path):
        pass


def test_threads_times_studies_are_the_cores():
    small, large = sweep().cells(), Sweep("digits", {"curation.k": [2]}).cells()
    assert [threads_and_jobs(small, jobs, 4, None) for jobs in (None, 2)] == [(1, 4), (1, 2)]
    assert [threads_and_jobs(large, jobs, 4, None) for jobs in (None, 2, 8)] == [(4, 1), (2, 2), (1, 8)]
    assert threads_and_jobs(large, None, 4, 2) == (2, 2)


def test_the_interval_over_seeds_is_students(rng: np.random.Generator):
    values = rng.normal(size=5)
    several = over_seeds([Estimate.of(value, 0.1) for value in values])
    low, high = student_t.interval(0.95, 4, values.mean(), values.std(ddof=1) / math.sqrt(5))
    assert (several.value, several.low, several.high) == pytest.approx((values.mean(), low, high))
    assert several.each == tuple(values)
    alone = over_seeds([Estimate.of(1.0, 0.1)])
    assert (alone.low, alone.high, alone.each) == (Estimate.of(1.0, 0.1).low, Estimate.of(1.0, 0.1).high, (1.0,))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


ACTOR = """
import json, os, sys
path, last, donor = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
name = os.path.basename(path)
with open(os.path.join(os.path.dirname(path), "log"), "a") as log:
    log.write(json.dumps([name, donor and os.path.basename(donor[0]), os.environ["OMP_NUM_THREADS"]]) + "\\n")
say = lambda **line: print(json.dumps(line), flush=True)
print("something else", "{", sep="\\n", flush=True)
if donor[-1:] == ["--plan"]: say(preparing_s=30.0, round_s=10.0)
say(t=0, phase="pretraining", share=0.5)
if "k=3" in name: say(error="it can't be."); sys.exit(1)
if "k=5" in name: os.kill(os.getpid(), 9)
if "k=7" in name: raise SystemExit("odd")
say(t=1, phase="curating", share=0.0)
if "k=9" in name: sys.stdin.read(); sys.exit(1)
"""


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that only say that they simulate."""

    def command(path: Path, last: int, donor: Path | None) -> list[str]:
        return [sys.executable, "-c", ACTOR, str(path), str(last), *([str(donor)] if donor else [])]

    monkeypatch.setattr(running, "command", command)
    yield


def log_of(folder: Path) -> list[list]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


@pytest.mark.usefixtures("actor")
def test_studies_of_one_pretraining_wait_for_the_first_and_copy_from_it(tmp_path: Path):
    cells = sweep(grid={"curation.k": [2, 4, 8]}).cells()
    events: list[tuple[str, object]] = []
    assert run(tmp_path, cells, 1, 3, 1, lambda cell, event: events.append((cell.name, event))) == {}
    log = {name: (donor, threads) for name, donor, threads in log_of(tmp_path)}
    assert log == {
        f"k={k},seed={seed}": ([] if k == 2 else f"k=2,seed={seed}", "1") for k in (2, 4, 8) for seed in (0, 1)
    }
    first = next(
        index for index, (name, event) in enumerate(events) if (name, event) == ("k=2,seed=0", Step(1, "curating", 0.0))
    )
    assert all(name[0:3] != "k=4" and name != "k=8,seed=0" for name, _ in events[:first] if name.endswith("seed=0"))
    assert sorted(name for name, event in events if isinstance(event, Ended)) == sorted(cell.name for cell in cells)


@pytest.mark.usefixtures("actor")
def test_a_failing_study_is_told_and_the_others_go_on(tmp_path: Path):
    cells = sweep(grid={"curation.k": [3, 5, 7, 2]}, seeds=1).cells()
    ends: dict[str, Ended] = {}
    failed = run(tmp_path, cells, 1, 2, 1, lambda cell, event: ends.update({cell.name: event}))  # pyright: ignore
    assert failed == {
        "k=3,seed=0": "it can't be.", "k=5,seed=0": "its process was ended by SIGKILL", "k=7,seed=0": "odd",
    }  # fmt: skip
    assert {name: end.error for name, end in ends.items()} == {**failed, "k=2,seed=0": None}
    assert (tmp_path / "k=7,seed=0" / ERRORS).read_text().strip() == "odd"
    assert not (tmp_path / "k=2,seed=0" / ERRORS).exists()
    assert [donor for _, donor, _ in log_of(tmp_path)] == [[]] * 4


@pytest.mark.usefixtures("actor")
def test_the_first_study_alone_is_asked_for_its_pace(tmp_path: Path):
    cells, paces = sweep(grid={"curation.k": [2, 4]}, seeds=1).cells(), []

    def note(cell: Cell, event: Step | Pace | Ended) -> None:
        if isinstance(event, Pace):
            paces.append((cell.name, event.preparing_s, event.round_s, event.loading_s > 0))

    assert run(tmp_path, cells, 1, 2, 1, note, plan=True) == {}
    assert paces == [("k=2,seed=0", 30.0, 10.0, True)]


@pytest.mark.usefixtures("actor")
def test_studies_end_with_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started = []
    start = running.ProcessPool.start
    monkeypatch.setattr(
        running.ProcessPool, "start", lambda pool, cell: started.append(start(pool, cell)) or started[-1]
    )

    def interrupt(cell: Cell, event: Step | Ended) -> None:
        if event == Step(1, "curating", 0.0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, sweep(grid={"curation.k": [9, 2]}, seeds=1).cells(), 1, 2, 1, interrupt)
    assert len(started) == 1 and started[0].process.poll() is not None


@pytest.mark.usefixtures("actor")
def test_what_is_done_does_not_run_again_and_what_is_begun_pretrains_no_more(tmp_path: Path):
    cells = sweep(grid={"curation.k": [2, 4, 8]}, seeds=1).cells()
    for cell, last in zip(cells[:2], (1, 0), strict=True):
        study = Study.create(tmp_path / cell.name, cell.config)
        for t in range(last + 1):
            study.store.publish(Generation(t, t - 1 if t else None, f"{t}.safetensors", "ab" * 32, 10, 0, ""))
        study.store.close()
    assert [standing(tmp_path, cell).t for cell in cells] == [1, 0, None]
    assert run(tmp_path, cells, 1, 1, 1, lambda cell, event: None) == {}
    assert [(name, bool(donor)) for name, donor, _ in log_of(tmp_path)] == [("k=4,seed=0", False), ("k=8,seed=0", True)]


def test_a_study_of_other_settings_is_refused(tmp_path: Path):
    cell = sweep().cells()[0]
    other = cell.config.model_copy(update={"seed": 9})
    Study.create(tmp_path / cell.name, other).store.close()
    with pytest.raises(StudyExistsError, match="seed is 9 there, and 0 was asked for"):
        standing(tmp_path, cell)


def test_a_copied_generation_0_gives_the_same_study(make: Callable[..., Study], run: Callable, fingerprint: Callable):
    from loop.simulate import simulate

    donor, wanted = run(make("moons"), 0), run(make("moons", "curation.k=4", "train.finetune_lr=1e-3"), 1)
    copied = make("moons", "curation.k=4", "train.finetune_lr=1e-3")
    phases = []
    simulate(copied, 1, lambda phase, done, total: phases.append(phase), donor)
    assert "pretraining" not in phases and fingerprint(copied) == fingerprint(wanted)
    measurements = [study.store.generations()[0].measurements for study in (copied, wanted)]
    assert measurements[0] == measurements[1]


@pytest.mark.parametrize("setting", ["seed", "data.n=200", "network.width=16", "train.pretrain_lr=1e-3"])
def test_nothing_is_copied_from_another_pretraining(make: Callable[..., Study], setting: str):
    from loop.simulate import simulate

    donor = make("moons", seed=1) if setting == "seed" else make("moons", setting)
    with pytest.raises(ValueError, match="other settings or another seed"):
        simulate(make("moons"), 1, lambda phase, done, total: None, donor)


def test_evidence_is_kept_until_generations_or_code_change(
    make: Callable[..., Study], run: Callable, monkeypatch: pytest.MonkeyPatch
):
    study, built = run(make("moons"), 1), []
    evidence_file.evidence_of(study, leave=False)
    assert not (study.path / evidence_file.FILE).exists()
    build = evidence_file.build

    def counted(study: Study, quick: bool = False, **options: Any) -> Evidence:
        built.extend([] if quick else [1])
        return build(study, quick=quick, **options)

    monkeypatch.setattr(evidence_file, "build", counted)
    first = evidence_file.evidence_of(study)
    assert evidence_file.evidence_of(study) == first and len(built) == 1
    run(study, 2)
    assert len(evidence_file.evidence_of(study).generations) == 3 and len(built) == 2
    (study.path / evidence_file.FILE).write_text("{")
    evidence_file.evidence_of(study)
    monkeypatch.setattr(evidence_file, "code_hash", lambda: "another")
    evidence_file.evidence_of(study)
    assert len(built) == 4


def tiny(settings: tuple[str, ...]) -> Sweep:
    return Sweep("moons", {"curation.k": [2]}, settings=settings, generations=2)


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on_to_the_same_studies(
    tmp_path: Path, tiny_moons: tuple[str, ...], make: Callable[..., Study], run: Callable, fingerprint: Callable
):
    assert run_script(__file__, str(tmp_path / "sweep"), *tiny_moons) == -signal.SIGKILL
    cells = tiny(tiny_moons).cells()
    with only_worker_soon(tmp_path / "sweep" / cells[0].name):  # its process ended by itself
        assert standing(tmp_path / "sweep", cells[0]).t == 1
    assert running.run(tmp_path / "sweep", cells, 2, 2, 1, lambda cell, event: None) == {}
    for cell in cells:
        alone = run(make("moons", f"curation.k={cell.values['curation.k']}", "generations=2"), 2)
        assert fingerprint(Study.open(tmp_path / "sweep" / cell.name)) == fingerprint(alone)
    swept = responses(tmp_path / "sweep", cells, 2)
    assert [response.values for response in swept] == [{"curation.k": 2}]
    for response, cell in zip(swept, cells, strict=True):
        generations = Study.open(tmp_path / "sweep" / cell.name).store.generations()
        first, last = generations[0].measurements, generations[2].measurements
        assert first.mean_w and last.mean_w and last.mean_reward
        assert response.mean_reward.value == pytest.approx(last.mean_reward.value)
        gain = last.mean_w.value - first.mean_w.value
        assert response.gain.value == pytest.approx(gain) and response.gain_predicted is not None


def only_worker_soon(path: Path) -> FileLock:
    """The study's lock, as soon as the process that held it has ended."""
    return FileLock(path / "worker.lock", timeout=20)


def die_in_the_second_turn(folder: Path, settings: tuple[str, ...]) -> None:
    """Runs a sweep, one study at a time, and SIGKILLs itself while the first one trains generation 2."""

    def report(cell: Cell, event: Step | Ended) -> None:
        if isinstance(event, Step) and (event.t, event.phase) == (2, "training"):
            os.kill(os.getpid(), signal.SIGKILL)

    run(folder, tiny(settings).cells(), 2, 1, 1, report)


if __name__ == "__main__":
    die_in_the_second_turn(Path(sys.argv[1]), tuple(sys.argv[2:]))


def test_controls_stand_beside_every_combination_on_the_same_seeds_each_once():
    cells = sweep(controls=True).cells()
    controls = [cell for cell in cells if cell.control]
    assert [cell.name for cell in controls[:6]] == [
        "k=1,lam=inf,control=K-1,seed=0",
        "k=1,lam=1,control=K-1,seed=0",
        "k=2,lam=inf,control=resampler,seed=0",
        "k=2,lam=1,control=resampler,seed=0",
        "k=4,lam=inf,control=resampler,seed=0",
        "k=4,lam=1,control=resampler,seed=0",
    ]
    assert [cell.config.seed for cell in controls] == [0] * 6 + [1] * 6
    for cell in controls:
        kinds = cell.config.curation.k, cell.config.network.kind
        assert kinds[0] == 1 if cell.control == "K = 1" else kinds[1] == "resample"
    assert controls[0].config.pretraining == cells[0].config.pretraining  # so that generation 0 is shared


def test_a_combination_that_is_its_own_control_has_no_second_study():
    cells = sweep(grid={"curation.k": [1, 2]}, settings=("network.kind=resample",), controls=True).cells()
    assert not [cell for cell in cells if cell.control]


def test_a_control_drops_the_settings_that_need_a_choice():
    more = ("curation.position_bias=[0.5,0.0]", "learner.kind=dpo", "mix.lam=inf")
    cells = sweep(grid={"curation.k": [2]}, settings=more, controls=True, seeds=1).cells()
    assert [(cell.control, cell.config.learner.kind) for cell in cells] == [
        ("", "dpo"), ("K = 1", "curate"), ("resampler", "curate"),
    ]  # fmt: skip


def test_controls_are_remembered_and_can_be_added_to_a_sweep(tmp_path: Path):
    write(tmp_path, sweep())
    assert read(tmp_path) == sweep()
    extended = requested_sweep(tmp_path, None, {}, None, (), None, controls=True)
    write(tmp_path, extended)
    assert read(tmp_path) == sweep(controls=True)
    assert requested_sweep(tmp_path, None, {}, None, (), None).controls

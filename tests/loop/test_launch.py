"""Whole studies under `accelerate launch`. Run as a script, this file is a study that loses a process half-way."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loop.integrity import faults
from loop.selfcheck import self_checks
from loop.study import Study, configure

ROOT = Path(__file__).parents[2]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
          "--main_process_port", "0"]  # fmt: skip
TINY = (
    "data.size=16", "network.width=32", "train.pretrain_steps=8", "train.finetune_steps=24", "train.batch_size=5",
    "train.pair_size=5", "sampling.batch_size=30", "sampling.solver=euler", "sampling.steps=1", "classifier.width=4",
    "classifier.epochs=1", "evaluation.samples=100", "curation.extend=none", "curation.k=2", "curation.picks=20",
)  # fmt: skip
Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of dark and of light images."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, level in (("dark", 0), ("light", 130)):
        (root / name).mkdir()
        for i in range(24):
            pixels = (level + rng.integers(0, 110, (16, 16, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def new(tmp_path: Path, images: Path) -> Callable[[str], Study]:
    """A function: a new study with a tiny UNet."""
    return lambda name: Study.create(tmp_path / name, configure("folder", [f"data.path={images}", *TINY], seed=0))


def start(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with one thread a process; two cores at the most, so that two ranks get one each."""
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2]),
    )  # fmt: skip


def simulate(study: Study, generations: int, processes: int) -> None:
    program = LAUNCH if processes == 2 else [sys.executable]
    asked = ["-m", "curate_app", "simulate", str(study.path), "--generations", str(generations), "--json"]
    done = start(*program, *asked)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["generations"][-1]["t"] == generations


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, images: Path, fingerprint) -> dict[str, object]:
    """What a study comes to that one process runs straight through."""
    config = configure("folder", [f"data.path={images}", *TINY], seed=0)
    study = Study.create(tmp_path_factory.mktemp("straight") / "study", config)
    simulate(study, 2, 1)
    return fingerprint(study)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(2, 2), (1, 2), (2, 1)])
def test_two_processes_pick_and_train_as_one_and_may_take_turns(
    new: Callable[[str], Study], fingerprint, straight: dict[str, object], processes: tuple[int, int]
):
    study = new("study")
    for t, n in enumerate(processes, start=1):
        simulate(study, t, n)
    assert fingerprint(study) == straight
    assert faults(study) == [] and all(found.verdict != "fail" for found in self_checks(study.store, study.config))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [("follower killed", "Nothing is lost"), ("Ctrl-C", "Stopped. Nothing is lost"), ("error", "what goes wrong")],
)
def test_a_launch_that_ends_early_says_so_and_the_study_goes_on(
    new: Callable[[str], Study], fingerprint, straight: dict[str, object], how: str, said: str
):
    study = new("study")
    done = start(*LAUNCH, str(Path(__file__)), str(study.path), how)
    assert done.returncode != 0 and said in done.stderr, done.stderr
    assert [row.t for row in study.store.generations()] == [0] and faults(study) == []
    simulate(study, 2, 2)
    assert fingerprint(study) == straight and faults(study) == []


def lose(path: Path, how: str) -> None:
    """Simulates a study up to the first generation's training, where something happens to the launch."""
    from loop.simulation import simulate as run
    from model import ranks

    def report(phase: str, done: int, _total: int) -> None:
        group = ranks.led()
        if group is None or phase != "training" or done < 20:
            return
        if how == "follower killed":
            group.tell(die)
        elif how == "Ctrl-C":
            os.kill(os.getppid(), signal.SIGINT)
            signal.pause()  # the launcher passes it on
        else:
            raise ValueError("This is what goes wrong.")

    run(Study.open(path), 2, report)


def die(_group: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from curate_app.console import run as at_the_edge
    from curate_app.launch import on_ranks

    sys.exit(at_the_edge(lambda: on_ranks(lambda: lose(Path(sys.argv[1]), sys.argv[2])), debug=False))

"""Whole studies on two processes. Run as a script, this file is a study that loses one of them half-way."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.store import queries
from loop.selfcheck import self_checks
from loop.study import Study, configure, faults

ROOT = Path(__file__).parents[2]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
              "--main_process_port", "0"]  # fmt: skip
ACCELERATE_CPU = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TINY = (
    "data.size=16", "network.width=32", "train.pretrain_steps=8", "train.finetune_steps=24", "train.batch_size=5",
    "train.pair_size=5", "sampling.batch_size=30", "sampling.solver=euler", "sampling.steps=1", "classifier.width=4",
    "classifier.epochs=1", "evaluation.samples=100", "curation.extend=none", "curation.k=2", "curation.picks=200",
    "network.precision=fp32",
)  # fmt: skip
MPI_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}  # in a container
SENTENCE = "Another process of this launch ended or can't be reached."


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


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A study at generation 0, made by one process."""
    path = tmp_path_factory.mktemp("begun") / "study"
    Study.create(path, configure("folder", [f"data.path={images}", *TINY], seed=0)).store.close()
    assert simulate([], path, 0).returncode == 0
    return path


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path, str], Study]:
    """A function: a copy of a study under another name."""
    return lambda path, name: Study.open(shutil.copytree(path, tmp_path / name))


def start(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with one thread a process; two cores at the most, so that two processes get one each."""
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **MPI_AS_ROOT},
        preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2]),
    )  # fmt: skip


def simulate(launcher: list[str], path: Path, generations: int, *more: str) -> subprocess.CompletedProcess[str]:
    asked = ["-m", "curate_app", "simulate", str(path), "--generations", str(generations), "--device", "cpu", "--json"]
    # torchrun and accelerate both take "-m module"; python does too
    return start(*(launcher or [sys.executable]), *asked, *more)


def pick_rows(study: Study) -> list[tuple[int, str, float]]:
    """Position, image and reward of each pick, in order."""
    return [
        (row["position"], row["image_sha256"], row["reward"])
        for row in queries.curation_picks(study.store, until=study.store.last_pick(), without=0)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [ACCELERATE, ACCELERATE_CPU, TORCHRUN], ids=["accelerate", "accelerate --cpu", "torchrun"]
)
def test_two_processes_pick_as_one_and_train_to_the_same_shares(
    begun: Path, copy_of: Callable[[Path, str], Study], launcher: list[str]
):
    one, two = copy_of(begun, "one"), copy_of(begun, "two")
    for study, how in ((one, []), (two, launcher)):
        done = simulate(how, study.path, 1)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["generations"][-1]["t"] == 1
        assert faults(study) == [] and all(found.verdict != "fail" for found in self_checks(study.store, study.config))
    picks, others = pick_rows(one), pick_rows(two)
    assert len(picks) == len(others) == 200
    assert np.mean([a[:2] == b[:2] for a, b in zip(picks, others, strict=True)]) >= 0.999
    np.testing.assert_allclose([row[2] for row in picks], [row[2] for row in others], atol=1e-4)
    rewards = [study.store.generations()[1].measurements.mean_reward for study in (one, two)]
    assert rewards[0] and rewards[1]
    apart = abs(rewards[0].value - rewards[1].value)
    assert apart <= 3 * np.hypot(rewards[0].se, rewards[1].se)
    assert two.store.generations()[1].measurements.processes == 2


@pytest.fixture
def by_mpi(tmp_path: Path) -> list[str]:
    """Accelerate's launcher for CPUs, which starts two processes by mpirun."""
    if not shutil.which("mpirun"):
        pytest.skip("needs MPI, such as openmpi-bin")
    (tmp_path / "hosts").write_text("localhost slots=2\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--mpirun_hostfile",
            str(tmp_path / "hosts"), "--main_process_port", str(port)]  # fmt: skip


@pytest.mark.slow
def test_accelerates_cpu_launcher_starts_two_processes_by_mpi(
    begun: Path, copy_of: Callable[[Path, str], Study], by_mpi: list[str]
):
    study = copy_of(begun, "study")
    done = simulate(by_mpi, study.path, 1)
    assert done.returncode == 0, done.stderr
    assert study.store.generations()[1].measurements.processes == 2 and faults(study) == []


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_launch_by_mpi_that_loses_a_process_ends_and_the_same_command_goes_on(
    begun: Path, copy_of: Callable[[Path, str], Study], by_mpi: list[str], lost: int
):
    study = copy_of(begun, "study")
    done = start(*by_mpi, str(Path(__file__)), str(study.path), f"rank {lost} killed")
    assert done.returncode != 0 and "signal 9" in done.stderr, done.stderr  # mpirun's words: it ends the other one
    assert [row.t for row in study.store.generations()] == [0] and faults(study) == []
    again = simulate(by_mpi, study.path, 1)
    assert again.returncode == 0, again.stderr
    assert [row.t for row in study.store.generations()] == [0, 1] and faults(study) == []


def test_a_study_begins_on_two_processes(images: Path, tmp_path: Path):
    settings = [part for setting in (f"data.path={images}", *TINY) for part in ("--set", setting)]
    done = simulate(ACCELERATE_CPU, tmp_path / "new", 1, "--preset", "folder", "--seed", "1", *settings)
    assert done.returncode == 0, done.stderr
    study = Study.open(tmp_path / "new")
    assert [row.t for row in study.store.generations()] == [0, 1] and faults(study) == []


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [ACCELERATE, ACCELERATE_CPU], ids=["accelerate", "accelerate --cpu"])
@pytest.mark.parametrize(
    ("how", "said"),
    [("rank 0 killed", SENTENCE), ("rank 1 killed", SENTENCE), ("Ctrl-C", "Stopped. Nothing is lost"),
     ("error", "This is what goes wrong.")],
)  # fmt: skip
def test_a_launch_that_ends_early_says_so_once_and_the_same_command_goes_on(
    begun: Path, copy_of: Callable[[Path, str], Study], launcher: list[str], how: str, said: str
):
    study = copy_of(begun, "study")
    done = start(*launcher, str(Path(__file__)), str(study.path), how)
    assert done.returncode != 0 and done.stderr.count(said) == 1, done.stderr
    assert [row.t for row in study.store.generations()] == [0] and faults(study) == []
    again = simulate(launcher, study.path, 1)
    assert again.returncode == 0, again.stderr
    assert [row.t for row in study.store.generations()] == [0, 1] and faults(study) == []


@pytest.mark.slow
def test_what_one_process_refuses_is_said_once(tmp_path: Path):
    done = simulate(TORCHRUN, tmp_path / "none", 1, "--preset", "nonsense")
    assert done.returncode != 0 and done.stderr.count("There is no preset 'nonsense'") == 1, done.stderr
    assert not (tmp_path / "none").exists()


def lose(path: Path, how: str) -> None:
    """Simulates a study up to the first generation's training, where something happens to the launch."""
    from loop.compute import open_study
    from loop.simulate import simulate as run
    from model.compute import rank

    def report(phase: str, done: int, _total: int) -> None:
        if phase != "training" or done < 20:
            return
        if how == f"rank {rank()} killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "Ctrl-C" and rank() == 0:
            os.kill(os.getppid(), signal.SIGINT)
            while signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:  # until the launcher has passed it on
                time.sleep(0.01)
        elif how == "error" and rank() == 0:
            raise ValueError("This is what goes wrong.")

    run(open_study(path, lambda: Study.open(path), "cpu"), 2, report)


if __name__ == "__main__":
    from curate_app.console import run as at_the_edge
    from curate_app.launch import on_ranks

    sys.exit(at_the_edge(lambda: on_ranks(lambda: lose(Path(sys.argv[1]), sys.argv[2]), "simulate"), debug=False))

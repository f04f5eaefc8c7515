"""The number of threads of a process that trains, set before torch is imported; each case in a process of its own."""

import os
import subprocess
import sys

import pytest

from curate_app.launch import MPI_NAMES, adopt_mpi, is_launched
from curate_app.processes import worker_threads

CORES = worker_threads(beside_app=False)
NAMES = ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE")


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        ("beside_app=False", {}, CORES),
        ("beside_app=True", {}, max(1, CORES - 1)),
        ("beside_app=False, small=True", {}, 1),
        ("beside_app=False", {"OMP_NUM_THREADS": "3"}, 3),
        ("beside_app=False", {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}, max(1, CORES // 2)),
    ],
)
def test_the_cores_are_divided_unless_the_user_says_otherwise(asked: str, environment: dict, expected: int):
    outside = {name: value for name, value in os.environ.items() if name not in NAMES}
    program = (
        f"import os\nfrom curate_app.processes import use_threads\nuse_threads({asked})\n"
        "print(os.environ['OMP_NUM_THREADS'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**outside, **environment}, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == expected


@pytest.mark.parametrize(("kind", "size", "launched"), [(0, 2, True), (1, 3, True), (2, 2, True), (0, 1, False)])
def test_ranks_that_mpi_started_are_named_as_torchrun_names_them(
    kind: int, size: int, launched: bool, monkeypatch: pytest.MonkeyPatch
):
    for name in [*MPI_NAMES, *(other for others in MPI_NAMES.values() for other in others), "MASTER_ADDR"]:
        monkeypatch.setenv(name, "")  # so that whatever is set below is taken back
        monkeypatch.delenv(name)
    values = {"RANK": size - 1, "WORLD_SIZE": size, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    for name, others in MPI_NAMES.items():
        monkeypatch.setenv(others[kind], str(values[name]))
    monkeypatch.setenv("MASTER_PORT", "4321")
    adopt_mpi()
    assert is_launched() == launched
    if launched:
        assert {name: int(os.environ[name]) for name in values} == values
        assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("127.0.0.1", "4321")

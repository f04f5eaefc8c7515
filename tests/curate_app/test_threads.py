"""The number of threads of a process that trains, set before torch is imported; each case in a process of its own."""

import os
import subprocess
import sys

import pytest

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

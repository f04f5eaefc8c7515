"""What a process that trains sets before torch is imported; each case in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

from curate_app.processes import worker_threads

NAMES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SETTINGS = f"print(json.dumps({{name: os.environ.get(name) for name in {NAMES}}}))"
FAULTS = """
from ctypes import CDLL, memset, c_size_t, c_void_p
libc, taken = CDLL(None), []
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = c_void_p, [c_size_t], [c_void_p]
def step():
    blocks = [libc.malloc(size << 20) for size in (1, 2, 4, 8, 16, 31) for _ in range(3)]
    for block, size in zip(blocks, [size for size in (1, 2, 4, 8, 16, 31) for _ in range(3)]):
        memset(block, 1, size << 20)
    for block in blocks:
        libc.free(block)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(call: str, then: str, **environment: str) -> str:
    outside = {name: value for name, value in os.environ.items() if name not in NAMES}
    program = f"import json, os, resource\nfrom curate_app.processes import use_threads\n{call}\n{then}"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**outside, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("call", "environment", "expected"),
    [
        ("use_threads(beside_app=False)", {}, [str(worker_threads(beside_app=False)), "PASSIVE", "20000"]),
        ("use_threads(beside_app=False, small=True)", {}, ["1", "PASSIVE", "20000"]),
        ("use_threads(beside_app=False)", {"OMP_NUM_THREADS": "3"}, ["3", "PASSIVE", "20000"]),
        ("use_threads(beside_app=False, small=True)", {"OMP_WAIT_POLICY": "ACTIVE"}, ["1", "ACTIVE", None]),
        ("use_threads(beside_app=False, small=True)", {"GOMP_SPINCOUNT": "7"}, ["1", "PASSIVE", "7"]),
    ],
)
def test_threads_and_how_they_wait_are_the_users_choice_first(call: str, environment: dict, expected: list):
    assert list(json.loads(run(call, SETTINGS, **environment)).values()) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is told so")
def test_memory_that_is_taken_again_and_again_costs_no_page_faults():
    told, untold = (int(run(call, FAULTS)) for call in ("use_threads(beside_app=False)", ""))
    assert told < untold / 20

"""The acceptance of a GPU, tried on a CPU: every part runs, and what fails is written down."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_acceptance.py"


def accept(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--device", "cpu", "--quick", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_parts_are_written_as_they_end_and_one_that_fails_does_not_stop_the_rest(tmp_path: Path):
    done = accept(tmp_path, "--only", "environment", "parity", "hours")  # which needs what other parts measured
    assert done.returncode == 1, done.stderr
    found = json.loads((tmp_path / "summary.json").read_text())
    assert list(found) == ["environment", "parity", "hours"]
    assert found["environment"]["device"] == "cpu" and found["parity"]["passed"]
    assert not found["hours"]["passed"] and "KeyError" in found["hours"]["error"]
    assert json.loads((tmp_path / "parity.json").read_text()) == found["parity"]


@pytest.mark.slow
def test_all_of_it(tmp_path: Path):
    done = accept(tmp_path)
    assert done.returncode == 0, (tmp_path / "summary.json").read_text()
    found = json.loads((tmp_path / "summary.json").read_text())
    assert len(found) == 8 and found["hours"]["together"] > 0

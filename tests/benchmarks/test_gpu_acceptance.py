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
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == ["environment", "parity", "hours"]
    assert summary["environment"]["device"] == "cpu" and summary["parity"]["passed"]
    assert not summary["hours"]["passed"] and "KeyError" in summary["hours"]["error"]
    assert json.loads((tmp_path / "parity.json").read_text()) == summary["parity"]


@pytest.mark.slow
def test_all_of_it(tmp_path: Path):
    done = accept(tmp_path)
    assert done.returncode == 0, (tmp_path / "summary.json").read_text()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary) == 8 and summary["hours"]["together"] > 0

"""A small crowd of real HTTP clients against a real server process that is killed meanwhile."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loop.study import Study

CROWD = Path(__file__).parents[2] / "benchmarks/crowd.py"


@pytest.mark.slow
def test_twenty_raters_and_a_kill_lose_and_double_nothing(
    make_study: Callable[..., Study], publish_generation: Callable[..., None]
):
    study = make_study(generations=0, phase=None)
    publish_generation(study, 0, slates=300)
    options = ["--study", study.path, "--no-worker", "--raters", "20", "--seconds", "6", "--ramp", "1", "--kill", "1"]
    run = [sys.executable, str(CROWD), *map(str, options)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 1 times" in done.stdout
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert told["faults"] == 0
    assert told["acknowledged"] > 20
    stored = study.store.rows(
        "SELECT slate_id, leased_to = session_id AS own FROM pick JOIN slate ON slate.id = slate_id"
    )
    picks = [(row["slate_id"], row["own"]) for row in stored]
    assert len(picks) == len(set(picks)) >= told["acknowledged"]
    assert all(own for _, own in picks)


@pytest.mark.slow
def test_kills_of_server_and_worker_and_a_locked_database_stop_nobody():
    disturbed = ["--kill", "2", "--kill-worker", "1", "--lock", "8"]
    run = [sys.executable, str(CROWD), "--raters", "10", "--seconds", "60", "--ramp", "1", *disturbed]
    done = subprocess.run(run, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "worker killed 1 times" in done.stdout and "\nkilled " in done.stdout  # twice, unless the machine is slow
    assert json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))["faults"] == 0

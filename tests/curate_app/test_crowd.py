"""Crowds of HTTP clients against a real server: it is killed meanwhile, or asks for the worst, or takes ties."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from curate_app.commands.crowd import print_summary
from curate_app.commands.serve import check_port
from loop.study import Study, configure

CROWD = Path(__file__).parents[2] / "benchmarks/crowd.py"
CURATE = [sys.executable, "-m", "curate_app"]
JUDGEMENTS = {
    "best and worst": ("slates.kind=best_worst", "curation.k=4"),
    "ties": ("slates.ties=true", "curation.k=2", "curation.tie_theta=2"),
}


@pytest.mark.slow
def test_twenty_raters_and_a_kill_lose_and_double_nothing(
    make_study: Callable[..., Study], publish_generation: Callable[..., None]
):
    study = make_study(generations=0, phase=None)
    publish_generation(study, 0, slates=300)
    options = ["--study", study.path, "--no-worker", "--raters", "20", "--seconds", "6", "--ramp", "1", "--kill", "1"]
    options += ["--undo", "0.2"]
    run = [sys.executable, str(CROWD), *map(str, options)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 1 times" in done.stdout
    summary = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert summary["faults"] == 0
    assert summary["acknowledged"] > 20
    stored = study.store.rows(
        """SELECT slate_id, leased_to = session_id AS own FROM pick JOIN slate ON slate.id = slate_id
        WHERE undone_at IS NULL"""
    )
    picks = [(row["slate_id"], row["own"]) for row in stored]
    assert len(picks) == len(set(picks)) >= summary["acknowledged"] - summary["of_these_taken_back"]
    assert summary["of_these_marked"] >= summary["of_these_taken_back"] > 0
    assert all(own for _, own in picks)


@pytest.mark.slow
def test_kills_of_server_and_worker_and_a_locked_database_stop_nobody():
    disturbed = ["--kill", "2", "--kill-worker", "1", "--lock", "8"]
    run = [sys.executable, str(CROWD), "--raters", "10", "--seconds", "60", "--ramp", "1", *disturbed]
    done = subprocess.run(run, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "worker killed 1 times" in done.stdout and "\nkilled " in done.stdout  # twice, unless the machine is slow
    assert json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))["faults"] == 0


def rehearse(study: Study, url: str, *options: str) -> dict[str, Any]:
    """The report of `curate crowd`."""
    run = [*CURATE, "crowd", str(study.path), "--url", url, "--json", *options]
    done = subprocess.run(run, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", JUDGEMENTS)
def test_bots_judge_as_the_slates_ask_and_nothing_is_lost(make_study, serve, kind: str):
    study = make_study(*JUDGEMENTS[kind])
    result = rehearse(study, serve(study), "--raters", "2", "--picks", "5", "--seconds", "0.05")
    assert result["answers"] == result["stored"] == 10 and result["lost"] == 0, result
    assert result["flags"]["too_fast"]["answers"] > 0  # at 50 ms a slate
    answers = list(study.store.rows("SELECT outcome, position, worst FROM pick"))
    if kind == "ties":
        assert {row["outcome"] for row in answers} <= {"pick", "tie"}
    else:
        assert all(row["worst"] not in (None, row["position"]) for row in answers)


def test_a_stated_taste_is_held_against_the_fit_that_knows_of_lapses(capsys):
    fitted, corrected = {"fitted": 2.1, "low": 1.8, "high": 2.4}, {"fitted": 2.9, "low": 2.5, "high": 3.3}
    row = {"name": "hue (cosine)", "stated": 3.0, **fitted}
    times = {"pick": {"n": 10, "p50": 0.01, "p95": 0.02}}
    result: dict[str, Any] = {
        "answers": 10, "elapsed_s": 5.0, "answers_per_second": 2.0, "lost": 0, "waits": 0, "ends": {"left": 1},
        "faults": {}, "seconds": times, "flags": {}, "recovered": [row],
    }  # fmt: skip
    print_summary(result)
    assert "outside" in (plain := capsys.readouterr().out) and "0 of 1 stated values" in plain
    print_summary({**result, "recovered": [{**row, "corrected": corrected}]})
    aware = capsys.readouterr().out
    assert "outside" not in aware and "1 of 1 stated values" in aware and "2.50 to 3.30" in aware


@contextmanager
def served(study: Study, port: int) -> Iterator[str]:
    """`curate serve` with its worker, as a process."""
    check_port("127.0.0.1", port)
    server = subprocess.Popen([*CURATE, "serve", str(study.path), "--port", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/healthz").json()["t"] is not None:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "lapse"), [*((kind, "0") for kind in JUDGEMENTS), ("best and worst", "0.1")])
def test_a_served_study_loses_nothing_and_a_fit_recovers_the_tastes(tmp_path: Path, kind: str, lapse: str):
    settings = [*JUDGEMENTS[kind], "data.picture_size=48", "schedule.picks=400", "pool.size=400"]
    study = Study.create(tmp_path / "rehearsal", configure("flowers", settings))
    tastes = {"hue@0.62": 3.0, "petals": 1.0}
    options = [part for name, weight in tastes.items() for part in ("--taste", f"{name}={weight}")]
    with served(study, 8391) as url:
        result = rehearse(study, url, "--raters", "30", "--picks", "30", "--seconds", "0.5", "--lapse", lapse, *options)
    assert result["lost"] == 0 and result["answers"] == result["stored"] == 900
    assert result["ends"] == {"left": 30}
    assert (kind == "ties") == (result["recovered"][0]["name"] == "log theta of ties")
    assert all(("corrected" in row) == (lapse != "0") for row in result["recovered"])
    fits = [(row["stated"], row.get("corrected", row)) for row in result["recovered"]]
    inside = [fitted["low"] <= stated <= fitted["high"] for stated, fitted in fits]
    assert sum(inside) >= 0.8 * len(inside), result["recovered"]
    study.store.close()

"""The table of claims: what isn't run is said to be missing, and verdicts are those of the runs' JSON."""

import json
from pathlib import Path

import pytest

from benchmarks.claims import ROWS, RUNS, Outcome, alarms, document, frontier, judged, of_exact_points, of_report


def report(*verdicts: tuple[str, float]) -> dict:
    """A report's claims with margins, at t = 1, 2 ..."""
    rows = [
        {"claim": "C1", "t": t, "verdict": word, "reason": "", "margin": {"value": x, "low": x - 0.1, "high": x + 0.1}}
        for t, (word, x) in enumerate(verdicts, 1)
    ]
    return {"claims": rows}


def test_every_claim_is_judged_by_a_run_and_one_that_is_not_there_is_missing(tmp_path: Path):
    assert {row.run for row in ROWS} <= set(RUNS)
    assert {judged(row, tmp_path).verdict for row in ROWS} == {"missing"}
    text = document(tmp_path, None)
    assert f"{len(ROWS)} missing" in text and "not run yet: `make claims`" in text and "`make papers`" in text


def test_the_worst_verdict_of_a_report_is_shown_with_its_least_margin(tmp_path: Path):
    judge = of_report("C1")
    assert judge(report(("holds", 0.5), ("holds", 0.3))) == Outcome("holds (2 holds)", "+0.3 (+0.2 to +0.4) at t = 2")
    worst = judge(report(("holds", 0.5), ("fails", -0.3), ("can't tell", 0.0)))
    assert worst == Outcome("fails (1 holds, 1 fails, 1 can't tell)", "−0.3 (−0.4 to −0.2) at t = 2")
    row = next(row for row in ROWS if row.run == "ferbach-infinite")
    (tmp_path / row.run).mkdir()
    (tmp_path / row.run / "report.json").write_text(json.dumps(report(("holds", 0.5))).replace("C1", "C6"))
    assert judged(row, tmp_path).verdict == "holds"
    assert "**holds** | +0.5 (+0.4 to +0.6) at t = 1 |" in document(tmp_path, None)


@pytest.mark.parametrize(("z", "word"), [(2.0, "holds"), (3.5, "fails")])
def test_an_exact_curve_is_judged_by_its_largest_deviation(z: float, word: str):
    points = [{"policy": "replace", "z": 0.1 * z}, {"policy": "replace", "z": -z}, {"policy": "mix", "z": 99.0}]
    assert of_exact_points("replace")({"points": points}).verdict == word


def test_signs_beside_the_frontier_and_shares_of_alarms_have_verdicts():
    cells = [
        {"generations": [{"t": 1, "direction": way, "predicted": x}]} for way, x in ((1, 0.2), (-1, -0.1), (0, 0.0))
    ]
    assert frontier(1)({"phases": {"cells": cells}}).verdict == "holds"
    cells[0]["generations"][0]["predicted"] = -0.2
    assert frontier(1)({"phases": {"cells": cells}}).verdict == "fails"
    assert alarms("honest", 0.0, 0.05)({"honest": {"hits": 6, "n": 100}}).verdict == "holds"
    assert alarms("honest", 0.0, 0.05)({"honest": {"hits": 20, "n": 100}}).verdict == "fails"

"""The table of claims: what isn't run is said to be missing, and verdicts are those of the runs' JSON."""

import json
from pathlib import Path

import pytest

from benchmarks.claims import (
    ROWS,
    RUNS,
    Outcome,
    alarms,
    decay,
    document,
    equality,
    floors,
    frontier,
    judged,
    of_exact_points,
    of_report,
    whole_law,
)


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


@pytest.mark.parametrize(("z", "se", "word"), [(2.0, 0.01, "holds"), (3.5, 0.01, "fails"), (2.0, 0.1, "not refuted")])
def test_an_exact_curve_holds_only_where_every_interval_is_within_the_tolerance(z: float, se: float, word: str):
    points = [{"exact": 1.0, "se": se, "policy": "replace", "z": share * z} for share in (0.1, -1)]
    points.append({"exact": 1.0, "se": se, "policy": "mix", "z": 99.0})
    assert of_exact_points("replace")({"points": points}).verdict == word


def test_a_ratio_holds_within_a_tenth_and_fails_where_its_interval_leaves_out_one_and_its_value_the_tenth():
    assert equality(1.0, 0.95, 1.05, 1.0) == "holds"
    assert equality(1.0, 0.8, 1.2, 1.0) == equality(1.06, 1.01, 1.11, 1.0) == "can't tell"
    assert equality(0.7, 0.6, 0.8, 1.0) == "fails"


def test_floors_hold_where_every_interval_lies_above_them():
    point = {"simulated": 0.5, "se": 0.01, "floor": 0.4, "kl_ceiling": 0.7, "kl_exact": 0.1}
    assert floors({"points": [point]}).verdict == "holds"
    assert floors({"points": [point | {"c4_floor": 0.49}]}).verdict == "can't tell"
    assert floors({"points": [point | {"floor": 0.6}]}).verdict == "fails"
    assert floors({"points": [point | {"kl_exact": 0.8}]}).verdict == "fails"


def test_what_a_test_does_not_find_is_not_refuted():
    laws = [{"p": p, "verdict": "not found", "distance": 0.0, "promised": 0.1} for p in (0.3, 0.6)]
    falls = {"p": 0.4, "verdict": "not found", "slope": 0.01, "expected": [-0.1, 0.1], "reason": ""}
    evidence = {"distribution": {"laws": laws, "decay": falls}}
    assert whole_law(evidence).verdict == decay(evidence).verdict == "not refuted"
    laws[1]["verdict"] = falls["verdict"] = "found"
    assert whole_law(evidence).verdict == decay(evidence).verdict == "fails"


def test_twice_the_curation_backfires_where_its_interval_and_the_exact_change_are_below_zero(tmp_path: Path):
    def write(name: str, reward: float, exact: float) -> None:
        last = {"rewards": [reward, 1.0], "exact": [exact, 1.1], "spread": [0.1, 0.1]}
        (tmp_path / f"{name}.json").write_text(json.dumps({"rounds": [last, last]}))

    row = next(row for row in ROWS if row.beside)
    write("market-stronger", 3.6, 3.5)
    assert judged(row, tmp_path).verdict == "missing"  # without the milder one beside it
    write("market", 2.5, 2.4)
    assert judged(row, tmp_path) == Outcome("holds", "−0.7 (−0.919 to −0.481), exact −0.65")
    write("market", 1.9, 1.8)
    assert judged(row, tmp_path).verdict == "can't tell"


def test_signs_beside_the_frontier_and_shares_of_alarms_have_verdicts():
    cells = [
        {"generations": [{"t": 1, "change": {"value": way * 0.2, "se": 0.05}, "predicted": x}]}
        for way, x in ((1, 0.2), (-1, -0.1), (0.1, -0.01))
    ]
    assert frontier(1)({"phases": {"cells": cells}}) == Outcome("holds", "2 of 2 signs as predicted, 1 of 3 undecided")
    cells[0]["generations"][0]["predicted"] = -0.2
    assert frontier(1)({"phases": {"cells": cells}}).verdict == "fails"
    for hits, n, word in ((3, 100, "holds"), (6, 100, "can't tell"), (25, 100, "fails")):
        assert alarms("honest", 0.0, 0.1)({"honest": {"hits": hits, "n": n}}).verdict == word

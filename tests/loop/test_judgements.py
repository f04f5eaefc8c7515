"""Whole tiny studies with simulated users who pick a worst one, or find both of a pair as good."""

from collections.abc import Callable

import numpy as np

from data.records import tied_position
from data.store import queries
from loop.analysis.log import AnswerFilter, read_log
from loop.analysis.report import FitOptions, choice_report
from loop.evidence.study import build
from loop.learners import fit
from loop.raters.quality import answer_flags, session_flags
from loop.selfcheck import self_checks
from loop.study import Study, faults
from loop.training_data import read_curated

Make = Callable[..., Study]
SIMULATED = FitOptions(AnswerFilter(kinds=("sim",)))


def failing(study: Study) -> list[str]:
    return [check.sentence for check in self_checks(study.store, study.config) if check.verdict != "pass" and check.p]


def test_the_best_trains_and_both_picks_are_fitted_and_checked(make: Make, run):
    settings = ("slates.kind=best_worst", "curation.k=4", "curation.lapse=0.1", "curation.picks=600")
    study = run(make("moons", *settings, "network.kind=resample"), 1)
    assert faults(study) == [] and failing(study) == []
    checks = {check.name for check in self_checks(study.store, study.config)}
    assert {"worst: pick frequencies", "worst: scale"} <= checks
    rows = list(study.store.rows("SELECT * FROM pick"))
    assert len(rows) == 600 and all(row["worst"] not in (None, row["position"]) for row in rows)
    claims = build(study).claims
    assert any(claim.verdict != "not applicable" for claim in claims)
    with study.store.write() as db:  # picks that aren't the worst by the rewards at all
        db.conn.execute("UPDATE pick SET worst = (position + 1) % 4")
    assert any("worst" in sentence for sentence in failing(study))


def test_ties_train_one_of_two_and_no_claim_applies(make: Make, run):
    settings = ("slates.ties=true", "curation.k=2", "curation.tie_theta=2", "curation.picks=800", "reward.gamma=2")
    study = run(make("moons", *settings, "network.kind=resample"), 1)
    assert faults(study) == [] and failing(study) == []
    picks, (turn,) = (
        list(queries.curation_picks(study.store)),
        [row.measurements.turn for row in study.store.generations()[1:]],
    )
    ties = [pick for pick in picks if pick["outcome"] == "tie"]
    assert len(picks) == 800 and 80 < len(ties) < 350
    seeds = {row["id"]: row["seed"] for row in study.store.rows("SELECT id, seed FROM slate")}
    assert all(pick["position"] == tied_position(seeds[pick["slate_id"]]) for pick in ties)
    assert turn and len(read_curated(study, turn).x) == 800
    evidence = build(study)
    assert {claim.verdict for claim in evidence.claims} == {"not applicable"}
    assert evidence.generations[1].predicted is None and evidence.generations[1].transmission is None
    assert all("does not apply: ties" in claim.reason for claim in evidence.claims)
    fitted = choice_report(study.store, study.config, SIMULATED).fit
    low, high = fitted.intervals()[0]
    assert low < 1 < high and fitted.threshold.low < np.log(2) < fitted.threshold.high
    with study.store.write() as db:  # ties that the declared theta doesn't give
        db.conn.execute("UPDATE pick SET outcome = 'tie', position = NULL WHERE id % 4 = 0")
    assert any("ties got" in sentence for sentence in failing(study))
    log = read_log(study.store, SIMULATED.counting)
    assert len(log.slates) == 800 and log.left_out == {}


def test_the_proxy_learns_from_worst_picks_and_ties():
    rng, taste = np.random.default_rng(1), np.array([1.0, -1.0])
    x = rng.normal(size=(400, 4, 2))
    order = np.argsort(x @ taste + 0.5 * rng.gumbel(size=(400, 4)), axis=1)
    plain, both = fit(x, order[:, -1], 0.1), fit(x, order[:, -1], 0.1, worst=order[:, 0])
    cosine = [float(u.coefficients @ taste / np.linalg.norm(u.coefficients) / 2**0.5) for u in (plain, both)]
    assert min(cosine) > 0.99 and both.log_likelihood < plain.log_likelihood
    tied = np.abs(np.diff(x[:, :2] @ taste, axis=1)[:, 0]) < 0.5
    first = fit(x[:, :2], (np.diff(x[:, :2] @ taste, axis=1)[:, 0] > 0).astype(int), 0.1, tied=tied)
    assert first.coefficients[0] > 0 > first.coefficients[1] and len(first.coefficients) == 2
    assert not fit(x[:, :2], np.zeros(400, int), 0.1, tied=np.ones(400, bool)).coefficients.any()


def answer(outcome: str, position: int | None = None, **more) -> dict:
    usual = {"worst": None, "rt_ms": 900, "server_ms": 900, "purpose": "curation", "answer": None, "repeats": 0}
    return {"outcome": outcome, "position": position, **usual, **more}


def test_flags_know_ties_and_worst_picks(make: Make):
    quality = make("moons").config.quality
    assert answer_flags(quality, answer("tie", purpose="attention", answer=1)) == ["failed_attention"]
    assert answer_flags(quality, answer("tie", purpose="attention", answer=1, repeats=1)) == []
    assert answer_flags(quality, answer("tie", rt_ms=100)) == ["too_fast"]
    assert session_flags(quality, [answer("tie")] * 12) == ["one_position"]
    assert session_flags(quality, [answer("pick", i % 3, worst=3) for i in range(12)]) == ["one_position"]
    assert session_flags(quality, [answer("pick", i % 3, worst=(i + 1) % 3) for i in range(12)]) == []
    repeats = [answer("tie", purpose="attention", answer=0, repeats=1)] * 6
    assert session_flags(quality, [answer("pick", i % 2) for i in range(12)] + repeats) == []

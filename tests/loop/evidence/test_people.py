"""Win rates of people's audit picks, from picks through the store to intervals that take raters as clusters."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.records import Generation, NewSlate, Pick, Sample
from data.store import Store, queries
from loop.config import StudyConfig
from loop.evidence.intervals import CLAIMS, UTILITY_GAINS, WIN_RATES, comparisons, error_level
from loop.evidence.people import Raters, clustered_share, mean_share, raters_of, rates_of, win_rates


def audit_pick(store: Store, session: str, generations: tuple[int, ...], picked: int) -> None:
    """A person picks one of the samples of these generations."""
    samples = [Sample(t, 9_000 + j) for j, t in enumerate(generations)]
    t = max(generations)
    store.add_slates([NewSlate(t, "audit", len(generations), 1, samples)])
    slate = store.lease(session, ("audit",), t, 600)
    assert slate is not None
    store.record_pick(session, Pick(slate.id, "pick", picked))


def finish(store: Store, *sessions: str) -> None:
    for session in sessions:
        store.reach(session, "finished")


@pytest.fixture
def two_generations(store: Store, fill: Callable[..., list[int]]) -> Store:
    """The store with generation 1 as well."""
    fill(store, t=1)
    return store


def test_each_unpicked_sample_of_another_generation_is_a_comparison(two_generations: Store):
    store = two_generations
    audit_pick(store, "ann", (1, 0, 1, 0), 0)  # 1 wins twice
    audit_pick(store, "ann", (1, 0, 1, 0), 3)  # 0 wins twice
    audit_pick(store, "bob", (1, 0, 0), 0)  # 1 wins twice
    finish(store, "ann", "bob")
    (rate,) = win_rates(store, StudyConfig(), 1)
    assert (rate.t, rate.against, rate.n, rate.raters) == (1, 0, 6, 2)
    assert rate.rate.value == pytest.approx((1 / 2 + 1) / 2)
    wins = queries.audit_wins(store, 0, store.last_pick())
    assert {(session, k, won, lost): n for (session, _, k, won, lost), n in wins.items()} == {
        ("ann", 4, 1, 0): 2, ("ann", 4, 0, 1): 2, ("bob", 3, 1, 0): 2,
    }  # fmt: skip


def test_larger_slates_have_no_line_of_indifference(two_generations: Store):
    store = two_generations
    for session in ("ann", "bob"):
        audit_pick(store, session, (1, 0, 1, 0), 0)
    audit_pick(store, "bob", (1, 0, 0), 0)
    finish(store, "ann", "bob")
    (rate,) = win_rates(store, StudyConfig(), 1)
    assert (rate.slate_sizes, rate.indifference, rate.verdict) == ([3, 4], None, "can't tell")
    assert (
        "picked-against-unpicked pairs won, in slates of 3 to 4" in rate.estimand
        and "isn't indifference" in rate.reason
    )


def test_pairs_alone_count_where_there_are_any(two_generations: Store):
    store = two_generations
    audit_pick(store, "ann", (1, 0, 1, 0), 1)
    audit_pick(store, "bob", (1, 0), 0)
    finish(store, "ann", "bob")
    (rate,) = win_rates(store, StudyConfig(), 1)
    assert (rate.slate_sizes, rate.n, rate.raters, rate.rate.value) == ([2], 1, 1, 1.0)
    assert rate.indifference == 0.5
    assert rate.estimand == "mean over raters of each one's share of pairs won"


def test_raters_count_once_they_have_finished(two_generations: Store):
    store = two_generations
    audit_pick(store, "ann", (1, 0), 0)
    audit_pick(store, "bob", (1, 0), 1)
    assert win_rates(store, StudyConfig(), 1) == []
    finish(store, "ann")
    (rate,) = win_rates(store, StudyConfig(), 1)
    assert (rate.raters, rate.under_way, rate.rate.value) == (1, 1, 1.0)
    with store.write() as db:  # he leaves without finishing
        db.conn.execute("UPDATE pick SET picked_at = '2026-01-01T00:00:00.000Z'")
        db.conn.execute("UPDATE session SET created_at = '2026-01-01T00:00:00.000Z'")
    (rate,) = win_rates(store, StudyConfig(), 1)
    assert (rate.raters, rate.under_way, rate.rate.value) == (2, 0, 0.5)


def planned_study(tmp_path: Path, at_first: int, now: int, finished: int) -> tuple[Store, StudyConfig]:
    """Generation 0 was published with stop.raters at first; so many of five raters finish, each with a pick of 1."""
    store = Store.create(tmp_path / "planned.db")
    for t in (0, 1):
        config = {"stop": {"raters": at_first, "generations": 0}}
        store.publish(Generation(t, t - 1 if t else None, f"{t}.safetensors", "ab" * 32, 10, 0, "", config=config))
    for i in range(5):
        store.add_session(f"rater{i}", store.add_rater("human", panel="panel", panel_rater_id=str(i)))
        audit_pick(store, f"rater{i}", (1, 0), 0)
    finish(store, *(f"rater{i}" for i in range(finished)))
    return store, StudyConfig.model_validate({"stop": {"raters": now}, "journey": {"picks": 1}})


@pytest.mark.parametrize(
    ("at_first", "now", "finished", "kind", "waiting"),
    [
        (0, 0, 4, "always valid", False),
        (4, 4, 4, "fixed n", False),
        (4, 4, 5, "fixed n", False),
        (4, 4, 3, "always valid", True),
        (0, 4, 4, "always valid", False),  # set after the first pick
        (5, 4, 4, "always valid", False),
    ],
)
def test_only_a_number_of_raters_set_in_advance_and_reached_gets_the_fixed_interval(
    tmp_path: Path, at_first: int, now: int, finished: int, kind: str, waiting: bool
):
    store, config = planned_study(tmp_path, at_first, now, finished)
    (rate,) = win_rates(store, config, 1)
    assert (rate.interval_kind, bool(rate.reason)) == (kind, waiting)
    assert rate.raters == (4 if kind == "fixed n" else finished)
    won = np.ones(rate.raters)
    fixed, valid = (mean_share(won, won, one) for one in ("fixed n", "always valid"))
    assert (rate.rate, rate.other) == ((fixed, valid) if kind == "fixed n" else (valid, fixed))
    assert rate.corrected == mean_share(won, won, rate.interval_kind, WIN_RATES * 6 / np.pi**2)
    assert raters_of(store, config, live=True).kind == "always valid"
    store.close()


def test_the_errors_of_all_comparisons_add_up_to_the_level():
    pairs = comparisons(200)
    assert 0.99 * 0.02 < sum(error_level(t, s, 0.02) for t, s in pairs) < 0.02
    fixed = [error_level(t, s, 0.02, last=5) for t, s in comparisons(5)]
    assert sum(fixed) == pytest.approx(0.02) and len(set(fixed)) == 1
    assert pytest.approx(0.05) == CLAIMS + WIN_RATES + UTILITY_GAINS


def test_ranges_of_picks_add_up(two_generations: Store):
    store = two_generations
    for picked in (0, 1, 1):
        audit_pick(store, "ann", (1, 0), picked)
    whole = queries.audit_wins(store, 0, 3)
    parts = [queries.audit_wins(store, 0, 1), queries.audit_wins(store, 1, 3)]
    assert {key: sum(part.get(key, 0) for part in parts) for key in whole} == whole


def test_a_withdrawn_session_does_not_count(two_generations: Store):
    store = two_generations
    audit_pick(store, "ann", (1, 0), 0)
    audit_pick(store, "bob", (1, 0), 1)
    finish(store, "ann", "bob")
    store.withdraw("bob")
    (rate,) = win_rates(store, StudyConfig(), 1)
    assert (rate.n, rate.rate.value) == (1, 1.0)


def test_one_rater_says_nothing_of_others():
    who = Raters(frozenset({"ann"}), frozenset({1}))
    (rate,) = rates_of({("ann", 1, 2, 1, 0): 90, ("ann", 1, 2, 0, 1): 10}, who, 1)
    assert (rate.rate.value, rate.rate.low, rate.rate.high) == (0.9, 0.0, 1.0)


def test_raters_who_agree_entirely_count_once_each():
    few, many = (clustered_share(np.full(n, 20.0), np.full(n, 20.0)) for n in (3, 100))
    assert few.high == many.high == 1.0
    assert few.low < 0.5 < 0.95 < many.low


def test_more_picks_of_the_same_raters_do_not_narrow_the_interval():
    """Half of the raters like one generation always, the others never: 10 picks each tell as much as 1,000."""
    won, all_ = np.array([1.0, 0.0] * 20), np.ones(40)
    once, often = clustered_share(won, all_), clustered_share(1_000 * won, 1_000 * all_)
    assert (often.low, often.high) == pytest.approx((once.low, once.high), rel=0.05)


@pytest.mark.parametrize("raters", [3, 8, 40])
@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.0), (0.5, 0.8), (2.0, 0.8)])
def test_the_interval_covers_what_raters_at_large_prefer(raters: int, mean: float, spread: float):
    rng = np.random.default_rng(0)
    truth = (1 / (1 + np.exp(-rng.normal(mean, spread, 200_000)))).mean()
    covered = 0
    for _ in range(400):
        all_ = rng.integers(3, 30, raters)
        won = rng.binomial(all_, 1 / (1 + np.exp(-rng.normal(mean, spread, raters))))
        found = clustered_share(won, all_)
        covered += found.low <= truth <= found.high
    assert covered >= 0.92 * 400

"""Win rates of people's audit picks, from picks through the store to intervals that take raters as clusters."""

from collections.abc import Callable

import numpy as np
import pytest

from data.records import NewSlate, Pick, Sample
from data.store import Store
from loop.evidence.people import clustered_share, rates_of, win_rates


def audit_pick(store: Store, session: str, generations: tuple[int, ...], picked: int) -> None:
    """A person picks one of the samples of these generations."""
    samples = [Sample(t, 9_000 + j) for j, t in enumerate(generations)]
    t = max(generations)
    store.add_slates([NewSlate(t, "audit", len(generations), 1, samples)])
    slate = store.lease(session, ("audit",), t, 600)
    assert slate is not None
    store.record_pick(session, Pick(slate.id, "pick", picked))


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
    (rate,) = win_rates(store, 1)
    assert (rate.t, rate.against, rate.n, rate.raters) == (1, 0, 6, 2)
    assert rate.rate.value == pytest.approx(4 / 6)
    wins = store.audit_wins(0, store.last_pick())
    assert {(session, won, lost): n for (session, _, won, lost), n in wins.items()} == {
        ("ann", 1, 0): 2, ("ann", 0, 1): 2, ("bob", 1, 0): 2,
    }  # fmt: skip


def test_ranges_of_picks_add_up(two_generations: Store):
    store = two_generations
    for picked in (0, 1, 1):
        audit_pick(store, "ann", (1, 0), picked)
    whole = store.audit_wins(0, 3)
    parts = [store.audit_wins(0, 1), store.audit_wins(1, 3)]
    assert {key: sum(part.get(key, 0) for part in parts) for key in whole} == whole


def test_a_withdrawn_session_does_not_count(two_generations: Store):
    store = two_generations
    audit_pick(store, "ann", (1, 0), 0)
    audit_pick(store, "bob", (1, 0), 1)
    store.withdraw("bob")
    (rate,) = win_rates(store, 1)
    assert (rate.n, rate.rate.value) == (1, 1.0)


def test_one_rater_says_nothing_of_others():
    (rate,) = rates_of({("ann", 1, 1, 0): 90, ("ann", 1, 0, 1): 10}, set(), 1)
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

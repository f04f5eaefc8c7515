"""Fitted gains: known truth, the error's size, no flattery by picks that trained, and what can't be told."""

from collections.abc import Callable

import numpy as np
import pytest

from data.records import Evaluated, NewSlate, Pick, Sample
from data.store import Store
from loop.analysis.log import Slates
from loop.config import StudyConfig
from loop.evidence.people import UnknownGainError, fitted_gain, utility_gains

WORTH = np.array([0.0, 1.0, -0.5])
BEFORE, NOW = np.array([0.4, 0.3, 0.3]), np.array([0.3, 0.5, 0.2])
TRUE = float((NOW - BEFORE) @ WORTH)


def classes(rng: np.random.Generator, shares: np.ndarray, n: int) -> np.ndarray:
    return rng.choice(len(shares), n, p=shares)


def picks(
    rng: np.random.Generator,
    raters: int,
    each: int,
    spread: float = 0.0,
    worth: np.ndarray = WORTH,
    shares: np.ndarray = BEFORE,
) -> tuple[Slates, np.ndarray]:
    """Slates of 4 and the classes in them; raters' utilities differ by `spread`."""
    labels = classes(rng, shares, raters * each * 4).reshape(-1, 4)
    who = np.repeat(np.arange(raters), each)
    tastes = worth + rng.normal(0, spread, (raters, len(worth)))
    liked = np.take_along_axis(tastes[who], labels, axis=1)
    return Slates.of_equal_size(4, (liked + rng.gumbel(size=liked.shape)).argmax(axis=1), who), labels.ravel()


@pytest.mark.parametrize(("raters", "each"), [(4, 60), (30, 40)])
@pytest.mark.parametrize("spread", [0.0, 0.6])
def test_the_interval_covers_the_true_gain(raters: int, each: int, spread: float):
    """The true one is by the utilities that fit all people at once: tastes that differ pull them towards each other."""
    rng = np.random.default_rng(0)
    now, before = (np.repeat([0, 1, 2], (10 * shares).round().astype(int)) for shares in (NOW, BEFORE))
    truth = fitted_gain(*picks(rng, 8_000, 10, spread), now, before).value
    assert truth == pytest.approx(TRUE, abs=0.01 if not spread else 0.06)
    covered = 0
    for _ in range(200):
        slates, labels = picks(rng, raters, each, spread)
        found = fitted_gain(slates, labels, classes(rng, NOW, 500), classes(rng, BEFORE, 500))
        covered += found.low <= truth <= found.high
    assert covered >= 0.92 * 200


def test_the_error_is_that_of_the_utilities_and_of_the_samples():
    rng = np.random.default_rng(1)
    slates, labels = picks(rng, 30, 40)
    few, many = (fitted_gain(slates, labels, classes(rng, NOW, n), classes(rng, BEFORE, n)) for n in (100, 100_000))
    assert many.value == pytest.approx(TRUE, abs=3 * many.se)
    assert few.se > 2 * many.se


def add_picks(store: Store, t: int, purpose, likes: int, n: int = 24) -> None:
    """Two people pick from slates that show classes 0 and 1, three times of four class `likes`."""
    for i in range(n):
        samples = [Sample(t, 50_000 * t + 10 * i + j + 5 * (purpose == "audit"), 0.0, j) for j in (0, 1)]
        store.add_slates([NewSlate(t, purpose, 2, i, samples)])
    for i in range(n):
        session = ("ann", "bob")[i % 2]
        slate = store.lease(session, (purpose,), t, 600)
        assert slate is not None
        store.record_pick(session, Pick(slate.id, "pick", likes if i % 8 < 6 else 1 - likes))


@pytest.fixture
def measured() -> list[Evaluated]:
    """Generation 1 has more of class 1 than generation 0."""
    return [Evaluated(t, np.zeros((1, 400)), np.arange(400) % 8 < 2 + 2 * t) for t in (0, 1)]


@pytest.fixture
def two(store: Store, fill: Callable[..., list[int]]) -> Store:
    """The store with generation 1, without curation slates of its own."""
    with store.write() as db:
        db.conn.execute("DELETE FROM slate_item")
        db.conn.execute("DELETE FROM slate")
    return store


def test_picks_that_trained_a_generation_do_not_judge_it(two: Store, fill, measured: list[Evaluated]):
    add_picks(two, 0, "curation", likes=1)
    fill(two, t=1, n=0)
    for session in ("ann", "bob"):
        two.reach(session, "finished")
    (gain,) = utility_gains(two, StudyConfig(), measured, ("a", "b"))
    assert (gain.n, gain.gain, gain.verdict) == (0, None, "can't tell") and "nobody picked" in gain.reason
    add_picks(two, 1, "audit", likes=0)
    (gain,) = utility_gains(two, StudyConfig(), measured, ("a", "b"))
    assert (gain.t, gain.against, gain.n, gain.raters) == (1, 0, 24, 2)
    assert gain.gain and gain.gain.value == pytest.approx(-0.25 * np.log(3), abs=1e-6)
    assert gain.interval_kind == "always valid in large numbers" and gain.other and gain.corrected
    assert gain.corrected.low < gain.gain.low < gain.other.low and gain.level == pytest.approx(0.02 * 6 / np.pi**2)


def test_raters_at_random_do_not_seem_to_like_what_was_learned_from_others_at_random():
    """Fresh picks: in 5% of studies; the picks that trained it would say so far more often."""
    rng = np.random.default_rng(2)
    fresh = same = 0
    alike = np.full(10, 0.1)
    before = np.repeat(np.arange(10), 2_000)
    for _ in range(100):
        trained, others = (picks(rng, 20, 30, worth=np.zeros(10), shares=alike) for _ in range(2))
        learned = np.repeat(trained[1][trained[0].rows], 30)
        fresh += fitted_gain(*others, learned, before).low > 0
        same += fitted_gain(*trained, learned, before).low > 0
    assert fresh <= 8 < 30 < same, (fresh, same)


def test_what_cannot_be_told_is_said():
    rng = np.random.default_rng(3)
    slates, labels = picks(rng, 5, 20)
    now, before = classes(rng, NOW, 500), classes(rng, BEFORE, 500)
    one = Slates(slates.sizes, slates.picked, np.zeros(len(slates)))
    few, rows = slates.subset(np.arange(len(slates)) % 20 == 0)
    never = np.where(np.isin(np.arange(len(labels)), slates.rows), 0, labels)
    cases = [
        (one, labels, now, "one person"),
        (few, labels[rows], now, "too few"),
        (slates, never, now, "always or never picked"),
        (slates, np.full_like(labels, -1), now, "have no classes"),
        (slates, np.zeros_like(labels), now, "of one class"),
        (slates, labels, np.append(now, [3] * 50), "shown these classes: 3"),
    ]
    for some, shown, drawn, why in cases:
        with pytest.raises(UnknownGainError, match=why):
            fitted_gain(some, shown, drawn, before)
    assert fitted_gain(slates, labels, np.append(now, 3), before).value > 0, "a rare class is left out"


def test_nobody_picked_and_only_one_generation_have_no_gains(store: Store, measured: list[Evaluated]):
    config = StudyConfig()
    assert utility_gains(store, config, measured, ()) == utility_gains(store, config, measured[:1], ()) == []

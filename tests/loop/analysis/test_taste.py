"""Tastes of one rater and of several: coverage, false alarms, separated picks, predictions, and reading a study."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data.designs import Factor
from data.flowers import FACTORS, draw_flowers
from data.records import Generation, NewSlate, Sample
from loop.analysis.log import Slates
from loop.analysis.logit import Likelihood
from loop.analysis.taste import (
    Traits,
    own_leanings,
    pooled_taste,
    read_pooled_taste,
    read_rater_taste,
    read_taste,
    spread_of,
    study_traits,
    taste,
)
from loop.study import Study, configure

FLOWERS = Traits(FACTORS)
CLASSES = Traits(tuple(Factor(name, 0, 1, f"not “{name}”", f"“{name}”") for name in "0123456789"), of_classes=True)
NAMES = [factor.name for factor in FACTORS]
PLACES = dict(zip(NAMES, np.cumsum([0, *FLOWERS.widths[:-1]]).tolist(), strict=True))
LIKED = np.zeros(sum(FLOWERS.widths))
LIKED[[PLACES["petals"], PLACES["centre"], PLACES["hue"], PLACES["hue"] + 1]] = 0.8, -0.6, -0.8, -0.6


def picked_from(x: np.ndarray, utilities: np.ndarray, who: np.ndarray, rng: np.random.Generator) -> Slates:
    """Picks by Luce's rule from (n, K) utilities."""
    n, k = utilities.shape
    return Slates.of_equal_size(k, (utilities + rng.gumbel(size=(n, k))).argmax(axis=1), who)


def rater(n: int, seed: tuple[int, ...], b: np.ndarray | None = None) -> tuple[Slates, np.ndarray, np.ndarray]:
    """N slates of four flowers for one rater; without utilities these are drawn from the prior, per unit of spread."""
    rng = np.random.default_rng(seed)
    x = draw_flowers(4 * n, rng)[0].astype(float)
    centred = Slates.of_equal_size(4, np.zeros(n, dtype=np.int64)).centred(x)
    b = rng.standard_normal(x.shape[1]) / spread_of(centred) if b is None else b
    return picked_from(x, (centred @ b).reshape(n, 4), np.zeros(n, dtype=np.int64), rng), x, b


def crowd(raters: int, picks: int, spread: float, seed: int, b: np.ndarray = LIKED) -> tuple[Slates, np.ndarray]:
    """Raters whose weights of a flower's coordinates differ by `spread` around common ones."""
    rng = np.random.default_rng([9, raters, picks, seed])
    n = raters * picks
    x, who = draw_flowers(4 * n, rng)[0].astype(float), np.repeat(np.arange(raters), picks)
    own = b + spread * rng.standard_normal((raters, len(b)))
    return picked_from(x, np.einsum("nkd,nd->nk", x.reshape(n, 4, -1), own[who]), who, rng), x


def covered(leanings, truth: np.ndarray) -> list[bool]:
    """Of each leaning, whether its interval holds the (16,) true utility of one standard deviation more."""
    held = []
    for leaning in leanings:
        factor, place = FACTORS[NAMES.index(leaning.name)], PLACES[leaning.name]
        if factor.circle:
            true = float(np.hypot(*truth[place : place + 2]))
        else:
            true = float(truth[place]) * (1 if leaning.words == factor.further else -1)
        held.append(leaning.low <= true <= leaning.high)
    return held


def test_fewer_than_three_picks_say_nothing():
    slates, x, _ = rater(2, (0,))
    assert taste(slates, x, FLOWERS).leanings == ()


def test_a_separated_taste_is_named_with_a_finite_interval():
    rng = np.random.default_rng(1)
    x, _ = draw_flowers(4 * 24, rng)
    blue = np.cos(2 * np.pi * (np.arctan2(x[:, 6], x[:, 5]) / (2 * np.pi) - 0.62))
    slates = Slates.of_equal_size(4, blue.reshape(24, 4).argmax(axis=1), np.zeros(24, dtype=np.int64))
    found = taste(slates, x, FLOWERS)
    first = found.leanings[0]
    assert first.name == "hue" and first.words in ("blue", "violet") and first.is_clear
    assert np.isfinite(first.high)
    assert found.hits > 2 * found.chance


def test_intervals_of_one_rater_cover():
    """Of utilities drawn from the prior, 95% intervals of the posterior hold 95%; here of numbers on a line."""
    held = []
    for seed in range(60):
        slates, x, b = rater(40, (2, seed))
        lines = [some for some in own_leanings(slates, x, FLOWERS) if not FACTORS[NAMES.index(some.name)].circle]
        held += covered(lines, b * spread_of(slates.centred(x)))
    assert 0.92 < np.mean(held) < 0.98


def test_picks_at_random_seldom_look_like_a_taste():
    """14 numbers of each of 40 raters: at most about 5% are clear."""
    clear = 0
    for seed in range(40):
        slates, x, _ = rater(24, (3, seed), np.zeros(16))
        clear += sum(leaning.is_clear for leaning in own_leanings(slates, x, FLOWERS))
    assert clear / (40 * len(FACTORS)) < 0.08


def test_predictions_of_random_picks_are_chance():
    hits = chance = 0.0
    for seed in range(12):
        slates, x, _ = rater(24, (4, seed), np.zeros(16))
        found = taste(slates, x, FLOWERS)
        hits, chance = hits + found.hits, chance + found.chance
    assert abs(hits - chance) < 4 * np.sqrt(chance * 0.75)


@pytest.mark.parametrize(("raters", "picks", "spread"), [(10, 12, 0.0), (20, 24, 0.5)])
def test_intervals_of_many_raters_cover_what_they_have_in_common(raters: int, picks: int, spread: float):
    """The truth is the fit to very many of the same raters; 200 studies each gave 97 to 98% and 1 to 5% alarms."""
    many, x = crowd(600, 24, spread, 10**6)
    wide = many.centred(x)
    truth = Likelihood(many, wide, np.zeros(wide.shape[1])).maximum()
    held, clear = [], 0
    for seed in range(20):
        slates, x = crowd(raters, picks, spread, seed)
        found = pooled_taste(slates, x, FLOWERS)
        assert found.by_rater and found.raters == raters and found.hits > 1.3 * found.chance
        held += covered(found.leanings, truth * spread_of(slates.centred(x)))
        clear += len(pooled_taste(*crowd(raters, picks, spread, 1000 + seed, np.zeros(16)), FLOWERS).clear)
    assert np.mean(held) > 0.93
    assert clear / len(held) < 0.09


def test_nine_raters_are_too_few_to_speak_for_others():
    few = pooled_taste(*crowd(9, 30, 0.0, 1), FLOWERS)
    assert (few.picks, few.raters, few.leanings) == (270, 9, ())


def test_pooled_picks_of_one_mind_are_separated_and_finite():
    rng = np.random.default_rng(5)
    x = draw_flowers(4 * 240, rng)[0].astype(float)
    blue = np.cos(2 * np.pi * (np.arctan2(x[:, 6], x[:, 5]) / (2 * np.pi) - 0.62))
    slates = Slates.of_equal_size(4, blue.reshape(-1, 4).argmax(axis=1), np.repeat(np.arange(12), 20))
    first = pooled_taste(slates, x, FLOWERS).leanings[0]
    assert first.name == "hue" and first.is_clear and np.isfinite(first.high)


def sure(labels: np.ndarray) -> np.ndarray:
    """(rows, 10) probabilities of a classifier that is nearly sure."""
    return 0.91 * (labels[:, None] == np.arange(10)) + 0.009


def test_classes_are_named_and_random_picks_name_none():
    rng, clear = np.random.default_rng(6), 0
    labels = rng.integers(10, size=4 * 40)
    seven = picked_from(labels, 5.0 * (labels == 7).reshape(40, 4), np.zeros(40, dtype=np.int64), rng)
    first = taste(seven, sure(labels), CLASSES)
    assert first.leanings[0].words == "“7”" and first.leanings[0].is_clear and first.of_classes
    for _ in range(20):
        labels = rng.integers(10, size=4 * 40)
        at_random = picked_from(labels, np.zeros((40, 4)), np.zeros(40, dtype=np.int64), rng)
        clear += sum(leaning.is_clear for leaning in own_leanings(at_random, sure(labels), CLASSES))
    assert clear / 200 < 0.08
    labels = rng.integers(9, size=4 * 600)
    who = np.repeat(np.arange(20), 30)
    # the tenth class is never shown; a step of 0.9 in probability is worth 2, over an average in which 7 has a ninth
    pooled = pooled_taste(picked_from(labels, 2.0 * (labels == 7).reshape(600, 4), who, rng), sure(labels), CLASSES)
    assert pooled.clear[0].words == "“7”" and pooled.clear[0].low < 1.95 < pooled.clear[0].high


@pytest.fixture
def moons(tmp_path: Path) -> Iterator[Study]:
    """Twelve people who pick the rightmost of four points, five times each."""
    study, rng = Study.create(tmp_path / "moons", configure("moons", [])), np.random.default_rng(7)
    store, x = study.store, rng.normal(size=(60, 4, 2))
    samples = [[Sample(0, 4 * i + j, 0.0, 0, point=tuple(x[i, j].tolist())) for j in range(4)] for i in range(60)]
    store.publish(Generation(0, None, "0", "ab" * 32, 10, 0, "mix lam=1"))
    store.add_slates([NewSlate(0, "curation", 4, i, some) for i, some in enumerate(samples)])
    for i, row in enumerate(list(store.rows("SELECT id FROM slate ORDER BY id"))):
        store.add_picks([(row["id"], store.bulk_session("human", f"p{i % 12}"), int(x[i, :, 0].argmax()), {})])
    yield study
    store.close()


def test_a_study_is_read_by_session_by_rater_and_all_together(moons: Study):
    store, traits = moons.store, study_traits(moons.store, moons.config)
    assert traits is not None and [factor.name for factor in traits.factors] == ["x", "y"]
    session = store.row("SELECT id, rater_id FROM session ORDER BY rowid LIMIT 1")
    assert session is not None
    own = read_taste(store, traits, session["id"])
    assert own.picks == 5 and own.leanings[0].words == "further right"
    assert read_rater_taste(store, traits, session["rater_id"]) == own
    together = read_pooled_taste(store, traits)
    assert (together.picks, together.raters) == (60, 12) and together.clear[0].words == "further right"
    store.withdraw(session["id"], "")
    assert read_pooled_taste(store, traits).raters == 11
    assert read_pooled_taste(store, traits, "sim").picks == 0

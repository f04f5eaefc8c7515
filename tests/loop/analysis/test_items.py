"""Coarse items against choix, the logit, and the case of two items."""

import choix
import numpy as np
import pytest

from loop.analysis.design import NotIdentifiedError
from loop.analysis.log import Slates
from loop.analysis.logit import fit, item_table, worths
from tests.loop.analysis.simulated import Crowd

NAMES = ("zero", "one", "two", "three", "four")


def as_choix(slates: Slates, item: np.ndarray) -> list[tuple[int, list[int]]]:
    """Top-1 data as choix takes it: the winner and the losers of each slate."""
    parts = np.split(item, slates.starts[1:])
    return [
        (int(part[place]), np.delete(part, place).tolist())
        for part, place in zip(parts, slates.picked, strict=True)
        if len(set(part.tolist())) > 1
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_worths_are_those_of_choix(seed: int):
    slates, _, item = Crowd(raters=10).draw(seed)
    w = worths(slates, item, NAMES)
    data = as_choix(slates, item)
    for algorithm in (choix.mm_top1, choix.ilsr_top1):
        theirs = np.exp(algorithm(5, data, tol=1e-10, max_iter=20_000))
        np.testing.assert_allclose(w, theirs / theirs.sum(), rtol=1e-4)


def test_worths_are_those_of_the_logit_on_marks():
    slates, _, item = Crowd(raters=10).draw(3)
    found = fit(slates, (item[:, None] == np.arange(1, 5)).astype(float), NAMES[1:])
    w = worths(slates, item, NAMES)
    np.testing.assert_allclose(np.log(w[1:] / w[0]), found.coefficients, atol=1e-6)


def test_two_items_have_the_odds_of_their_wins():
    slates = Slates.of_equal_size(2, np.array([0] * 30 + [1] * 10))
    table = item_table(slates, np.tile([0, 1], 40), ("a", "b"))
    assert [row.worth for row in table] == pytest.approx([0.75, 0.25])
    assert (table[0].shown, table[0].picked) == (40, 30)
    half = (table[0].high - table[0].low) / 2
    assert table[0].utility == pytest.approx(np.log(3) / 2)
    assert half == pytest.approx(1.96 * np.sqrt(1 / 30 + 1 / 10) / 2, rel=0.05)


@pytest.mark.parametrize(
    ("picked", "item", "named"),
    [([0] * 20, [0, 1], "never picked"), ([0, 1] * 10, [0, 0], "b")],
    ids=["never won", "never shown together"],
)
def test_items_without_a_finite_worth_are_named(picked: list[int], item: list[int], named: str):
    with pytest.raises(NotIdentifiedError, match=named):
        worths(Slates.of_equal_size(2, np.array(picked)), np.tile(item, 20), ("a", "b"))

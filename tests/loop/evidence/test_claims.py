"""Claims and verdicts on loops that are made up: ideal ones, ones that break a claim, ones too noisy to tell."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from loop.evidence.claims import ALL, Inapplicable, Loop, Margin, examine
from loop.evidence.prediction import Moments
from loop.evidence.verdicts import judge, overall
from loop.policies import DataPolicy
from loop.theory.operator import ChoiceRule

PURE, MIXED = DataPolicy("replace"), DataPolicy("mix", 0.5)


def moments(mean_w: float, se: float, mean_r: float = 0.0) -> Moments:
    """Moments with replicates of a given spread; Var[w] is 0.04."""
    spread = se * np.concatenate([[0.0], np.linspace(-1.7, 1.7, 40)])
    return Moments(np.stack([mean_w + spread, (mean_w + spread) ** 2 + 0.04, mean_r + spread, mean_r**2 + 0 * spread]))


def loop(mean_w: Sequence[float], se: float = 1e-3, **other) -> Loop:
    """A loop whose E[w] goes along `mean_w`, with predictions that are exactly right unless given."""
    own = [moments(value, se) for value in mean_w]
    given = {
        "rule": ChoiceRule(2),
        "policy": PURE,
        "plain": True,
        "own": own,
        "predicted": [None, *own[1:]],
        "from_start": own,
        "pick_noise": [(0.0, 0.0)] + [(se, se)] * (len(own) - 1),
        "top_share": [],
        "real": moments(mean_w[0], 0.0),
        "divergence": [_divergence(0.1)] * len(own),
        "w_max": 1.0,
    }
    return Loop(**(given | other))


def _divergence(value: float, se: float = 0.001) -> dict:
    return {name: {"value": value, "se": se} for name in ("kl", "kl_reverse", "tv")}


def words(given: Loop, claim: str) -> list[str]:
    verdicts, _ = judge(examine(given), [])
    return [verdict.verdict for verdict in verdicts if verdict.claim == claim]


def test_a_loop_that_gains_enough_holds_and_one_that_loses_fails():
    assert words(loop([0.3, 0.4, 0.5]), "C1") == ["holds", "holds"]
    assert words(loop([0.3, 0.4, 0.41]), "C1") == ["holds", "fails"]  # the floor is 0.42
    assert words(loop([0.3, 0.4, 0.41], se=0.05), "C1") == ["can't tell", "can't tell"]


def test_the_floors_of_a_mix():
    # E_ref = 0.3, Var = 0.04, K = 2, lam = 1/2: the paper's floor is 0.3 + 0.148 * 0.02 = 0.303
    assert words(loop([0.3, 0.32, 0.301], policy=MIXED), "C4") == ["holds", "can't tell"]
    assert words(loop([0.3, 0.32, 0.29], policy=MIXED), "C4") == ["holds", "fails"]
    # one step from 0.32: 0.2 + (0.32 + 0.02) / 3 = 0.313
    assert words(loop([0.3, 0.32, 0.305], policy=MIXED), "C4 sharper") == ["holds", "fails"]


def test_the_ceilings_of_a_mix():
    limit = -math.log(1 - 0.5)
    for value, word in ((limit - 0.1, "holds"), (limit, "can't tell"), (limit + 0.1, "fails")):
        given = loop([0.3, 0.35], policy=MIXED, divergence=[_divergence(value, 0.01)] * 2)
        assert words(given, "C5") == [word]
    assert words(loop([0.3, 0.35], policy=MIXED, divergence=[_divergence(0.41)] * 2), "C5 reversed") == ["fails"]


def test_the_highest_reward_gains_mass():
    shares = [np.full(41, value) + np.linspace(0, 0.001, 41) for value in (0.2, 0.3, 0.25)]
    assert words(loop([0.3, 0.4, 0.5], top_share=shares), "C2") == ["holds", "fails"]


def test_claims_of_equality_hold_within_a_tenth_of_the_gain():
    right = loop([0.3, 0.4])
    assert words(right, "one step") == ["holds"]
    for got, word in ((0.395, "holds"), (0.41, "can't tell"), (0.44, "fails"), (0.36, "fails")):
        off = loop([0.3, got], predicted=[None, moments(0.4, 1e-3)])
        assert words(off, "one step") == [word], got
    noisy = loop([0.3, 0.4], se=0.02)
    assert words(noisy, "one step") == ["can't tell"]


def test_an_interval_takes_the_number_of_comparisons_into_account():
    few, many = loop([0.3, 0.4]), loop([0.3 + 0.05 * t for t in range(12)])
    (a, n_few), (b, n_many) = judge(examine(few), []), judge(examine(many), [])
    assert n_few < n_many

    def width(verdicts, claim="C1"):
        margin = next(verdict.margin for verdict in verdicts if verdict.claim == claim)
        return (margin.high - margin.low) / margin.se

    assert 2 * 1.96 < width(a) < width(b)


@pytest.mark.parametrize(
    ("given", "silent"),
    [
        (loop([0.3, 0.4]), {"C2", "C4", "C4 sharper", "C5", "C5 reversed", "C6"}),
        (loop([0.3, 0.4], rule=ChoiceRule("inf")), {"C2", "C4", "C4 sharper", "C5", "C5 reversed"}),
        (loop([0.3, 0.4], policy=MIXED), {"C1", "C2", "C3", "C6"}),
        (loop([0.3, 0.4], policy=DataPolicy("mix", 1.0)), {"C1", "C2", "C3", "C5", "C6"}),
        (loop([0.3, 0.4], policy=DataPolicy("accumulate")), {c.name for c in ALL[:8]}),
        (loop([0.3, 0.4], plain=False), {c.name for c in ALL[:8]}),
        (loop([0.3, 0.4], plain=False, predicted=[None, None], from_start=[]), {c.name for c in ALL}),
    ],
    ids=["pure", "inf", "mixed", "lam too large", "accumulate", "not plain", "people"],
)
def test_a_claim_whose_conditions_are_not_met_is_not_applicable(given: Loop, silent: set[str]):
    found = list(examine(given))
    assert {one.claim.name for one in found if isinstance(one, Inapplicable)} == silent
    assert all(one.reason for one in found if isinstance(one, Inapplicable))
    assert {one.claim.name for one in found if isinstance(one, Margin)} == {c.name for c in ALL} - silent


def test_the_worst_word_stands_for_a_claim():
    assert overall(["holds", "can't tell", "holds"]) == "can't tell"
    assert overall(["can't tell", "fails"]) == "fails" and overall(["holds"]) == "holds"
    assert overall(["not applicable"]) == "not applicable" and overall([]) == "not applicable"

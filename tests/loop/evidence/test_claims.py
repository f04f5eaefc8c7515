"""Claims and verdicts on loops that are made up: ideal ones, ones that break a claim, ones too noisy to tell."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from data.measurements import DensityDivergence, Divergence, Mean
from loop.evidence.claims import ALL, Inapplicable, Loop, Margin, examine
from loop.evidence.prediction import FromStart, Moments
from loop.evidence.schema import ClaimVerdict, GenerationEvidence
from loop.evidence.verdicts import judge, overall
from loop.policy import DataPolicy
from model.luce import LuceRule

PURE, MIXED = DataPolicy("replace"), DataPolicy("mix", 0.5)


def moments(mean_w: float, se: float, mean_r: float = 0.0) -> Moments:
    """Moments with replicates of a given spread; Var[w] is 0.04."""
    spread = se * np.concatenate([[0.0], np.linspace(-1.7, 1.7, 40)])
    return Moments(np.stack([mean_w + spread, (mean_w + spread) ** 2 + 0.04, mean_r + spread, mean_r**2 + 0 * spread]))


def loop(mean_w: Sequence[float], se: float = 1e-3, **other) -> Loop:
    """A loop whose E[w] goes along `mean_w`, with predictions that are exactly right unless given."""
    own = [moments(value, se) for value in mean_w]
    given = {
        "rule": LuceRule(2),
        "policy": PURE,
        "plain": True,
        "own": own,
        "predicted": [None, *own[1:]],
        "from_start": FromStart(own, np.full(len(own), se), np.full(len(own), 1e4), np.zeros((len(own), 1))),
        "pick_noise": [(0.0, 0.0)] + [(se, se)] * (len(own) - 1),
        "top_share": [],
        "real": moments(mean_w[0], 0.0),
        "divergence": [_divergence(0.1)] * len(own),
        "w_sup": 1.0,
    }
    return Loop(**(given | other))


def _divergence(value: float, se: float = 0.001, ceiling: float = 0.4) -> Divergence:
    """Exact densities that give this KL, both ways."""
    kl = Mean(value=value, se=se)
    density = DensityDivergence(n=1, kl=kl, kl_reverse=kl, ceiling=Mean(value=ceiling, se=se))
    return Divergence(kl=kl, kl_reverse=kl, cells=128, empty=0, density=density)


def verdicts_of(given: Loop) -> list[ClaimVerdict]:
    found = list(examine(given))
    return judge(found, sum(isinstance(one, Margin) for one in found), [])


def words(given: Loop, claim: str) -> list[str]:
    return [verdict.verdict for verdict in verdicts_of(given) if verdict.claim == claim]


def test_a_loop_that_gains_enough_holds_and_one_that_loses_fails():
    assert words(loop([0.3, 0.4, 0.5]), "C1") == ["holds", "holds"]
    assert words(loop([0.3, 0.4, 0.41]), "C1") == ["holds", "fails"]  # the floor is 0.42
    assert words(loop([0.3, 0.4, 0.41], se=0.05), "C1") == ["can't tell", "can't tell"]


def test_the_floors_of_a_mix():
    # E_ref = E_0 = 0.3, Var = 0.04, K = 2, lam = 1/2: the floor is 0.3 + 1/3 * 0.02 = 0.3067
    assert words(loop([0.3, 0.32, 0.306], policy=MIXED), "C4") == ["holds", "can't tell"]
    assert words(loop([0.3, 0.32, 0.29], policy=MIXED), "C4") == ["holds", "fails"]
    # one step from 0.32: 0.2 + (0.32 + 0.02) / 3 = 0.313
    assert words(loop([0.3, 0.32, 0.305], policy=MIXED), "C4 one step") == ["holds", "fails"]


def test_a_generation_0_that_is_worse_than_the_real_data_lowers_the_floor_of_a_mix():
    # 0.3 + 0.00667 + (1/3)^t (0.2 - 0.3): 0.273 at t = 1, 0.296 at t = 2
    poor = loop([0.2, 0.29, 0.31], policy=MIXED, real=moments(0.3, 0.0))
    assert words(poor, "C4") == ["holds", "holds"]
    assert words(loop([0.2, 0.26, 0.28], policy=MIXED, real=moments(0.3, 0.0)), "C4") == ["fails", "fails"]


def test_without_a_supremum_of_the_reward_no_bound_that_needs_it_is_claimed():
    for policy, claims in ((PURE, ("C1", "C2")), (MIXED, ("C4", "C4 one step"))):
        given = loop([0.3, 0.4], policy=policy, w_sup=math.inf)
        for claim in claims:
            found = next(one for one in verdicts_of(given) if one.claim == claim)
            assert found.verdict == "not applicable" and "supremum" in found.reason


def test_a_frozen_generator_holds_on_no_claim_of_equality():
    """E[w] stays at 0.3 where 0.4, then 0.45 is predicted; however precise, and however imprecise, the measurement."""
    for se in (1e-4, 1e-3, 0.01, 0.05):
        predicted = [None, moments(0.4, se), moments(0.4, se)]
        ahead = FromStart([moments(v, se) for v in (0.3, 0.4, 0.45)], np.zeros(3), np.full(3, 1e4), np.zeros((3, 1)))
        frozen = loop([0.3, 0.3, 0.3], se=se, predicted=predicted, from_start=ahead, rule=LuceRule("inf"))
        for claim in ("one step", "many steps", "transmission", "C6"):
            assert "holds" not in words(frozen, claim), (se, claim)
            assert se > 1e-3 or set(words(frozen, claim)) == {"fails"}


def test_where_nothing_is_to_be_gained_equality_is_not_a_finding():
    still = loop([1.0, 1.0], predicted=[None, moments(1.002, 1e-3)])
    found = next(one for one in verdicts_of(still) if one.claim == "one step")
    assert found.verdict == "can't tell" and "under 3 standard errors" in found.reason


def test_few_effective_samples_tell_nothing_of_a_mean():
    given = loop([0.3, 0.4, 0.41], effective=[20_000.0, 20_000.0, 12.0])
    assert words(given, "C1") == ["holds", "can't tell"]
    assert words(given, "C3") == ["can't tell", "can't tell"]  # of E[r], which no few samples carry
    assert any("12 effective samples" in one.reason for one in verdicts_of(given))


def test_the_ceilings_of_a_mix_where_densities_are_known():
    for value, word in ((0.3, "holds"), (0.4, "can't tell"), (0.5, "fails")):
        given = loop([0.3, 0.35], policy=MIXED, divergence=[_divergence(value, 0.01)] * 2)
        found = next(one for one in verdicts_of(given) if one.claim == "C5")
        assert found.verdict == word
        assert ("without error; here generation 0" in found.reason) == (word == "fails")
    limit = math.log(1.5)
    for value, word in ((limit - 0.1, "holds"), (limit + 0.01, "fails")):
        assert words(loop([0.3, 0.35], policy=MIXED, divergence=[_divergence(value)] * 2), "C5 reversed") == [word]


def test_a_divergence_over_cells_refutes_but_never_confirms():
    """The cells' KL is at most the laws': equal laws by class may be far apart."""
    for value, word in ((0.0, "not refuted"), (0.405, "not refuted"), (0.41, "fails")):
        reverse = Mean(value=value, se=0.001)
        cells = Divergence(space="predicted classes", cells=10, empty=0, kl_reverse=reverse)
        given = loop([0.3, 0.35], policy=MIXED, divergence=[cells] * 2)
        found = [one for one in verdicts_of(given) if one.claim == "C5 reversed"]
        assert [one.verdict for one in found] == [word]
        assert word == "fails" or "on 10 cells" in found[0].reason
        assert words(given, "C5") == ["not applicable"]  # p_0 isn't p_ref
    for value, word in ((0.1, "not refuted"), (0.15, "fails")):  # a ratio in [2/3, 2] has a KL of 0.144 at most
        both = cells.model_copy(update={"kl": Mean(value=value, se=0.001)})
        control = loop([0.3, 0.35], policy=MIXED, divergence=[both] * 2, starts_at_real=True)
        assert words(control, "C5") == [word]


def test_an_empty_cell_makes_a_reversed_divergence_unknown():
    for reverse in (None, Mean(value=0.386, se=0.01)):
        cells = Divergence(space="predicted classes", cells=10, empty=1, kl_reverse=reverse)
        given = loop([0.3, 0.35], policy=MIXED, divergence=[cells] * 2)
        found = next(one for one in verdicts_of(given) if one.claim == "C5 reversed")
        assert found.verdict == "can't tell" and "no sample fell into 1 of 10 cells" in found.reason


def test_a_verdict_says_how_little_it_may_mean():
    """K = 2, lam = 1/2, from 0.3 to a predicted 0.4: the floor 0.3067 asks for a fifteenth of the gain."""
    ahead = FromStart([moments(0.3, 1e-3), moments(0.4, 1e-3)], np.zeros(2), np.full(2, 1e4), np.zeros((2, 1)))
    given = loop([0.3, 0.35], policy=MIXED, predicted=[None, moments(0.4, 1e-3)], from_start=ahead)
    found = next(one for one in verdicts_of(given) if one.claim == "C4")
    assert found.verdict == "holds" and found.gain == pytest.approx(0.1)
    assert found.asked_share == pytest.approx(1 / 15, rel=1e-3)
    assert found.slack_used == pytest.approx((0.4 - 0.35) / (0.4 - 0.3 - 0.1 / 15), rel=1e-3)
    assert found.paper_bound == pytest.approx(0.3 + 0.5 / 1.5**3 * 0.02)
    step = next(one for one in verdicts_of(given) if one.claim == "one step")
    assert step.margin and step.visible and step.visible_share == pytest.approx(step.visible / 0.1)
    assert step.visible == pytest.approx(
        0.01 + step.margin.high - step.margin.value + 0.8416 * step.margin.se, rel=1e-3
    )


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
    a, b = verdicts_of(few), verdicts_of(many)

    def width(verdicts, claim="C1"):
        margin = next(verdict.margin for verdict in verdicts if verdict.claim == claim)
        return (margin.high - margin.low) / margin.se

    assert 2 * 1.96 < width(a) < width(b)


@pytest.mark.parametrize(
    ("given", "silent"),
    [
        (loop([0.3, 0.4]), {"C2", "C4", "C4 one step", "C5", "C5 reversed", "C6"}),
        (loop([0.3, 0.4], rule=LuceRule("inf")), {"C2", "C4", "C4 one step", "C5", "C5 reversed"}),
        (loop([0.3, 0.4], policy=MIXED), {"C1", "C2", "C3", "C6"}),
        (loop([0.3, 0.4], policy=DataPolicy("mix", 1.0)), {"C1", "C2", "C3", "C5", "C6"}),
        (loop([0.3, 0.4], policy=DataPolicy("accumulate")), {c.name for c in ALL[:8]}),
        (loop([0.3, 0.4], plain=False), {c.name for c in ALL[:8]}),
        (loop([0.3, 0.4], plain=False, predicted=[None, None], from_start=None), {c.name for c in ALL}),
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


def test_a_loop_without_any_gain_has_no_shares_of_it_and_rounding_errors_fail_nothing():
    """K = 1, or a reward that is the same for all: what is left of the differences is the arithmetic's."""
    still, moved = moments(1.0, 1e-16), moments(1.0 - 3e-15, 1e-16)
    ahead = FromStart([still, still], np.zeros(2), np.full(2, 1e4), np.zeros((2, 1)))
    given = loop([1.0, 1.0], own=[still, moved], predicted=[None, still], from_start=ahead, pick_noise=[(0, 0)] * 2)
    for policy, bounds in ((PURE, ("C1",)), (MIXED, ("C4", "C4 one step"))):
        found = verdicts_of(replace(given, policy=policy, rule=LuceRule(1), real=still))
        for one in found:
            assert one.verdict != "fails", one.claim
            assert one.gain in (None, 0) and not one.asked_share and not one.visible_share and not one.n_needed
        assert {one.verdict for one in found if one.claim in bounds} == {"holds"}
        assert next(one.bound for one in found if one.claim == "transmission") == 0
        assert all("no gain of E[w]" in one.reason for one in found if one.claim in ("one step", "transmission"))


def test_shares_of_a_gain_that_may_as_well_be_none_are_not_told():
    for predicted, spread in ((0.301, 0.002), (0.28, 1e-3)):  # too uncertain; a loss, from a p_0 above the mix
        own = [moments(0.3, 1e-3), moments(0.3, 1e-3)]
        noisy = moments(predicted, 1e-3)
        noisy.values[0, 1:] = own[0].values[0, 1:] + predicted - 0.3 + spread * np.linspace(-1.7, 1.7, 40)
        given = loop([0.3, 0.3], own=own, predicted=[None, noisy], policy=MIXED)
        found = next(one for one in verdicts_of(given) if one.claim == "C4 one step")
        assert found.gain == pytest.approx(predicted - 0.3)
        assert found.asked_share is found.slack_used is found.visible_share is None


def test_samples_needed_are_enough_for_the_effective_sample_size_too():
    """However sharp the measurement: 20 effective samples of 1,000 are 200 of 10,000."""
    measured = GenerationEvidence.model_construct(t=1, n_evaluated=1_000, transmission=None)
    found = list(examine(loop([0.3, 0.4], se=1e-5, effective=[1e4, 20.0])))
    step = next(one for one in judge(found, 8, [measured]) if one.claim == "one step")
    assert step.verdict == "can't tell" and step.n_needed == 10_000


def test_few_effective_samples_at_any_step_are_few_for_all_steps_together():
    few = loop([0.3, 0.4, 0.5, 0.6], effective=[1e4, 12.0, 1e4, 1e4])
    assert words(few, "one step") == ["can't tell", "can't tell", "holds"]
    assert words(few, "transmission") == ["can't tell"]


def test_what_has_no_finite_estimate_is_told_without_figures():
    cells = Divergence(space="predicted classes", cells=10, empty=1, kl_reverse=None)
    given = loop([0.3, 0.35], policy=MIXED, divergence=[cells] * 2)
    found = next(one for one in verdicts_of(given) if one.claim == "C5 reversed")
    assert found.bound == pytest.approx(math.log(1.5)) and found.measured is found.margin is None


def test_an_older_versions_reversed_divergence_tells_nothing():
    older = Divergence(space="128 cells of the known density", kl_reverse=Mean(value=0.9, se=0.01))
    given = loop([0.3, 0.35], policy=MIXED, divergence=[older] * 2)
    found = next(one for one in verdicts_of(given) if one.claim == "C5 reversed")
    assert found.verdict == "can't tell" and "older version" in found.reason


def test_of_a_study_with_ties_no_claim_speaks():
    found = verdicts_of(loop([0.3, 0.4, 0.5], ties=True))
    assert {verdict.verdict for verdict in found} == {"not applicable"}
    assert len(found) == len(ALL)
    assert all(verdict.reason.startswith("does not apply: ties") for verdict in found)

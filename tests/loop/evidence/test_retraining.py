"""Claims on retraining without choice: power and false alarms on simulated truth, families, and words."""

import math

import numpy as np
import pytest

from data.measurements import LanguageFigures, Mean
from loop.evidence.retraining import (
    BOUNDED,
    DIVERGES,
    SLOWS,
    ErrorCurves,
    judge_family,
    sentences,
    student,
    theorem_3_of,
)
from loop.evidence.schema import Deviation, GenerationEvidence
from loop.policy import DataPolicy
from loop.study import configure
from loop.theory.toy_models import LinearModel, simulate_in_blocks

REPLACE, ACCUMULATE, MIX = DataPolicy("replace"), DataPolicy("accumulate"), DataPolicy("mix", 1.0)
STUDIES, SEEDS, FITS = 200, 10, 11
MODEL = LinearModel(20, 80)


def curves_of(policy: DataPolicy, values: np.ndarray) -> ErrorCurves:
    """Curves from (generations, seeds)."""
    return ErrorCurves(policy, dict(enumerate(values.T)))


def verdicts(policies: dict[DataPolicy, np.ndarray], study: int) -> dict[str, str]:
    """The verdicts of one family of simulated studies, by claim."""
    part = slice(study * SEEDS, (study + 1) * SEEDS)
    curves = [curves_of(policy, values[:, part]) for policy, values in policies.items()]
    return {claim.claim: claim.verdict for claim in judge_family("error", curves)}


@pytest.fixture(scope="module")
def regression() -> dict[DataPolicy, np.ndarray]:
    """(fits, repetitions) excess errors of retrained regressions: replace's slope is v, accumulate's goes to 0."""
    return {
        policy: simulate_in_blocks(MODEL, policy, FITS, STUDIES * SEEDS, 3, lambda share: None)[:, 0]
        for policy in (REPLACE, ACCUMULATE)
    }


def test_regressions_are_judged_rightly_with_power(regression: dict[DataPolicy, np.ndarray]):
    judged = [verdicts(regression, study) for study in range(STUDIES)]
    power = {name: np.mean([some[name] == "holds" for some in judged]) for name in (DIVERGES, SLOWS, BOUNDED)}
    assert power[DIVERGES] > 0.9 and power[SLOWS] > 0.9 and power[BOUNDED] > 0.3
    assert np.mean(["fails" in some.values() for some in judged]) <= 0.05


def test_a_policy_that_goes_on_to_rise_is_not_called_bounded(regression: dict[DataPolicy, np.ndarray]):
    rng = np.random.default_rng(0)
    steps = rng.normal(0.5, 0.2, (FITS, STUDIES * SEEDS))  # half of replace's slope, to the end
    rising = {REPLACE: regression[REPLACE], ACCUMULATE: steps.cumsum(axis=0)}
    judged = [verdicts(rising, study) for study in range(STUDIES)]
    assert np.mean([some[BOUNDED] == "fails" for some in judged]) > 0.9
    assert not any(some[BOUNDED] == "holds" for some in judged)


@pytest.mark.parametrize("seeds", [3, 10])
def test_false_alarms_of_a_whole_family_stay_within_five_per_cent(seeds: int):
    """All curves wander about a constant: nothing rises, and no policy differs from another."""
    rng, alarms = np.random.default_rng(seeds), 0
    for _ in range(600):
        walks = rng.normal(0, 1, (2, 9, seeds)).cumsum(axis=1)
        claims = judge_family("error", [curves_of(REPLACE, walks[0]), curves_of(ACCUMULATE, walks[1])])
        alarms += any(claim.verdict in ("holds", "fails") for claim in claims)
    assert alarms / 600 <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 600)


def test_slopes_by_hand_and_pairs_by_seed():
    replace = ErrorCurves(REPLACE, {seed: np.arange(9.0) * (1 + seed / 10) for seed in range(4)})
    mixed = ErrorCurves(MIX, {seed: np.minimum(np.arange(9.0), 3.0) for seed in (1, 2, 5)})
    assert replace.slopes() == pytest.approx({0: 1, 1: 1.1, 2: 1.2, 3: 1.3})
    assert mixed.slopes(late=True)[5] == pytest.approx(0)
    claims = {claim.claim: claim for claim in judge_family("error", [replace, mixed])}
    assert claims[DIVERGES].seeds == 4 and claims[DIVERGES].margin == student([1, 1.1, 1.2, 1.3], 0.05 / 3)
    assert claims[SLOWS].seeds == claims[BOUNDED].seeds == 2
    margin = claims[BOUNDED].margin
    assert margin is not None and margin.value == pytest.approx(0.115)
    assert "mix lam=1" in claims[BOUNDED].statement and "replace's" in claims[BOUNDED].statement


def test_one_seed_and_too_few_generations_give_no_verdict():
    (alone,) = judge_family("error", [ErrorCurves(REPLACE, {0: np.arange(5.0)})])
    assert alone.verdict == "can't tell" and "two or more" in alone.reason and alone.margin is None
    assert judge_family("error", [ErrorCurves(REPLACE, {0: np.arange(2.0), 1: np.arange(2.0)})]) == []
    begun = ErrorCurves(REPLACE, {0: np.arange(5.0), 1: np.arange(5.0) + 1, 2: np.arange(2.0)})
    assert [claim.seeds for claim in judge_family("error", [begun])] == [2]
    assert judge_family("error", [ErrorCurves(ACCUMULATE, {0: np.arange(5.0), 1: np.arange(5.0)})]) == []


def test_the_vaes_exception_is_said_in_words():
    noise = np.random.default_rng(0).normal(0, 0.01, (9, 3))
    t = np.arange(9.0)[:, None]
    claims = judge_family("error", [curves_of(REPLACE, t + noise), curves_of(ACCUMULATE, t / 2 + noise[::-1])])
    assert sentences(claims) == [
        "replace: it diverges (error, 3 seeds).",
        "accumulate: it slows the degradation and does not stop it (error, 3 seeds).",
    ]
    claims = judge_family("error", [curves_of(REPLACE, t + noise), curves_of(ACCUMULATE, np.minimum(t, 2) + noise)])
    assert sentences(claims)[1] == "accumulate: it stays bounded (error, 3 seeds)."


def control(l1: float, *, lam: float = 1.0, draws: int = 100) -> Deviation | None:
    """Theorem 3 at generation 2 of an n-gram control over 600 tokens, with such a distance from generation 0."""
    config = configure("text", [f"mix.lam={lam}", f"network.draws={draws}", "network.interpolated=false",
                                "curation.k=1", "curation.picks=0"])  # fmt: skip
    figures = LanguageFigures(
        tokens="character", vocabulary=600, texts=1, l1_first=Mean(value=l1, se=0.001), distinct=(), distinct_n=(),
        rare_share=Mean(value=0.1), type_lengths=(), types=(), examples=(),
    )  # fmt: skip
    generation = GenerationEvidence.model_construct(language=figures)
    return theorem_3_of(config, [generation] * 3)


def test_theorem_3_is_judged_on_an_n_gram_control_that_mixes_and_on_nothing_else():
    judged = control(0.2)
    assert judged is not None and judged.verdict == "vacuous" and judged.derived_verdict == "holds"
    alpha2, b = 0.25, 0.25 * 0.99
    assert judged.derived == pytest.approx(math.sqrt(600 * alpha2 / 100 * (1 - b**2) / (1 - b)))
    assert "vacuous: the bound is 7.6e+27" in judged.sentence
    grown = control(1.9, lam=10)
    assert grown is not None and grown.synthetic == 1_000 and grown.verdict == "condition not met"
    assert grown.derived_verdict == "fails"
    assert control(0.2, lam=math.inf) is None
    assert theorem_3_of(configure("moons", []), [GenerationEvidence.model_construct(language=None)] * 2) is None

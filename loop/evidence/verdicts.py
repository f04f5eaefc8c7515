"""Holds, fails or can't tell: from intervals that are right for all verdicts of a report at once; and words for it."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from scipy.stats import norm

from loop.evidence.claims import (
    KNOWN_GAIN,
    LEAST_EFFECTIVE,
    MANY,
    STEP,
    TOLERANCE,
    TRANSMISSION,
    Inapplicable,
    Margin,
)
from loop.evidence.intervals import LEVEL
from loop.evidence.schema import ClaimVerdict, Estimate, Evidence, GenerationEvidence, VerdictWord

POWER = 0.8
WORDS: tuple[VerdictWord, ...] = ("holds", "not refuted", "can't tell", "fails", "not applicable")
SMALL = 0.2  # share of the predicted gain: a study that can't see a shortfall of this size says so first
BY_LOWER_BOUND = "a divergence over cells is at most the true one, so the true one lies above the ceiling too"


def quantile(comparisons: int, level: float = LEVEL) -> float:
    """The normal quantile of intervals that share an error level among so many verdicts (Bonferroni 1936)."""
    return float(norm.isf(level / max(1, comparisons) / 2))


def judge(
    found: Sequence[Margin | Inapplicable],
    comparisons: int,
    generations: Sequence[GenerationEvidence],
    level: float = LEVEL,
) -> list[ClaimVerdict]:
    """The verdicts, from intervals at 1 - level / comparisons.

    A claim holds where its whole interval is on the right side (of a claim of equality: within the tolerance), fails
    where its whole interval is on the wrong side, and else the data can't tell. What is measured by a lower bound
    alone is not refuted where it doesn't fail.

    Args:
        found: from `claims.examine`.
        comparisons: claims that share the error.
        generations: for the reasons of failures and the numbers of samples.
        level: of error that all claims share (see `loop.evidence.intervals`).
    """
    z = quantile(comparisons, level)
    return [_verdict(one, z, generations) if isinstance(one, Margin) else _inapplicable(one) for one in found]


def summary(evidence: Evidence) -> list[str]:
    """The evidence in plain words: the power of a study of this size, the change of the reward, the transmission.

    Then each claim's verdicts counted.
    """
    sentences = []
    if len(evidence.generations) > 1:
        sentences += _could_see(evidence.claims)
        sentences.append(_moved(evidence.generations[0], evidence.generations[-1]))
        sentences += _carried(evidence)
    by_claim: dict[str, list[ClaimVerdict]] = {}
    for claim in evidence.claims:
        by_claim.setdefault(claim.claim, []).append(claim)
    return sentences + [_counted(name, verdicts) for name, verdicts in by_claim.items()]


def overall(verdicts: Iterable[VerdictWord]) -> VerdictWord:
    """One word for a claim at all its generations: the worst that was found."""
    found = set(verdicts)
    order: tuple[VerdictWord, ...] = ("fails", "can't tell", "not refuted", "holds")
    for word in order:
        if word in found:
            return word
    return "not applicable"


def _verdict(one: Margin, z: float, generations: Sequence[GenerationEvidence]) -> ClaimVerdict:
    if one.measured is None or one.margin is None:
        return ClaimVerdict(
            claim=one.claim.name,
            t=one.t,
            statement=one.claim.statement,
            source=one.claim.source,
            verdict="can't tell",
            reason=one.undecidable,
            bound=one.bound,
            paper_bound=one.paper_bound,
        )
    value, se = one.margin
    low, high = value - z * se, value + z * se
    if one.claim.kind == "equal":
        inside = max(abs(low), abs(high)) <= one.tolerance
        outside = low > one.tolerance or high < -one.tolerance
        word: VerdictWord = "holds" if inside else "fails" if outside else "can't tell"
        p = 2 * _tail(-abs(value), se)
    else:
        word = "holds" if low >= 0 else "fails" if high < 0 else "can't tell"
        p = _tail(value, se)
    by_lower_bound = one.claim.kind == "not above, by a lower bound"
    if by_lower_bound and word != "fails":
        word = "not refuted"
    if one.undecidable:
        word = "can't tell"
    reason = one.undecidable or (one.note if word == "not refuted" else "")
    if word == "fails":
        reason = BY_LOWER_BOUND if by_lower_bound else one.note or _reason(one, generations)
    return ClaimVerdict(
        claim=one.claim.name,
        t=one.t,
        statement=one.claim.statement,
        source=one.claim.source,
        verdict=word,
        reason=reason,
        measured=Estimate.of(*one.measured),
        bound=one.bound,
        paper_bound=one.paper_bound,
        margin=Estimate(value=value, se=se, low=low, high=high),
        z=value / se if se else None,
        p=p,
        **_proportions(one, one.measured[0], (z + float(norm.ppf(POWER))) * se, generations),
    )


def _proportions(
    one: Margin, measured: float, reach: float, generations: Sequence[GenerationEvidence]
) -> dict[str, Any]:
    """The meaning of a verdict: the bound's demand, the share used of its slack, and the smallest visible shortfall.

    A true shortfall of `reach` = `(z + z_power) se` below the bound (of an equality: beyond the tolerance) gets "fails"
    with a probability of 80%. Of a predicted gain that may as well be none, or (for a bound) is a loss, there are no
    shares.
    """
    found: dict[str, Any] = {"visible": one.tolerance + reach}
    if one.gain is None:
        if one.claim.name in ("C5", "C5 reversed") and one.bound:
            found["slack_used"] = measured / one.bound
        return found
    gain, gain_se = one.gain
    found["gain"] = gain
    if not gain or abs(gain) < KNOWN_GAIN * gain_se:
        return found
    if one.claim.kind == "at least" and one.start is not None and gain > 0:
        slack = one.start + gain - one.bound
        found["asked_share"] = (one.bound - one.start) / gain
        found["slack_used"] = (one.start + gain - measured) / slack if slack > 1e-9 * gain else None
        found["visible_share"] = (slack + reach) / gain
    elif one.claim.kind == "equal":
        found["visible_share"] = (one.tolerance + reach) / abs(gain)
    sizes = [generation.n_evaluated for generation in generations if generation.t == one.t]
    if sizes:
        by_error, by_effective = (reach / (TOLERANCE * abs(gain))) ** 2, LEAST_EFFECTIVE / one.effective
        found["n_needed"] = math.ceil(sizes[0] * max(by_error, by_effective))
    return found


def _tail(value: float, se: float) -> float:
    """P(noise <= value) if the true margin is 0."""
    return float(norm.cdf(value / se)) if se else float(value >= 0)


def _inapplicable(one: Inapplicable) -> ClaimVerdict:
    return ClaimVerdict(
        claim=one.claim.name,
        t=0,
        statement=one.claim.statement,
        source=one.claim.source,
        verdict="not applicable",
        reason=one.reason,
    )


def _reason(one: Margin, generations: Sequence[GenerationEvidence]) -> str:
    """The parts of a shortfall: the generator's (learning), and that of a finite number of picks (sampling)."""
    if one.claim in (MANY, TRANSMISSION):
        return _made_of_steps([generation for generation in generations if generation.t <= one.t])
    return next((_made_of(generation) for generation in generations if generation.t == one.t), "")


def _made_of(generation: GenerationEvidence) -> str:
    found = generation.transmission
    if found is None or found.learning is None or found.sampling is None:
        return ""
    learning, sampling = found.learning, found.sampling
    return (
        f"mostly {_worse(learning.value, sampling.value)} error: E[w] of the training set is {sampling.value:+.3g} ± "
        f"{1.96 * sampling.se:.2g} from the prediction (sampling), the generation's {learning.value:+.3g} ± "
        f"{1.96 * learning.se:.2g} from its training set's (learning)"
    )


def _made_of_steps(generations: Sequence[GenerationEvidence]) -> str:
    """The same of a loop: the errors of all its steps together."""
    found = [one.transmission for one in generations if one.transmission]
    pairs = [(one.learning.value, one.sampling.value) for one in found if one.learning and one.sampling]
    if not pairs:
        return ""
    learning, sampling = (sum(values) for values in zip(*pairs, strict=True))
    steps = "step" if len(pairs) == 1 else f"{len(pairs)} steps together"
    return (
        f"mostly {_worse(learning, sampling)} error: over the {steps} E[w] of the training sets is {sampling:+.3g} "
        f"from the predictions (sampling), the generations' {learning:+.3g} from their training sets' (learning)"
    )


def _worse(learning: float, sampling: float) -> str:
    return "learning" if abs(learning) > abs(sampling) else "sampling"


def _could_see(claims: Sequence[ClaimVerdict]) -> list[str]:
    """The power of "one step", in a study that is too small for it."""
    found = [one for one in claims if one.claim == STEP.name and one.verdict != "not applicable"]
    known = [one for one in found if one.visible_share and one.n_needed]
    untold = sum(one.verdict == "can't tell" for one in found)
    if not untold:
        return []
    so = f"so {untold} of {len(found)} verdicts on one step can't tell even of a perfect generator."
    if not known:
        return [f"The predicted gain of one step can't be told from none in this study, {so}"]
    best = min(known, key=lambda one: one.visible_share or 0.0)
    if not best.visible_share or best.visible_share <= SMALL:
        return []
    where = f"At t = {best.t}, the step that it sees best, this study" if len(found) > 1 else "This study"
    if best.visible_share > 1:
        seen = "would most likely not notice a generator that learned nothing at all"
    else:
        seen = f"would notice a shortfall of {best.visible_share:.0%} of the predicted gain or more (80% power)"
    return [
        f"{where} {seen}, {so} To notice 10% takes about {_rounded(best.n_needed or 0):,} samples to measure a "
        "generation on, and picks in proportion."
    ]


def _rounded(n: int) -> int:
    """The number to two digits, upwards."""
    unit = 10 ** max(0, len(str(n)) - 2)
    return -(-n // unit) * unit


def _moved(first: GenerationEvidence, last: GenerationEvidence) -> str:
    a, b = first.measured.mean_reward, last.measured.mean_reward
    change, se = b.value - a.value, (a.se**2 + b.se**2) ** 0.5
    verb = "rose" if change > 2 * se else "fell" if change < -2 * se else "did not change measurably"
    return f"From generation {first.t} to {last.t} the mean reward {verb}: {_pm(a)} to {_pm(b)}."


def _carried(evidence: Evidence) -> list[str]:
    """Transmission over all generations: the sum of measured over the sum of predicted gains."""
    found = evidence.generations[-1].transmission_so_far
    rests_on_few = any(one.claim == TRANSMISSION.name and "effective" in one.reason for one in evidence.claims)
    if found is None or found.ratio is None or rests_on_few:
        return []
    ratio = found.ratio
    return [
        f"Over all generations retraining realised {ratio.value:.2f} (95%: {ratio.low:.2f} to {ratio.high:.2f}) of "
        "the predicted gain of E[w] (transmission)."
    ]


def _counted(name: str, verdicts: Sequence[ClaimVerdict]) -> str:
    statement = f"{name} ({verdicts[0].statement})"
    if verdicts[0].verdict == "not applicable":
        return f"{statement}: not applicable; {verdicts[0].reason}."
    if name == TRANSMISSION.name:
        return f"{statement}: {verdicts[0].verdict}."
    counts = Counter(verdict.verdict for verdict in verdicts)
    said = [f"{word} at {counts[word]} of {len(verdicts)} generations" for word in WORDS if counts[word]]
    failed = ", ".join(str(verdict.t) for verdict in verdicts if verdict.verdict == "fails")
    return f"{statement}: {', '.join(said)}{f' (t = {failed})' if failed else ''}."


def _pm(estimate: Estimate) -> str:
    return f"{estimate.value:.4g} ± {1.96 * estimate.se:.2g}"

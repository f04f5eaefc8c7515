"""Holds, fails or can't tell: from intervals that are right for all claims of a study at once; and the words for it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from scipy.stats import norm

from loop.evidence.claims import MANY, TRANSMISSION, Inapplicable, Margin
from loop.evidence.schema import ClaimVerdict, Estimate, GenerationEvidence, VerdictWord

LEVEL = 0.05
WORDS: tuple[VerdictWord, ...] = ("holds", "can't tell", "fails", "not applicable")


def judge(
    found: Iterable[Margin | Inapplicable], generations: Sequence[GenerationEvidence]
) -> tuple[list[ClaimVerdict], int]:
    """The verdicts, and how many comparisons share the 5 % (Bonferroni 1936): intervals at 1 - 0.05 / comparisons.

    A claim holds where its whole interval is on the right side (of a claim of equality: within the tolerance), fails
    where its whole interval is on the wrong side, and else the data can't tell.

    Args:
        found: from `claims.examine`.
        generations: for the reasons of failures.
    """
    found = list(found)
    comparisons = max(1, sum(isinstance(one, Margin) for one in found))
    z = float(norm.isf(LEVEL / comparisons / 2))
    return [
        _verdict(one, z, generations) if isinstance(one, Margin) else _inapplicable(one) for one in found
    ], comparisons


def summary(claims: Sequence[ClaimVerdict], generations: Sequence[GenerationEvidence]) -> list[str]:
    """What it comes to, in plain words: how the reward moved, then each claim's verdicts counted."""
    sentences = []
    if len(generations) > 1:
        sentences.append(_moved(generations[0], generations[-1]))
        sentences += _carried(generations)
    by_claim: dict[str, list[ClaimVerdict]] = {}
    for claim in claims:
        by_claim.setdefault(claim.claim, []).append(claim)
    return sentences + [_counted(name, verdicts) for name, verdicts in by_claim.items()]


def overall(verdicts: Iterable[VerdictWord]) -> VerdictWord:
    """One word for a claim at all its generations: the worst that was found."""
    found = set(verdicts)
    order: tuple[VerdictWord, ...] = ("fails", "can't tell", "holds")
    for word in order:
        if word in found:
            return word
    return "not applicable"


def _verdict(one: Margin, z: float, generations: Sequence[GenerationEvidence]) -> ClaimVerdict:
    value, se = one.margin
    low, high = value - z * se, value + z * se
    if one.claim.kind == "at least":
        word: VerdictWord = "holds" if low >= 0 else "fails" if high < 0 else "can't tell"
        p = _tail(value, se)
    else:
        inside = max(abs(low), abs(high)) <= one.tolerance
        outside = low > one.tolerance or high < -one.tolerance
        word = "holds" if inside else "fails" if outside else "can't tell"
        p = 2 * _tail(-abs(value), se)
    return ClaimVerdict(
        claim=one.claim.name,
        t=one.t,
        statement=one.claim.statement,
        source=one.claim.source,
        verdict=word,
        reason=_reason(one, generations) if word == "fails" else "",
        measured=Estimate.of(*one.measured),
        bound=one.bound,
        margin=Estimate(value=value, se=se, low=low, high=high),
        z=value / se if se else None,
        p=p,
    )


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
    """Whether a shortfall is the generator's (learning) or that of a finite number of picks (sampling)."""
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


def _moved(first: GenerationEvidence, last: GenerationEvidence) -> str:
    a, b = first.measured.mean_reward, last.measured.mean_reward
    change, se = b.value - a.value, (a.se**2 + b.se**2) ** 0.5
    verb = "rose" if change > 2 * se else "fell" if change < -2 * se else "did not change measurably"
    return f"From generation {first.t} to {last.t} the mean reward {verb}: {_pm(a)} to {_pm(b)}."


def _carried(generations: Sequence[GenerationEvidence]) -> list[str]:
    """Transmission over all generations: the sum of measured over the sum of predicted gains."""
    found = [one.transmission for one in generations if one.transmission]
    predicted, measured = (
        sum(getattr(one, name).value for one in found) for name in ("predicted_gain", "measured_gain")
    )
    se = sum(one.difference.se**2 for one in found) ** 0.5
    if not found or abs(predicted) < 3 * se:
        return []
    ratio, error = measured / predicted, 1.96 * se / abs(predicted)
    return [f"Retraining carried {ratio:.2f} ± {error:.2f} of the predicted gain of E[w] over (transmission)."]


def _counted(name: str, verdicts: Sequence[ClaimVerdict]) -> str:
    statement = f"{name} ({verdicts[0].statement})"
    if verdicts[0].verdict == "not applicable":
        return f"{statement}: not applicable; {verdicts[0].reason}."
    counts = Counter(verdict.verdict for verdict in verdicts)
    said = [f"{word} at {counts[word]} of {len(verdicts)} generations" for word in WORDS if counts[word]]
    failed = ", ".join(str(verdict.t) for verdict in verdicts if verdict.verdict == "fails")
    return f"{statement}: {', '.join(said)}{f' (t = {failed})' if failed else ''}."


def _pm(estimate: Estimate) -> str:
    return f"{estimate.value:.4g} ± {1.96 * estimate.se:.2g}"

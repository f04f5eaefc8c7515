"""Verdicts on claims, from intervals that are right for all verdicts of a report at once; and sentences for them."""

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
    Claim,
    Inapplicable,
    Margin,
)
from loop.evidence.intervals import LEVEL
from loop.evidence.people import ranking
from loop.evidence.schema import (
    ClaimVerdict,
    Estimate,
    Evidence,
    GenerationEvidence,
    TypeEvidence,
    VerdictWord,
    WinRate,
)

POWER = 0.8
WORDS: tuple[VerdictWord, ...] = ("holds", "not refuted", "can't tell", "fails", "not applicable")
SMALL = 0.2  # share of the predicted gain: a study that can't see a shortfall of this size says so first
BY_LOWER_BOUND = "a divergence over cells is at most the true one, so the true one lies above the ceiling too"


def count_of(n: int, noun: str) -> str:
    """A number of things, such as "1 rater" or "1,204 raters"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def quantile(comparisons: int, level: float = LEVEL) -> float:
    """The normal quantile of intervals that share an error level among so many verdicts (Bonferroni 1936)."""
    return float(norm.isf(level / max(1, comparisons) / 2))


def count_verdicts(examined: Sequence[Margin | Inapplicable], planned: int) -> int:
    """Verdicts on claims that share the error: each claim at each generation, the planned ones to come among them.

    So a verdict is as strict at the first look as at the last, and looking after every generation costs nothing.

    Args:
        examined: from `claims.examine`.
        planned: generations that are planned.
    """
    margins = [margin for margin in examined if isinstance(margin, Margin)]
    last = max((margin.t for margin in margins), default=0)
    return len({margin.claim.name for margin in margins}) * max(planned, last)


def judge(
    examined: Sequence[Margin | Inapplicable],
    comparisons: int,
    generations: Sequence[GenerationEvidence],
    level: float = LEVEL,
) -> list[ClaimVerdict]:
    """The verdicts, from intervals at 1 - level / comparisons.

    A claim holds where its whole interval is on the right side (of a claim of equality: within the tolerance), fails
    where its whole interval is on the wrong side, and else the data can't tell. What is measured by a lower bound
    alone is not refuted where it doesn't fail.

    Args:
        examined: from `claims.examine`.
        comparisons: claims that share the error.
        generations: for the reasons of failures and the numbers of samples.
        level: of error that all claims share (see `loop.evidence.intervals`).
    """
    z = quantile(comparisons, level)
    return [
        verdict_on(outcome, z, generations)
        if isinstance(outcome, Margin)
        else _verdict(outcome.claim, 0, "not applicable", outcome.reason)
        for outcome in examined
    ]


def verdict_on(margin: Margin, z: float, generations: Sequence[GenerationEvidence]) -> ClaimVerdict:
    """The verdict on one margin, from its interval of z standard errors either way."""
    claim, bounds = margin.claim, {"bound": margin.bound, "paper_bound": margin.paper_bound}
    if margin.measured is None or margin.margin is None:
        return _verdict(claim, margin.t, "can't tell", margin.undecidable, **bounds)
    value, se = margin.margin
    low, high = value - z * se, value + z * se
    if claim.kind == "equal":
        inside = max(abs(low), abs(high)) <= margin.tolerance
        outside = low > margin.tolerance or high < -margin.tolerance
        word: VerdictWord = "holds" if inside else "fails" if outside else "can't tell"
        p = 2 * _tail(-abs(value), se)
    else:
        word = "holds" if low >= 0 else "fails" if high < 0 else "can't tell"
        p = _tail(value, se)
    by_lower_bound = claim.kind == "not above, by a lower bound"
    if margin.undecidable:
        word = "can't tell"
    elif by_lower_bound and word != "fails":
        word = "not refuted"
    reason = margin.undecidable or (margin.note if word == "not refuted" else "")
    if word == "fails":
        reason = BY_LOWER_BOUND if by_lower_bound else margin.note or parts_of_shortfall(margin, generations)
    return _verdict(
        claim,
        margin.t,
        word,
        reason,
        **bounds,
        measured=Estimate.of(*margin.measured),
        margin=Estimate(value=value, se=se, low=low, high=high),
        z=value / se if se else None,
        p=p,
        **proportions(margin, margin.measured[0], (z + float(norm.ppf(POWER))) * se, generations),
    )


def proportions(
    margin: Margin, measured: float, reach: float, generations: Sequence[GenerationEvidence]
) -> dict[str, Any]:
    """The meaning of a verdict: the bound's demand, the share used of its slack, and the smallest visible shortfall.

    A true shortfall of `reach` = `(z + z_power) se` below the bound (of an equality: beyond the tolerance) gets "fails"
    with a probability of 80%. Of a predicted gain that may as well be none, or (for a bound) is a loss, there are no
    shares.

    Returns:
        Fields of a `ClaimVerdict`, from `gain` to `n_needed`; those that aren't known are missing.
    """
    shares: dict[str, Any] = {"visible": margin.tolerance + reach}
    if margin.gain is None:
        if margin.claim.name in ("C5", "C5 reversed") and margin.bound:
            shares["slack_used"] = measured / margin.bound
        return shares
    gain, gain_se = margin.gain
    shares["gain"] = gain
    if not gain or abs(gain) < KNOWN_GAIN * gain_se:
        return shares
    if margin.claim.kind == "at least" and margin.start is not None and gain > 0:
        slack = margin.start + gain - margin.bound
        shares["asked_share"] = (margin.bound - margin.start) / gain
        shares["slack_used"] = (margin.start + gain - measured) / slack if slack > 1e-9 * gain else None
        shares["visible_share"] = (slack + reach) / gain
    elif margin.claim.kind == "equal":
        shares["visible_share"] = (margin.tolerance + reach) / abs(gain)
    sizes = [generation.n_evaluated for generation in generations if generation.t == margin.t]
    if sizes:
        by_error, by_effective = (reach / (TOLERANCE * abs(gain))) ** 2, LEAST_EFFECTIVE / margin.effective
        shares["n_needed"] = math.ceil(sizes[0] * max(by_error, by_effective))
    return shares


def parts_of_shortfall(margin: Margin, generations: Sequence[GenerationEvidence]) -> str:
    """The parts of a shortfall in words: the generator's (learning), and that of finitely many picks (sampling).

    Of a claim on several steps they are the sums over these. Empty where they aren't known.
    """
    over_steps = margin.claim in (MANY, TRANSMISSION)
    steps = [
        (generation.transmission.learning, generation.transmission.sampling)
        for generation in generations
        if generation.transmission and (generation.t <= margin.t if over_steps else generation.t == margin.t)
    ]
    known = [(learning, sampling) for learning, sampling in steps if learning and sampling]
    if not known:
        return ""
    learning, sampling = (sum(part.value for part in parts) for parts in zip(*known, strict=True))
    larger = "learning" if abs(learning) > abs(sampling) else "sampling"
    if over_steps:
        together = "step" if len(known) == 1 else f"{len(known)} steps together"
        return (
            f"mostly {larger} error: over the {together} E[w] of the training sets is {sampling:+.3g} from the "
            f"predictions (sampling), the generations' {learning:+.3g} from their training sets' (learning)"
        )
    learning_se, sampling_se = (part.se for part in known[0])
    return (
        f"mostly {larger} error: E[w] of the training set is {sampling:+.3g} ± {1.96 * sampling_se:.2g} from the "
        f"prediction (sampling), the generation's {learning:+.3g} ± {1.96 * learning_se:.2g} from its training set's "
        "(learning)"
    )


def overall(verdicts: Iterable[VerdictWord]) -> VerdictWord:
    """One word for a claim at all its generations: the worst that occurs."""
    words = set(verdicts)
    order: tuple[VerdictWord, ...] = ("fails", "can't tell", "not refuted", "holds")
    for word in order:
        if word in words:
            return word
    return "not applicable"


def summary(evidence: Evidence) -> list[str]:
    """The evidence in plain words: the power of a study of this size, the change of the reward, the transmission.

    Then each claim's verdicts counted.
    """
    sentences = audit_sentences(evidence)
    if len(evidence.generations) > 1 and not evidence.sources:
        sentences = [
            power_of_one_step(evidence.claims),
            change_of_reward(evidence.generations[0], evidence.generations[-1]),
            realised_gain(evidence),
        ]
    by_claim: dict[str, list[ClaimVerdict]] = {}
    for claim in evidence.claims:
        by_claim.setdefault(claim.claim, []).append(claim)
    sentences += [counted_verdicts(name, verdicts) for name, verdicts in by_claim.items()]
    return [sentence for sentence in sentences if sentence]


def audit_sentences(evidence: Evidence, *, undecided: bool = True) -> list[str]:
    """The outcome of an audit of several studies: which is best, if any surely is, then pairs with their intervals.

    Args:
        evidence: with win rates of pairs.
        undecided: pairs without a verdict are listed, too.
    """
    sources, rates = evidence.sources, evidence.win_rates
    if not sources:
        return []
    if not rates:
        return ["Nobody who has finished compared any two of them yet."]
    best = next((row for row in ranking(rates, len(sources)) if row.best == "holds"), None)
    first = f"People preferred {sources[best.t]} to all others." if best else "None is surely preferred to all others."
    listed = [rate for rate in rates if undecided or rate.verdict in ("holds", "fails")]
    return [first, *(pair_sentence(sources, rate) for rate in listed)]


def pair_sentence(sources: Sequence[str], rate: WinRate) -> str:
    """One pair of an audit in words, from the side of the one that was preferred more often."""
    t, against, shown = rate.t, rate.against, rate.rate
    value, low, high = shown.value, shown.low, shown.high
    if value < 0.5:
        t, against, value, low, high = against, t, 1 - value, 1 - high, 1 - low
    interval = f"({low:.0%} to {high:.0%}, {count_of(rate.n, 'comparison')} by {count_of(rate.raters, 'rater')})"
    if rate.verdict in ("holds", "fails"):
        return f"{sources[t]} was preferred to {sources[against]} in {value:.0%} {interval}."
    return f"Between {sources[t]} and {sources[against]} nothing is decided: {value:.0%} {interval}."


def power_of_one_step(claims: Sequence[ClaimVerdict]) -> str:
    """The power of the claim on one step, in a study that is too small for it; empty where it isn't."""
    steps = [verdict for verdict in claims if verdict.claim == STEP.name and verdict.verdict != "not applicable"]
    known = [verdict for verdict in steps if verdict.visible_share and verdict.n_needed]
    undecided = sum(verdict.verdict == "can't tell" for verdict in steps)
    if not undecided:
        return ""
    so = f"so {undecided} of {count_of(len(steps), 'verdict')} on one step can't tell even of a perfect generator."
    if not known:
        return f"The predicted gain of one step can't be told from none in this study, {so}"
    best = min(known, key=lambda verdict: verdict.visible_share or 0.0)
    if not best.visible_share or best.visible_share <= SMALL:
        return ""
    where = f"At t = {best.t}, the step that it sees best, this study" if len(steps) > 1 else "This study"
    if best.visible_share > 1:
        seen = "would most likely not notice a generator that learned nothing at all"
    else:
        seen = f"would notice a shortfall of {best.visible_share:.0%} of the predicted gain or more (80% power)"
    needed = best.n_needed or 0
    unit = 10 ** max(0, len(str(needed)) - 2)  # two digits are enough, upwards
    return (
        f"{where} {seen}, {so} To notice 10% takes about {-(-needed // unit) * unit:,} samples to measure a "
        "generation on, and picks in proportion."
    )


def change_of_reward(first: GenerationEvidence, last: GenerationEvidence) -> str:
    """The change of the mean reward between two generations."""
    a, b = first.measured.mean_reward, last.measured.mean_reward
    change, se = b.value - a.value, (a.se**2 + b.se**2) ** 0.5
    verb = "rose" if change > 2 * se else "fell" if change < -2 * se else "did not change measurably"
    return f"From generation {first.t} to {last.t} the mean reward {verb}: {a.beside(b)} to {b.beside(a)}."


def realised_gain(evidence: Evidence) -> str:
    """The transmission over all generations; empty where it isn't known, or rests on too few samples."""
    transmission = evidence.generations[-1].transmission_so_far
    rests_on_few = any(
        verdict.claim == TRANSMISSION.name and "effective" in verdict.reason for verdict in evidence.claims
    )
    if transmission is None or transmission.ratio is None or rests_on_few:
        return ""
    ratio = transmission.ratio
    return (
        f"Over all generations retraining realised {ratio.value:.2f} (95%: {ratio.low:.2f} to {ratio.high:.2f}) of "
        "the predicted gain of E[w] (transmission)."
    )


def counted_verdicts(name: str, verdicts: Sequence[ClaimVerdict]) -> str:
    """A claim's verdicts at all its generations, counted."""
    statement = f"{name} ({verdicts[0].statement})"
    if verdicts[0].verdict == "not applicable":
        return f"{statement}: not applicable; {verdicts[0].reason}."
    if name == TRANSMISSION.name:
        return f"{statement}: {verdicts[0].verdict}."
    counts = Counter(verdict.verdict for verdict in verdicts)
    parts = [f"{word} at {counts[word]} of {count_of(len(verdicts), 'generation')}" for word in WORDS if counts[word]]
    failed = ", ".join(str(verdict.t) for verdict in verdicts if verdict.verdict == "fails")
    return f"{statement}: {', '.join(parts)}{f' (t = {failed})' if failed else ''}."


def _verdict(claim: Claim, t: int, word: VerdictWord, reason: str, **more: Any) -> ClaimVerdict:
    return ClaimVerdict(
        claim=claim.name, t=t, statement=claim.statement, source=claim.source, verdict=word, reason=reason, **more
    )


def _tail(value: float, se: float) -> float:
    """P(noise <= value) if the true margin is 0."""
    return float(norm.cdf(value / se)) if se else float(value >= 0)


def type_sentences(types: Sequence[TypeEvidence]) -> list[str]:
    """The change of each type's own reward, and the generations at which theory has its E[w] fall, in words."""
    sentences = []
    for type_ in types:
        rows = [row for row in type_.generations if row.t and row.predicted_gain_w]
        first, last = type_.generations[0].mean_reward, type_.generations[-1]
        who = f"{type_.name or 'The others'} ({type_.share:.0%} of picks)"
        text = f"{who}: E[r] by its own reward went from {first.value:.3g} to {last.mean_reward.value:.3g}"
        falls = [row for row in rows if row.predicted_gain_w and row.predicted_gain_w.high < 0]
        if falls:
            at = ", ".join(str(row.t) for row in falls)
            text += f"; theory has its E[w] fall at generation {at}"
            part = falls[0]
            if part.own_picks is not None and part.other_picks is not None:
                text += (
                    f" (at {part.t} by {part.own_picks:+.3g} through its own picks and {part.other_picks:+.3g} through "
                    "the others')"
                )
        elif rows:
            text += "; theory has its E[w] fall at no generation"
        sentences.append(f"{text}.")
    return sentences

"""Tables and sentences of the documents of `make papers`: each follows from numbers, by the rules written here."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from benchmarks.papers.sections import Arm
from loop.evidence.intervals import LEVEL
from loop.evidence.retraining import ErrorCurves, judge_family, sentences, student
from loop.evidence.schema import Estimate, GenerationEvidence, RetrainingClaim

Figure = Callable[[GenerationEvidence], float | None]
# Test cross-entropy of Gerstgrasser et al.'s GPT-2 of 9 M parameters, by policy, temperature and round
PAPERS_ENTROPY = {
    ("first", 1.0, 1): 1.82,
    ("accumulate", 1.0, 4): 1.74,
    ("replace", 1.0, 4): 2.39,
    ("replace_grown", 1.0, 4): 2.18,
    ("replace", 1.0, 10): 2.91,
    ("accumulate", 0.3, 4): 1.75,
    ("replace", 0.3, 4): 5.82,
    ("replace", 0.3, 10): 9.85,
}


def entropy(generation: GenerationEvidence) -> float | None:
    """Cross-entropy of held-out text, in nats a token."""
    by = generation.language
    return by and by.cross_entropy and by.cross_entropy.value


def l1(generation: GenerationEvidence) -> float | None:
    """Mean L1 distance of next-token laws from those of generation 1."""
    by = generation.language
    return by and by.l1_second and by.l1_second.value


def rare(generation: GenerationEvidence) -> float | None:
    """The share of the rarest tenth of tokens."""
    return generation.language and generation.language.rare_share.value


def fd(generation: GenerationEvidence) -> float | None:
    """The Fréchet distance from the real images."""
    return generation.distances and generation.distances.fd


def recall(generation: GenerationEvidence) -> float | None:
    """The share of real images that lie among the samples."""
    return generation.distances and generation.distances.recall


def effective_classes(generation: GenerationEvidence) -> float | None:
    """The exponential of the entropy of the class shares: the number of classes, if all had the same share."""
    shares = np.array([share.value for share in generation.measured.class_shares])
    positive = shares[shares > 0]
    return float(np.exp(-(positive * np.log(positive)).sum())) if len(positive) else None


def lost_classes(generation: GenerationEvidence) -> float | None:
    """The number of classes less the effective ones."""
    left = effective_classes(generation)
    return None if left is None else len(generation.measured.class_shares) - left


def least_share(generation: GenerationEvidence) -> float | None:
    """The share of the rarest class."""
    return min((share.value for share in generation.measured.class_shares), default=None)


def by_seed(arm: Arm, figure: Figure, t: int) -> dict[int, float]:
    """A figure of generation t by seed, of the studies that have it."""
    values = {study.seed: figure(study.generations[t]) for study in arm.studies if len(study.generations) > t}
    return {seed: value for seed, value in values.items() if value is not None}


def mean(values: Sequence[float]) -> Estimate | None:
    """The mean over seeds with Student's 95% interval; of one seed without; None of none."""
    if not values:
        return None
    return student(values) if len(values) > 1 else Estimate.of(values[0])


def at(arm: Arm, figure: Figure, t: int) -> str:
    """A figure of generation t over the seeds, as a cell."""
    return cell(mean(list(by_seed(arm, figure, t).values())))


def cell(estimate: Estimate | None, digits: int = 3) -> str:
    """A value and half of its interval; a dash where there is none."""
    if estimate is None:
        return "–"
    half = (estimate.high - estimate.low) / 2
    return f"{estimate.value:.{digits}f}" + (f" ± {half:.{digits}f}" if half else "")


def difference(first: Arm, second: Arm, figure: Figure, t: int) -> str:
    """The difference of two arms at generation t, paired by seed."""
    return cell(mean([a - b for a, b in pairs(first, second, figure, t)]))


def ratio(first: Arm, second: Arm, figure: Figure, t: int) -> str:
    """The ratio of two arms at generation t, paired by seed."""
    return cell(mean([a / b for a, b in pairs(first, second, figure, t) if b]))


def pairs(first: Arm, second: Arm, figure: Figure, t: int) -> list[tuple[float, float]]:
    """A figure of two arms at generation t, of the seeds that both have."""
    a, b = by_seed(first, figure, t), by_seed(second, figure, t)
    return [(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())]


def growth(arm: Arm, figure: Figure, t: int, start: int = 0) -> str:
    """A figure of generation t over that of generation `start`, paired by seed."""
    now, before = by_seed(arm, figure, t), by_seed(arm, figure, start)
    return cell(mean([now[seed] / before[seed] for seed in sorted(now.keys() & before.keys())]))


def last(arms: Sequence[Arm]) -> int:
    """The last generation that some study of every arm has."""
    return min(max(len(study.generations) for study in arm.studies) for arm in arms) - 1


def cost(arms: Sequence[Arm]) -> str:
    """The number of models that were retrained, and what one took, in words."""
    seconds = [some for arm in arms for some in arm.seconds]
    if not seconds:
        return "none yet"
    middle = float(np.median(seconds))
    whole = sum(seconds) / 60
    return f"{len(seconds):,}, each {middle:.1f} s to train and measure (median), {whole:.1f} min in all"


def claims(arms: Sequence[Arm], figure: Figure, name: str, start: int = 0) -> list[RetrainingClaim]:
    """The verdicts on arms whose error is a figure, from generation `start` on."""
    curves, titles = [], {str(arm.policy): title(arm) for arm in arms}
    for arm in arms:
        rows = {study.seed: [figure(generation) for generation in study.generations[start:]] for study in arm.studies}
        whole = {
            seed: np.array(row, dtype=float) for seed, row in rows.items() if row and all(x is not None for x in row)
        }
        if whole:
            curves.append(ErrorCurves(arm.policy, whole))
    judged = judge_family(name, curves) if curves else []
    return [claim.model_copy(update={"policy": titles[claim.policy]}) for claim in judged]


def outcomes(arms: Sequence[Arm], figure: Figure, name: str, start: int = 0) -> list[str]:
    """The outcome of each arm in words."""
    return sentences(claims(arms, figure, name, start))


def verdicts(arms: Sequence[Arm], figure: Figure, name: str, start: int = 0) -> str:
    """The verdicts on arms as a table, with the margins that they are judged by and their level; empty without any."""
    judged = claims(arms, figure, name, start)
    if not judged:
        return ""
    level, seeds = LEVEL / len(judged), min(some.seeds for some in judged)
    reach = f", {student_t.isf(level / 2, seeds - 1):.1f} standard errors of {seeds} seeds" if seeds > 1 else ""
    lead = f"{len(judged)} verdicts share 5% of error: ± is at {1 - level:.1%}{reach}."
    heads = ["| claim | arm | verdict | margin a generation |", "|---|---|---|---|"]
    rows = [f"| {some.claim} | {some.policy} | {some.verdict} | {cell(some.margin)} |" for some in judged]
    return "\n".join([lead, "", *heads, *rows])


def common_step(arms: Sequence[Arm], figure: Figure, start: int) -> dict[str, Any] | None:
    """The seed and generation at which a figure steps up in all arms together, by the largest of the smallest steps.

    The arms of one seed begin each generation's training from the same fresh weights.

    Args:
        arms: paired by seed.
        figure: of them.
        start: the first generation that has it.
    """
    best: tuple[float, int, int, list[float]] | None = None
    for t in range(start + 1, last(arms) + 1):
        now, before = [by_seed(arm, figure, t) for arm in arms], [by_seed(arm, figure, t - 1) for arm in arms]
        for seed in set.intersection(*(set(values) for values in (*now, *before))):
            steps = [after[seed] - earlier[seed] for after, earlier in zip(now, before, strict=True)]
            if best is None or min(steps) > best[0]:
                best = min(steps), seed, t, steps
    return None if best is None else {"seed": best[1], "t": best[2], "steps": best[3]}


def title(arm: Arm) -> str:
    """An arm of the experiments on language or images in words."""
    config, policy = arm.config, arm.policy
    if config.mix.origin == "generation":
        share = 1.0 if policy.is_pure else policy.lam / (1 + policy.lam)
        return f"{share:.0%} synthetic"
    named = str(policy).replace("_", " ")
    return f"{named}, T = {config.sampling.temperature:g}" if config.data.is_text else named


def repeating(arm: Arm) -> int | None:
    """The first generation from which on every study of an arm writes one token again and again; None without any."""
    first = None
    for t in range(last([arm]) + 1):
        known = [study.generations[t].language for study in arm.studies if t < len(study.generations)]
        pairs = arm.config.data.length - 1
        if all(by is not None and round(by.distinct[0] * by.texts * pairs) == 1 for by in known):
            first = t if first is None else first
        else:
            first = None
    return first


def papers_entropy(policy: str, temperature: float, number: int) -> str:
    """The paper's cross-entropy at a round as a ratio to its first round's; a dash where it gives none."""
    value = PAPERS_ENTROPY.get((policy, temperature, number))
    return f"{value / PAPERS_ENTROPY['first', 1.0, 1]:.2f} ({value})" if value else "–"


def band_row(points: Sequence[dict[str, Any]], policy: str, name: str) -> dict[str, Any]:
    """The points of one policy and quantity: how many lie inside, and the last one."""
    own = [point for point in points if point["policy"] == policy and point["name"] == name]
    final = own[-1]
    off = max(
        abs(point["measured"] - point["exact"]) / reach
        for point in own
        if (reach := (point["high"] - point["low"]) / 2) > 1e-11
    )
    return {
        "policy": policy,
        "name": name,
        "inside": int(sum(point["inside"] for point in own)),
        "points": len(own),
        "exact": final["exact"],
        "measured": final["measured"],
        "reach": (final["high"] - final["low"]) / 2,
        "off": off,
    }


def scientific(value: float | str | None) -> str:
    """A bound: plain below 100, else one digit and a power of ten; a dash for none."""
    if value is None:
        return "–"
    number = float(value)
    if math.isinf(number):
        return "over 10^300"
    if number < 100:
        return f"{number:.3f}"
    digits, power = f"{number:.0e}".split("e")
    return f"{digits} x 10^{int(power)}"

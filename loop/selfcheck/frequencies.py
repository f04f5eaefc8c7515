"""Are picks as frequent as the declared rule says, for samples of every probability and at every position?"""

from collections.abc import Callable, Sequence

import numpy as np

from loop.selfcheck.rule import LEAST_VARIANCE, ChiSquare, Rule, Tally, chi_square, noncentrality, tally
from loop.selfcheck.tables import Choices
from loop.selfcheck.verdicts import Finding, by_chi_square

BINS = 10


def frequencies(blocks: Sequence[Choices], rule: Rule, t: int | None) -> Finding:
    """Picks counted by the probability that the rule gave to what was picked."""
    weighed = [(block, rule.probabilities(block.rewards)) for block in blocks]
    edges = _edges(np.concatenate([p.ravel() for _, p in weighed]))
    counts = tally(weighed, lambda p: np.searchsorted(edges, p, side="right"), len(edges) + 1)
    test = chi_square(counts.observed - counts.expected, counts.covariance)
    n = int(counts.observed.sum())
    compared = f"{n:,} simulated picks counted by the probability that the declared rule gave them"
    if not test.df:
        return Finding("pick frequencies", t, n, compared, "too few to compare")
    worst, declared, seen = _worst(counts)

    def by(factor: float, lapse: float) -> float:
        """The noncentrality where users have this factor on the rewards and so many more lapses."""
        shift = np.zeros(len(counts.observed))
        for block, p in weighed:
            bins = np.searchsorted(edges, p, side="right")
            faulty = Rule(rule.lapse + lapse, rule.bias).probabilities(factor * block.rewards)
            shift += np.bincount(bins.ravel(), (faulty - p).ravel(), len(shift))
        return noncentrality(shift, counts.covariance)

    return Finding(
        "pick frequencies",
        t,
        n,
        compared,
        f"chi-square {test.value:.1f} on {test.df} degrees of freedom; the largest gap is at samples of probability "
        f"{declared:.3f}, picked with frequency {seen:.3f}",
        "The picks don't follow the declared rule (Luce's, on the recorded rewards); 'scale' and 'positions' say how.",
        p=test.p,
        figures={**_figures(counts, test), "worst_bin": worst, "declared": declared, "observed": seen},
        detectable=(
            by_chi_square("scale", "a factor on the rewards off by {}", lambda size: by(1 + size, 0.0), test.df),
            by_chi_square("lapse", "a lapse of {} more", lambda size: by(1.0, size), test.df, most=1 - rule.lapse),
        ),
    )


def positions(blocks: Sequence[Choices], rule: Rule, t: int | None) -> Finding:
    """Picks counted by position."""
    k = max(block.rewards.shape[1] for block in blocks)
    weighed = [(block, rule.probabilities(block.rewards)) for block in blocks]
    counts = tally(weighed, lambda p: np.broadcast_to(np.arange(p.shape[1]), p.shape), k)
    test = chi_square(counts.observed - counts.expected, counts.covariance)
    n = int(counts.observed.sum())
    compared = f"{n:,} simulated picks counted by position"
    if not test.df:
        return Finding("positions", t, n, compared, "too few to compare")
    worst = int(np.abs(counts.observed - counts.expected).argmax())
    declared, seen = counts.expected[worst] / n, counts.observed[worst] / n
    return Finding(
        "positions",
        t,
        n,
        compared,
        f"chi-square {test.value:.1f} on {test.df} degrees of freedom; position {worst + 1} of {k} got "
        f"{seen:.1%}, expected {declared:.1%}",
        f"Position {worst + 1} is {'favoured' if seen > declared else 'avoided'} whatever stands there, and the "
        "declared rule doesn't say so (curation.position_bias).",
        p=test.p,
        figures={**_figures(counts, test), "worst_position": worst, "declared": declared, "observed": seen},
        detectable=(by_chi_square("position_bias", "a position bias of {}", _weakest(blocks, rule, counts), test.df),),
    )


def _weakest(blocks: Sequence[Choices], rule: Rule, counts: Tally) -> Callable[[float], float]:
    """The noncentrality that a bias gives by its size, at the position where it shows least."""

    def by(size: float, position: int) -> float:
        shift = np.zeros(len(counts.observed))
        for block in blocks:
            k = block.rewards.shape[1]
            if position < k:
                added = np.where(np.arange(k) == position, size, 0.0) + np.asarray(rule.bias or 0.0)
                faulty = Rule(rule.lapse, tuple(added)).probabilities(block.rewards)
                shift[:k] += (faulty - rule.probabilities(block.rewards)).sum(axis=0)
        return noncentrality(shift, counts.covariance)

    weakest = min(range(len(counts.observed)), key=lambda position: by(0.01, position))
    return lambda size: by(size, weakest)


def _edges(p: np.ndarray) -> np.ndarray:
    """(B - 1,) probabilities between bins in each of which the number of picks varies about as much."""
    p = np.sort(p)
    variance = np.cumsum(p * (1 - p))
    bins = int(np.clip(variance[-1] / (2 * LEAST_VARIANCE), 2, BINS))
    places = np.searchsorted(variance, variance[-1] * np.arange(1, bins) / bins)
    return np.unique(p[places])


def _worst(counts: Tally) -> tuple[int, float, float]:
    """The bin of the largest gap, the mean probability in it, and how often those were picked."""
    worst = int(np.abs(counts.observed - counts.expected).argmax())
    items = max(counts.items[worst], 1)
    return worst, float(counts.expected[worst] / items), float(counts.observed[worst] / items)


def _figures(counts: Tally, test: ChiSquare) -> dict[str, object]:
    gap = np.abs(counts.observed - counts.expected)
    return {
        "chi_square": test.value,
        "df": test.df,
        "misplaced": float(gap.sum() / 2 / counts.observed.sum()),  # share of picks that are in the wrong bin
        "bins": [
            {"items": int(i), "expected": float(e), "observed": int(o)}
            for i, e, o in zip(counts.items, counts.expected, counts.observed, strict=True)
        ],
    }

"""The loop on a finite support, simulated with finite samples: frequencies of tokens, drawn or picked, retrained upon.

A law is the frequencies of a training set; many repetitions of the loop stand side by side as rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loop.policies import DataPolicy
from loop.theory.operator import ChoiceRule
from loop.theory.toy.rows import compositions


@dataclass(frozen=True, slots=True)
class Support:
    """The tokens, and how they are liked.

    Attributes:
        truth: (m,) masses of the law that the real data are drawn from.
        rewards: (m,) r of each token.
        rule: how a row is picked; K = 1 is plain drawing.
    """

    truth: np.ndarray
    rewards: np.ndarray
    rule: ChoiceRule


@dataclass(frozen=True, slots=True)
class Step:
    """One generation of many repetitions.

    Attributes:
        law: (repetitions, m) what was learned.
        sets: (repetitions, m) frequencies in the real data, and in every set that it could be learned from.
        shares: how much each of them was to count.
    """

    law: np.ndarray
    sets: list[np.ndarray]
    shares: tuple[float, ...]


def simulate(
    support: Support, policy: DataPolicy, rows: int, generations: int, repetitions: int, rng: np.random.Generator
) -> Iterator[Step]:
    """Yields the generations, the first learned from `rows` real rows that each repetition draws from the truth."""
    asked = policy.asked(rows)
    real = rng.multinomial(rows, support.truth, size=repetitions)
    counts, law = [real], real / rows
    yield Step(law, [law], (1.0,))
    for _ in range(generations - 1):
        counts.append(_picked(support, law, asked, rng))
        sizes = [asked] * (len(counts) - 1)
        law = _trained(counts, *compositions(policy, rows, sizes, repetitions, rng), rng)
        real_share, set_shares = policy.shares(rows, sizes)
        yield Step(law, [c / c[0].sum() for c in counts], (real_share, *set_shares))


def _trained(counts: list[np.ndarray], rows: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, m) frequencies in the training set: of each set so many rows, drawn without replacement."""
    law = np.zeros(counts[0].shape)
    for have, taken, share in zip(counts, rows.T, shares.T, strict=True):
        if taken.any():
            law += (share / np.maximum(taken, 1))[:, None] * _thinned(have, taken, rng)
    return law / law.sum(axis=1, keepdims=True)


def _thinned(counts: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, m) counts among `taken` rows drawn without replacement: hypergeometric, token by token."""
    size = counts[0].sum()
    if (taken == size).all():
        return counts
    out, left, wanted = np.empty_like(counts), np.full(len(counts), size), taken.copy()
    for token in range(counts.shape[1]):
        left = left - counts[:, token]
        out[:, token] = rng.hypergeometric(counts[:, token], left, wanted)
        wanted = wanted - out[:, token]
    return out


def _picked(support: Support, law: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, m) counts among n rows, each picked by Luce's rule from a slate of its own."""
    k, weight = support.rule.k, np.exp(support.rewards - support.rewards.max())
    if k == 1:
        return rng.multinomial(n, law)
    if k == "inf":
        return rng.multinomial(n, law * weight / (law @ weight)[:, None])
    slates = _draws(law, n * k, rng).reshape(len(law), n, k)
    reached = weight[slates].cumsum(axis=2)
    places = (rng.random((len(law), n, 1)) * reached[..., -1:] > reached).sum(axis=2)
    return _count(np.take_along_axis(slates, places[..., None], axis=2)[..., 0], law.shape[1])


def _draws(law: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, n) tokens drawn from (repetitions, m) laws: one search through all the laws end to end."""
    m = law.shape[1]
    row = np.arange(len(law))[:, None]
    ends = (law.cumsum(axis=1) + row).ravel()
    found = np.searchsorted(ends, rng.random((len(law), n)) + row, side="right") - m * row
    last = m - 1 - (law[:, ::-1] > 0).argmax(axis=1)[:, None]  # rounding must not reach a token that is gone
    return np.minimum(found, last)


def _count(tokens: np.ndarray, m: int) -> np.ndarray:
    """(repetitions, m) counts of (repetitions, n) tokens."""
    places = tokens + m * np.arange(len(tokens))[:, None]
    return np.bincount(places.ravel(), minlength=m * len(tokens)).reshape(len(tokens), m)

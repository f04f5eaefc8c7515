"""Toy models on a finite support: frequencies of tokens learned from their own draws, and the curated loop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from data.text import Characters, load_corpus, windows
from loop.policy import DataPolicy
from loop.theory import bounds
from loop.theory.population import Curators, kl, mean, policy_loop, variance
from loop.theory.toy_models import (
    Curve,
    OnProgress,
    Point,
    block_sizes,
    check_policies,
    check_range,
    check_sizes,
    compositions,
    draw_tokens,
    mean_and_se,
    part_of,
    rng_of,
    spread,
    z_score,
)
from model.luce import K, LuceRule


@dataclass(frozen=True, slots=True)
class Support:
    """The tokens, with their rewards.

    Attributes:
        truth: (m,) masses of the law that the real data are drawn from; or (repetitions, m), each of its own.
        rewards: (m,) r of each token.
        rule: by which a row is picked; K = 1 is plain drawing.
    """

    truth: np.ndarray
    rewards: np.ndarray
    rule: LuceRule


@dataclass(frozen=True, slots=True)
class TokenGeneration:
    """One generation of many repetitions.

    Attributes:
        law: (repetitions, m) learned masses.
        sets: (repetitions, m) frequencies in the real data, and in every set that it could be learned from.
        shares: of each of them in the training set.
    """

    law: np.ndarray
    sets: list[np.ndarray]
    shares: tuple[float, ...]


def simulate(
    support: Support, policy: DataPolicy, rows: int, generations: int, repetitions: int, rng: np.random.Generator
) -> Iterator[TokenGeneration]:
    """Yields the generations, the first learned from `rows` real rows that each repetition draws from the truth."""
    sizes = policy.sizes(rows, generations)
    real = rng.multinomial(rows, support.truth, size=repetitions)
    counts, law = [real], real / rows
    yield TokenGeneration(law, [law], (1.0,))
    for n in range(generations - 1):
        counts.append(picked_counts(support, law, sizes[n], rng))
        law = training_frequencies(counts, *compositions(policy, rows, sizes[: n + 1], repetitions, rng), rng)
        real_share, set_shares = policy.shares(rows, sizes[: n + 1])
        yield TokenGeneration(law, [c / c[0].sum() for c in counts], (real_share, *set_shares))


def training_frequencies(
    counts: list[np.ndarray], rows: np.ndarray, shares: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(repetitions, m) frequencies in the training set.

    Args:
        counts: (repetitions, m) of each set.
        rows: (repetitions or 1, sets) drawn from each set, without replacement.
        shares: (repetitions or 1, sets) of each set in the training set.
        rng: draws the rows.
    """
    law = np.zeros(counts[0].shape)
    for available, taken, share in zip(counts, rows.T, shares.T, strict=True):
        if taken.any():
            law += (share / np.maximum(taken, 1))[:, None] * thin(available, taken, rng)
    return law / law.sum(axis=1, keepdims=True)


def thin(counts: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, m) counts among (repetitions,) `taken` rows drawn without replacement: hypergeometric by token."""
    size = counts[0].sum()
    if (taken == size).all():
        return counts
    drawn, others, to_draw = np.empty_like(counts), np.full(len(counts), size), taken.copy()
    for token in range(counts.shape[1]):
        others = others - counts[:, token]
        drawn[:, token] = rng.hypergeometric(counts[:, token], others, to_draw)
        to_draw = to_draw - drawn[:, token]
    return drawn


def picked_counts(support: Support, law: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, m) counts among n rows, each picked by Luce's rule from a slate of its own.

    The pick is the place at which a uniform share of the slate's weight is reached: one random number for a slate,
    where `LuceRule.draw` takes K.
    """
    k, weight = support.rule.k, np.exp(support.rewards - support.rewards.max())
    if k == 1:
        return rng.multinomial(n, law)
    if k == "inf":
        return rng.multinomial(n, law * weight / (law @ weight)[:, None])
    slates = draw_tokens(law, n * k, rng).reshape(len(law), n, k)
    reached = weight[slates].cumsum(axis=2)
    places = (rng.random((len(law), n, 1)) * reached[..., -1:] > reached).sum(axis=2)
    picked = np.take_along_axis(slates, places[..., None], axis=2)[..., 0]
    repetitions, m = law.shape
    cells = picked + m * np.arange(repetitions)[:, None]
    return np.bincount(cells.ravel(), minlength=m * repetitions).reshape(repetitions, m)


@dataclass(frozen=True, slots=True)
class CategoricalModel:
    """Frequencies of tokens that are learned from their own draws again and again.

    Attributes:
        vocabulary: m tokens; token i has mass proportional to 1/i.
        rows: N real rows.
        k: each synthetic row is picked from K draws by Luce's rule; 1 is no curation.
        gamma: reward of the rarest token; the commonest has 0, the others stand evenly between.

    Raises:
        ValueError: sizes out of range.
    """

    vocabulary: int = 10
    rows: int = 20
    k: K = 1
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_range("vocabulary", self.vocabulary, 2, 10_000)
        check_range("rows", self.rows, 2, 100_000)
        check_slate(self.k)
        check_range("gamma", self.gamma, 0, 100)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Diversity, the tokens that still have mass, and without curation the distances from the first fit."""
        return ("diversity 1 − Σp²", "tokens_left", *(("l2_squared", "l1") if self.k == 1 else ()))

    @property
    def support(self) -> Support:
        """The truth, the rewards and the rule."""
        masses = 1 / np.arange(1, self.vocabulary + 1)
        rewards = np.linspace(0, self.gamma, self.vocabulary)
        return Support(masses / masses.sum(), rewards, LuceRule(self.k))

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        slates = policy.asked(self.rows, generations) * self.k if isinstance(self.k, int) and self.k > 1 else 0
        return 2 * self.vocabulary * (generations + 1) + 4 * slates

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray | None:
        """(generations,) expected diversity at n = 1, 2, ...: the truth's times `spread`; None with curation."""
        if self.k != 1:
            return None
        return (1 - (self.support.truth**2).sum()) * spread(policy, self.rows, generations)

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """With curation the diversity with endless rows, by the exact operator; else `expected_distances`."""
        s = self.support
        if self.k == 1:
            return expected_distances(s.truth[None], policy, self.rows, generations)
        laws = policy_loop(s.rewards, s.truth, s.truth, policy, Curators.alike(s.rule), generations - 1)
        return {"endless_rows": 1 - (laws**2).sum(axis=1)}

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, fit by fit, (quantities, repetitions)."""
        first = None
        for step in simulate(self.support, policy, self.rows, generations, repetitions, rng):
            first = step.law if first is None else first
            off = () if self.k != 1 else ((step.law - first) ** 2, np.abs(step.law - first))
            values = 1 - (step.law**2).sum(axis=1), (step.law > 0).sum(axis=1), *(some.sum(axis=1) for some in off)
            yield np.stack(values)


def expected_distances(laws: np.ndarray, policy: DataPolicy, rows: int, generations: int) -> dict[str, np.ndarray]:
    """The expected `||p^(n) - p^(1)||^2`, which is `S_n - S_1`, and a bound on the expected L1 distance, n = 1, 2, ...

    Under every policy the later fits average to the first, given the first. The bound is `sqrt(s E||.||^2)`, s the
    tokens with mass: by Cauchy and Schwarz. Derived for this project; of replace and mix in Seddik et al.

    Args:
        laws: (contexts, m) that the real rows are drawn from; the values are means over them.
        policy: composes.
        rows: N real rows of each.
        generations: number of fits.
    """
    off = spread(policy, rows, generations)
    l2 = (1 - (laws**2).sum(axis=1))[:, None] * (off[0] - off)
    bound = np.sqrt((laws > 0).sum(axis=1)[:, None] * np.maximum(l2, 0)).mean(axis=0)
    return {"l2_squared_exact": l2.mean(axis=0), "l1_bound": bound}


@dataclass(frozen=True)
class ContextModel:
    """Next-token laws of many contexts, each learned from so many of its own draws again and again.

    An n-gram model without interpolation is this, if as many draws follow each context: exact, and the control of a
    language model.

    Attributes:
        laws: (contexts, m) float64 next-token laws that the real data are drawn from.
        rows: N real rows of each context.
        text: the name of the text that the laws are of, if they are of one.

    Raises:
        ValueError: sizes out of range, or rows that aren't laws.

    Source: Seddik et al. 2024 (arXiv 2404.05090), Sections 2 and 4.1.
    """

    laws: np.ndarray
    rows: int = 100
    text: str = ""

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 2, 100_000)
        if self.laws.ndim != 2 or not np.allclose(self.laws.sum(axis=1), 1) or self.laws.min() < 0:
            raise ValueError("each context needs a law of the next token, which adds up to 1")

    @classmethod
    def of_text(cls, text: str, characters: int, order: int, contexts: int, rows: int, seed: int) -> Self:
        """The laws of a text's next character after contexts that are drawn from its held-out part.

        Args:
            text: a corpus's name or a file, and
            characters: how much of it, as `data.text.load_corpus` takes them.
            order: characters that are counted together; contexts have one less.
            contexts: how many.
            rows: N real rows of each.
            seed: draws the contexts.

        Raises:
            ValueError: a text that can't be read, or sizes out of range.
            DownloadError: it couldn't be downloaded.
        """
        from model.generators.language import Ngram  # imports torch

        corpus = load_corpus(text, characters)
        vocabulary = Characters.of(corpus)
        counts = Ngram(len(vocabulary), order).fit(vocabulary.encode(corpus.train)[None])
        drawn = windows(vocabulary.encode(corpus.held_out), order - 1, contexts, np.random.default_rng([seed, order]))
        return cls(counts.next_laws(drawn), rows, f"{corpus.name}, order {order}")

    @property
    def quantities(self) -> tuple[str, ...]:
        """Means over the contexts: S of the n-th fit, and its squared and absolute distance from the first fit."""
        return ("S = Σp²", "l2_squared", "l1")

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        return 2 * self.laws.size * (generations + 2)

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray:
        """(generations,) mean S at n = 1, 2, ...: `1 - (1 - S_0) spread`, under replace `1 - (1 - 1/N)^n (1 - S_0)`."""
        return 1 - (1 - (self.laws**2).sum(axis=1).mean()) * spread(policy, self.rows, generations)

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """The distances from the first fit: see `expected_distances`."""
        return expected_distances(self.laws, policy, self.rows, generations)

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, fit by fit, (3, repetitions)."""
        contexts, widest = len(self.laws), int((self.laws > 0).sum(axis=1).max())
        laws = np.sort(self.laws, axis=1)[:, ::-1][:, :widest]  # which token is which plays no part
        support = Support(np.tile(laws, (repetitions, 1)), np.zeros(widest), LuceRule(1))
        first = None
        for step in simulate(support, policy, self.rows, generations, repetitions * contexts, rng):
            first = step.law if first is None else first
            off = step.law - first
            values = (step.law**2).sum(axis=1), (off**2).sum(axis=1), np.abs(off).sum(axis=1)
            yield np.stack(values).reshape(3, repetitions, contexts).mean(axis=2)


def check_slate(k: K) -> None:
    """Raises ValueError for a K that the simulation can't take."""
    if k != "inf":
        check_range("K", k, 1, 1_000)


@dataclass(frozen=True, slots=True)
class CuratedModel:
    """The curated loop on a finite support.

    Attributes:
        size: points of the support, each of the same mass in p_ref.
        gamma: the last point's reward; the first has 0, the others stand evenly between.
        k: samples in a slate.
        rows: N real rows; a set has as many picks, or lam times that under 'mix'.

    Raises:
        ValueError: sizes out of range.
    """

    size: int = 10
    gamma: float = 2.0
    k: K = 2
    rows: int = 1_000

    def __post_init__(self) -> None:
        check_range("size", self.size, 2, 1_000)
        check_range("gamma", self.gamma, 0, 100)
        check_slate(self.k)
        check_range("rows", self.rows, 2, 100_000)

    @property
    def support(self) -> Support:
        """p_ref, the rewards (the largest is 0, so w* = 1) and the rule."""
        rewards = np.linspace(-self.gamma, 0, self.size)
        return Support(np.full(self.size, 1 / self.size), rewards, LuceRule(self.k))

    def population(self, policy: DataPolicy, generations: int) -> np.ndarray:
        """(generations + 1, size) laws at t = 0, 1, ... with endless rows and picks: exact, by the operator H^K."""
        s = self.support
        sizes = self.rows, policy.sizes(self.rows, generations)
        return policy_loop(s.rewards, s.truth, s.truth, policy, Curators.alike(s.rule), generations, *sizes)

    def promises(self, policy: DataPolicy, laws: np.ndarray) -> list[dict[str, float]]:
        """The theory's bounds on the population loop, for each of (generations + 1, size) laws; none for the first.

        `floor` under E_t[w]: C1 for every set, weighed as the policy weighs it; that is C1 itself for the pure loop and
        the sharp one-step C4 for the mixed one (the general case was derived). `c4_floor`: C4 as printed; `kl_ceiling`:
        C5 where lam < 1 / (K - 1), both of the mixed loop alone.
        """
        w = np.exp(self.support.rewards)
        e, var = mean(w, laws), variance(w, laws)
        floors = [bounds.c1_floor(float(a), float(v), 1.0, self.k) for a, v in zip(e, var, strict=True)]
        result: list[dict[str, float]] = [{}]
        for t in range(1, len(laws)):
            real_share, shares = policy.shares(self.rows, policy.sizes(self.rows, t))
            promised = {"floor": float(real_share * e[0] + np.dot(shares, floors[:t]))}
            if policy.is_mixed:
                promised["c4_floor"] = bounds.c4_floor_paper(float(e[0]), float(var[0]), 1.0, self.k, policy.lam)
                if bounds.c5_applies(self.k, policy.lam):
                    promised["kl_ceiling"] = bounds.c5_ceiling(self.k, policy.lam)
            result.append(promised)
        return result


def curated_curves(
    model: CuratedModel,
    policies: Sequence[DataPolicy],
    generations: int,
    repetitions: int,
    seed: int,
    on_progress: OnProgress = lambda share: None,
) -> list[Curve]:
    """One curve of E_t[w] / w* per policy, t = 0 .. generations.

    `exact` is the population loop, from which finite samples stray by about 1/N. So z is of simulated minus
    `extra["expected"]`: the mean, over the repetitions, of what generation t must come to in expectation given the
    generations before it, by the operator at each repetition's own law. That is exact for any N. z is in standard
    errors of that difference (`se` is simulated's own); it is uncorrelated from one generation to the next.
    """
    check_sizes(generations, repetitions, seed)
    check_policies(policies)
    result = []
    for index, policy in enumerate(policies):
        part = part_of(on_progress, index, len(policies))
        values = simulate_loops(model, policy, generations, repetitions, rng_of(seed, policy), part)
        laws = model.population(policy, generations)
        exact, promises = mean(np.exp(model.support.rewards), laws), model.promises(policy, laws)
        points = []
        for t, (value, expected, divergence) in enumerate(values):
            simulated, se = mean_and_se(value)
            extra = {"expected": float(expected.mean())}
            extra |= {"kl_exact": kl(laws[t], laws[0]), "kl_simulated": float(divergence.mean())} | promises[t]
            off, off_se = mean_and_se(value - expected)
            points.append(Point(t, float(exact[t]), simulated, se, z_score(off, off_se, simulated), extra))
        result.append(Curve(policy, tuple(points)))
    return result


def simulate_loops(
    model: CuratedModel,
    policy: DataPolicy,
    generations: int,
    repetitions: int,
    rng: np.random.Generator,
    on_progress: OnProgress,
) -> np.ndarray:
    """(generations + 1, 3, repetitions): E[w], its expectation given the generations before, and KL(p_t || p_ref)."""
    support = model.support
    w, curators = np.exp(support.rewards), Curators.alike(support.rule)
    slates = policy.asked(model.rows, generations) * (model.k if isinstance(model.k, int) else 1)
    sizes = block_sizes(repetitions, 4 * slates + 2 * model.size * generations)
    parts = []
    for index, size in enumerate(sizes):
        steps, latest = [], np.full(size, w @ support.truth)  # the expectation of the latest set's E[w]
        for step in simulate(support, policy, model.rows, generations + 1, size, rng):
            parts_w = [*(part @ w for part in step.sets[:-1]), latest]
            expected = sum((share * part for share, part in zip(step.shares, parts_w, strict=True)), np.zeros(size))
            logs = np.log(step.law, out=np.zeros_like(step.law), where=step.law > 0)
            divergence = (step.law * (logs - np.log(support.truth))).sum(axis=1)
            steps.append(np.stack([step.law @ w, expected, divergence]))
            latest = curators.pick(support.rewards, step.law.T).T @ w
            on_progress((index + len(steps) / (generations + 1)) / len(sizes))
        parts.append(np.stack(steps))
    return np.concatenate(parts, axis=2)

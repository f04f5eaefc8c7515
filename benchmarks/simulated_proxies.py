"""Simulated studies with people and a proxy, in memory: generations are Gaussian laws, and learning is without error.

The loop's step is that of K = inf, which tilts a Gaussian: its mean moves by the covariance times the proxy's
utilities. So a study of hundreds of picks takes a fraction of a second, and the truth is known.
"""

from dataclasses import dataclass

import numpy as np

from loop.analysis.drift import drift_tests
from loop.analysis.log import Slates
from loop.evidence.proxy import HeldOut, proxy_evidence
from loop.evidence.schema import DriftEvidence, ProxyEvidence
from loop.learners import Utilities, fit


@dataclass(frozen=True)
class ProxyStudy:
    """The settings of a simulated study.

    Attributes:
        raters: people, each with tastes of his or her own around the common one.
        picks: of each rater in each generation, for curation.
        audits: pairs of each rater in each generation from the first on.
        generations: the last t.
        k: samples in a slate.
        factors: numbers that people and the proxy see.
        strength: length of the common taste.
        spread: standard deviation of each rater's taste around it, along each factor.
        step: how far a round moves the generator along the proxy's utilities.
        blind: what people lose, per unit that the generator has moved, by a factor that the proxy doesn't see.
    """

    raters: int = 20
    picks: int = 15
    audits: int = 15
    generations: int = 3
    k: int = 4
    factors: int = 6
    strength: float = 1.0
    spread: float = 0.3
    step: float = 0.7
    blind: float = 0.0


def simulate(setting: ProxyStudy, seed: int) -> ProxyEvidence:
    """One study: people pick, the proxy is fitted to all picks so far and moves the generator, people audit it."""
    rng, d = np.random.default_rng(seed), setting.factors
    taste = rng.standard_normal(d)
    taste *= setting.strength / np.linalg.norm(taste)
    tastes = taste + setting.spread * rng.standard_normal((setting.raters, d))
    means, moved = [np.zeros(d)], [0.0]
    seen_x: list[np.ndarray] = []
    seen_picks: list[np.ndarray] = []
    proxy: Utilities | None = None
    held: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]] = []  # x, shown, picked, raters, fit
    scores: list[np.ndarray] = []
    for t in range(setting.generations + 1):
        raters = np.repeat(np.arange(setting.raters), setting.picks)
        x = means[t] + rng.standard_normal((len(raters), setting.k, d))
        picked = choose(x, np.full(x.shape[:2], t), tastes[raters], np.array(moved), setting.blind, rng)
        if proxy is not None:
            held.append((x, np.full(x.shape[:2], t), picked, raters, t))
            scores.append(proxy(x.reshape(-1, d)))
            audit_raters = np.repeat(np.arange(setting.raters), setting.audits)
            against = np.where(rng.random(len(audit_raters)) < 0.5, 0, t - 1)
            shown = np.stack([np.full(len(against), t), against], axis=1)
            shown = np.where(rng.random((len(against), 1)) < 0.5, shown, shown[:, ::-1])
            pairs = np.stack(means)[shown] + rng.standard_normal((*shown.shape, d))
            chosen = choose(pairs, shown, tastes[audit_raters], np.array(moved), setting.blind, rng)
            held.append((pairs, shown, chosen, audit_raters, t))
            scores.append(proxy(pairs.reshape(-1, d)))
        seen_x.append(x)
        seen_picks.append(picked)
        if t < setting.generations:
            proxy = fit(np.concatenate(seen_x), np.concatenate(seen_picks), 1.0)
            direction = proxy.coefficients / proxy.scale
            means.append(means[t] + setting.step * direction)
            moved.append(moved[t] + setting.step * float(np.linalg.norm(direction)))
    sizes = np.concatenate([np.full(len(part[2]), part[0].shape[1]) for part in held])
    slates = Slates(sizes, np.concatenate([part[2] for part in held]), np.concatenate([part[3] for part in held]))
    shown = np.concatenate([part[1].ravel() for part in held])
    fits = np.concatenate([np.full(len(part[2]), part[4]) for part in held])
    return proxy_evidence(HeldOut(slates, np.concatenate(scores), shown, fits), {})


def choose(
    x: np.ndarray, shown: np.ndarray, tastes: np.ndarray, moved: np.ndarray, blind: float, rng: np.random.Generator
) -> np.ndarray:
    """(n,) positions picked by Luce's rule from (n, k, d) samples of (n, k) generations."""
    utilities = np.einsum("nkd,nd->nk", x, tastes) - blind * moved[shown]
    return (utilities + rng.gumbel(size=utilities.shape)).argmax(axis=1)


@dataclass(frozen=True)
class DriftStudy:
    """A simulated study in which tastes may drift; people's utilities alone move the generator.

    Attributes:
        raters: people in all, or in each generation where each comes once.
        picks: of each rater in each generation that he or she sees.
        generations: the last t.
        factors: numbers that people see.
        strength: length of every taste, tau in theory.md.
        spread: standard deviation of each rater's taste around the common one, along each factor, over the strength.
        beta: share of a taste that is drawn each round toward the mean of what is shown (arXiv 2610.09415); 0 for none.
        once: each rater comes in one generation; else all come in every one.
        pull: how far each round moves the generator beside, in a direction that is nothing to the common taste: where
            the loop follows that taste alone, what is shown is what is liked already, and no taste can drift.
    """

    raters: int = 20
    picks: int = 15
    generations: int = 3
    factors: int = 6
    k: int = 4
    strength: float = 1.0
    spread: float = 0.3
    step: float = 0.7
    beta: float = 0.0
    once: bool = False
    pull: float = 0.7


def simulate_drift(setting: DriftStudy, seed: int) -> list[DriftEvidence]:
    """One study: people pick, utilities fitted to their picks move the generator, tastes follow it with share beta."""
    rng, d = np.random.default_rng(seed), setting.factors
    taste = rng.standard_normal(d)
    taste /= np.linalg.norm(taste)
    beside = rng.standard_normal(d)
    beside -= (beside @ taste) * taste
    beside *= setting.pull / np.linalg.norm(beside)
    tastes = taste + setting.spread * rng.standard_normal((setting.raters, d))
    mean, drawn = np.zeros(d), []
    for t in range(setting.generations + 1):
        if setting.once:
            tastes = taste + setting.spread * rng.standard_normal((setting.raters, d))
        raters = np.repeat(np.arange(setting.raters), setting.picks)
        x = mean + rng.standard_normal((len(raters), setting.k, d))
        utilities = setting.strength * np.einsum("nkd,nd->nk", x, tastes[raters])
        picked = (utilities + rng.gumbel(size=utilities.shape)).argmax(axis=1)
        drawn.append((x, picked, raters + setting.raters * t * setting.once, t))
        proxy = fit(np.concatenate([part[0] for part in drawn]), np.concatenate([part[1] for part in drawn]), 1.0)
        mean = mean + setting.step * proxy.coefficients / proxy.scale + beside
        for some in (tastes, taste[None]):
            lengths = np.linalg.norm(some, axis=1, keepdims=True)
            some[:] = (1 - setting.beta) * some + setting.beta * mean
            some *= lengths / np.linalg.norm(some, axis=1, keepdims=True)
    n = [len(part[1]) for part in drawn]
    picked, raters = (np.concatenate([part[j] for part in drawn]) for j in (1, 2))
    slates = Slates(np.full(sum(n), setting.k), picked, raters)
    at = np.repeat([part[3] for part in drawn], n)
    features = np.concatenate([part[0].reshape(-1, d) for part in drawn])
    return drift_tests(slates, features, slates.per_sample(at), at, seed)

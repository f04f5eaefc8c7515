"""`curate market`: two studies in one market, each trained on its own curated samples and on the other's.

Source: arXiv 2605.29267.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from data.datasets import sample_shape
from data.measurements import Turn
from data.store import queries
from loop.evaluation import Evaluator
from loop.generators import load_generator
from loop.round import latest_t, next_generation
from loop.setup import prepare_evaluator, prepare_first_generation
from loop.simulate import shown_on_pages
from loop.study import MARKET, Study, only_worker
from loop.theory.toy_loops import GaussianSide, MarketDraws, backfire, market, market_of_picks, tail
from loop.training_data import CuratedSet, curated_count, read_curated
from loop.users import CHUNK, SimulatedUsers
from model.generators.estimators import Gaussian
from model.interfaces import Report, scaled

REPETITIONS = 100  # of the oracle with finitely many picks
FEW = 30  # effective samples, under which a tail that carries the picks is hardly among them


@dataclass(frozen=True)
class MarketRound:
    """One generation of both studies.

    Attributes:
        t: its number.
        rewards: mean reward of each, by its own user.
        errors: their standard errors, over the samples that they are measured on.
        exact: the oracle's rewards from generation 0 with endless picks; None where there is no oracle, or they grow
            beyond all numbers.
        expected: the oracle's mean rewards with as many picks as there were; None where there is no oracle, and so are
        spread: the standard errors that picks and samples make together, and
        z: measured less expected, in these.
    """

    t: int
    rewards: tuple[float, float]
    errors: tuple[float, float]
    exact: tuple[float, float] | None = None
    expected: tuple[float, float] | None = None
    spread: tuple[float, float] | None = None
    z: tuple[float, float] | None = None


@dataclass(frozen=True)
class MarketResult:
    """Both studies' rewards by generation.

    Attributes:
        rounds: by generation.
        backfires: by how much each one's reward at generation `backfires_at` changes, by the oracle with endless picks,
            where its user curates by a tenth more strongly; None without an oracle.
        backfires_at: the last generation, or the last before `few_from`.
        few_from: the first generation whose exact law needs picks that rest on under `FEW` effective samples of a
            chunk, so that finitely many picks stay behind it; None where there is none.
        no_oracle: why there is no oracle; empty where there is one.
    """

    rounds: list[MarketRound]
    backfires: tuple[float, float] | None
    backfires_at: int
    few_from: int | None
    no_oracle: str


@dataclass
class Side:
    """One of the two studies as it runs."""

    study: Study
    evaluator: Evaluator
    users: SimulatedUsers

    def turn(self, t: int, report: Report) -> Turn:
        """The turn to generation t + 1: the picks from generation t, made now unless they are there."""
        store = self.study.store
        if latest_t(self.study) > t:
            turn = store.generations()[t + 1].measurements.turn
            assert turn is not None
            return turn
        total = curated_count(self.study.config, len(self.study.real), t + 1)
        report("curating", 0, total)
        return self.users.curate(load_generator(self.study, t), t, partial(report, "curating"))


def check_pair(first: Study, second: Study, exchange: float) -> None:
    """Refuses studies that can't be in one market.

    Raises:
        ValueError: which, and what to do.
    """
    if not 0 <= exchange <= 1:
        raise ValueError(f"--exchange is a share from 0 (no exchange) to 1, not {exchange:g}.")
    if first.path.resolve() == second.path.resolve():
        raise ValueError("A market needs two studies; give two folders.")
    shapes = [sample_shape(study.config.data) for study in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"The samples of {first.path} have the shape {shapes[0]} and those of {second.path} {shapes[1]}; a study "
            "can't be trained on the other's: make two studies of the same kind of data."
        )
    if first.config.data.is_text and first.config.data != second.config.data:
        raise ValueError(
            f"The texts of {first.path} and {second.path} differ, and so do their tokens; give both the same [data]."
        )
    for study, other in ((first, second), (second, first)):
        config = study.config
        study.check_goes_on()
        study.check_simulates()
        if config.learner.kind != "curate" or config.policy.accumulates or study.conditions is not None:
            raise ValueError(
                f"{study.path}: a market is for learner.kind = 'curate', mix.policy = 'mix' or 'replace', and a study "
                "without conditions."
            )
        if queries.count_raters(study.store).get("human"):
            raise ValueError(f"People have picked in {study.path}; a market is of simulated users.")
        known, latest = study.store.status(MARKET), study.store.latest_cut()
        if known:
            partner = (study.path / known["with"]).resolve()
            if partner != other.path.resolve() or known["exchange"] != exchange:
                raise ValueError(
                    f"{study.path} is in a market with {partner} already, at an exchange of {known['exchange']:g}; "
                    "give the same again, or make new studies."
                )
        if not known and latest and latest[0] > 0:
            raise ValueError(
                f"{study.path} has run by itself to generation {latest[0]}; make a new study for a market."
            )


@contextmanager
def both_workers(first: Study, second: Study) -> Iterator[None]:
    """Holds the worker lock of both studies, always in the same order."""
    low, high = sorted((first, second), key=lambda study: str(study.path.resolve()))
    with only_worker(low.path), only_worker(high.path):
        yield


def run(first: Study, second: Study, exchange: float, generations: int, report: Report) -> None:
    """Runs both studies to a generation, turn by turn; an interrupted run goes on with the same arguments.

    In each turn both users pick from their own generator's samples; then each generator is trained on its own picks
    and the other's, which are a share `exchange` of all picks, and on real data as its mix says.

    Args:
        first: a study of which nothing was trained yet, or one of this market.
        second: likewise.
        exchange: the share.
        generations: the last t.
        report: called with the phase and how far it is.

    Raises:
        ValueError: the studies can't be in one market.
        WorkerRunningError: another process works on one of them.
    """
    check_pair(first, second, exchange)
    with (
        both_workers(first, second),
        shown_on_pages(first, report, "market") as shown,
        shown_on_pages(second, shown, "market") as report,
    ):
        for study, other in ((first, second), (second, first)):
            if not study.store.status(MARKET):
                partner = os.path.relpath(other.path.resolve(), study.path.resolve())  # both may be moved together
                study.store.set_status(MARKET, **{"with": partner, "exchange": exchange})
        sides = []
        for study in (first, second):
            evaluator = prepare_evaluator(study, report)
            prepare_first_generation(study, evaluator, report)
            sides.append(Side(study, evaluator, SimulatedUsers(study, evaluator.scorer)))
        for t in range(min(latest_t(side.study) for side in sides), generations):
            turns = [side.turn(t, report) for side in sides]
            picks = [read_curated(side.study, turn) for side, turn in zip(sides, turns, strict=True)]
            for i, side in enumerate(sides):
                if latest_t(side.study) == t:
                    parent, joined = load_generator(side.study, t), partial(exchanged, picks[1 - i], exchange, side)
                    next_generation(side.study, side.evaluator, parent, turns[i], report, joined)


def exchanged(other: CuratedSet, exchange: float, side: Side, own: CuratedSet) -> CuratedSet:
    """A curated set with the other's rows in it, which come up a share `exchange` of the time; rewards are its own."""
    if not exchange:
        return own
    rewards = side.evaluator.scorer.score(scaled(other.x)).reward
    n, m = len(own.x), len(other.x)
    weights = np.concatenate([np.full(n, (1 - exchange) / n), np.full(m, exchange / m)])
    present = weights > 0
    x, rewards = torch.cat([own.x, other.x])[torch.from_numpy(present)], np.concatenate([own.rewards, rewards])[present]
    return replace(own, x=x, rewards=rewards, weights=weights[present])


def result(first: Study, second: Study, exchange: float) -> MarketResult:
    """The rewards of both by generation, beside the Gaussian oracle where there is one."""
    studies, pairs = (first, second), []
    for rows in zip(first.store.generations(), second.store.generations(), strict=False):
        means = [row.measurements.mean_reward for row in rows]
        pairs.append([(mean.value, mean.se) if mean else (math.nan, math.nan) for mean in means])
    values, errors = (np.array([[cell[i] for cell in row] for row in pairs]) for i in (0, 1))
    last, why = len(values) - 1, no_oracle(studies)
    if why:
        rounds = [MarketRound(t, pair_of(values[t]), pair_of(errors[t])) for t in range(last + 1)]
        return MarketResult(rounds, None, last, None, why)
    configs, sides = [study.config for study in studies], [gaussian_side(study) for study in studies]
    draws = MarketDraws(
        picks=(curated_count(configs[0], len(first.real)), curated_count(configs[1], len(second.real))),
        pools=(configs[0].curation.inf_pool, configs[1].curation.inf_pool),
        chunk=CHUNK,
        shared=configs[0].seed == configs[1].seed,
    )
    exact = market(sides[0], sides[1], exchange, last)
    expected, noise = market_of_picks(sides[0], sides[1], exchange, last, draws, REPETITIONS)
    spread = np.hypot(noise * math.sqrt(1 + 1 / REPETITIONS), errors)
    z = (values - expected) / spread
    few = next((t for t, n in enumerate(tail(sides[0], sides[1], exchange, last, draws), start=1) if n < FEW), None)
    at = last if few is None else few - 1
    rounds = [
        MarketRound(
            t, pair_of(values[t]), pair_of(errors[t]), pair_of(exact[t]) if np.isfinite(exact[t]).all() else None,
            pair_of(expected[t]), pair_of(spread[t]), pair_of(z[t]),
        )
        for t in range(last + 1)
    ]  # fmt: skip
    backfires = backfire(sides[0], sides[1], exchange, at), backfire(sides[1], sides[0], exchange, at)
    return MarketResult(rounds, backfires, at, few, "")


def pair_of(values: np.ndarray) -> tuple[float, float]:
    """The values of both sides."""
    return float(values[0]), float(values[1])


def no_oracle(studies: tuple[Study, Study]) -> str:
    """Why there is no oracle of these studies; empty where there is one."""
    for study in studies:
        config = study.config
        curation = config.curation
        plain = not (config.population or curation.adversarial or curation.lapse or curation.drift)
        if (
            config.network.kind != "gaussian"
            or config.reward.kind != "linear"
            or config.curation.k != "inf"
            or not plain
        ):
            return (
                "they are known for network.kind = 'gaussian', reward.kind = 'linear' and curation.k = 'inf', "
                "with users who are alike and don't lapse"
            )
    return ""


def gaussian_side(study: Study) -> GaussianSide:
    """Generation 0 of a study as the oracle begins with it."""
    first, real = load_generator(study, 0), study.real.x.astype(float)
    assert isinstance(first, Gaussian)
    policy = study.config.policy
    return GaussianSide(
        mean=first.mean.numpy(),
        covariance=first.covariance.numpy(),
        taste=study.config.reward.gamma * np.array(study.config.reward.center),
        lam=math.inf if policy.is_pure else policy.lam,
        real_mean=real.mean(axis=0),
        real_covariance=np.cov(real.T, bias=True),
    )

"""`curate market`: two studies in one market, each trained on its own curated samples and on the other's.

Source: arXiv 2605.29267.
"""

import math
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
from loop.study import MARKET, Study, only_worker
from loop.theory.toy_loops import GaussianSide, backfire, market, market_noise
from loop.training_data import CuratedSet, curated_count, read_curated
from loop.users import SimulatedUsers
from model.generators.estimators import Gaussian
from model.interfaces import Report, scaled

REPETITIONS = 200  # of the oracle with finitely many picks


@dataclass(frozen=True)
class MarketRound:
    """One generation of both studies.

    Attributes:
        t: its number.
        rewards: mean reward of each, by its own user.
        errors: their standard errors, over the samples that they are measured on.
        exact: the oracle's rewards from generation 0; None where there is no oracle.
        z: measured less exact, in standard errors that picks and samples make together; None likewise.
    """

    t: int
    rewards: tuple[float, float]
    errors: tuple[float, float]
    exact: tuple[float, float] | None = None
    z: tuple[float, float] | None = None


@dataclass(frozen=True)
class MarketResult:
    """Both studies' rewards by generation.

    Attributes:
        rounds: by generation.
        backfires: by how much each one's reward at the last generation changes, by the oracle, where its user curates
            by a tenth more strongly; None without an oracle.
        no_oracle: why there is no oracle; empty where there is one.
    """

    rounds: list[MarketRound]
    backfires: tuple[float, float] | None
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
        known, wanted = study.store.status(MARKET), market_of(other, exchange)
        known.pop("at", None)
        latest = study.store.latest_cut()
        if known and known != wanted:
            raise ValueError(
                f"{study.path} is in a market with {known['with']} already, at an exchange of {known['exchange']:g}; "
                "give the same again, or make new studies."
            )
        if not known and latest and latest[0] > 0:
            raise ValueError(
                f"{study.path} has run by itself to generation {latest[0]}; make a new study for a market."
            )


def market_of(other: Study, exchange: float) -> dict[str, object]:
    """A market as each study remembers it."""
    return {"with": str(other.path.resolve()), "exchange": exchange}


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
    with both_workers(first, second):
        for study, other in ((first, second), (second, first)):
            if not study.store.status(MARKET):
                study.store.set_status(MARKET, **market_of(other, exchange))
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
    why = no_oracle(studies)
    exact = z = backfires = None
    if not why:
        sides = [gaussian_side(study) for study in studies]
        last = len(values) - 1
        sizes = tuple(curated_count(study.config, len(study.real)) for study in studies)
        pool = max(study.config.curation.inf_pool for study in studies)
        exact = market(sides[0], sides[1], exchange, last)
        noise = market_noise(sides[0], sides[1], exchange, last, (sizes[0], sizes[1]), pool, REPETITIONS)
        z = (values - exact) / np.hypot(noise, errors)
        backfires = (
            backfire(sides[0], sides[1], exchange, last), backfire(sides[1], sides[0], exchange, last)
        )  # fmt: skip
    rounds = [
        MarketRound(
            t, tuple(values[t].tolist()), tuple(errors[t].tolist()),
            None if exact is None else tuple(exact[t].tolist()), None if z is None else tuple(z[t].tolist()),
        )
        for t in range(len(values))
    ]  # fmt: skip
    return MarketResult(rounds, backfires, why)


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
                "exact rewards are known for network.kind = 'gaussian', reward.kind = 'linear' and curation.k = 'inf', "
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

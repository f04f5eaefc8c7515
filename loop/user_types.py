"""Types of simulated users, with shares and rewards, and the rule by which all of them pick. Torch-free.

A user's taste may follow what is shown (`FollowingUser`): then each generation has a taste of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from data.designs import Designs, parse_weights, to_designs, to_points, weights_on_points
from loop.config import StudyConfig
from loop.theory.population import BestOfK, Curators, Target, Tilt
from loop.theory.toy_loops import turned
from model.config import PREFERENCE_LEARNERS, RewardConfig
from model.luce import LuceRule, RaoKupperRule

ADVERSARY = "adversary"


@dataclass(frozen=True, slots=True)
class UserType:
    """Simulated users of one type.

    Attributes:
        name: recorded with each of their picks; empty where all users are alike.
        share: of all picks.
        reward: what they like; None for the study's own reward.
    """

    name: str
    share: float
    reward: RewardConfig | None = None


def user_types(config: StudyConfig) -> tuple[UserType, ...]:
    """The types of [[population]] by share, and the adversaries of `curation.adversarial`.

    Source: heterogeneous curators, arXiv 2511.09002; adversarial curation, arXiv 2505.09768.
    """
    phi, total = config.curation.adversarial, sum(type_.weight for type_ in config.population)
    honest = tuple(UserType(type_.name, (1 - phi) * type_.weight / total, type_) for type_ in config.population) or (
        UserType("", 1 - phi),
    )
    return (*honest, UserType(ADVERSARY, phi, config.adversary)) if phi else honest


def are_alike(config: StudyConfig) -> bool:
    """True if all simulated users pick by the study's own reward, in every generation."""
    return not config.curation.drift and all(type_.reward is None for type_ in user_types(config))


@dataclass(frozen=True, slots=True)
class FollowingUser:
    """The simulated user whose taste follows what is shown: from generation t it picks by `scale <w_t, phi(x)>`.

    `w_{t+1} = Proj((1 - beta) w_t + beta mean phi(p_{t+1}))`, of length 1, the mean over the samples that generation
    t + 1 is measured on. Of points phi is the point itself, of designs their named numbers as coordinates.

    Attributes:
        first: (d,) w_0, of length 1: the direction of the study's reward.
        scale: length of the reward's weights, gamma included.
        beta: share of the taste that follows.
        family: of the designs; None for points.

    Source: arXiv 2610.09415, whose phi have length 1; here lengths count.
    """

    first: np.ndarray
    scale: float
    beta: float
    family: Designs | None

    @classmethod
    def of(cls, config: StudyConfig) -> Self | None:
        """That of a study; None where tastes stay."""
        if not config.curation.drift:
            return None
        reward, family = config.reward, config.data.family
        if family is None:
            weights = reward.gamma * np.array(reward.center)
        else:
            weights = reward.gamma * weights_on_points(family.factors, parse_weights(reward.weights))
        scale = float(np.linalg.norm(weights))
        return cls(weights / scale, scale, config.curation.drift, family)

    def traits(self, points: np.ndarray) -> np.ndarray:
        """(n, d) phi of (n, d) samples."""
        if self.family is not None:
            points = to_points(self.family.factors, to_designs(self.family.factors, points))
        return points.astype(np.float64)

    def rewards(self, taste: Sequence[float] | np.ndarray, points: np.ndarray) -> np.ndarray:
        """(n,) rewards of (n, d) samples by a (d,) taste."""
        return self.scale * (self.traits(points) @ np.asarray(taste))

    def next_taste(self, taste: Sequence[float] | np.ndarray, points: np.ndarray) -> np.ndarray:
        """(d,) the taste after (n, d) samples of the next generation were shown."""
        shown = self.traits(points).mean(axis=0)
        return turned(np.asarray(taste)[None], shown[None], self.beta)[0]


def luce_rule(config: StudyConfig) -> LuceRule:
    """The rule by which every simulated user picks one of K, given what it likes."""
    curation = config.curation
    return LuceRule(curation.k, curation.lapse, curation.position_bias)


def tie_rule(config: StudyConfig) -> RaoKupperRule:
    """The rule by which they answer a pair of a study with ties."""
    curation = config.curation
    return RaoKupperRule(curation.tie_theta, curation.lapse, curation.position_bias)


def curators(config: StudyConfig) -> Curators:
    """The same users as theory sees them."""
    types, rule = user_types(config), luce_rule(config)
    return Curators((rule,) * len(types), tuple(type_.share for type_ in types), tuple(type_.name for type_ in types))


def target(config: StudyConfig) -> Target | None:
    """The law that the study's learner aims at, where simulated users pick; None where none is claimed.

    DPO's optimum is known where all users pick by the study's reward without lapses or a bias of positions.
    """
    learner, k = config.learner, config.curation.k
    if learner.kind in PREFERENCE_LEARNERS:
        rule = luce_rule(config)
        plain = are_alike(config) and not rule.lapse and not any(rule.position_bias)
        return Tilt(1 / learner.beta) if plain else None
    if learner.kind == "reward_weighted":
        return Tilt(learner.tau)
    return BestOfK(int(k)) if learner.kind == "best_of_k" else curators(config)

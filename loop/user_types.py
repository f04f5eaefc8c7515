"""Types of simulated users, with shares and rewards, and the rule by which all of them pick. Torch-free."""

from dataclasses import dataclass

from loop.config import StudyConfig
from loop.theory.population import BestOfK, Curators, Target, Tilt
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
    """True if all simulated users pick by the study's own reward."""
    return all(type_.reward is None for type_ in user_types(config))


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

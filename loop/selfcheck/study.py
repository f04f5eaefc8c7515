"""All checks of one study, generation by generation and over the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from data.records import Evaluated
from data.store import Store
from loop.config import StudyConfig
from loop.selfcheck.picks import frequencies, positions, scale, weighed_draws
from loop.selfcheck.rule import Choices, DeclaredRule, choices_of, read_items, whole_slates
from loop.selfcheck.slates import against_evaluation, counts, disjoint, drawn_again, exchangeable, shares
from loop.selfcheck.verdicts import Check, Finding, judge
from loop.user_types import user_types

PICK_CHECKS = (frequencies, scale, positions)
UNCHECKED = {
    "human": "people, whose reward is unknown",
    "proxy": "the proxy, whose utilities are not the recorded rewards",
}

UNKEPT = "this study's version kept no evaluation"
FOREIGN = "in this replay they are another study's generator's"


@dataclass
class _Gathered:
    """The data kept of the generations while they are read one after the other."""

    findings: list[Finding] = field(default_factory=list)
    blocks: list[Choices] = field(default_factory=list)
    samples: int = 0
    again: int = 0
    foreign: int = 0
    picks: dict[int, int] = field(default_factory=dict)  # by rater


def self_checks(study_store: Store, config: StudyConfig) -> list[Check]:
    """Compares what a study holds with what it declares.

    Picks of simulated users are held against Luce's rule on the recorded rewards; slates of all kinds must be disjoint
    plain draws; counts must agree. Each check is made for every generation, and over the whole study first.

    Args:
        study_store: the study's database; it is only read.
        config: the study's settings, of which `curation` and the users count.

    Returns:
        Over the whole study, then by generation; verdicts are corrected for their number.
    """
    with study_store.read():
        raters, generations = study_store.rater_types(), study_store.generations()
        gathered = _Gathered()
        for generation in generations:
            _look_at(study_store, config, generation.t, raters, gathered)
        whole = _of_picks(gathered.blocks, _rule(config), None)
        whole += _of_other_picks(gathered.picks, raters)
        whole += _of_types(config, gathered.picks, raters)
        shared = study_store.shared_samples()
        whole.append(disjoint(gathered.samples, shared, gathered.again, gathered.foreign))
        return judge([*whole, *gathered.findings, *counts(study_store, generations)])


def _look_at(
    store: Store, config: StudyConfig, t: int, raters: Mapping[int, tuple[str, str | None]], gathered: _Gathered
) -> None:
    """Adds the findings about generation t's slates, and keeps what the whole study's need."""
    items = read_items(store, t)
    foreign = t in store.foreign_generations()
    finite, slates, fresh = items[items["k"] > 0], whole_slates(items), None if foreign else store.evaluation(t)
    blocks = [block for block in choices_of(slates, _ids(raters, "sim")) if _rule(config).fits(block)]
    if blocks:
        gathered.findings += _of_picks(blocks, _rule(config), t)
    gathered.findings += _of_draws(slates, fresh, t, FOREIGN if foreign else UNKEPT)
    gathered.findings += _of_infinite(items[items["k"] == 0], fresh, config, t, raters)
    gathered.blocks += blocks
    gathered.samples += len(finite)
    gathered.again += drawn_again(finite)
    gathered.foreign += int((finite["t"] != t).sum())
    first = items[(items["position"] == 0) & (items["picked"] >= 0)]
    for rater, n in zip(*np.unique(first["rater"], return_counts=True), strict=True):
        gathered.picks[int(rater)] = gathered.picks.get(int(rater), 0) + int(n)


def _rule(config: StudyConfig) -> DeclaredRule:
    return DeclaredRule(config.curation.lapse, config.curation.position_bias)


def _ids(raters: Mapping[int, tuple[str, str | None]], kind: str) -> np.ndarray:
    return np.array([id_ for id_, (its_kind, _) in raters.items() if its_kind == kind], dtype=np.int64)


def _of_picks(blocks: Sequence[Choices], rule: DeclaredRule, t: int | None) -> list[Finding]:
    if not blocks:
        return []
    return [check(blocks, rule, t) for check in PICK_CHECKS]


def _of_other_picks(picks: Mapping[int, int], raters: Mapping[int, tuple[str, str | None]]) -> list[Finding]:
    """That the picks of people and of the proxy can't be held against the rewards, if there are any."""
    found = []
    for kind, who in UNCHECKED.items():
        n = sum(picks.get(int(id_), 0) for id_ in _ids(raters, kind))
        if n:
            found.append(Finding("pick frequencies", None, n, f"{n:,} picks of {who}", "only their slates are checked"))
    return found


def _of_types(
    config: StudyConfig, picks: Mapping[int, int], raters: Mapping[int, tuple[str, str | None]]
) -> list[Finding]:
    """Checks that each type of simulated user gives its share; nothing where all are alike."""
    declared = {type_.name: type_.share for type_ in user_types(config)}
    found: dict[str, int] = {}
    for id_, n in picks.items():
        kind, type_ = raters.get(id_, ("", None))
        if kind == "sim":
            found[type_ or ""] = found.get(type_ or "", 0) + n
    return [shares(found, declared)] if found and {*found, *declared} != {""} else []


def _of_draws(slates: Mapping[int, np.ndarray], fresh: Evaluated | None, t: int, unknown: str) -> list[Finding]:
    """Checks that the slates of finite K are plain draws by the study's reward; `unknown` says why nothing is fresh."""
    rewards = {k: items["reward"][np.isfinite(items["reward"]).all(axis=1)] for k, items in slates.items()}
    rewards = {k: some for k, some in rewards.items() if len(some)}
    if not rewards:
        return []
    found = exchangeable(rewards, t)
    shown = np.concatenate([some.ravel() for some in rewards.values()])
    if fresh is None:
        compared = f"Rewards of {len(shown):,} samples in slates against fresh ones"
        return [Finding("fresh draws", t, len(shown), compared, unknown), *found]
    return [against_evaluation(shown, fresh.rewards[0], t), *found]


def _of_infinite(
    items: np.ndarray,
    fresh: Evaluated | None,
    config: StudyConfig,
    t: int,
    raters: Mapping[int, tuple[str, str | None]],
) -> list[Finding]:
    """Checks that the picks of K = inf are draws by weight, for each type of user by what it likes."""
    if fresh is None or not len(items):
        return []
    found, curation = [], config.curation
    for place, type_ in enumerate(user_types(config)):
        ids = [id_ for id_, rater in raters.items() if rater == ("sim", type_.name or None)]
        picked = items["operative"][np.isin(items["rater"], ids) & np.isfinite(items["operative"])]
        row = place + 1 if len(fresh.rewards) > 1 else 0
        if len(picked):
            per_pick = curation.inf_pool * len(items) / len(picked)  # all types pick from one pool
            found.append(weighed_draws(picked, fresh.rewards[row], curation.lapse, per_pick, t))
    return found

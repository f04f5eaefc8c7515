"""All checks of one study, generation by generation and over the whole."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from data.records import Evaluated, Generation
from data.store import Store, queries
from loop.conditions import StudyConditions
from loop.config import StudyConfig
from loop.selfcheck.picks import frequencies, positions, scale, weighed_draws
from loop.selfcheck.rule import AnsweredSlates, DeclaredRule, TieRule, answered_by, read_items, whole_slates, worst_of
from loop.selfcheck.slates import (
    against_evaluation,
    conditions_asked,
    counts,
    disjoint,
    drawn_again,
    exchangeable,
    shares,
)
from loop.selfcheck.verdicts import Check, Finding, judge
from loop.user_types import FollowingUser, user_types
from model.config import Conditions

PICK_CHECKS = (frequencies, scale, positions)
TIE_CHECKS = (frequencies, positions)
MOST_TASTED = 1_000  # samples of a generation's slates whose rewards are worked out again
TASTE_ROUNDING = 1e-4  # points are stored in single precision
UNCHECKED = {
    "human": "people, whose reward is unknown",
    "proxy": "the proxy, whose utilities are not the recorded rewards",
}

NO_EVALUATION = "this study's version kept no evaluation"
FOREIGN = "in this replay they are another study's generator's"
RaterTypes = Mapping[int, tuple[str, str | None]]  # (kind, type) by rater id


@dataclass
class StudyTotals:
    """Findings about single generations, and the data that checks of the whole study need.

    Attributes:
        findings: about generations.
        blocks: answered slates of simulated users.
        worst: what their best picks left, and the worst picked from it.
        samples: in curation slates of finite K.
        again: of them, drawn with the generation and seed of another.
        foreign: of them, of another generation than their slate.
        picks: by rater.
    """

    findings: list[Finding] = field(default_factory=list)
    blocks: list[AnsweredSlates] = field(default_factory=list)
    worst: list[AnsweredSlates] = field(default_factory=list)
    samples: int = 0
    again: int = 0
    foreign: int = 0
    picks: dict[int, int] = field(default_factory=dict)


def self_checks(
    store: Store, config: StudyConfig, on_share: Callable[[float], object] = lambda share: None
) -> list[Check]:
    """Compares the data of a study with the process that it declares.

    Picks of simulated users are held against Luce's rule on the recorded rewards; slates of all kinds must be disjoint
    plain draws; counts must agree. Each check is made for every generation, and over the whole study first.

    Args:
        store: the study's database; it is only read.
        config: the study's settings, of which `curation` and the users count.
        on_share: called with the share done.

    Returns:
        Over the whole study, then by generation; verdicts are corrected for their number.
    """
    rule = declared_rule(config)
    with store.read():
        raters, generations = queries.rater_types(store), store.generations()
        totals = StudyTotals()
        for done, generation in enumerate(generations):
            check_generation(store, config, generation, raters, totals)
            on_share((done + 1) / (len(generations) + 1))  # the whole takes about as long again
        whole = pick_findings(totals.blocks, totals.worst, rule, None)
        for kind, description in UNCHECKED.items():
            n = sum(totals.picks.get(int(id_), 0) for id_ in ids_of(raters, kind))
            if n:
                compared, outcome = f"{n:,} picks of {description}", "only their slates are checked"
                whole.append(Finding("pick frequencies", None, n, compared, outcome))
        whole += type_shares(config, totals.picks, raters)
        whole += taste_rule(store, config, generations)
        whole.append(disjoint(totals.samples, queries.count_shared_samples(store), totals.again, totals.foreign))
        return judge([*whole, *totals.findings, *counts(store, generations)])


def declared_rule(config: StudyConfig) -> DeclaredRule:
    """The rule by which a study's settings say that simulated users pick."""
    curation = config.curation
    if config.slates.ties:
        return TieRule(curation.lapse, curation.position_bias, curation.tie_theta)
    return DeclaredRule(curation.lapse, curation.position_bias)


def pick_findings(
    blocks: list[AnsweredSlates], worst: list[AnsweredSlates], rule: DeclaredRule, t: int | None
) -> list[Finding]:
    """The checks of picks, and of picks of a worst one, which lapse alike and have the bias in their rewards."""
    checks = TIE_CHECKS if isinstance(rule, TieRule) else PICK_CHECKS
    findings = [check(blocks, rule, t) for check in checks] if blocks else []
    if worst:
        for finding in (check(worst, DeclaredRule(rule.lapse), t) for check in (frequencies, scale)):
            compared = finding.compared.replace("simulated picks", "simulated picks of the worst")
            findings.append(replace(finding, name=f"worst: {finding.name}", compared=compared))
    return findings


def ids_of(raters: RaterTypes, kind: str) -> np.ndarray:
    """The ids of the raters of one kind."""
    return np.array([id_ for id_, (its_kind, _) in raters.items() if its_kind == kind], dtype=np.int64)


def check_generation(
    store: Store, config: StudyConfig, generation: Generation, raters: RaterTypes, totals: StudyTotals
) -> None:
    """Adds the findings about a generation's slates to the totals, and the data that the whole study's checks need."""
    t = generation.t
    items, rule = read_items(store, t), declared_rule(config)
    if t == 0 and store.status("replay").get("imported"):
        compared = f"{len(np.unique(items['slate'])):,} slates of an imported log"
        totals.findings.append(Finding("fresh draws", t, 0, compared, "nothing is known of what drew them"))
        return
    foreign = t in queries.foreign_generations(store)
    finite, slates, fresh = items[items["k"] > 0], whole_slates(items), None if foreign else store.evaluation(t)
    simulated, ties = ids_of(raters, "sim"), isinstance(rule, TieRule)
    blocks = [block for block in answered_by(slates, simulated, ties) if rule.fits(block)]
    worst = worst_of(slates, simulated, rule.bias)
    totals.findings += pick_findings(blocks, worst, rule, t)
    conditions = SlateConditions.of(store, generation, fresh)
    totals.findings += finite_draws(slates, fresh, t, FOREIGN if foreign else NO_EVALUATION, conditions)
    totals.findings += infinite_draws(items[items["k"] == 0], fresh, config, t, raters, conditions)
    if conditions and conditions.declared and not foreign:
        totals.findings.append(conditions.asked(t))
    totals.blocks += blocks
    totals.worst += worst
    totals.samples += len(finite)
    totals.again += drawn_again(finite)
    totals.foreign += int((finite["t"] != t).sum())
    first = items[(items["position"] == 0) & (items["picked"] >= 0)]
    for rater, n in zip(*np.unique(first["rater"], return_counts=True), strict=True):
        totals.picks[int(rater)] = totals.picks.get(int(rater), 0) + int(n)


@dataclass(frozen=True, slots=True)
class SlateConditions:
    """The conditions of a generation's curation slates, and of the samples that it was measured on.

    Attributes:
        declared: names and weights; empty in an imported log.
        of_slates: names by the slate's id.
        seeds: of these slates, in the same order.
        fresh: (m,) names, of the evaluation's samples; empty without one.
    """

    declared: Conditions
    of_slates: Mapping[int, str]
    seeds: Sequence[int]
    fresh: np.ndarray

    @classmethod
    def of(cls, store: Store, generation: Generation, fresh: Evaluated | None) -> Self | None:
        """Those of a generation; None where no slate has a condition."""
        known, rows = generation.measurements, queries.asked_conditions(store, generation.t)
        if not any(name for _, _, name in rows):
            return None
        numbers = () if fresh is None or fresh.conditions is None else fresh.conditions
        return cls(
            declared=Conditions(known.conditions, known.condition_weights),
            of_slates={id_: name for id_, _, name in rows},
            seeds=[seed for _, seed, _ in rows],
            fresh=np.array([known.conditions[number] for number in numbers], dtype=object),
        )

    def under(self, slates: np.ndarray) -> np.ndarray:
        """(n,) names of the conditions of (n,) slates."""
        return np.array([self.of_slates[id_] for id_ in slates.tolist()], dtype=object)

    def asked(self, t: int) -> Finding:
        """The check that the slates are of the conditions that their seeds and the weights ask for."""
        by_number = StudyConditions(self.declared, (-1,) * len(self.declared))
        names = list(self.of_slates.values())
        drawn = [self.declared.names[number] for number in by_number.of_seeds(self.seeds)]
        wrong = sum(name != by_seed for name, by_seed in zip(names, drawn, strict=True))
        weights = dict(zip(self.declared.names, self.declared.weights, strict=True))
        return conditions_asked(names, wrong, weights, t)


def type_shares(config: StudyConfig, picks: Mapping[int, int], raters: RaterTypes) -> list[Finding]:
    """Checks that each type of simulated user gives its share; nothing where all are alike."""
    declared = {type_.name: type_.share for type_ in user_types(config)}
    by_type: dict[str, int] = {}
    for id_, n in picks.items():
        kind, type_ = raters.get(id_, ("", None))
        if kind == "sim":
            by_type[type_ or ""] = by_type.get(type_ or "", 0) + n
    return [shares(by_type, declared)] if by_type and {*by_type, *declared} != {""} else []


def taste_rule(store: Store, config: StudyConfig, generations: Sequence[Generation]) -> list[Finding]:
    """Checks that a taste which follows what is shown did so by its rule, and that rewards are by it; else nothing.

    Tastes are worked out again from the samples that generations were measured on, rewards from the points in slates.
    """
    user = FollowingUser.of(config)
    if user is None or not generations:
        return []
    drawn, wrong, n = np.array(queries.drawn_samples(store), dtype=np.int64).reshape(-1, 2), [], 0
    for place, now in enumerate(generations):
        fresh, taste = store.evaluation(now.t), np.array(now.measurements.taste)
        if fresh is None or fresh.points is None:
            continue
        ideal = user.next_taste(generations[place - 1].measurements.taste, fresh.points) if place else user.first
        ids = drawn[drawn[:, 0] == now.t, 1][:MOST_TASTED].tolist()
        rows = queries.samples_by_id(store, ids) if ids else []
        points = np.array([json.loads(row["point_json"]) for row in rows] or np.empty((0, fresh.points.shape[1])))
        pairs = [(taste, ideal), (fresh.rewards[-1], user.rewards(ideal, fresh.points))]
        pairs.append((np.array([row["operative_reward"] for row in rows], dtype=float), user.rewards(ideal, points)))
        n += len(fresh.labels) + len(rows)
        if not all(own.shape == by.shape and np.allclose(own, by, rtol=0, atol=TASTE_ROUNDING) for own, by in pairs):
            wrong.append(str(now.t))
    outcome = f"not by the declared rule in generation {', '.join(wrong)}" if wrong else "by the declared rule"
    compared = f"Tastes of the simulated user by generation, and {n:,} rewards by them"
    meaning = "Picks were made by another taste than curation.drift and what was shown lead to."
    return [Finding("taste", None, n, compared, outcome, meaning, broken=bool(wrong))]


def finite_draws(
    slates: Mapping[int, np.ndarray], fresh: Evaluated | None, t: int, reason: str, conditions: SlateConditions | None
) -> list[Finding]:
    """Checks that the slates of finite K are plain draws by the study's reward.

    Args:
        slates: (n, K) items by K.
        fresh: the generation's evaluation; None where there is none.
        t: the generation.
        reason: why there is none.
        conditions: of the slates; None in a study without.
    """
    known = {k: items[np.isfinite(items["reward"]).all(axis=1)] for k, items in slates.items()}
    rewards = {k: items["reward"] for k, items in known.items() if len(items)}
    if not rewards:
        return []
    under = conditions and {k: conditions.under(known[k]["slate"][:, 0]) for k in rewards}
    findings = exchangeable(rewards, t, under)
    shown = np.concatenate([values.ravel() for values in rewards.values()])
    if fresh is None:
        compared = f"Rewards of {len(shown):,} samples in slates against fresh ones"
        return [Finding("fresh draws", t, len(shown), compared, reason), *findings]
    of = None
    if conditions and under:
        of = np.concatenate([np.repeat(names, k) for k, names in under.items()]), conditions.fresh
    return [against_evaluation(shown, fresh.rewards[0], t, of), *findings]


def infinite_draws(
    items: np.ndarray,
    fresh: Evaluated | None,
    config: StudyConfig,
    t: int,
    raters: RaterTypes,
    conditions: SlateConditions | None,
) -> list[Finding]:
    """Checks that the picks of K = inf are draws by weight, for each type of user by its own reward."""
    if fresh is None or not len(items):
        return []
    findings, curation = [], config.curation
    for place, type_ in enumerate(user_types(config)):
        ids = [id_ for id_, rater in raters.items() if rater == ("sim", type_.name or None)]
        chosen = items[np.isin(items["rater"], ids) & np.isfinite(items["operative"])]
        row = place + 1 if len(fresh.rewards) > 1 else 0
        if len(chosen):
            per_pick = curation.inf_pool * len(items) / len(chosen)  # all types pick from one pool
            under = (conditions.under(chosen["slate"]), conditions.fresh) if conditions else None
            picked = chosen["operative"], fresh.rewards[row]
            findings.append(weighed_draws(*picked, curation.lapse, per_pick, t, under))
    return findings

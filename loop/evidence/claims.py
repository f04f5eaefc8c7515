"""The theorem's promises held against measurements, by generation: margins with standard errors, no verdicts.

A margin is how far on the right side of a claim a measurement lies; for a claim of equality it is the difference.
Where a figure can't be trusted (too few samples behind it, or nothing to gain), the margin says so (`undecidable`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from data.measurements import DensityDivergence, Divergence, Mean
from loop.evidence.prediction import FromStart, Moments, difference_and_se, value_and_se
from loop.policy import DataPolicy
from loop.theory import bounds
from model.config import PREFERENCE_LEARNERS, LearnerKind
from model.luce import LuceRule

Kind = Literal["at least", "equal", "not above, by a lower bound"]
Condition = Literal[
    "own picks", "real data", "plain users", "pure loop", "mix", "supremum", "top samples", "small lam",
    "density ratio", "K = inf", "prediction", "start",
]  # fmt: skip
TOLERANCE = 0.1  # of the predicted gain: a claim of equality holds within it
KNOWN_GAIN = 3.0  # standard errors under which a predicted gain is too uncertain for claims of equality, and for ratios
LEAST_EFFECTIVE = 200.0  # effective sample size under which a mean of w isn't trusted
AUDIT = "an audit of several studies, whose generations don't come from each other"
TIES = (
    "does not apply: ties. It speaks of users who pick one of each slate, and of a tie one of the two trains at random"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, its source, the kind of its margin, and the conditions under which it is claimed."""

    name: str
    statement: str
    source: Literal["theorem", "derived", "prediction"]
    conditions: tuple[Condition, ...]
    kind: Kind = "at least"


@dataclass(frozen=True, slots=True)
class Margin:
    """A claim at one generation, measured.

    Attributes:
        measured: (value, standard error) of what is claimed about; None where it has no finite estimate.
        bound: floor, ceiling or predicted value.
        margin: (value, standard error); None likewise.
        start: E[w] that the predicted gain is counted from; None for claims on something else.
        gain: predicted, from `start`, with its standard error.
        tolerance: of a claim of equality: how large a difference is still none.
        paper_bound: the bound as printed, where the claim has a sharper or more general one.
        undecidable: why no verdict can be given whatever the figures are; may be empty.
        effective: effective sample size behind E[w]; inf where the claim is on something else.
        note: what else there is to say of the verdict; may be empty.
    """

    claim: Claim
    t: int
    measured: tuple[float, float] | None
    bound: float
    margin: tuple[float, float] | None
    start: float | None = None
    gain: tuple[float, float] | None = None
    tolerance: float = 0.0
    paper_bound: float | None = None
    undecidable: str = ""
    effective: float = math.inf
    note: str = ""


@dataclass(frozen=True, slots=True)
class Inapplicable:
    """A claim whose conditions aren't met, at every generation."""

    claim: Claim
    reason: str


@dataclass(frozen=True)
class Loop:
    """All that the claims need to know of a loop; moments and noises are by generation.

    Attributes:
        rule: by which the users pick.
        policy: what trains a generation.
        plain: whether all users pick by the study's reward, without lapses or a bias, and none of them is a person.
        own: measured.
        predicted: one step from the generation before; None for generation 0.
        from_start: many steps from generation 0; None where it wasn't computed.
        pick_noise: standard error of E[w] (and of E[r]) of a training set that the finite number of picks makes.
        top_share: (B + 1,) share of samples with the highest reward; empty where that set has no mass.
        real: the real data's moments; None where they weren't stored.
        divergence: of each generation from the real data.
        w_sup: the supremum of w = exp(r) that the reward declares; inf where it declares none.
        effective: effective sample size behind E[w] of each generation, of its prediction and of what they rest on.
        own_picks: whether each generation is trained on picks from samples of the one before; in a replay with other
            settings it isn't.
        learner: by which the next generation comes from a round's slates.
        starts_at_real: whether generation 0's law is that of the real data exactly (the control that copies them).
        ties: whether "both are as good" is an answer, of which one of the two trains: no claim is about that.
        audits: whether the generations come from several studies, so that none is trained on another.
        from_generation: whether generation 1's set stands for the real data (`mix.origin`).
        optimum: the law at which a learner's loss is least, in words, where it is reached at the optimum alone.
        imported: whether generation 1 was trained on an imported log.
        changed: which setting of the rule was changed between generations, in words; empty where none was.
    """

    rule: LuceRule
    policy: DataPolicy
    plain: bool
    own: list[Moments]
    predicted: list[Moments | None]
    from_start: FromStart | None
    pick_noise: list[tuple[float, float]]
    top_share: list[np.ndarray]
    real: Moments | None
    divergence: list[Divergence]
    w_sup: float
    effective: list[float] = field(default_factory=list)
    own_picks: bool = True
    learner: LearnerKind = "curate"
    starts_at_real: bool = False
    ties: bool = False
    audits: bool = False
    from_generation: bool = False
    optimum: str = ""
    imported: bool = False
    changed: str = ""

    def effective_at(self, t: int) -> float:
        """The least effective sample size behind E[w] of generation t and of what it is compared with."""
        return min(self.effective[: t + 1][-2:], default=math.inf)

    def unmet(self) -> dict[Condition, str]:
        """The conditions of claims that this loop doesn't meet, and why."""
        k, policy = self.rule.k, self.policy
        reasons: dict[Condition, str] = {}
        if self.imported:
            reasons["own picks"] = (
                "it speaks of picks from each generation's own samples; generation 1 was trained on an imported log, "
                "and what drew the samples of that isn't known"
            )
        elif not self.own_picks:
            reasons["own picks"] = (
                "it speaks of picks from each generation's own samples; those of a market, and of a "
                "replay from generation 2 on, were made from samples of another study's generators"
            )
        elif self.changed:
            reasons["own picks"] = f"it speaks of one rule at every generation; {self.changed}"
        if policy.is_mixed and self.real is None:
            reasons["real data"] = "the real data's rewards weren't stored"
        if self.learner != "curate":
            reasons["plain users"] = f"it speaks of training on what was picked; here the learner is {self.learner}"
        elif not self.plain:
            reasons["plain users"] = "it speaks of users who all pick by one known reward, without lapses or a bias"
        if not policy.is_pure:
            reasons["pure loop"] = f"it speaks of the pure loop; here it is {policy}"
        if not policy.is_mixed:
            here = "the pure loop" if policy.is_pure else str(policy)
            reasons["mix"] = f"it speaks of a mix with real data; here it is {here}"
        elif self.from_generation:
            reasons["mix"] = "it speaks of a mix with real data; here generation 1's set stands for them"
        if not math.isfinite(self.w_sup):
            reasons["supremum"] = (
                "it needs w*, the supremum of exp(r), and this reward declares none (of your own: set "
                "reward.supremum, to 300 at most)"
            )
        if not self.top_share:
            reasons["top samples"] = "no share of the first generation has the highest reward, so it has no start"
        if policy.is_mixed and not bounds.c5_applies(k, policy.lam):
            limit = "" if k == "inf" else f" = {1 / (k - 1):.3g}"
            reasons["small lam"] = f"it needs lam < 1/(K-1){limit}; lam is {policy.lam:g} and K is {k}"
        if not self.starts_at_real and not any(row.density and row.density.ceiling for row in self.divergence):
            reasons["density ratio"] = (
                "it needs p_0 = p_ref, or the density ratio of generation 0 to the real data, which is known for flows "
                "of points alone"
            )
        if k != "inf":
            reasons["K = inf"] = f"it speaks of K = inf; here K is {k}"
        if not any(self.predicted):
            reasons["prediction"] = "there is nothing to predict from: the reward is people's own, or unknown"
            if self.learner in PREFERENCE_LEARNERS:
                reasons["prediction"] = (
                    "where DPO leads is known for users alike who never lapse and favour no position"
                )
        if len(self.own) < 2:
            reasons["prediction"] = "there is no generation after the first yet"
            if "density ratio" in reasons:
                reasons["density ratio"] = reasons["prediction"]
        if not self.from_start:
            reasons["start"] = "what follows from generation 0 is worked out in `curate report` alone"
        return reasons


PURE: tuple[Condition, ...] = ("own picks", "plain users", "pure loop")
MIXED: tuple[Condition, ...] = ("own picks", "real data", "plain users", "mix")
C1 = Claim("C1", "E[w] rises by at least (K-1)/K Var[w] / w*", "theorem", (*PURE, "supremum"))
C2 = Claim(
    "C2",
    "the share of samples with the highest reward never falls, so KL(p* || p_t) doesn't rise",
    "derived",
    (*PURE, "supremum", "top samples"),
)
C3 = Claim("C3", "the mean reward never falls", "derived", PURE)
C4 = Claim(
    "C4",
    "E[w] is at least E_ref + a V + a^t (E_0 - E_ref + V_0 - V), V = (K-1)/K Var_ref / w*, a = lam/(1+lam)",
    "derived",
    (*MIXED, "supremum", "start"),
)
C4_STEP = Claim(
    "C4 one step",
    "E[w] is at least E_ref/(1+lam) + lam/(1+lam) (E_t + (K-1)/K Var_t / w*) one step on",
    "derived",
    (*MIXED, "supremum"),
)
C5 = Claim(
    "C5",
    "KL(p_t || p_ref) stays under the ceiling that the density ratio of generation 0 allows",
    "derived",
    (*MIXED, "small lam", "density ratio"),
)
C5_REVERSE = Claim("C5 reversed", "KL(p_ref || p_t) stays under log(1 + lam)", "derived", MIXED[1:])
C6 = Claim(
    "C6", "at K = inf the loop is at p_0 exp(t r), as RLHF with beta = 1/t", "theorem", (*PURE, "K = inf", "start"),
    "equal",
)  # fmt: skip
STEP = Claim(
    "one step",
    "E[w] is what the exact operator predicts from the generation before",
    "prediction",
    ("own picks", "prediction"),
    "equal",
)
MANY = Claim(
    "many steps",
    "E[w] is what the exact operator predicts from generation 0",
    "prediction",
    ("own picks", "prediction", "start"),
    "equal",
)
TRANSMISSION = Claim(
    "transmission",
    "over all generations E[w] gained what the exact operator predicts, step by step",
    "prediction",
    ("own picks", "prediction"),
    "equal",
)


def examine(loop: Loop) -> Iterator[Margin | Inapplicable]:
    """Every claim at every generation that it speaks of, or why it doesn't."""
    unmet = loop.unmet()
    for claim, margins in MARGINS:
        if loop.audits or loop.ties:
            yield Inapplicable(claim, AUDIT if loop.audits else TIES)
            continue
        reasons = [unmet[condition] for condition in claim.conditions if condition in unmet]
        if reasons:
            yield Inapplicable(claim, reasons[0])
        elif loop.optimum and "prediction" in claim.conditions:
            gap = (
                f"the gap to {loop.optimum}, which {loop.learner} reaches at its optimum alone: from finitely many "
                "picks and steps, and by estimates of log-likelihoods (docs/learners.md has how far it usually gets)"
            )
            yield from (replace(margin, note=gap) for margin in margins(loop, claim))
        else:
            yield from margins(loop, claim)


def rise_of_mean_w(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Margins of E[w] over C1's floor: that of the generation before, and its slack."""
    for t, (before, now) in enumerate(pairwise(loop.own), start=1):
        floor = before.mean_w + bounds.slack(loop.rule.k) * before.var_w / loop.w_sup
        yield _above(loop, claim, t, now.mean_w, floor, loop.pick_noise[t][0], loop.predicted[t], before)


def rise_of_top_share(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Margins of the share of samples with the highest reward over that of the generation before (C2).

    The error that finitely many picks add to a share follows from that of E[w]: both fall as one over the root of the
    same number of picks.
    """
    for t, (before, now) in enumerate(pairwise(loop.top_share), start=1):
        noise, spread = loop.pick_noise[t][0], math.sqrt(float(loop.own[t].var_w[0]))
        share_noise = noise / spread * math.sqrt(max(now[0] * (1 - now[0]), 0.0)) if noise and spread else 0.0
        value, se = value_and_se(now - before)
        yield Margin(claim, t, value_and_se(now), float(before[0]), (value, math.hypot(se, share_noise)))


def rise_of_mean_reward(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Margins of E[r] over that of the generation before (C3)."""
    for t, (before, now) in enumerate(pairwise(loop.own), start=1):
        value, se = value_and_se(now.mean_reward - before.mean_reward)
        margin = (value, math.hypot(se, loop.pick_noise[t][1]))
        yield Margin(claim, t, value_and_se(now.mean_reward), float(before.mean_reward[0]), margin)


def mean_w_over_floor(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Margins of E[w] over C4's floor, from generation 0."""
    assert loop.real is not None and loop.from_start is not None
    lam, k, first = loop.policy.lam, loop.rule.k, loop.own[0]
    mean_ref, var_ref = float(loop.real.mean_w[0]), float(loop.real.var_w[0])
    paper = bounds.c4_floor_paper(mean_ref, var_ref, loop.w_sup, k, lam)
    for t, now in enumerate(loop.own[1:], start=1):
        floor = bounds.c4_floor_from(mean_ref, var_ref, first.mean_w, first.var_w, loop.w_sup, k, lam, t)
        noise = float(loop.from_start.pick_noise[t])
        margin = _above(loop, claim, t, now.mean_w, floor, noise, loop.from_start.moments[t], first)
        yield replace(margin, paper_bound=paper)


def mean_w_over_step_floor(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Margins of E[w] over C4's floor, from the generation before."""
    assert loop.real is not None
    lam, mean_ref = loop.policy.lam, float(loop.real.mean_w[0])
    for t, (before, now) in enumerate(pairwise(loop.own), start=1):
        gained = before.mean_w + bounds.slack(loop.rule.k) * before.var_w / loop.w_sup
        floor = (mean_ref + lam * gained) / (1 + lam)
        yield _above(loop, claim, t, now.mean_w, floor, loop.pick_noise[t][0], loop.predicted[t], before)


def kl_under_ceiling(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Margins of KL(p_t || p_ref) under C5's ceiling, by densities, or of the control over cells."""
    k, lam = loop.rule.k, loop.policy.lam
    paper = bounds.c5_ceiling(k, lam)
    for t, divergence in enumerate(loop.divergence):
        density = divergence.density
        if t and density and density.ceiling:
            margin = _below(claim, t, density.kl, density.ceiling)
            yield replace(margin, paper_bound=paper, note=_learning_error(loop, lambda density: density.kl))
        elif t and loop.starts_at_real and divergence.kl:
            margin = _on_cells(claim, t, divergence, divergence.kl, Mean(value=bounds.c5_ceiling_sharp(k, lam)))
            yield replace(margin, paper_bound=paper)


def reverse_kl_under_ceiling(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Margins of KL(p_ref || p_t) under log(1 + lam), by densities where they are known, else over cells.

    Over a cell in which no sample fell the divergence is infinite as counted, and unknown in truth.
    """
    ceiling = Mean(value=bounds.c5_reverse_ceiling(loop.policy.lam))
    for t, divergence in enumerate(loop.divergence):
        if t and divergence.density:
            margin = _below(claim, t, divergence.density.kl_reverse, ceiling)
            yield replace(margin, note=_learning_error(loop, lambda density: density.kl_reverse))
        elif t and "kl_reverse" in divergence.model_fields_set:
            margin, undecidable = _on_cells(claim, t, divergence, divergence.kl_reverse, ceiling), ""
            if divergence.kl_reverse is None or divergence.empty:
                which = f"{divergence.empty} of " if divergence.empty else "some of "
                undecidable = (
                    f"no sample fell into {which}{_cells(divergence)}, where KL(p_ref || p_t) as counted is infinite"
                )
            elif divergence.cells is None:
                undecidable = "an older version measured it, which counted a cell without a sample as half of one"
            yield replace(margin, undecidable=undecidable, note="" if undecidable else margin.note)


def step_predictions(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Differences of E[w] from the prediction from the generation before."""
    for t, (now, predicted) in enumerate(zip(loop.own, loop.predicted, strict=True)):
        if predicted is not None:
            noise = loop.pick_noise[t][0]
            yield _equal(loop, claim, t, now.mean_w, predicted.mean_w, loop.own[t - 1].mean_w, noise)


def start_predictions(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Differences of E[w] from the prediction from generation 0."""
    assert loop.from_start is not None
    for t in range(1, len(loop.own)):
        now, predicted, first = loop.own[t].mean_w, loop.from_start.moments[t].mean_w, loop.own[0].mean_w
        size, noise = min(len(now), len(predicted)), float(loop.from_start.pick_noise[t])
        margin = _equal(loop, claim, t, now[:size], predicted[:size], first[:size], noise)
        effective = float(loop.from_start.effective[t])
        undecidable = _too_few(effective) or margin.undecidable
        yield replace(margin, undecidable=undecidable, effective=min(effective, margin.effective))


def overall_transmission(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """The difference of all steps together, which are nearly independent: their errors add up in squares."""
    turns = [t for t, predicted in enumerate(loop.predicted) if predicted is not None]
    wanted = sum(now.mean_w - loop.own[t - 1].mean_w for t, now in enumerate(loop.predicted) if now is not None)
    gained = sum(loop.own[t].mean_w - loop.own[t - 1].mean_w for t in turns)
    noise = math.sqrt(sum(loop.pick_noise[t][0] ** 2 for t in turns))
    zero = np.zeros_like(np.asarray(wanted))
    margin = _equal(loop, claim, turns[-1], np.asarray(gained), np.asarray(wanted), zero, noise)
    effective = min((loop.effective_at(t) for t in turns), default=math.inf)
    undecidable = _too_few(effective) or margin.undecidable
    assert margin.gain
    yield replace(margin, start=None, bound=margin.gain[0], undecidable=undecidable, effective=effective)


MARGINS: tuple[tuple[Claim, Callable[[Loop, Claim], Iterator[Margin]]], ...] = (
    (C1, rise_of_mean_w),
    (C2, rise_of_top_share),
    (C3, rise_of_mean_reward),
    (C4, mean_w_over_floor),
    (C4_STEP, mean_w_over_step_floor),
    (C5, kl_under_ceiling),
    (C5_REVERSE, reverse_kl_under_ceiling),
    (C6, start_predictions),
    (STEP, step_predictions),
    (MANY, start_predictions),
    (TRANSMISSION, overall_transmission),
)
ALL = tuple(claim for claim, _ in MARGINS)


def floors(loop: Loop, t: int) -> dict[str, float]:
    """Lower bounds on E[w] of generation t by claim, those that apply; curves are drawn of them."""
    if not loop.plain or loop.learner != "curate" or not loop.own_picks or t == 0 or not math.isfinite(loop.w_sup):
        return {}
    k, before = loop.rule.k, loop.own[t - 1]
    mean_w, var_w = float(before.mean_w[0]), float(before.var_w[0])
    if loop.policy.is_pure:
        return {C1.name: bounds.c1_floor(mean_w, var_w, loop.w_sup, k)}
    if not loop.policy.is_mixed or loop.real is None:
        return {}
    ref, var_ref, lam = float(loop.real.mean_w[0]), float(loop.real.var_w[0]), loop.policy.lam
    first = loop.own[0]
    floor = bounds.c4_floor_from(ref, var_ref, first.mean_w, first.var_w, loop.w_sup, k, lam, t)
    return {
        C4.name: float(floor[0]),
        C4_STEP.name: bounds.c4_floor_step(ref, mean_w, var_w, loop.w_sup, k, lam),
    }


def ceilings(loop: Loop, t: int) -> dict[str, float]:
    """Upper bounds on the divergences of generation t by claim, those that apply; curves are drawn of them."""
    if not loop.plain or loop.learner != "curate" or not loop.policy.is_mixed or t == 0:
        return {}
    k, lam, density = loop.rule.k, loop.policy.lam, loop.divergence[t].density
    applicable = {C5_REVERSE.name: bounds.c5_reverse_ceiling(lam)}
    if loop.own_picks and bounds.c5_applies(k, lam):
        if density and density.ceiling:
            applicable[C5.name] = density.ceiling.value
        elif loop.starts_at_real:
            applicable[C5.name] = bounds.c5_ceiling_sharp(k, lam)
    return applicable


def _above(
    loop: Loop,
    claim: Claim,
    t: int,
    now: np.ndarray,
    floor: np.ndarray,
    noise: float,
    predicted: Moments | None,
    before: Moments,
) -> Margin:
    """The margin of E[w] over a floor, with the gain that is predicted from `before`."""
    value, se = difference_and_se(now - floor, float(now[0]))
    gain, start = None, None
    if predicted is not None:
        size = min(len(predicted.mean_w), len(before.mean_w))
        gain = difference_and_se(predicted.mean_w[:size] - before.mean_w[:size], float(now[0]))
        start = float(before.mean_w[0])
    effective = loop.effective_at(t)
    return Margin(
        claim, t, value_and_se(now), float(floor[0]), (value, math.hypot(se, noise)), start, gain,
        undecidable=_too_few(effective), effective=effective,
    )  # fmt: skip


def _equal(
    loop: Loop, claim: Claim, t: int, now: np.ndarray, wanted: np.ndarray, before: np.ndarray, noise: float
) -> Margin:
    """A claim of equality: a tenth of the predicted gain is no difference, and no gain leaves nothing to tell."""
    scale = float(loop.own[t].mean_w[0])
    value, se = difference_and_se(now - wanted, scale)
    gain, gain_se = difference_and_se(wanted - before, scale)
    se, effective = math.hypot(se, noise), loop.effective_at(t)
    undecidable = _too_few(effective)
    if not undecidable and not gain:
        undecidable = "no gain of E[w] is predicted: a generator that learned nothing would look the same"
    elif not undecidable and abs(gain) < KNOWN_GAIN * math.hypot(gain_se, se):
        undecidable = (
            f"the predicted gain of E[w], {gain:+.3g}, is under {KNOWN_GAIN:g} standard errors of what was measured: a "
            "generator that learned nothing would look the same"
        )
    return Margin(
        claim, t, value_and_se(now), float(wanted[0]), (value, se), float(before[0]), (gain, gain_se),
        TOLERANCE * abs(gain), undecidable=undecidable, effective=effective,
    )  # fmt: skip


def _below(claim: Claim, t: int, kl: Mean, ceiling: Mean) -> Margin:
    margin = (ceiling.value - kl.value, math.hypot(kl.se, ceiling.se))
    return Margin(claim, t, (kl.value, kl.se), ceiling.value, margin)


def _on_cells(claim: Claim, t: int, divergence: Divergence, kl: Mean | None, ceiling: Mean) -> Margin:
    """The margin over cells: a divergence there is at most that of the laws, so it can refute a ceiling alone."""
    claim = replace(claim, kind="not above, by a lower bound")
    if kl is None:
        return Margin(claim, t, None, ceiling.value, None)
    note = (
        f"not refuted on {_cells(divergence)}; a divergence over cells is at most the true one, so it can refute but "
        "not confirm"
    )
    return replace(_below(claim, t, kl, ceiling), note=note)


def _cells(divergence: Divergence) -> str:
    return f"{divergence.cells} cells" if divergence.cells else divergence.space or "cells"


def _learning_error(loop: Loop, of: Callable[[DensityDivergence], Mean]) -> str:
    """The part of the generator's own error in a divergence that is too large, in words."""
    density = loop.divergence[0].density
    if density is None:
        return ""
    return (
        f"the ceiling is for generators that learn their training set without error; here generation 0, trained on the "
        f"real data alone, is already {of(density).value:.3g} away, and each round of training adds an error of its own"
    )


def _too_few(effective: float) -> str:
    if effective >= LEAST_EFFECTIVE:
        return ""
    return (
        f"E[w] rests on no more than {effective:.0f} effective samples (a few of very high reward carry it), under the "
        f"{LEAST_EFFECTIVE:.0f} from which its interval can be trusted"
    )

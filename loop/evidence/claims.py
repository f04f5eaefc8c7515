"""The theorem's promises held against measurements, by generation: margins with standard errors, no verdicts.

A margin is how far on the right side of a claim a measurement lies; for a claim of equality it is the difference.
Where a figure can't be trusted (too few samples behind it, or nothing to gain), the margin says so (`undecidable`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from data.measurements import DensityDivergence, Divergence, Mean
from loop.evidence.prediction import FromStart, Moments
from loop.policies import DataPolicy
from loop.theory import bounds
from model.luce import LuceRule

Kind = Literal["at least", "equal", "not above, by a lower bound"]
TOLERANCE = 0.1  # of the predicted gain: a claim of equality holds within it
KNOWN_GAIN = 3.0  # standard errors under which a predicted gain is too uncertain for claims of equality, and for ratios
LEAST_EFFECTIVE = 200.0  # effective sample size under which a mean of w isn't trusted
ROUNDING = 1e-9  # of E[w]: a smaller difference is none (K = 1, or a reward that is the same for all)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, its source, and the kind of its margin."""

    name: str
    statement: str
    source: Literal["theorem", "derived", "prediction"]
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
        rule: how the users pick.
        policy: what trains a generation.
        plain: whether all users pick by the study's reward, without lapses or a bias, and none of them is a person.
        own: measured.
        predicted: one step from the generation before; None for generation 0.
        from_start: many steps from generation 0; None where it wasn't computed.
        pick_noise: standard error of E[w] (and of E[r]) of a training set that the finite number of picks makes.
        top_share: (B + 1,) share of samples with the highest reward; empty where that set has no mass.
        real: the real data's moments; None where they weren't kept.
        divergence: of each generation from the real data.
        w_sup: the supremum of w = exp(r) that the reward declares; inf where it declares none.
        effective: effective sample size behind E[w] of each generation, of its prediction and of what they rest on.
        own_picks: whether each generation is trained on picks from samples of the one before; in a replay with other
            settings it isn't.
        starts_at_real: whether generation 0's law is that of the real data exactly (the control that copies them).
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
    starts_at_real: bool = False


C1 = Claim("C1", "E[w] rises by at least (K-1)/K Var[w] / w*", "theorem")
C2 = Claim("C2", "the share of samples with the highest reward never falls, so KL(p* || p_t) doesn't rise", "derived")
C3 = Claim("C3", "the mean reward never falls", "derived")
C4 = Claim(
    "C4",
    "E[w] is at least E_ref + a V + a^t (E_0 - E_ref + V_0 - V), V = (K-1)/K Var_ref / w*, a = lam/(1+lam)",
    "derived",
)
C4_STEP = Claim(
    "C4 one step", "E[w] is at least E_ref/(1+lam) + lam/(1+lam) (E_t + (K-1)/K Var_t / w*) one step on", "derived"
)
C5 = Claim("C5", "KL(p_t || p_ref) stays under the ceiling that the density ratio of generation 0 allows", "derived")
C5_REVERSE = Claim("C5 reversed", "KL(p_ref || p_t) stays under log(1 + lam)", "derived")
C6 = Claim("C6", "at K = inf the loop is at p_0 exp(t r), as RLHF with beta = 1/t", "theorem", "equal")
STEP = Claim("one step", "E[w] is what the exact operator predicts from the generation before", "prediction", "equal")
MANY = Claim("many steps", "E[w] is what the exact operator predicts from generation 0", "prediction", "equal")
TRANSMISSION = Claim(
    "transmission",
    "over all generations E[w] gained what the exact operator predicts, step by step",
    "prediction",
    "equal",
)
ALL = (C1, C2, C3, C4, C4_STEP, C5, C5_REVERSE, C6, STEP, MANY, TRANSMISSION)


def examine(loop: Loop) -> Iterator[Margin | Inapplicable]:
    """Every claim at every generation that it speaks of, or why it doesn't."""
    start = _needs_start(loop)
    for claim, conditions, margins in (
        (C1, _needs_pure(loop) or _needs_supremum(loop), _c1),
        (C2, _needs_pure(loop) or _needs_supremum(loop) or _needs_top(loop), _c2),
        (C3, _needs_pure(loop), _c3),
        (C4, _needs_mixed(loop) or _needs_supremum(loop) or start, _c4),
        (C4_STEP, _needs_mixed(loop) or _needs_supremum(loop), _c4_step),
        (C5, _needs_mixed(loop) or _needs_little_lam(loop) or _needs_ratio(loop), _c5),
        (C5_REVERSE, _needs_mixed(loop), _c5_reverse),
        (C6, _needs_pure(loop) or _needs_k_infinite(loop) or start, _many),
        (STEP, _needs_prediction(loop), _step),
        (MANY, _needs_prediction(loop) or start, _many),
        (TRANSMISSION, _needs_prediction(loop), _overall),
    ):
        reason = conditions if claim is C5_REVERSE else _needs_own_picks(loop) or conditions
        if reason:
            yield Inapplicable(claim, reason)
        else:
            yield from margins(loop, claim)


def value_and_se(values: np.ndarray) -> tuple[float, float]:
    """A quantity (first entry) and the spread of its bootstrap replicates (the others)."""
    return float(values[0]), float(values[1:].std(ddof=1)) if len(values) > 2 else 0.0


def apart(difference: np.ndarray, scale: float) -> tuple[float, float]:
    """The same of a difference of figures of a scale; nothing but rounding errors is none."""
    value, se = value_and_se(difference)
    least = ROUNDING * abs(scale)
    return (value if abs(value) > least else 0.0), (se if se > least else 0.0)


def _c1(loop: Loop, claim: Claim) -> Iterator[Margin]:
    for t, (before, now) in enumerate(zip(loop.own, loop.own[1:], strict=False), start=1):
        floor = before.mean_w + bounds.slack(loop.rule.k) * before.var_w / loop.w_sup
        yield _above(loop, claim, t, now.mean_w, floor, loop.pick_noise[t][0], loop.predicted[t], before)


def _c2(loop: Loop, claim: Claim) -> Iterator[Margin]:
    for t, (before, now) in enumerate(zip(loop.top_share, loop.top_share[1:], strict=False), start=1):
        n_picks = loop.pick_noise[t][0] and _share_noise(now[0], loop.pick_noise[t][0], loop.own[t])
        value, se = value_and_se(now - before)
        yield Margin(claim, t, value_and_se(now), float(before[0]), (value, math.hypot(se, n_picks)))


def _c3(loop: Loop, claim: Claim) -> Iterator[Margin]:
    for t, (before, now) in enumerate(zip(loop.own, loop.own[1:], strict=False), start=1):
        value, se = value_and_se(now.mean_reward - before.mean_reward)
        measured = value_and_se(now.mean_reward)
        noise = loop.pick_noise[t][1]
        yield Margin(claim, t, measured, float(before.mean_reward[0]), (value, math.hypot(se, noise)))


def _c4(loop: Loop, claim: Claim) -> Iterator[Margin]:
    assert loop.real is not None and loop.from_start is not None
    lam, k, first = loop.policy.lam, loop.rule.k, loop.own[0]
    mean_ref, var_ref = float(loop.real.mean_w[0]), float(loop.real.var_w[0])
    paper = bounds.c4_floor_paper(mean_ref, var_ref, loop.w_sup, k, lam)
    for t, now in enumerate(loop.own[1:], start=1):
        floor = bounds.c4_floor_from(mean_ref, var_ref, first.mean_w, first.var_w, loop.w_sup, k, lam, t)
        noise = float(loop.from_start.pick_noise[t])
        found = _above(loop, claim, t, now.mean_w, floor, noise, loop.from_start.moments[t], first)
        yield replace(found, paper_bound=paper)


def _c4_step(loop: Loop, claim: Claim) -> Iterator[Margin]:
    assert loop.real is not None
    lam, mean_ref = loop.policy.lam, float(loop.real.mean_w[0])
    for t, (before, now) in enumerate(zip(loop.own, loop.own[1:], strict=False), start=1):
        gained = before.mean_w + bounds.slack(loop.rule.k) * before.var_w / loop.w_sup
        floor = (mean_ref + lam * gained) / (1 + lam)
        yield _above(loop, claim, t, now.mean_w, floor, loop.pick_noise[t][0], loop.predicted[t], before)


def _c5(loop: Loop, claim: Claim) -> Iterator[Margin]:
    k, lam = loop.rule.k, loop.policy.lam
    paper = bounds.c5_ceiling(k, lam)
    for t, found in enumerate(loop.divergence):
        density = found.density
        if t and density and density.ceiling:
            margin = _below(claim, t, density.kl, density.ceiling)
            yield replace(margin, paper_bound=paper, note=_learning(loop, lambda density: density.kl))
        elif t and loop.starts_at_real and found.kl:
            margin = _on_cells(claim, t, found, found.kl, Mean(value=bounds.c5_ceiling_sharp(k, lam)))
            yield replace(margin, paper_bound=paper)


def _c5_reverse(loop: Loop, claim: Claim) -> Iterator[Margin]:
    ceiling = Mean(value=bounds.c5_reverse_ceiling(loop.policy.lam))
    for t, found in enumerate(loop.divergence):
        if t and found.density:
            margin = _below(claim, t, found.density.kl_reverse, ceiling)
            yield replace(margin, note=_learning(loop, lambda density: density.kl_reverse))
        elif t and "kl_reverse" in found.model_fields_set:
            yield _on_cells(claim, t, found, found.kl_reverse, ceiling, reverse=True)


def _learning(loop: Loop, of: Callable[[DensityDivergence], Mean]) -> str:
    """The part of the generator's own error in a divergence that is too large."""
    density = loop.divergence[0].density
    if density is None:
        return ""
    return (
        f"the ceiling is for generators that learn their training set without error; here generation 0, trained on the "
        f"real data alone, is already {of(density).value:.3g} away, and each round of training adds an error of its own"
    )


def _step(loop: Loop, claim: Claim) -> Iterator[Margin]:
    for t, (now, predicted) in enumerate(zip(loop.own, loop.predicted, strict=True)):
        if predicted is not None:
            noise = loop.pick_noise[t][0]
            yield _equal(loop, claim, t, now.mean_w, predicted.mean_w, loop.own[t - 1].mean_w, noise)


def _many(loop: Loop, claim: Claim) -> Iterator[Margin]:
    assert loop.from_start is not None
    for t in range(1, len(loop.own)):
        now, predicted, first = loop.own[t].mean_w, loop.from_start.moments[t].mean_w, loop.own[0].mean_w
        size, noise = min(len(now), len(predicted)), float(loop.from_start.pick_noise[t])
        found = _equal(loop, claim, t, now[:size], predicted[:size], first[:size], noise)
        effective = float(loop.from_start.effective[t])
        undecidable = _too_few(effective) or found.undecidable
        yield replace(found, undecidable=undecidable, effective=min(effective, found.effective))


def _overall(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """All steps together: their differences are nearly independent, so their errors add up in squares."""
    turns = [t for t, predicted in enumerate(loop.predicted) if predicted is not None]
    wanted = sum(now.mean_w - loop.own[t - 1].mean_w for t, now in enumerate(loop.predicted) if now is not None)
    gained = sum(loop.own[t].mean_w - loop.own[t - 1].mean_w for t in turns)
    noise = math.sqrt(sum(loop.pick_noise[t][0] ** 2 for t in turns))
    zero = np.zeros_like(np.asarray(wanted))
    found = _equal(loop, claim, turns[-1], np.asarray(gained), np.asarray(wanted), zero, noise)
    effective = min((_effective(loop, t) for t in turns), default=math.inf)
    undecidable = _too_few(effective) or found.undecidable
    assert found.gain
    yield replace(found, start=None, bound=found.gain[0], undecidable=undecidable, effective=effective)


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
    value, se = apart(now - floor, float(now[0]))
    gain, start = None, None
    if predicted is not None:
        size = min(len(predicted.mean_w), len(before.mean_w))
        gain, start = apart(predicted.mean_w[:size] - before.mean_w[:size], float(now[0])), float(before.mean_w[0])
    effective = _effective(loop, t)
    return Margin(
        claim, t, value_and_se(now), float(floor[0]), (value, math.hypot(se, noise)), start, gain,
        undecidable=_too_few(effective), effective=effective,
    )  # fmt: skip


def _equal(
    loop: Loop, claim: Claim, t: int, now: np.ndarray, wanted: np.ndarray, before: np.ndarray, noise: float
) -> Margin:
    """A claim of equality: a tenth of the predicted gain is no difference, and no gain leaves nothing to tell."""
    scale = float(loop.own[t].mean_w[0])
    value, se = apart(now - wanted, scale)
    gain, gain_se = apart(wanted - before, scale)
    se, effective = math.hypot(se, noise), _effective(loop, t)
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


def _on_cells(
    claim: Claim, t: int, divergence: Divergence, kl: Mean | None, ceiling: Mean, *, reverse: bool = False
) -> Margin:
    """A divergence over cells is at most that of the laws (data processing): it can refute a ceiling, never confirm it.

    Over a cell in which no sample fell KL(p_ref || p_t) is infinite as counted, and unknown in truth.
    """
    cells, empty = divergence.cells, divergence.empty
    claim = replace(claim, kind="not above, by a lower bound")
    where = f"{cells} cells" if cells else divergence.space or "cells"
    note = f"not refuted on {where}; a divergence over cells is at most the true one, so it can refute but not confirm"
    if kl is None or (reverse and empty):
        some = f"{empty} of " if empty else "some of "
        reason = f"no sample fell into {some}{where}, where KL(p_ref || p_t) as counted is infinite"
        margin = _below(claim, t, kl, ceiling) if kl else Margin(claim, t, None, ceiling.value, None)
        return replace(margin, undecidable=reason)
    if reverse and cells is None:
        reason = "an older version measured it, which counted a cell without a sample as half of one"
        return replace(_below(claim, t, kl, ceiling), undecidable=reason)
    return replace(_below(claim, t, kl, ceiling), note=note)


def _effective(loop: Loop, t: int) -> float:
    """The least effective sample size behind E[w] of generation t and of what it is compared with."""
    return min(loop.effective[: t + 1][-2:], default=math.inf)


def _too_few(effective: float) -> str:
    if effective >= LEAST_EFFECTIVE:
        return ""
    return (
        f"E[w] rests on no more than {effective:.0f} effective samples (a few of very high reward carry it), under the "
        f"{LEAST_EFFECTIVE:.0f} from which its interval can be trusted"
    )


def _share_noise(share: float, noise_w: float, own: Moments) -> float:
    """The picks' error of a share, from that of E[w]: both fall as one over the root of the same number of picks."""
    spread = math.sqrt(float(own.var_w[0]))
    return noise_w / spread * math.sqrt(max(share * (1 - share), 0.0)) if spread else 0.0


def _named(policy: DataPolicy) -> str:
    return "the pure loop" if policy.is_pure else str(policy)


def _needs_own_picks(loop: Loop) -> str:
    if loop.own_picks:
        return ""
    return (
        "it speaks of picks from each generation's own samples; from generation 2 on those of this replay were made "
        "from samples of another study's generators"
    )


def _needs_plain(loop: Loop) -> str:
    return "" if loop.plain else "it speaks of users who all pick by one known reward, without lapses or a bias"


def _needs_pure(loop: Loop) -> str:
    return _needs_plain(loop) or (
        "" if loop.policy.is_pure else f"it speaks of the pure loop; here it is {_named(loop.policy)}"
    )


def _needs_mixed(loop: Loop) -> str:
    if loop.policy.is_mixed and loop.real is None:
        return "the real data's rewards weren't kept"
    return _needs_plain(loop) or (
        "" if loop.policy.is_mixed else f"it speaks of a mix with real data; here it is {_named(loop.policy)}"
    )


def _needs_supremum(loop: Loop) -> str:
    if math.isfinite(loop.w_sup):
        return ""
    return (
        "it needs w*, the supremum of exp(r), and this reward declares none (of your own: set reward.supremum, to 300 "
        "at most)"
    )


def _needs_little_lam(loop: Loop) -> str:
    k, lam = loop.rule.k, loop.policy.lam
    if bounds.c5_applies(k, lam):
        return ""
    return f"it needs lam < 1/(K-1){'' if k == 'inf' else f' = {1 / (k - 1):.3g}'}; lam is {lam:g} and K is {k}"


def _needs_ratio(loop: Loop) -> str:
    if loop.starts_at_real or any(one.density and one.density.ceiling for one in loop.divergence):
        return ""
    if len(loop.own) < 2:
        return "there is no generation after the first yet"
    return (
        "it needs p_0 = p_ref, or the density ratio of generation 0 to the real data, which is known for flows of "
        "points alone"
    )


def _needs_top(loop: Loop) -> str:
    return "" if loop.top_share else "no share of the first generation has the highest reward, so it has no start"


def _needs_k_infinite(loop: Loop) -> str:
    return "" if loop.rule.k == "inf" else f"it speaks of K = inf; here K is {loop.rule.k}"


def _needs_prediction(loop: Loop) -> str:
    if len(loop.own) < 2:
        return "there is no generation after the first yet"
    return "" if any(loop.predicted) else "there is nothing to predict from: the reward is people's own, or unknown"


def _needs_start(loop: Loop) -> str:
    return "" if loop.from_start else "what follows from generation 0 is worked out in `curate report` alone"

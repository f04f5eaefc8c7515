"""The theorem's promises held against measurements, by generation: margins with standard errors, no verdicts.

A margin is how far on the right side of a claim a measurement lies; for a claim of equality it is the difference.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from loop.evidence.prediction import Moments
from loop.policies import DataPolicy
from loop.theory import bounds
from loop.theory.operator import ChoiceRule

Kind = Literal["at least", "equal"]
TOLERANCE = 0.1  # of the predicted gain or value: a claim of equality holds within it


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed, where it comes from, and how it is told."""

    name: str
    statement: str
    source: Literal["theorem", "derived", "prediction"]
    kind: Kind = "at least"


@dataclass(frozen=True, slots=True)
class Margin:
    """A claim at one generation, measured.

    Attributes:
        measured: (value, standard error) of what is claimed about.
        bound: floor, ceiling or predicted value.
        margin: (value, standard error).
        tolerance: of a claim of equality: how large a difference is still none.
    """

    claim: Claim
    t: int
    measured: tuple[float, float]
    bound: float
    margin: tuple[float, float]
    tolerance: float = 0.0


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
        from_start: many steps from generation 0; empty where it wasn't computed.
        pick_noise: standard error of E[w] (and of E[r]) of a training set that the finite number of picks makes.
        top_share: (B + 1,) share of samples with the highest reward; empty where that set has no mass.
        real: the real data's moments; None where they weren't kept.
        divergence: of each generation, as `loop.divergence` gives it.
        w_max: largest w seen.
        own_picks: whether each generation is trained on picks from samples of the one before; in a replay with other
            settings it isn't.
    """

    rule: ChoiceRule
    policy: DataPolicy
    plain: bool
    own: list[Moments]
    predicted: list[Moments | None]
    from_start: list[Moments]
    pick_noise: list[tuple[float, float]]
    top_share: list[np.ndarray]
    real: Moments | None
    divergence: list[dict[str, Any]]
    w_max: float
    own_picks: bool = True


C1 = Claim("C1", "E[w] rises by at least (K-1)/K Var[w] / w*", "theorem")
C2 = Claim("C2", "the share of samples with the highest reward never falls, so KL(p* || p_t) doesn't rise", "theorem")
C3 = Claim("C3", "the mean reward never falls", "derived")
C4 = Claim("C4", "E[w] stays above that of the real data by lam/(1+lam)^3 (K-1)/K Var_ref[w] / w*", "theorem")
C4_STEP = Claim(
    "C4 sharper", "E[w] is at least E_ref/(1+lam) + lam/(1+lam) (E_t + (K-1)/K Var_t / w*) one step on", "derived"
)
C5 = Claim("C5", "KL(p_t || p_ref) stays under -log(1 - lam (K-1))", "theorem")
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
    for claim, conditions, margins in (
        (C1, _needs_pure(loop), _c1),
        (C2, _needs_pure(loop) or _needs_top(loop), _c2),
        (C3, _needs_pure(loop), _c3),
        (C4, _needs_mixed(loop), _c4),
        (C4_STEP, _needs_mixed(loop), _c4_step),
        (C5, _needs_mixed(loop) or _needs_little_lam(loop), _c5),
        (C5_REVERSE, _needs_mixed(loop), _c5_reverse),
        (C6, _needs_pure(loop) or _needs_k_infinite(loop) or _needs_start(loop), _many),
        (STEP, _needs_prediction(loop), _step),
        (MANY, _needs_prediction(loop) or _needs_start(loop), _many),
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


def _c1(loop: Loop, claim: Claim) -> Iterator[Margin]:
    for t, (before, now) in enumerate(zip(loop.own, loop.own[1:], strict=False), start=1):
        floor = before.mean_w + bounds.slack(loop.rule.k) * before.var_w / loop.w_max
        yield _above(loop, claim, t, now.mean_w, floor, loop.pick_noise[t][0])


def _c2(loop: Loop, claim: Claim) -> Iterator[Margin]:
    for t, (before, now) in enumerate(zip(loop.top_share, loop.top_share[1:], strict=False), start=1):
        n_picks = loop.pick_noise[t][0] and _share_noise(now[0], loop.pick_noise[t][0], loop.own[t])
        yield _above(loop, claim, t, now, before, n_picks)


def _c3(loop: Loop, claim: Claim) -> Iterator[Margin]:
    for t, (before, now) in enumerate(zip(loop.own, loop.own[1:], strict=False), start=1):
        yield _above(loop, claim, t, now.mean_reward, before.mean_reward, loop.pick_noise[t][1])


def _c4(loop: Loop, claim: Claim) -> Iterator[Margin]:
    assert loop.real is not None
    mean_ref, var_ref = float(loop.real.mean_w[0]), float(loop.real.var_w[0])
    floor = bounds.c4_floor_paper(mean_ref, var_ref, loop.w_max, loop.rule.k, loop.policy.lam)
    for t, now in enumerate(loop.own[1:], start=1):
        yield _above(loop, claim, t, now.mean_w, np.full_like(now.mean_w, floor), loop.pick_noise[t][0])


def _c4_step(loop: Loop, claim: Claim) -> Iterator[Margin]:
    assert loop.real is not None
    lam, mean_ref = loop.policy.lam, float(loop.real.mean_w[0])
    for t, (before, now) in enumerate(zip(loop.own, loop.own[1:], strict=False), start=1):
        gained = before.mean_w + bounds.slack(loop.rule.k) * before.var_w / loop.w_max
        yield _above(loop, claim, t, now.mean_w, (mean_ref + lam * gained) / (1 + lam), loop.pick_noise[t][0])


def _c5(loop: Loop, claim: Claim) -> Iterator[Margin]:
    ceiling = bounds.c5_ceiling(loop.rule.k, loop.policy.lam)
    yield from _below(loop, claim, "kl", ceiling)


def _c5_reverse(loop: Loop, claim: Claim) -> Iterator[Margin]:
    yield from _below(loop, claim, "kl_reverse", bounds.c5_reverse_ceiling(loop.policy.lam))


def _step(loop: Loop, claim: Claim) -> Iterator[Margin]:
    for t, (now, predicted) in enumerate(zip(loop.own, loop.predicted, strict=True)):
        if predicted is not None:
            gain = abs(float(predicted.mean_w[0] - loop.own[t - 1].mean_w[0]))
            yield _equal(loop, claim, t, now.mean_w, predicted.mean_w, loop.pick_noise[t][0], TOLERANCE * gain)


def _many(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """Sampling errors of all turns so far add up, as if each were carried on unchanged."""
    for t in range(1, len(loop.own)):
        now, predicted = loop.own[t].mean_w, loop.from_start[t].mean_w
        size = min(len(now), len(predicted))
        noise = math.sqrt(sum(loop.pick_noise[turn][0] ** 2 for turn in range(1, t + 1)))
        tolerance = TOLERANCE * abs(float(predicted[0]))
        yield _equal(loop, claim, t, now[:size], predicted[:size], noise, tolerance)


def _overall(loop: Loop, claim: Claim) -> Iterator[Margin]:
    """All steps together: their differences are nearly independent, so their errors add up in squares."""
    turns = [t for t, predicted in enumerate(loop.predicted) if predicted is not None]
    wanted = sum(now.mean_w - loop.own[t - 1].mean_w for t, now in enumerate(loop.predicted) if now is not None)
    gained = sum(loop.own[t].mean_w - loop.own[t - 1].mean_w for t in turns)
    noise = math.sqrt(sum(loop.pick_noise[t][0] ** 2 for t in turns))
    tolerance = TOLERANCE * abs(float(np.asarray(wanted)[0]))
    yield _equal(loop, claim, turns[-1], np.asarray(gained), np.asarray(wanted), noise, tolerance)


def _above(loop: Loop, claim: Claim, t: int, now: np.ndarray, floor: np.ndarray, noise: float) -> Margin:
    value, se = value_and_se(now - floor)
    return Margin(claim, t, value_and_se(now), float(floor[0]), (value, math.hypot(se, noise)))


def _equal(
    loop: Loop, claim: Claim, t: int, now: np.ndarray, wanted: np.ndarray, noise: float, tolerance: float
) -> Margin:
    value, se = value_and_se(now - wanted)
    return Margin(claim, t, value_and_se(now), float(wanted[0]), (value, math.hypot(se, noise)), tolerance)


def _below(loop: Loop, claim: Claim, name: str, ceiling: float) -> Iterator[Margin]:
    for t, found in enumerate(loop.divergence):
        if t and found:
            value, se = found[name]["value"], found[name]["se"]
            yield Margin(claim, t, (value, se), ceiling, (ceiling - value, se))


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


def _needs_little_lam(loop: Loop) -> str:
    k, lam = loop.rule.k, loop.policy.lam
    if bounds.c5_applies(k, lam):
        return ""
    return f"it needs lam < 1/(K-1){'' if k == 'inf' else f' = {1 / (k - 1):.3g}'}; lam is {lam:g} and K is {k}"


def _needs_top(loop: Loop) -> str:
    return "" if loop.top_share else "no share of the first generation has the highest reward, so it has no start"


def _needs_k_infinite(loop: Loop) -> str:
    return "" if loop.rule.k == "inf" else f"it speaks of K = inf; here K is {loop.rule.k}"


def _needs_prediction(loop: Loop) -> str:
    return "" if any(loop.predicted) else "there is nothing to predict from: the reward is people's own, or unknown"


def _needs_start(loop: Loop) -> str:
    return "" if loop.from_start else "nothing was predicted from generation 0"

"""The sentences of docs/reproduction.md: each follows from numbers, by the rules written here."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.paper_2d.arms import EXPERIMENTS, Arm
from loop.evidence.claims import ALL
from loop.sweep.results import OverSeeds

COLLAPSED, NEARLY = 0.95, 0.8  # share in the ring at the end
ALIVE = 0.01  # a mode with this share of the samples is still there
LEVEL = 0.05  # of the whole gain: a change over the last two generations under it is none


def findings(arms: Sequence[Arm]) -> list[str]:
    """A sentence or three for each arm."""
    return [_pure(arm) if arm.is_pure else _mixed(arm) for arm in arms]


def answer(arms: Sequence[Arm]) -> str:
    """The paper's claim in one sentence: does the pure loop collapse, and does the mixed one keep the modes?"""
    pure = [arm.ball()[-1].value for arm in arms if arm.is_pure]
    collapsed, nearly = (sum(share >= least for share in pure) for least in (COLLAPSED, NEARLY))
    whole = sum(_keeps_modes(arm) for arm in arms if not arm.is_pure)
    n = len(EXPERIMENTS)
    more = f" and nearly so in {nearly - collapsed}" if nearly > collapsed else ""
    return (
        f"The pure loop collapses onto the high-reward region in {collapsed} of {n} experiments{more}; the mixed loop "
        f"keeps every mode in {whole} of {n}."
    )


def verdict_rows(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """For each claim its statement, and its verdicts in each arm over all generations and seeds."""
    rows = []
    for claim in ALL:
        cells = [_verdicts(arm, claim.name) for arm in arms]
        if any(cells):
            statement = claim.statement.replace("|", "\\|")
            rows.append({"name": claim.name, "statement": statement, "cells": [cell or "–" for cell in cells]})
    return rows


def failures(arms: Sequence[Arm]) -> list[str]:
    """The failed claims of each arm: where they failed, and the numbers of the worst."""
    return [line for arm in arms for claim in ALL if (line := _failed(arm, claim.name))]


def _failed(arm: Arm, claim: str) -> str:
    """The failures of a claim in one sentence; '' if there is none."""
    failed = [
        (study.seed, verdict)
        for study in arm.studies
        for verdict in study.claims
        if verdict.claim == claim and verdict.verdict == "fails" and verdict.margin
    ]
    if not failed:
        return ""
    where = ", ".join(f"seed {seed} t = {verdict.t}" for seed, verdict in failed)
    seed, worst = max(failed, key=lambda pair: abs(pair[1].z or 0))
    assert worst.margin
    z = f", {worst.z:+.1f} standard errors" if worst.z is not None else ""
    why = f"; {worst.reason}" if worst.reason else ""
    return (
        f"{EXPERIMENTS[arm.name]}, {arm.title}: **{claim}** at {where}. The clearest is seed {seed}, t = {worst.t}: "
        f"off by {abs(worst.margin.value):.3g}{z}{why}."
    )


def pm(mean: OverSeeds, digits: int = 3) -> str:
    """A mean over seeds with half its 95% interval."""
    return f"{mean.value:.{digits}f} ± {(mean.high - mean.low) / 2:.{digits}f}"


def percent(mean: OverSeeds) -> str:
    """The same in per cent."""
    return f"{100 * mean.value:.1f} ± {50 * (mean.high - mean.low):.1f}%"


def _pure(arm: Arm) -> str:
    end = arm.ball()[-1]
    word = (
        "collapses onto the high-reward region"
        if end.value >= COLLAPSED
        else "nearly collapses onto the high-reward region"
        if end.value >= NEARLY
        else "moves toward the high-reward region and has not collapsed"
    )
    return f"**{EXPERIMENTS[arm.name]}, pure: it {word}.** {_moved(arm)} {_alive(arm)} {_carried(arm)}"


def _mixed(arm: Arm) -> str:
    word = "keeps every mode" if _keeps_modes(arm) else "loses modes"
    shares = arm.shares()[-1]
    least = int(shares.argmin())
    floor = arm.real_shares()[least] / (1 + arm.config.mix.lam)
    held = (
        f"The least of them, {arm.studies[0].class_names[least]}, has {shares[least]:.1%} of the samples; "
        f"the real half of the mix alone is worth {floor:.1%}."
    )
    return f"**{EXPERIMENTS[arm.name]}, mixed: it {word}.** {_moved(arm)} {_plateau(arm)} {held} {_carried(arm)}"


def _moved(arm: Arm) -> str:
    ball, w, reward = arm.ball(), arm.mean_w(), arm.mean_reward()
    predicted = arm.over(lambda generation: generation.predicted_from_start and generation.predicted_from_start.mean_w)[
        -1
    ]
    return (
        f"In {arm.last} generations the share inside the ring goes from {percent(ball[0])} to {percent(ball[-1])}, "
        f"E[r] from {pm(reward[0], 2)} to {pm(reward[-1], 2)}, and E[w] from {pm(w[0])} to {pm(w[-1])} "
        f"(theory, from generation 0: {pm(predicted)})."
    )


def _alive(arm: Arm) -> str:
    shares = arm.shares()
    first, last = (int((row >= ALIVE).sum()) for row in (shares[0], shares[-1]))
    top = int(shares[-1].argmax())
    return (
        f"Of {first} modes with at least {ALIVE:.0%} of the samples {last} {'is' if last == 1 else 'are'} left; "
        f"{arm.studies[0].class_names[top]} has {shares[-1][top]:.1%}."
    )


def _plateau(arm: Arm) -> str:
    w = [mean.value for mean in arm.mean_w()]
    change, gain = w[-1] - w[-3], max(w) - w[0]
    if abs(change) <= LEVEL * gain:
        return f"E[w] levels off: it changes by {change:+.3f} over the last two generations."
    return f"E[w] still moves, by {change:+.3f} over the last two generations."


def _carried(arm: Arm) -> str:
    ratio = arm.carried()
    return (
        f"Over all generations retraining realised {pm(ratio, 2)} of the predicted gain (transmission)."
        if ratio
        else ""
    )


def _keeps_modes(arm: Arm) -> bool:
    """True if each mode has at least half of the share that the real data in the mix alone would give it."""
    return bool((arm.shares()[-1] >= 0.5 * arm.real_shares() / (1 + arm.config.mix.lam)).all())


def _verdicts(arm: Arm, claim: str) -> str:
    counts = Counter(verdict.verdict for study in arm.studies for verdict in study.claims if verdict.claim == claim)
    del counts["not applicable"]
    total = sum(counts.values())
    if not total:
        return ""
    plural = {"holds": "hold", "not refuted": "not refuted", "can't tell": "can't tell", "fails": "fail"}
    parts = [f"{counts[word]} {words if counts[word] > 1 else word}" for word, words in plural.items() if counts[word]]
    return f"all {total} hold" if counts["holds"] == total else ", ".join(parts)

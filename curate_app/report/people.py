"""What people prefer, as rows for the templates: win rates and fitted gains beside those of the reward."""

import math

from curate_app.report.charts import with_error
from curate_app.report.tables import margin_cells
from loop.evidence.schema import Estimate, Evidence, Figures, UtilityGain, WinRate


def preferred(evidence: Evidence) -> list[list[str]]:
    """What people prefer, by t and against: win rate and fitted gain with verdicts, then the reward's own gains."""
    rates = {(one.t, one.against): one for one in evidence.win_rates}
    gains = {(one.t, one.against): one for one in evidence.utility_gains}
    return [
        [str(t), str(against), *_rate(rates.get((t, against))), *_gain(gains.get((t, against))),
         *_moved(evidence.generations[t].measured, evidence.generations[against].measured)]
        for t, against in sorted(rates.keys() | gains.keys())
        if t < len(evidence.generations)
    ]  # fmt: skip


def _rate(one: WinRate | None) -> list[str]:
    if one is None:
        return [""] * 3
    made = f"{one.n:,} by {one.raters:,}"
    return [made, f"{one.rate.value:.1%} ({one.rate.low:.1%} to {one.rate.high:.1%})", one.verdict]


def _gain(one: UtilityGain | None) -> list[str]:
    if one is None:
        return [""] * 3
    made = f"{one.n:,} by {one.raters:,}"
    return [made, "{margin} ({interval})".format(**margin_cells(one.gain)) if one.gain else "", one.verdict]


def _moved(now: Figures, before: Figures) -> list[str]:
    """The gains of E[r] and E[w]."""
    pairs = (now.mean_reward, before.mean_reward), (now.mean_w, before.mean_w)
    return [with_error(Estimate.of(a.value - b.value, math.hypot(a.se, b.se))) for a, b in pairs]


def unknown_gains(evidence: Evidence) -> list[str]:
    """Why fitted gains aren't known, each reason once with its generations."""
    found: dict[str, list[str]] = {}
    for one in evidence.utility_gains:
        if one.reason:
            found.setdefault(one.reason, []).append(f"{one.t} over {one.against}")
    return [f"Generation {', '.join(pairs)}: {reason}" for reason, pairs in found.items()]

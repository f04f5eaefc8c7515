"""What people prefer, as rows for the templates: win rates and fitted gains beside those of the reward."""

import math
from collections.abc import Sequence

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


def intervals(evidence: Evidence) -> list[list[str]]:
    """The intervals of win rates and fitted gains: kind, width beside the other kind's, and the verdict's own."""
    return [
        [str(one.t), str(one.against), name, one.interval_kind, _width(shown), _width(one.other),
         "{margin} ({interval})".format(**margin_cells(one.corrected)), f"{one.level:.2g}"]
        for name, found in (("win rate", evidence.win_rates), ("fitted gain", evidence.utility_gains))
        for one in found
        if (shown := one.rate if isinstance(one, WinRate) else one.gain) and one.corrected
    ]  # fmt: skip


def _width(one: Estimate | None) -> str:
    return f"{one.high - one.low:.2g}" if one else ""


def slate_sizes(rates: Sequence[WinRate]) -> str:
    """The sizes of the slates that these rates are from, such as '2' or '3 to 4'."""
    sizes = {size for rate in rates for size in rate.slate_sizes}
    return f"{min(sizes)}" if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"


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


def unknown(evidence: Evidence) -> list[str]:
    """Why verdicts can't be given, each reason once with its generations."""
    found: dict[str, list[str]] = {}
    for one in (*evidence.win_rates, *evidence.utility_gains):
        pair = f"{one.t} over {one.against}"
        if one.reason and pair not in found.setdefault(one.reason, []):
            found[one.reason].append(pair)
    return [f"Generation {', '.join(pairs)}: {reason}" for reason, pairs in found.items()]

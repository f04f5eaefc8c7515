"""The researcher's panels about generations: the timeline as a table, and the sample grids."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from curate_app.assets import TEXT, render
from curate_app.report.people import slate_sizes
from data.records import Generation
from loop.evidence.schema import WinRate

COPYING = 0.5  # a nearest-neighbour ratio under this smells of copying
SAY = TEXT["admin"]


def timeline(generations: Sequence[Generation], rates: Sequence[WinRate]) -> str:
    """A row per generation, newest first: when it was published, from how many picks, in what time, and who wins."""
    won = {(rate.t, rate.against): rate for rate in rates}
    rows = [_row(generation, won) for generation in reversed(generations)]
    return render("admin_timeline.html", text=SAY, rows=rows, notes=_notes(rates))


def _notes(rates: Sequence[WinRate]) -> list[str]:
    """What the rates are; nothing where there are none."""
    larger = [rate for rate in rates if rate.indifference is None]
    found = [SAY["rates_note"]] if rates else []
    found += [SAY["rates_larger"].format(sizes=slate_sizes(larger))] if larger else []
    return [*found, *sorted({rate.reason for rate in rates if rate.reason and rate not in larger})]


def sheets(generations: Sequence[Generation]) -> str:
    """The sample grids, newest first."""
    return render("admin_sheets.html", text=SAY, sheets=[_sheet(generation) for generation in reversed(generations)])


def _row(generation: Generation, won: dict[tuple[int, int], WinRate]) -> dict[str, Any]:
    t, seconds = generation.t, generation.metrics.get("seconds") or {}
    published = generation.published_at
    return {
        "t": t,
        "at": published,
        "day": f"{datetime.fromisoformat(published):%-d %b}" if published else "–",
        "time": published[11:16],
        "picks": _curated(generation) if t else "–",
        "train": span(seconds.get("train")),
        "evaluate": span(seconds.get("evaluate")),
        "parent": _rate(won.get((t, t - 1))),
        "first": _rate(won.get((t, 0))),
    }


def _rate(rate: WinRate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    one, other = rate.rate, rate.other
    return {
        "value": f"{one.value:.0%}",
        "interval": SAY["interval"].format(low=f"{one.low:.0%}", high=f"{one.high:.0%}"),
        "from": SAY["compared_under_way" if rate.under_way else "compared"].format(
            n=f"{rate.n:,}", raters=f"{rate.raters:,}", under_way=f"{rate.under_way:,}"
        ),
        "other": other and SAY["fixed_interval"].format(low=f"{other.low:.0%}", high=f"{other.high:.0%}"),
        "side": {"holds": "wins", "fails": "loses"}.get(rate.verdict, ""),
    }


def span(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _sheet(generation: Generation) -> dict[str, Any]:
    metrics = generation.metrics
    ratio = metrics.get("nn_ratio")
    return {
        "t": generation.t,
        "image": metrics.get("grid_sha256"),
        "points": metrics.get("grid_columns") is None,
        "facts": [
            (SAY["fact_real"], f"{generation.n_real:,}"),
            (SAY["fact_curated"], _curated(generation)),
            (SAY["fact_policy"], generation.policy),
            (SAY["fact_ratio"], "–" if ratio is None else f"{ratio:.2f}"),
        ],
        "copying": ratio is not None and ratio < COPYING,
    }


def _curated(generation: Generation) -> str:
    curated = generation.metrics.get("curated") or {}
    kinds = [f"{curated[kind]:,} {word}" for kind, word in SAY["kinds"].items() if curated.get(kind)]
    return " + ".join(kinds) or f"{generation.n_curated:,}"

"""What the researcher's page shows, as HTML: read from the store, drawn by templates. Gradio is not in sight here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curate_app.admin_charts import reward_chart, shares_chart, weight_chart
from curate_app.assets import render
from curate_app.charts import draw
from curate_app.report_charts import transmission
from curate_app.report_words import findings, pretty
from data.records import Generation
from data.store import Store
from loop.evidence.schema import Evidence
from loop.serving import picks_progress, worker_status
from loop.study import Study

EVENTS_SHOWN = 20
COPYING = 0.5  # a nearest-neighbour ratio under this smells of copying
PHASES = {
    "absent": "not running",
    "preparing": "preparing",
    "idle": "waiting for picks",
    "curating": "curating",
    "training": "training",
    "publishing": "publishing",
}


@dataclass(frozen=True)
class Panels:
    """The parts of the page, each replaced only when it changes."""

    head: str
    curves: str
    sheets: str
    events: str
    worker_absent: bool


class PickCounts:
    """Picks by kind of rater, counted anew only when there is a new one: counting reads every pick."""

    def __init__(self, store: Store):
        self._store = store
        self._counted: tuple[int, Counter[str]] = (-1, Counter())

    def __call__(self) -> Counter[str]:
        """human, sim and proxy picks so far."""
        last = self._store.last_pick()
        if last != self._counted[0]:
            counts: Counter[str] = Counter()
            for row in self._store.pick_counts():
                counts[row["kind"]] += row["n"]
            self._counted = (last, counts)
        return self._counted[1]


def panels(study: Study, counts: PickCounts, evidence: Evidence | None = None) -> Panels:
    """All parts, as they stand now; predictions are those of the evidence, which may lag a generation behind."""
    store = study.store
    with store.read():
        generations, real, worker = store.generations(), store.status("real"), worker_status(store)
        events = store.events(newest=EVENTS_SHOWN)
        head = _head(study, generations, worker, counts())
    return Panels(
        head=head,
        curves=render(
            "admin_curves.html",
            charts=_charts(generations, real, evidence),
            said=pretty(" ".join(findings(evidence))) if evidence and len(evidence.generations) > 1 else "",
            until=len(evidence.generations) - 1 if evidence else 0,
        ),
        sheets=render("admin_sheets.html", sheets=[_sheet(generation) for generation in reversed(generations)]),
        events=render("admin_events.html", events=[_event(event) for event in reversed(events)]),
        worker_absent=worker["phase"] == "absent",
    )


def _head(study: Study, generations: Sequence[Generation], worker: dict[str, Any], counts: Counter[str]) -> str:
    done = worker["done"]
    return render(
        "admin_head.html",
        study=study.path.name,
        t=generations[-1].t if generations else None,
        counts=[("people's", counts["human"]), ("simulated", counts["sim"]), ("proxy", counts["proxy"])],
        progress=picks_progress(study.store, study.config),
        phase=worker["phase"],
        phase_words=PHASES.get(worker["phase"], worker["phase"]),
        done=None if done is None else round(100 * min(1.0, max(0.0, done))),
        left=_duration(worker["left_s"]),
    )


def _charts(generations: Sequence[Generation], real: dict[str, Any], evidence: Evidence | None) -> list[dict[str, Any]]:
    found = [
        ("Mean reward", reward_chart(generations, real, evidence)),
        ("E[w], what the theorem is about", weight_chart(generations, real, evidence)),
        ("Class shares", shares_chart(generations, real, evidence)),
    ]
    passed_on = transmission(evidence) if evidence else None
    found += [(passed_on.title, passed_on.chart)] if passed_on else []
    return [{"title": title, "picture": draw(chart), "spoken": chart.spoken} for title, chart in found if chart]


def _sheet(generation: Generation) -> dict[str, Any]:
    metrics = generation.metrics
    curated = metrics.get("curated") or {}
    kinds = [f"{curated[kind]:,} {word}" for kind, word in _CURATED.items() if curated.get(kind)]
    ratio = metrics.get("nn_ratio")
    return {
        "t": generation.t,
        "image": metrics.get("grid_sha256"),
        "points": metrics.get("grid_columns") is None,
        "facts": [
            ("real", f"{generation.n_real:,}"),
            ("curated", " + ".join(kinds) or f"{generation.n_curated:,}"),
            ("policy", generation.policy),
            ("nearest-neighbour ratio", "–" if ratio is None else f"{ratio:.2f}"),
        ],
        "copying": ratio is not None and ratio < COPYING,
    }


def _event(event: dict[str, Any]) -> dict[str, str]:
    detail = ", ".join(f"{key} {_short(value)}" for key, value in event["detail"].items())
    # A lapsed lease is logged under the session's id, which is its cookie: only its first letters are shown.
    actor = event["actor"] if event["actor"].isalpha() and len(event["actor"]) <= 12 else f"{event['actor'][:6]}…"
    what = event["kind"].replace("_", " ")
    return {"at": event["at"], "time": event["at"][11:19], "actor": actor, "what": what, "detail": detail}


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"


_CURATED = {"human": "people's", "sim": "simulated", "proxy": "proxy"}

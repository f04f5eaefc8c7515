"""The researcher's page as HTML: read from the store, drawn by templates, without Gradio."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from curate_app.admin.panels import (
    Counts,
    CrowdCounts,
    alarms,
    crowd_panel,
    reward_chart,
    shares_chart,
    sheets,
    timeline,
    weight_chart,
)
from curate_app.assets import TEXT, render
from curate_app.plots.svg import draw
from curate_app.report.charts import fidelity, frechet, second_opinion, transmission, win_rates
from curate_app.report.page import findings, pretty
from data.measurements import Measurements
from data.records import Generation, Progress
from loop.evidence.schema import Evidence, WinRate
from loop.raters.journey import Controls, control_state, picks_progress, worker_status
from loop.study import Study

EVENTS_SHOWN, EVENTS_READ = 20, 300
KINDS = ("human", "sim", "proxy")
SAY = TEXT["admin"]


@dataclass(frozen=True)
class Panels:
    """The parts of the page, each replaced only when it changes."""

    head: str
    notes: str
    crowd: str
    curves: str
    timeline: str
    sheets: str
    events: str
    controls: Controls
    worker_absent: bool


def panels(study: Study, crowd: CrowdCounts, evidence: Evidence | None = None) -> Panels:
    """All parts, as they stand now; predictions are those of the evidence, which may lag a generation behind."""
    store = study.store
    # not in one transaction with the rest: it counts on from the last time only outside of one
    progress, latest = picks_progress(store, study.config), store.latest_cut() or (0, 0)
    counts = crowd(latest[0])
    with store.read():
        generations, worker = store.generations(), worker_status(store)
        real = Measurements.model_validate(store.status("real"))
        events, controls = store.events(newest=EVENTS_READ), control_state(store)
        alarmed = store.status("flags").get("alarmed", [])
        raised = alarms(store, alarmed)
    absent = worker["phase"] == "absent"
    return Panels(
        head=_head(study, generations, worker, counts, progress, controls),
        notes=_notes(study, absent, controls, raised, counts.share),
        crowd=crowd_panel(study.config, counts, alarmed),
        curves=render(
            "admin_curves.html",
            text=SAY,
            charts=_charts(generations, real, evidence, counts.rates),
            said=pretty(" ".join(findings(evidence))) if evidence and len(evidence.generations) > 1 else "",
            until=len(evidence.generations) - 1 if evidence else 0,
        ),
        timeline=timeline(generations, counts.rates),
        sheets=sheets(generations),
        events=render("admin_events.html", text=SAY, events=shown_events(events)),
        controls=controls,
        worker_absent=absent,
    )


def _head(
    study: Study,
    generations: Sequence[Generation],
    worker: dict[str, Any],
    counts: Counts,
    progress: Progress,
    controls: Controls,
) -> str:
    done, people = worker["done"], counts.people
    quota = SAY["of"].format(n=f"{controls.quota:,}") if controls.quota else ""
    numbers = [
        (SAY["number_generation"], generations[-1].t if generations else "–", ""),
        (SAY["number_next"], f"{progress.done:,}", SAY["of"].format(n=f"{progress.total:,}")),
        (SAY["number_now"], f"{people.at_work:,}", ""),
        (SAY["number_finished"], f"{people.funnel['finished']:,}", quota),
        *((SAY["number_picks"][kind], f"{counts.kinds[kind]:,}", "") for kind in KINDS if counts.kinds[kind]),
    ]
    return render(
        "admin_head.html",
        text=SAY,
        study=study.path.name,
        numbers=numbers,
        state=SAY["state_finished"] if controls.finished else SAY["state_paused"] if controls.paused else "",
        phase=worker["phase"],
        phase_words=SAY["phases"].get(worker["phase"], worker["phase"]),
        done=None if done is None else round(100 * min(1.0, max(0.0, done))),
        left=_duration(worker["left_s"]),
    )


def _notes(study: Study, absent: bool, controls: Controls, raised: Sequence[str], share: float) -> str:
    found = [("alarm", sentence) for sentence in raised]
    if absent:
        found.append(("reason", SAY["worker_gone"].format(path=study.path)))
    if controls.stopped:
        found.append(("reason", SAY["note_finished" if controls.finished else "note_paused"]))
    if share < 1:
        found.append(("reason", SAY["counting"].format(share=f"{share:.0%}")))
    return notes(found)


def notes(found: Sequence[tuple[str, str]]) -> str:
    """Sentences above the panels, each an 'alarm' or a 'reason'; empty where there is nothing to say."""
    return render("admin_notes.html", notes=found)


def _charts(
    generations: Sequence[Generation], real: Measurements, evidence: Evidence | None, rates: Sequence[WinRate]
) -> list[dict[str, Any]]:
    found = [(one.title, one.chart) for one in (win_rates(rates),) if one]
    found += [
        (SAY["chart_reward"], reward_chart(generations, real, evidence)),
        (SAY["chart_weight"], weight_chart(generations, real, evidence)),
        (SAY["chart_shares"], shares_chart(generations, real, evidence)),
    ]
    passed_on = transmission(evidence) if evidence else None
    far = [part(evidence.generations) for part in (second_opinion, frechet, fidelity)] if evidence else []
    found += [(one.title, one.chart) for one in (passed_on, *far) if one]
    return [{"title": title, "picture": draw(chart), "spoken": chart.spoken} for title, chart in found if chart]


def shown_events(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest events first, as the page shows them; such as follow each other and are alike become one."""
    found: list[dict[str, Any]] = []
    for event in reversed(list(events)):
        one = _event(event)
        last = found[-1] if found else None
        if last and one["actor"] == SAY["a_rater"] and (one["actor"], one["what"]) == (last["actor"], last["what"]):
            last |= {"times": last["times"] + 1, "detail": ""}
        else:
            found.append(one)
    return found[:EVENTS_SHOWN]


def _event(event: dict[str, Any]) -> dict[str, Any]:
    # What raters cause is logged under their session's id, which is nobody's business.
    known = event["actor"] in ("curate", "worker", "researcher", "quality", "server")
    return {
        "at": event["at"],
        "time": event["at"][11:19],
        "actor": event["actor"] if known else SAY["a_rater"],
        "what": event["kind"].replace("_", " "),
        "detail": ", ".join(f"{key} {_short(value)}" for key, value in event["detail"].items()),
        "times": 1,
    }


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return SAY["left_s"].format(n=f"{seconds:.0f}")
    return SAY["left_min"].format(n=f"{seconds / 60:.0f}")

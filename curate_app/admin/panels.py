"""The panels of the researcher's page as HTML: read from the store, drawn by templates, without Gradio.

Above all else stand the worker's state and the key numbers; then people at work, curves, generations, samples, events.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from curate_app.admin.counts import Counts, CrowdCounts
from curate_app.assets import TEXT, render
from curate_app.plots.svg import Chart, Line, Point, draw, number
from curate_app.rater.page import class_name
from curate_app.report.charts import (
    BOUND,
    MEASURED,
    fidelity,
    frechet,
    is_simulated,
    language,
    predictions,
    second_opinion,
    transmission,
    win_rates,
)
from curate_app.report.pages import findings, pretty
from curate_app.report.tables import by_kind, count_of, slate_sizes
from data.measurements import CuratedCounts, Mean, Measurements
from data.records import Generation, Progress
from data.store import Store
from loop.config import FLAGS, StudyConfig
from loop.evidence.people import ranking
from loop.evidence.schema import Estimate, Evidence, VerdictWord, WinRate
from loop.evidence.verdicts import audit_sentences
from loop.raters.journey import WORKER, Controls, control_state, picks_progress, places, worker_status
from loop.registration import standing_words
from loop.study import SAMPLES, Study

EVENTS_SHOWN, EVENTS_READ = 20, 300
RECENT_MIN = 10  # minutes: no pick for so long is silence
ACTORS = ("curate", "worker", "researcher", "quality", "server")  # all others are raters' sessions
TRAINING = ("curating", "training", "publishing")
MOVED = 0.01  # of the samples: a share that changed by less has not moved
COPYING = 0.5  # a nearest-neighbour ratio under this smells of copying
COUNTED = {
    "turn_started": {"picks": "new pick"}, "imported": {"answers": "answer"}, "replayed": {"generations": "generation"},
    "simulate_requested": {"n": "simulated user"}, "invited": {"n": "one-time link"},
}  # fmt: skip  # in the details of events, by kind
SHARES = ("rate", "before", "accuracy")  # in the details of events
PACE_WIDTH, PACE_HEIGHT = 360.0, 56.0
SAY = TEXT["admin"]


@dataclass(frozen=True)
class Panels:
    """The parts of the page, each replaced only when it changes, and what the buttons depend on."""

    head: str
    notes: str
    crowd: str
    curves: str
    timeline: str
    sheets: str
    events: str
    controls: Controls
    worker_absent: bool
    trains: bool
    simulates: bool


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
        samples = store.status(SAMPLES)
        alarmed = store.status("flags").get("alarmed", [])
    sources = [source.words for source in study.sources]
    audits = bool(sources)
    complete = is_complete(study.config, counts, progress, controls, audits)
    remarks = [("alarm", sentence) for sentence in alarms(store, alarmed, audits)]
    if worker["phase"] == "absent" and not complete and not only_simulated(counts):
        remarks.append(("reason", SAY["worker_gone"].format(path=study.path)))
    if controls.stopped:
        remarks.append(("reason", SAY["note_finished" if controls.finished else "note_paused"]))
    if counts.share < 1:
        remarks.append(("reason", SAY["counting"].format(share=f"{counts.share:.0%}")))
    summary = ""
    if evidence and len(evidence.generations) > 1:  # people's choices are later than its last generation
        current = evidence.model_copy(update={"win_rates": counts.rates})
        summary = pretty(" ".join(audit_sentences(current, undecided=False) if audits else findings(current)))
    return Panels(
        head=head_panel(study, generations, worker, counts, progress, controls, alarmed, sources, complete),
        notes=notes_panel(remarks),
        crowd=crowd_panel(study.config, counts, alarmed, audits),
        curves=render(
            "admin_curves.html",
            text=SAY,
            charts=[] if audits else charts(generations, real, evidence, counts.rates),
            summary=summary,
            audits=audits,
            until=len(evidence.generations) - 1 if evidence else 0,
        ),
        timeline=audit_table(sources, counts.rates) if audits else timeline(generations, counts.rates),
        sheets=sheets(generations, samples, sources),
        events=render("admin_events.html", text=SAY, events=shown_events(events)),
        controls=controls,
        worker_absent=worker["phase"] == "absent" or worker["command"] != WORKER,
        trains=not audits and worker["phase"] not in TRAINING,
        simulates=not audits and not counts.people.picked,
    )


def head_panel(
    study: Study,
    generations: Sequence[Generation],
    worker: dict[str, Any],
    counts: Counts,
    progress: Progress,
    controls: Controls,
    alarmed: Sequence[str] = (),
    sources: Sequence[str] = (),
    complete: bool = False,
) -> str:
    """The study's name, what the worker does, and what matters first: do picks come in, is anyone stuck, what follows?

    A pick is an answer that names a sample, to a slate that isn't practice; all other answers are counted beside. Of an
    audit of several studies (`sources`) what follows is which of them is preferred. Of a study that is complete nothing
    is said of a worker that doesn't run.
    """
    served = (SAY["number_generation"], generations[-1].t if generations else "–", "")
    numbers = [
        (SAY["number_studies"], f"{len(sources):,}", "") if sources else served,
        (
            SAY["number_finished"],
            f"{counts.people.funnel['finished']:,}",
            SAY["of"].format(n=f"{controls.quota:,}") if controls.quota else "",
        ),
        *(
            (label, f"{counts.answers[kind, 'pick']:,}", "")
            for kind, label in SAY["number_picks"].items()
            if counts.answers[kind, "pick"]
        ),
    ]
    other = [
        SAY["other_answers"][outcome].format(n=f"{counts.answers['human', outcome]:,}")
        for outcome in SAY["other_answers"]
        if counts.answers["human", outcome]
    ]
    done, left_s, phase = worker["done"], worker["left_s"], worker["phase"]
    words = SAY["phases_audit" if sources and phase in SAY["phases_audit"] else "phases"]
    words = words[phase].format(next=progress.t + 1) if phase in words else phase
    doing = SAY["worker" if worker["command"] == WORKER else "command"].format(phase=words, command=worker["command"])
    over = complete and phase == "absent"
    lack = ""
    if phase == "absent" and not complete and not only_simulated(counts):
        lack = SAY["stuck_worker_audit" if sources else "stuck_worker"]
    return render(
        "admin_head.html",
        text=SAY,
        study=study.path.name,
        glance=[
            audit_going(study.config, counts, controls)
            if sources
            else going(study, worker, counts, progress, controls),
            stuck(counts, alarmed, controls, lack),
            best(sources, counts) if sources else follows(generations, counts),
        ],
        numbers=numbers,
        other=SAY["other"].format(answers=", ".join(other)) if other else "",
        registered=standing_words(study),
        state=SAY["state_finished"] if complete else SAY["state_paused"] if controls.paused else "",
        phase="" if over else phase,
        doing="" if over else doing,
        done=None if done is None else round(100 * min(1.0, max(0.0, done))),
        left="" if left_s is None else SAY["left"].format(time=span(left_s)),
    )


@dataclass(frozen=True)
class Tile:
    """One of the three questions at the head of the page: its number, and the answer in a sentence.

    Attributes:
        tone: 'good', 'bad', or '' where there is nothing to say yet.
        more: beside the number, such as an interval.
    """

    question: str
    tone: str
    label: str
    value: str
    sentence: str
    more: str = ""


def going(study: Study, worker: dict[str, Any], counts: Counts, progress: Progress, controls: Controls) -> Tile:
    """Is it going well? Picks for the next generation, and when they will be in at the pace of the last ten minutes."""
    enough, last = progress.done >= progress.total, study.config.stop.generations
    over, wanted = 0 < last <= progress.t, places(study.config, controls)
    recent, hour = sum(counts.minutes[-RECENT_MIN:]), sum(counts.minutes)
    words = {"n": f"{hour:,}", "picks": count_of(hour, "pick"), "t": progress.t, "next": progress.t + 1}
    if controls.stopped:
        tone, sentence = "", SAY["going_finished" if controls.finished else "going_stopped"]
    elif worker["command"] != WORKER:
        tone, sentence = "good", SAY["going_command"].format(command=worker["command"])
    elif over:
        tone, sentence = "good", SAY["going_over"]
    elif worker["phase"] == "absent" and is_complete(study.config, counts, progress, controls):
        tone, sentence = "good", SAY["going_done"][wanted > 1].format(n=f"{wanted:,}")
    elif worker["phase"] == "absent" and only_simulated(counts):
        tone, sentence = "", SAY["going_simulated"].format(path=study.path)
    elif worker["phase"] == "absent":
        tone, sentence = "bad", SAY["going_absent"].format(path=study.path)
    elif worker["phase"] == "starting":
        tone, sentence = "", SAY["going_starting"]
    elif enough or worker["phase"] in TRAINING:
        tone, sentence = "good", SAY["going_enough"]
    elif recent:
        left = span(60 * RECENT_MIN * (progress.total - progress.done) / recent)
        tone, sentence = "good", SAY["going_well"].format(left=left, **words)
    else:
        tone, sentence = "", SAY["going_quiet" if counts.answers["human", "pick"] else "going_unused"].format(**words)
    return Tile(
        SAY["going"],
        tone,
        SAY["number_since" if over else "number_next"].format(**words),
        f"{progress.done:,}",
        sentence,
        "" if over else SAY["needed" if enough else "of"].format(n=f"{progress.total:,}"),
    )


def stuck(counts: Counts, alarmed: Sequence[str], controls: Controls, lack: str) -> Tile:
    """Is anyone stuck? The raters at work, and whatever keeps them from going on, such as the `lack` of a worker."""
    here, recent = counts.people.at_work, sum(counts.minutes[-RECENT_MIN:])
    troubles = [lack] if lack else []
    if alarmed:
        troubles.append(SAY["stuck_flags"].format(flags=SAY["and"].join(SAY["flags"][flag] for flag in alarmed)))
    if counts.people.settled and not recent and not controls.stopped:
        troubles.append(SAY["stuck_silent"].format(n=RECENT_MIN))
    fine = "stuck_nobody" if not here else "stuck_no" if recent else "stuck_new"
    sentence = " ".join(troubles) or SAY[fine]
    return Tile(SAY["stuck"], "bad" if troubles else "good" * bool(here), SAY["number_now"], f"{here:,}", sentence)


def is_complete(
    config: StudyConfig, counts: Counts, progress: Progress, controls: Controls, audits: bool = False
) -> bool:
    """True if nobody waits for a worker any more.

    The researcher has finished the study, or all the people that it is for have, and no generation is due after them.
    """
    if controls.finished:
        return True
    full = 0 < places(config, controls) <= counts.people.funnel["finished"]
    due = progress.done >= progress.total or (progress.done and config.schedule.interval_s)
    return full and (audits or 0 < config.stop.generations <= progress.t or not due)


def only_simulated(counts: Counts) -> bool:
    """True where simulated users picked and no person ever came, so that nobody waits for a worker."""
    return bool(counts.answers["sim", "pick"]) and not counts.people.funnel["arrived"]


def follows(generations: Sequence[Generation], counts: Counts) -> Tile:
    """Does the generator follow? How often people prefer the latest generation that they compared with generation 0.

    Where simulated users alone picked, the latest mean reward beside the first.
    """
    against_first = [rate for rate in counts.rates if rate.against == 0]
    if against_first:
        rate, t, verdict = against_first[-1].rate, against_first[-1].t, against_first[-1].verdict
        tone = {"holds": "good", "fails": "bad"}.get(verdict, "")
        interval = f"({rate.low:.0%} to {rate.high:.0%})"
        sentence = SAY["follows_" + (tone or "unclear")].format(t=t)
        return Tile(SAY["follows"], tone, SAY["number_preferred"].format(t=t), f"{rate.value:.0%}", sentence, interval)
    rewards = measured_points(generations, lambda measurements: measurements.mean_reward)
    if len(rewards) < 2 or counts.answers["human", "pick"]:
        return Tile(SAY["follows"], "", SAY["number_compared"], "–", SAY["follows_early"])
    first, latest = rewards[0], rewards[-1]
    more = SAY["first"].format(value=number(first.value, 3))
    rose = latest.value - first.value > 2 * ((first.se or 0) ** 2 + (latest.se or 0) ** 2) ** 0.5
    sentence = SAY["follows_reward" if rose else "follows_flat"].format(t=latest.t)
    return Tile(SAY["follows"], "good" * rose, SAY["number_reward"], number(latest.value, 3), sentence, more)


def audit_going(config: StudyConfig, counts: Counts, controls: Controls) -> Tile:
    """Is an audit going well? Raters who finished, where their number was set, or else comparisons."""
    wanted, finished = places(config, controls), counts.people.funnel["finished"]
    recent, hour = sum(counts.minutes[-RECENT_MIN:]), sum(counts.minutes)
    done = counts.answers["human", "pick"]
    label, value = ("number_finished", finished) if wanted else ("number_comparisons", done)
    more = SAY["of"].format(n=f"{wanted:,}") if wanted else ""
    if 0 < wanted <= finished:
        tone, sentence = "good", SAY["going_done"][wanted > 1].format(n=f"{wanted:,}")
    elif controls.stopped:
        tone, sentence = "", SAY["going_finished" if controls.finished else "going_stopped"]
    elif recent:
        tone, sentence = "good", SAY["going_audit"].format(picks=count_of(hour, "pick"))
    else:
        tone, sentence = "", SAY["going_quiet" if done else "going_unused"].format(n=f"{hour:,}")
    return Tile(SAY["going"], tone, SAY[label], f"{value:,}", sentence, more)


def best(sources: Sequence[str], counts: Counts) -> Tile:
    """The study of an audit that is ahead, and whether it is surely preferred to every other."""
    first = ranking(counts.rates, len(sources))[0]
    if first.mean_rate is None:
        return Tile(SAY["best"], "", SAY["number_comparisons"], "–", SAY["best_early"])
    name, sure = sources[first.t], first.best == "holds"
    sentence = SAY["best_good" if sure else "best_unclear"].format(name=name)
    return Tile(SAY["best"], "good" * sure, SAY["number_best"].format(name=name), f"{first.mean_rate:.0%}", sentence)


def audit_table(sources: Sequence[str], rates: Sequence[WinRate]) -> str:
    """The studies of an audit, the most preferred first, each with its win rate against every other."""
    sides = {(rate.t, rate.against): win_rate_cell(rate) for rate in rates}
    sides |= {(rate.against, rate.t): win_rate_cell(turned(rate)) for rate in rates}
    rows = [
        {
            "name": sources[row.t],
            "mean": "–" if row.mean_rate is None else f"{row.mean_rate:.0%}",
            "rates": [sides.get((row.t, other)) for other in range(len(sources))],
        }
        for row in ranking(rates, len(sources))
    ]
    pairs = len(sources) * (len(sources) - 1) // 2
    return render("admin_audit.html", text=SAY, names=sources, rows=rows, pairs=count_of(pairs, "pair"))


def turned(rate: WinRate) -> WinRate:
    """The same win rate from the other generation's side."""

    def other_side(share: Estimate | None) -> Estimate | None:
        return share and Estimate(value=1 - share.value, se=share.se, low=1 - share.high, high=1 - share.low)

    sides: dict[VerdictWord, VerdictWord] = {"holds": "fails", "fails": "holds"}
    changed = {name: other_side(getattr(rate, name)) for name in ("rate", "other", "corrected")}
    return rate.model_copy(
        update={"t": rate.against, "against": rate.t, "verdict": sides.get(rate.verdict, rate.verdict), **changed}
    )


def notes_panel(remarks: Sequence[tuple[str, str]]) -> str:
    """Sentences above the panels, each an 'alarm' or a 'reason'; empty where there is nothing to say."""
    return render("admin_notes.html", notes=remarks)


def alarms(store: Store, alarmed: Sequence[str], audits: bool = False) -> list[str]:
    """A sentence for each flag whose rate has jumped and hasn't come down since."""
    if not alarmed:
        return []
    events = store.events(kinds=("flag_rate_jumped",), newest=50)
    latest = {event["detail"]["flag"]: event["detail"] for event in events}
    return [
        SAY["alarm_audit" if audits else "alarm"].format(
            flag=SAY["flags"][flag], rate=f"{latest[flag]['rate']:.0%}", before=f"{latest[flag]['before']:.0%}"
        )
        for flag in alarmed
        if flag in latest
    ]


def crowd_panel(config: StudyConfig, counts: Counts, alarmed: Sequence[str], audits: bool = False) -> str:
    """Picks per minute, steps and flags, with the flags whose rate has jumped; empty where no person ever came.

    An audit of several studies (`audits`) trains on nothing, so that nothing is left out of it either.
    """
    funnel, quality, exits = counts.people.funnel, config.quality, ("declined", "failed", "withdrawn")
    if not funnel["arrived"]:
        return ""
    flags = [
        {
            "name": SAY["flags"][flag],
            "picks": counts.flags[flag] if flag != "one_position" else None,
            "sessions": counts.people.flagged.get(flag, 0),
            "alarmed": flag in alarmed,
            "left_out": not audits and flag in (*quality.exclude_picks, *quality.exclude_raters),
        }
        for flag in FLAGS
    ]
    silent = funnel["arrived"] - sum(funnel[name] for name in (*exits, "finished")) - counts.people.at_work
    left_out = [
        SAY[key].format(flags=", ".join(SAY["flags"][flag] for flag in excluded))
        for key, excluded in (("rule_picks", quality.exclude_picks), ("rule_raters", quality.exclude_raters))
        if excluded
    ]
    rule = SAY["rule_none"] if not left_out else SAY["rule"].format(parts=SAY["and"].join(left_out))
    return render(
        "admin_crowd.html",
        text=SAY,
        pace=pace(counts.minutes),
        stages=stages(config, funnel, counts.people.picked),
        exits=[
            *((SAY["exits"][name], funnel[name]) for name in exits if funnel[name]),
            *([(SAY["exits"]["silent"], silent)] if config.journey.picks and silent > 0 else []),
        ],
        flags=flags,
        rule=SAY["rule_audit"] if audits else rule,
    )


def stages(config: StudyConfig, funnel: Mapping[str, int], picked: int) -> list[dict[str, Any]]:
    """The steps that this study has, in order, with how many people did each and their share of those who came."""
    journey = config.journey
    steps = [
        ("arrived", funnel["arrived"], True),
        ("consented", funnel["consented"], journey.consent),
        ("instructed", funnel["instructed"], journey.instructions),
        ("understood", funnel["understood"], journey.question),
        ("picked", picked, True),
        ("closed", funnel["closed"], journey.closing),
        ("finished", funnel["finished"], journey.picks),
    ]
    arrived = max(1, funnel["arrived"])
    return [{"name": SAY["stages"][name], "n": n, "share": n / arrived} for name, n, is_there in steps if is_there]


def pace(minutes: Sequence[int]) -> dict[str, Any]:
    """Bars of the last hour; the present minute, which isn't over, is the last."""
    top, step = max([*minutes, 1]), PACE_WIDTH / len(minutes)
    return {
        "last": minutes[-2],
        "hour": sum(minutes),
        "top": max(minutes),
        "width": PACE_WIDTH,
        "height": PACE_HEIGHT,
        "step": round(step - 1.2, 2),
        "bars": [
            {
                "x": round(i * step, 2),
                "y": round(PACE_HEIGHT * (1 - n / top), 2),
                "h": round(PACE_HEIGHT * n / top, 2),
            }
            for i, n in enumerate(minutes)
        ],
    }


def charts(
    generations: Sequence[Generation], real: Measurements, evidence: Evidence | None, rates: Sequence[WinRate]
) -> list[dict[str, Any]]:
    """All curves that there is something to draw of: people's choices, the reward, E[w], classes, then distances."""
    reward_title = SAY["chart_reward" if evidence is None or is_simulated(evidence) else "chart_reward_people"]
    preferred = win_rates(rates)
    drawn = [(preferred.title, preferred.chart)] if preferred else []
    drawn += [
        (reward_title, reward_chart(generations, real, evidence)),
        (SAY["chart_weight"], weight_chart(generations, real, evidence)),
        (SAY["chart_shares"], shares_chart(generations, real, evidence)),
    ]
    if evidence:
        by_evidence = [transmission(evidence)]
        by_evidence += [part(evidence.generations) for part in (second_opinion, frechet, fidelity)]
        by_evidence += language(evidence.generations, real.language)
        drawn += [(titled.title, titled.chart) for titled in by_evidence if titled]
    return [{"title": title, "picture": draw(chart), "spoken": chart.spoken} for title, chart in drawn if chart]


def reward_chart(
    generations: Sequence[Generation], real: Measurements, evidence: Evidence | None = None
) -> Chart | None:
    """Mean reward with its interval and predictions; None before the first measurement."""
    points = measured_points(generations, lambda measurements: measurements.mean_reward)
    if not points:
        return None
    a, b = points[0], points[-1]
    spoken = f"Mean reward from {number(a.value, 3)} at generation {a.t} to {number(b.value, 3)} at generation {b.t}."
    if a is b:
        spoken = f"Mean reward {number(a.value, 3)} at generation {a.t}, the first."
    ahead = predictions(evidence.generations, lambda law: law.mean_reward) if evidence else []
    lines = [Line("generator", points, loud=True, legend=MEASURED if ahead else ""), *ahead]
    return Chart("mean reward", spoken, lines, real.mean_reward.value if real.mean_reward else None, "real data")


def weight_chart(generations: Sequence[Generation], real: Measurements, evidence: Evidence | None) -> Chart | None:
    """E[w] with its predictions and floors; None where nothing was predicted, as of people's picks."""
    points = measured_points(generations, lambda measurements: measurements.mean_w)
    if not points or evidence is None or not is_simulated(evidence):
        return None
    if not any(g.predicted for g in evidence.generations):
        return None
    floors = [
        Line(
            name,
            [Point(g.t, g.floors[name]) for g in evidence.generations if name in g.floors],
            look="bound",
            legend=BOUND,
        )
        for name in sorted({name for g in evidence.generations for name in g.floors})
    ]
    ahead = predictions(evidence.generations, lambda law: law.mean_w)
    lines = [Line("generator", points, loud=True, legend=MEASURED), *ahead, *floors]
    spoken = f"E[w], w = exp(r), is {number(points[-1].value)} at generation {points[-1].t}."
    return Chart("E[w]", spoken, lines, real.mean_w.value if real.mean_w else None, "real data")


def shares_chart(
    generations: Sequence[Generation], real: Measurements, evidence: Evidence | None = None
) -> Chart | None:
    """The share of every class; the one that moved most is loud, and the real data's share of it is the reference."""
    measured = [generation for generation in generations if len(generation.measurements.class_shares) > 1]
    if not measured:
        return None
    first, last = measured[0].measurements.class_shares, measured[-1].measurements.class_shares
    classes = range(min(len(generation.measurements.class_shares) for generation in measured))
    moved = max(classes, key=lambda label: abs(last[label] - first[label]))
    ahead = predictions(evidence.generations, lambda law: law.class_shares[moved]) if evidence else []
    lines = [
        Line(
            class_name(measured[-1], label),
            [Point(generation.t, generation.measurements.class_shares[label]) for generation in measured],
            loud=label == moved,
            legend="measured" if ahead and label == moved else "",
        )
        for label in classes
    ]
    name, shares = class_name(measured[-1], moved), real.class_shares
    spoken = f"Share of class {name} moved most: from {first[moved]:.0%} to {last[moved]:.0%} of the samples."
    if abs(last[moved] - first[moved]) < MOVED:
        spoken = "The share of no class has moved by a percentage point."
    reference = shares[moved] if moved < len(shares) else None
    return Chart("share of samples", spoken, [*lines, *ahead], reference, f"{name}, real", "{:.0%}".format, floor=0.0)


def measured_points(generations: Sequence[Generation], mean: Callable[[Measurements], Mean | None]) -> list[Point]:
    """A measurement of each generation that has it, with its standard error."""
    return [
        Point(generation.t, estimate.value, estimate.se)
        for generation in generations
        if (estimate := mean(generation.measurements))
    ]


def timeline(generations: Sequence[Generation], rates: Sequence[WinRate]) -> str:
    """A row per generation, newest first: when it was published, from how many picks, in what time, how preferred."""
    against = {(rate.t, rate.against): win_rate_cell(rate) for rate in rates}
    rows = []
    for generation in reversed(generations):
        t, at, seconds = generation.t, generation.published_at, generation.measurements.seconds
        rows.append(
            {
                "t": t,
                "at": at,
                "day": f"{datetime.fromisoformat(at):%-d %b}" if at else "–",
                "time": at[11:16],
                "picks": picks_by_kind(generation) if t else "–",
                "train": span(seconds.train if seconds else None),
                "evaluate": span(seconds.evaluate if seconds else None),
                "parent": against.get((t, t - 1)),
                "first": against.get((t, 0)),
            }
        )
    larger = [rate for rate in rates if rate.indifference is None]
    remarks = [SAY["rates_note"]] if rates else []
    remarks += [SAY["rates_larger"].format(sizes=slate_sizes(larger))] if larger else []
    remarks += sorted({rate.reason for rate in rates if rate.reason and rate not in larger})
    return render("admin_timeline.html", text=SAY, rows=rows, notes=remarks)


def win_rate_cell(rate: WinRate) -> dict[str, Any]:
    """A win rate as the table of generations shows it."""
    percent, words = "{:.0%} to {:.0%}".format, SAY["compared_under_way" if rate.under_way else "compared"]
    counts = {"comparisons": count_of(rate.n, "comparison"), "raters": count_of(rate.raters, "rater")}
    return {
        "value": f"{rate.rate.value:.0%}",
        "interval": percent(rate.rate.low, rate.rate.high),
        "from": words.format(**counts, under_way=f"{rate.under_way:,}"),
        "other": rate.other and SAY["fixed_interval"].format(interval=percent(rate.other.low, rate.other.high)),
        "side": {"holds": "wins", "fails": "loses"}.get(rate.verdict, ""),
    }


def sheets(
    generations: Sequence[Generation], samples: Mapping[str, Any] | None = None, sources: Sequence[str] = ()
) -> str:
    """The sample grids with facts about their generations, newest first; those of an audit in the studies' order.

    Args:
        generations: published.
        samples: of generation 0 in training: the picture's sha256, the step and the steps in all; shown until then.
        sources: the studies of an audit, whose generators these generations are.
    """
    shown: list[dict[str, Any]] = []
    if samples and not generations:
        step = SAY["fact_step_of"].format(step=f"{samples['step']:,}", steps=f"{samples['steps']:,}")
        facts = [(SAY["fact_step"], step)]
        shown.append(
            {
                "title": "t = 0",
                "alt": SAY["sheet_alt"].format(t=0),
                "image": samples["sha256"],
                "points": False,
                "facts": facts,
                "texts": (),
                "copying": False,
            }
        )
    for generation in generations if sources else reversed(generations):
        measurements, t = generation.measurements, generation.t
        ratio, by = measurements.nn_ratio, measurements.language
        last = [(SAY["fact_ratio"], "–" if ratio is None else f"{ratio:.2f}")]
        if by:
            perplexity = "∞" if by.no_mass else "–" if by.perplexity is None else number(by.perplexity, 3)
            last = [(SAY["fact_perplexity"], perplexity), (SAY["fact_rare"], f"{by.rare_share.value:.1%}")]
        shown.append(
            {
                "title": sources[t] if sources else f"t = {t}",
                "alt": SAY["sheet_alt_audit"].format(name=sources[t]) if sources else SAY["sheet_alt"].format(t=t),
                "image": measurements.grid_sha256,
                "points": measurements.grid_columns is None,
                "facts": [
                    (SAY["fact_real"], f"{generation.n_real:,}"),
                    (SAY["fact_curated"], picks_by_kind(generation)),
                    *([] if sources else [(SAY["fact_policy"], pretty(generation.policy))]),
                    *last,
                ],
                "texts": by.examples if by else (),
                "copying": ratio is not None and ratio < COPYING,
            }
        )
    label = SAY["sheets_label_audit" if sources else "sheets_label"]
    return render("admin_sheets.html", text=SAY, label=label, sheets=shown)


def picks_by_kind(generation: Generation) -> str:
    """The picks that trained a generation, such as "30 by people + 1,200 by proxy"."""
    curated = generation.measurements.curated or CuratedCounts()
    return by_kind(curated.model_dump()) or f"{generation.n_curated:,}"


def span(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def shown_events(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest events first, as the page shows them; those of raters that follow each other alike become one.

    What raters cause is logged under their session's id, which is nobody's business.
    """
    shown: list[dict[str, Any]] = []
    for event in reversed(list(events)):
        words, detail = event_words(event["kind"], event["detail"])
        actor = event["actor"] if event["actor"] in ACTORS else SAY["a_rater"]
        last = shown[-1] if shown else None
        if last and actor == SAY["a_rater"] and (actor, words) == (last["actor"], last["words"]):
            last |= {"times": last["times"] + 1, "detail": ""}
        else:
            at = event["at"]
            shown.append({"at": at, "time": at[11:19], "actor": actor, "words": words, "detail": detail, "times": 1})
    return shown[:EVENTS_SHOWN]


def event_words(kind: str, detail: Mapping[str, Any]) -> tuple[str, str]:
    """An event in words, and more on it; a kind that has no words here is shown as it was logged."""
    values = {
        key: f"{100 * value:.3g}%" if key in SHARES and isinstance(value, float) else plain_value(value)
        for key, value in detail.items()
        if value not in (None, "", [], {})
    }
    for key, noun in COUNTED.get(kind, {}).items():
        if isinstance(detail.get(key), int):
            values[key] = count_of(detail[key], noun)
    try:
        words = SAY["events"][kind].format_map(values)
    except KeyError:
        return kind.replace("_", " "), ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())
    if kind == "worker_failed":
        return words, str(detail.get("reason", ""))
    if kind == "turn_started":
        parts = [SAY["turn_proxy"].format(n=values["n_proxy"])] if detail.get("n_proxy") else []
        parts += [SAY["turn_excluded"].format(flags=values["excluded"])] if "excluded" in values else []
        return words, "; ".join(parts)
    if kind == "generation_published":
        picks = by_kind(detail)
        return words, SAY["published_from"].format(picks=picks) if picks else ""
    return words, ""


def plain_value(value: Any) -> str:
    """A logged value for people: numbers in few digits, flags by their names, at most 60 characters."""
    if isinstance(value, dict):
        text = ", ".join(f"{plain_value(more)} {plain_value(name)}" for name, more in value.items())
    elif isinstance(value, bool) or not isinstance(value, int | float):
        text = SAY["flags"].get(str(value), str(value))
    else:
        text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return text if len(text) <= 60 else f"{text[:57]}…"

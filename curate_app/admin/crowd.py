"""The researcher's panels about people: picks per minute, the way from arrival to completion, flags."""

from collections.abc import Mapping, Sequence
from typing import Any

from curate_app.admin.counts import Counts
from curate_app.assets import TEXT, render
from data.store import Store
from loop.config import StudyConfig
from loop.crowd.config import FLAGS

SAY = TEXT["admin"]
WIDTH, HEIGHT = 360.0, 56.0


def crowd_panel(config: StudyConfig, counts: Counts, alarmed: Sequence[str]) -> str:
    """The panel as HTML, with the flags whose rate has jumped; empty where no person ever came."""
    funnel = counts.people.funnel
    if not funnel["arrived"]:
        return ""
    return render(
        "admin_crowd.html",
        text=SAY,
        pace=_pace(counts.minutes),
        stages=stages(config, funnel, counts.people.picked),
        exits=[(SAY["exits"][name], funnel[name]) for name in ("declined", "failed", "withdrawn") if funnel[name]],
        flags=_flags(config, counts, alarmed),
        rule=_rule(config),
    )


def stages(config: StudyConfig, funnel: Mapping[str, int], picked: int) -> list[dict[str, Any]]:
    """The steps that this study has, in order, with how many people did each and their share of those who came."""
    journey = config.journey
    found = [
        ("arrived", funnel["arrived"], True),
        ("consented", funnel["consented"], journey.consent),
        ("instructed", funnel["instructed"], journey.instructions),
        ("understood", funnel["understood"], journey.question),
        ("picked", picked, True),
        ("closed", funnel["closed"], journey.closing),
        ("finished", funnel["finished"], journey.picks),
    ]
    arrived = max(1, funnel["arrived"])
    return [{"name": SAY["stages"][name], "n": n, "share": n / arrived} for name, n, is_there in found if is_there]


def alarms(store: Store, alarmed: Sequence[str]) -> list[str]:
    """A sentence for each flag whose rate has jumped and hasn't come down since."""
    if not alarmed:
        return []
    events = store.events(kinds=("flag_rate_jumped",), newest=50)
    latest = {event["detail"]["flag"]: event["detail"] for event in events}
    return [
        SAY["alarm"].format(
            flag=SAY["flags"][flag], rate=f"{latest[flag]['rate']:.0%}", before=f"{latest[flag]['before']:.0%}"
        )
        for flag in alarmed
        if flag in latest
    ]


def _pace(minutes: list[int]) -> dict[str, Any]:
    """Bars of the last hour; the present minute, which isn't over, is told apart."""
    top, step = max([*minutes, 1]), WIDTH / len(minutes)
    return {
        "last": minutes[-2],
        "hour": sum(minutes),
        "top": max(minutes),
        "width": WIDTH,
        "height": HEIGHT,
        "step": round(step - 1.2, 2),
        "bars": [
            {"x": round(i * step, 2), "y": round(HEIGHT * (1 - n / top), 2), "h": round(HEIGHT * n / top, 2)}
            for i, n in enumerate(minutes)
        ],
    }


def _flags(config: StudyConfig, counts: Counts, alarmed: Sequence[str]) -> list[dict[str, Any]]:
    leaves_out = {*config.quality.exclude_picks, *config.quality.exclude_raters}
    return [
        {
            "name": SAY["flags"][flag],
            "picks": counts.flags[flag] if flag != "one_position" else None,
            "sessions": counts.people.flagged.get(flag, 0),
            "alarmed": flag in alarmed,
            "left_out": flag in leaves_out,
        }
        for flag in FLAGS
    ]


def _rule(config: StudyConfig) -> str:
    quality = config.quality
    if not quality.excludes:
        return SAY["rule_none"]
    parts = [
        SAY[key].format(flags=", ".join(SAY["flags"][flag] for flag in flags))
        for key, flags in (("rule_picks", quality.exclude_picks), ("rule_raters", quality.exclude_raters))
        if flags
    ]
    return SAY["rule"].format(parts=SAY["and"].join(parts))

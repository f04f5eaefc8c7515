"""One study's report as HTML: a function of the evidence and the pictures. One file: no scripts, nothing external."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from curate_app.assets import STATIC, render
from curate_app.charts import draw
from curate_app.report import people, tables
from curate_app.report.charts import Titled, is_simulated, study_charts
from curate_app.report.pictures import Gallery
from curate_app.report.words import SAY, glossary, lede, pretty
from loop.evidence.schema import Evidence

STYLES = ("base.css", "charts.css", "report.css")


def page(evidence: Evidence, gallery: Gallery) -> str:
    """The report of one study as a whole HTML document."""
    heads, rows = tables.figures(evidence) if evidence.generations else ([], [])
    judged = len(evidence.generations) > 1
    return render(
        "report.html",
        **frame(evidence.study),
        e=evidence,
        say=SAY,
        lede=lede(evidence),
        tally=tables.tally(evidence) if judged else [],
        simulated=is_simulated(evidence),
        odd=tables.odd_checks(evidence.checks),
        odd_shown=tables.ODD_SHOWN,
        checks=tables.check_rows(evidence.checks),
        checks_said=checks_said(evidence),
        blocks=tables.verdict_blocks(evidence) if judged else [],
        idle=tables.idle_claims(evidence),
        failures=tables.failures(evidence),
        untold=tables.untold(evidence),
        margin_heads=tables.MARGIN_HEADS,
        charts=drawn(study_charts(evidence)),
        gallery=gallery,
        figures={"heads": heads, "rows": rows},
        gains=tables.gains(evidence),
        preferred=people.preferred(evidence),
        preferred_intervals=people.intervals(evidence),
        unknown=people.unknown(evidence),
        margins=tables.margins(evidence),
        training=tables.training(evidence),
        settings=tables.settings(evidence.config),
        hashes=[(one.t, one.checkpoint_sha256, one.picture_sha256) for one in evidence.generations],
        glossary=glossary(evidence),
    )


def frame(title: str) -> dict[str, Any]:
    """What every report needs: its title, the styles to be written into it, and who made it."""
    styles = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES)
    return {"title": title, "pretty": pretty, "styles": styles, "made_by": f"curate {own_version()}"}


def drawn(charts: Sequence[Titled]) -> list[dict[str, Any]]:
    """Charts as the templates show them."""
    return [
        {"title": one.title, "note": one.note, "spoken": one.chart.spoken, "picture": draw(one.chart)} for one in charts
    ]


def checks_said(evidence: Evidence) -> str:
    """The self-checks in a sentence, where none is odd."""
    passed = sum(check.verdict == "pass" for check in evidence.checks)
    return SAY["checks_pass"].format(n=passed) if passed else SAY["checks_none"]


def own_version() -> str:
    """The version of this package; 'unknown' where it runs without being installed."""
    try:
        return version("curate")
    except PackageNotFoundError:
        return "unknown"

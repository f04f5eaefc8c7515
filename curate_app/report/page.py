"""One study's report as HTML: a function of the evidence and the pictures. One file: no scripts, nothing external."""

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from markupsafe import Markup, escape

from curate_app.assets import STATIC, TEXT, render
from curate_app.plots.svg import draw
from curate_app.report import tables
from curate_app.report import tables as people
from curate_app.report.charts import Titled, is_simulated, study_charts
from curate_app.report.pictures import Gallery
from curate_app.report.tables import by_claim, slate_sizes, tally
from loop.evidence.schema import Evidence

SAY = TEXT["report"]
SIGNS = {
    r"\blam\s?=\s?": "λ = ", r"\blam\b": "λ", r"\bbeta\b": "β", r"\|\|": "‖", r"\binf\b": "∞",
    r"(?<=[\w)])-(?=\d)": "−", r"(?<![\w.])-(?=[\d\w])": "−", r" - (?=\w)": " − ",
    r"\b(p|E|V|Var)_(ref|t|0)\b": r"\1<sub>\2</sub>", r"\^([3t])\b": r"<sup>\1</sup>",
}  # fmt: skip
STYLES = ("base.css", "charts.css", "report.css")


def pretty(text: str) -> Markup:
    """A sentence with its formulas in proper signs and letters, escaped."""
    written = str(escape(text))
    for plain, proper in SIGNS.items():
        written = re.sub(plain, proper, written)
    return Markup(written)


def lede(evidence: Evidence) -> list[str]:
    """Sentences: the set-up, how the reward moved, what was transmitted, the verdicts counted."""
    if not evidence.generations:
        return [SAY["old"].format(n=evidence.unmeasured) if evidence.unmeasured else SAY["empty"]]
    said = [_setup(evidence), *_replayed(evidence), *findings(evidence)]
    if len(evidence.generations) == 1:
        said.append(SAY["only_first"])
    if evidence.unmeasured:
        said.append(SAY["partly_old"].format(n=evidence.unmeasured))
    return said


def findings(evidence: Evidence) -> list[str]:
    """The findings, without the claims one by one."""
    moved = evidence.summary[: len(evidence.summary) - len(by_claim(evidence.claims))]
    if not is_simulated(evidence):
        moved = [SAY["yardstick"].format(sentence=sentence) for sentence in moved]
    return [*moved, *_preferred(evidence), *counted(evidence)]


def counted(evidence: Evidence) -> list[str]:
    """The verdicts in one sentence; none where no claim applies."""
    counts = dict(tally(evidence))
    counts.pop("not applicable", None)
    if not counts:
        return [SAY["no_verdicts"]] if len(evidence.generations) > 1 else []
    said = [SAY["counted"][word].format(n=n) for word, n in counts.items()]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return [SAY["verdicts"].format(total=sum(counts.values()), counted=listed)]


def glossary(evidence: Evidence) -> list[dict[str, str]]:
    """The meanings of terms and claims, with each claim's statement and source."""
    terms = [{"term": name, "text": text.format(n=evidence.comparisons)} for name, text in SAY["terms"].items()]
    claims = [
        {"term": name, "text": SAY["claims"].get(name, ""), "statement": one[0].statement, "source": one[0].source}
        for name, one in by_claim(evidence.claims).items()
    ]
    return [*terms, *claims]


def _setup(evidence: Evidence) -> str:
    last = len(evidence.generations) - 1
    who = SAY["sim"] if is_simulated(evidence) else SAY["people"]
    mixed = SAY["pure"] if evidence.lam == "inf" and evidence.policy.startswith("mix") else SAY["mixed"]
    slate = SAY["infinite"] if evidence.k == "inf" else SAY["finite"].format(k=evidence.k)
    made = SAY["made_1"] if last == 1 else SAY["made_n"].format(n=last) if last else SAY["made_0"]
    return SAY["setup"].format(
        made=made, preset=evidence.preset or "own", who=who, slate=slate, mixed=mixed.format(policy=evidence.policy)
    )


def _replayed(evidence: Evidence) -> list[str]:
    if not evidence.replay_of:
        return []
    return [SAY["replay" if evidence.own_picks else "counterfactual"].format(study=evidence.replay_of)]


def _preferred(evidence: Evidence) -> list[str]:
    rates = [rate for rate in evidence.win_rates if rate.against == 0]
    if not rates:
        return [] if is_simulated(evidence) else [SAY["no_audit"]]
    last = rates[-1]
    low, high = f"{last.rate.low:.0%}", f"{last.rate.high:.0%}"
    key, sizes = "preferred_1" if last.raters == 1 else "preferred", slate_sizes([last])
    line = SAY["no_line"].format(sizes=sizes) if last.indifference is None else SAY["indifferent"]
    counts = {"t": last.t, "n": last.n, "raters": last.raters, "kind": last.interval_kind, "line": line}
    return [SAY[key].format(rate=f"{last.rate.value:.0%}", low=low, high=high, **counts)]


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
    """The frame of every report: its title, the styles to be written into it, and the version that made it."""
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

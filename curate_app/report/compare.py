"""Several studies on one page: the settings that differ, verdicts, curves over each other, first and last pictures."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup, escape

from curate_app.assets import render
from curate_app.plots.svg import HUES, Chart, Line, Point, number
from curate_app.report import tables
from curate_app.report.charts import Titled, is_simulated, moved_classes, share_of
from curate_app.report.page import SAY, drawn, findings, frame, lede
from curate_app.report.pictures import Gallery, data_address
from loop.evidence.schema import Estimate, Evidence, GenerationEvidence

VERSION = "curate-comparison/1"
LABEL = 12  # characters of a study's name at the end of its curve
Value = Callable[[GenerationEvidence], Estimate | None]
Figure = tuple[str, str, bytes | Markup]


def comparison_json(evidences: Sequence[Evidence]) -> str:
    """The evidence of all studies as one JSON document."""
    studies = [evidence.model_dump(mode="json") for evidence in evidences]
    return json.dumps({"schema_version": VERSION, "studies": studies}, indent=1, ensure_ascii=False)


def comparison_page(
    evidences: Sequence[Evidence],
    galleries: Sequence[Gallery],
    names: Sequence[str],
    *,
    title: str,
    figures: Sequence[Figure] = (),
) -> str:
    """The comparison as a whole HTML document.

    Args:
        evidences: of the studies.
        galleries: their pictures, in the same order.
        names: what to call them.
        title: of the page.
        figures: to stand on top: heading, caption, and a PNG or markup that is known to be safe.
    """
    return render(
        "report_compare.html",
        **frame(title),
        lede=SAY["comparison"].format(n=len(evidences)),
        names=names,
        hues=[index % HUES for index in range(len(names))],
        said=[" ".join(findings(evidence) or lede(evidence)) for evidence in evidences],
        odd=[
            (name, check) for name, one in zip(names, evidences, strict=True) for check in tables.odd_checks(one.checks)
        ],
        differences=differences(evidences),
        verdicts=verdicts(evidences),
        charts=drawn(compared_charts(evidences, names)),
        pairs=_pairs(galleries, names),
        figures=[(heading, caption, _figure(picture, caption)) for heading, caption, picture in figures],
        hashes=[(name, one.seed, one.generations[-1:]) for name, one in zip(names, evidences, strict=True)],
    )


def differences(evidences: Sequence[Evidence]) -> list[tuple[str, list[str]]]:
    """Settings that aren't the same in all studies: name, then a value for each study."""
    flat = [tables.flat(evidence.config) for evidence in evidences]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    rows = [(key, [one.get(key, "none") for one in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def verdicts(evidences: Sequence[Evidence]) -> list[dict[str, Any]]:
    """For each claim a row, and in it for each study one word with its count."""
    found = [tables.by_claim(evidence.claims) for evidence in evidences]
    rows = []
    for name in dict.fromkeys(name for one in found for name in one):
        any_ = next(one[name][0] for one in found if name in one)
        cells = [_summary(one.get(name, [])) for one in found]
        rows.append({"name": name, "statement": any_.statement, "source": any_.source, "cells": cells})
    return sorted(rows, key=lambda row: all(not cell or cell["word"] == "not applicable" for cell in row["cells"]))


def _summary(verdicts: Sequence[Any]) -> dict[str, str] | None:
    if not verdicts:
        return None
    word = tables.word_of(verdicts)
    if word == "not applicable":
        return {"word": word, "count": "", "why": verdicts[0].reason}
    return {"word": word, "count": tables.how_often(verdicts, word), "why": ""}


def compared_charts(evidences: Sequence[Evidence], names: Sequence[str]) -> list[Titled]:
    """Curves of all studies over each other."""
    known = [(index, one) for index, one in enumerate(evidences) if one.generations]
    if not known:
        return []
    simulated = [(index, one) for index, one in known if is_simulated(one)]
    label = _moved(evidences)
    charts = [
        _overlaid("Mean reward", "E[r]", known, names, lambda one: lambda g: g.measured.mean_reward),
        _overlaid("E[w] relative to the first generation", "E[w] / E[w] at t = 0", simulated, names, _relative),
        _overlaid(f"Share of class {label}", "share of samples", known, names, _share(label), form="{:.0%}".format),
        _overlaid(
            "Transmission", "measured / predicted gain", simulated, names,
            lambda one: lambda g: g.transmission.ratio if g.transmission else None,
            look="marks", reference=1.0, reference_name="all of it",
        ),
    ]  # fmt: skip
    return [chart for chart in charts if chart]


def _overlaid(
    title: str,
    y_label: str,
    evidences: Sequence[tuple[int, Evidence]],
    names: Sequence[str],
    value: Callable[[Evidence], Value],
    look: Any = "line",
    **more: Any,
) -> Titled | None:
    lines = []
    for index, evidence in evidences:
        found = [(g.t, value(evidence)(g)) for g in evidence.generations]
        points = [Point(t, one.value, interval=(one.low, one.high)) for t, one in found if one]
        aside = 5.0 * (index - (len(names) - 1) / 2) if look == "marks" else 0.0
        name = names[index] if len(names[index]) <= LABEL else f"{names[index][: LABEL - 1]}…"
        lines.append(Line(name, points, True, look, index, names[index], look == "line", aside))
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    spoken = "; ".join(
        f"{line.legend} {number(line.points[-1].value)} at generation {line.points[-1].t}" for line in lines
    )
    return Titled(title, Chart(y_label, f"At the last: {spoken}.", lines, **more))


def _relative(evidence: Evidence) -> Value:
    first = evidence.generations[0].measured.mean_w.value

    def of(generation: GenerationEvidence) -> Estimate | None:
        now = generation.measured.mean_w
        return Estimate.of(now.value / first, now.se / first) if first else None

    return of


def _share(name: str) -> Callable[[Evidence], Value]:
    def of(evidence: Evidence) -> Value:
        if name not in evidence.class_names:
            return lambda generation: None
        label = evidence.class_names.index(name)
        return lambda generation: generation.measured.class_shares[label]

    return of


def _moved(evidences: Sequence[Evidence]) -> str:
    """The class that moved most in any of the studies."""
    best, name = -1.0, ""
    for evidence in evidences:
        for label in moved_classes(evidence)[:1]:
            first, last = (share_of(one, label) for one in (evidence.generations[0], evidence.generations[-1]))
            if abs(last - first) > best:
                best, name = abs(last - first), evidence.class_names[label]
    return name


def _pairs(galleries: Sequence[Gallery], names: Sequence[str]) -> list[dict[str, Any]]:
    """The pictures of the first and the last generation of each study that has some."""
    pairs = []
    for index, gallery in enumerate(galleries):
        found = [picture for picture in gallery.pictures if picture.title.startswith("t =")]
        ends = found[:1] + found[1:][-1:]
        if ends:
            pairs.append({"name": names[index], "hue": index % HUES, "pictures": ends, "gallery": gallery})
    return pairs


def _figure(picture: bytes | Markup, caption: str) -> Markup:
    if isinstance(picture, Markup):
        return picture
    return Markup(f'<img src="{data_address(picture)}" alt="{escape(caption)}">')

"""The rater's page: one gr.HTML with every view, which static/rater.js drives; the study's own texts; the movement."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import gradio as gr
from markdown_it import MarkdownIt

from curate_app.assets import STATIC, STATIC_URL, render
from data.records import Generation
from loop.config import StudyConfig
from loop.study import Study

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
LEAST_GROWTH = 0.01  # less is noise on 2,000 samples
FILES = (
    "rater.css", "steps.css", "overlays.css",
    "rater.js", "api.js", "controls.js", "dom.js", "endings.js", "outbox.js", "progress.js", "reveal.js", "slate.js",
    "stage.js", "steps.js", "strings.js", "views.js", "voice.js",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JourneyTexts:
    """The texts of a study's journey as HTML; an empty one belongs to a step that is left out."""

    consent: str = ""
    instructions: str = ""
    question: str = ""
    closing: str = ""
    thanks: str = ""

    @classmethod
    def of(cls, config: StudyConfig, folder: Path) -> Self:
        """The texts of a study whose .md files lie in `folder`.

        Raises:
            ValueError: a file that isn't there, or isn't text.
        """
        names = (one.name for one in fields(cls))
        return cls(**{name: _html(name, getattr(config.journey, name), folder) for name in names})


def _html(name: str, text: str, folder: Path) -> str:
    if text.endswith(".md") and "\n" not in text and " " not in text:
        text = _read(name, text, folder)
    return _markdown.render(text)


def _read(name: str, file: str, folder: Path) -> str:
    if Path(file).name != file:
        raise ValueError(f"journey.{name} names {file}; the file must lie in the study's folder itself.")
    try:
        return (folder / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"journey.{name} names {file}, which can't be read as text in {folder}: {error}") from None


def movement(generations: Sequence[Generation]) -> dict[str, Any]:
    """{first, latest, moved}: sheets as {t, grid, columns}, `moved` as {name, before, after} or None.

    Generations without a contact sheet are passed over; `first` and `latest` are None when there is none.
    """
    shown = [generation for generation in generations if generation.measurements.grid_sha256]
    if not shown:
        return {"first": None, "latest": None, "moved": None}
    first, latest = shown[0], shown[-1]
    return {"first": _sheet(first), "latest": _sheet(latest), "moved": grown(first, latest)}


def grown(first: Generation, latest: Generation) -> dict[str, Any] | None:
    """The class whose share grew the most between two generations; None where none did, or shares are unknown."""
    before, after = first.measurements.class_shares, latest.measurements.class_shares
    if not before or len(before) != len(after):
        return None
    most = max(range(len(after)), key=lambda label: after[label] - before[label])
    if after[most] - before[most] < LEAST_GROWTH:
        return None
    return {"name": class_name(latest, most), "before": before[most], "after": after[most]}


def class_name(generation: Generation, label: int) -> str:
    """The study's name of a class; its number where it has no name."""
    names = generation.measurements.class_names
    return str(names[label]) if label < len(names) else str(label)


def _sheet(generation: Generation) -> dict[str, Any]:
    measurements = generation.measurements
    grid = f"/img/{measurements.grid_sha256}.png"
    return {"t": generation.t, "grid": grid, "columns": measurements.grid_columns}


def languages() -> dict[str, dict[str, Any]]:
    """The page's texts by language: all static/strings.<language>.json there are, each with its direction `dir`."""
    found = {}
    for file in sorted(STATIC.glob("strings.*.json")):
        words = json.loads(file.read_text(encoding="utf-8"))
        found[file.name.split(".")[1]] = {"dir": words["dir"], **words["rater"]}
    return found


def build_rater_page(study: Study) -> gr.Blocks:
    """The Blocks at /. They have no events, so a rater never waits for Gradio's queue."""
    app = study.config.app
    page = render(
        "rater.html",
        title=app.title,
        usual_title=app.title == type(app).model_fields["title"].default,
        reveal=app.reveal,
        languages=json.dumps(languages()),
    )
    with gr.Blocks(title=app.title, analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            page,
            elem_id="curate-page",
            apply_default_css=False,
            js_on_load=f"import('{STATIC_URL}/rater.js').then((page) => page.start(element));",
        )
    return blocks

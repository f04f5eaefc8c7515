"""The rater's page: one gr.HTML with every view, which static/rater.js drives; the study's own texts; the movement.

And the page at addresses where there is none.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import gradio as gr
from markdown_it import MarkdownIt
from starlette.requests import HTTPConnection
from starlette.types import Scope

from curate_app.assets import STATIC, STATIC_URL, render
from curate_app.plots.way import evenly
from data.records import Generation
from loop.analysis.movement import Movements
from loop.config import StudyConfig
from loop.study import Study

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
MOST_SHEETS = 24  # generations in the strip
FILES = (
    "rater.css", "steps.css", "overlays.css", "reveal.css",
    "rater.js", "api.js", "controls.js", "dom.js", "endings.js", "judgements.js", "outbox.js", "progress.js",
    "reveal.js", "slate.js", "stage.js", "steps.js", "strings.js", "taste.js", "undo.js", "views.js",
    "voice.js", "zoom.js",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JourneyTexts:
    """The texts of a study's journey as HTML; an empty one belongs to a step that is left out."""

    consent: str = ""
    instructions: str = ""
    question: str = ""
    closing: str = ""
    thanks: str = ""
    declined: str = ""
    failed: str = ""
    withdrawn: str = ""

    @classmethod
    def of(cls, config: StudyConfig, folder: Path) -> Self:
        """The texts of a study whose .md files lie in `folder`.

        Raises:
            ValueError: a file that isn't there, or isn't text.
        """
        names = [field.name for field in fields(cls)]
        return cls(**{name: text_html(name, getattr(config.journey, name), folder) for name in names})


def text_html(name: str, text: str, folder: Path) -> str:
    """A text of the journey as HTML, from Markdown: the setting itself, or the .md file that it names.

    Raises:
        ValueError: a file that isn't there, isn't in the folder itself, or isn't text.
    """
    if text.endswith(".md") and "\n" not in text and " " not in text:
        file = text
        if Path(file).name != file:
            raise ValueError(f"journey.{name} names {file}; the file must be in the study's folder itself.")
        try:
            text = (folder / file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"journey.{name} names {file}, which can't be read as text in {folder}: {error}") from None
    return _markdown.render(text)


def movement(generations: Sequence[Generation], movements: Movements) -> dict[str, Any]:
    """The contact sheets of all generations, and what moved most from the first to the latest and in each round.

    Args:
        generations: those of a study; one without a sheet is passed over.
        movements: between them.

    Returns:
        `first` and `latest` as {t, grid, columns}, None where there is no sheet at all; `moved`, a
        `loop.analysis.movement.Move` or None; `unchanged`, true where none of the numbers that are known moved;
        `generations`, at most `MOST_SHEETS` of them evenly spaced, each as `first` is, with what `moved` since the one
        before it. The last two are missing where there is no sheet.
    """
    shown = [generation for generation in generations if generation.measurements.grid_sha256]
    if not shown:
        return {"first": None, "latest": None, "moved": None}
    first, latest, some = shown[0], shown[-1], evenly(shown, MOST_SHEETS)
    moved = [movements(*pair) for pair in ((first, latest), *pairwise(some))]
    whole, *rounds = [asdict(move) if move else None for move in moved]
    return {
        "first": sheet(first),
        "latest": sheet(latest),
        "moved": whole if first.t < latest.t else None,
        "unchanged": whole is None and first.t < latest.t and bool(latest.measurements.class_shares),
        "generations": [{**sheet(each), "moved": round_} for each, round_ in zip(some, [None, *rounds], strict=True)],
    }


def class_name(generation: Generation, label: int) -> str:
    """The study's name of a class; its number where it has no name."""
    names = generation.measurements.class_names
    return str(names[label]) if label < len(names) else str(label)


def sheet(generation: Generation) -> dict[str, Any]:
    """The contact sheet of a generation: {t, grid, columns}, `grid` being the image's address."""
    measurements = generation.measurements
    grid = f"/img/{measurements.grid_sha256}.png"
    return {"t": generation.t, "grid": grid, "columns": measurements.grid_columns}


def languages() -> dict[str, dict[str, Any]]:
    """The page's texts by language: all static/strings.<language>.json there are, each with its direction `dir`.

    `words` has the words for designs by their English ones.
    """
    texts = {}
    for file in sorted(STATIC.glob("strings.*.json")):
        strings = json.loads(file.read_text(encoding="utf-8"))
        texts[file.name.split(".")[1]] = {"dir": strings["dir"], **strings["rater"], "words": strings.get("words", {})}
    return texts


def build_rater_page(study: Study) -> gr.Blocks:
    """The Blocks at /. They have no events, so a rater never waits for Gradio's queue."""
    app = study.config.app
    page = render(
        "rater.html",
        title=app.title,
        usual_title=app.title == type(app).model_fields["title"].default,
        reveal=app.reveal,
        panel=study.config.panel.kind,
        worst=study.config.slates.kind == "best_worst",
        ties=study.config.slates.ties,
        undo=study.config.slates.undo_s > 0,
        learns=not study.sources,
        k=study.config.curation.k,
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


def unknown_page(scope: Scope) -> str:
    """The page at an address where there is none, in the language of ?lang=, else of the browser, else in English."""
    texts, request = languages(), HTTPConnection(scope)
    accepted = request.headers.get("accept-language", "").split(",")
    tags = [request.query_params.get("lang", ""), *(tag.partition(";")[0] for tag in accepted)]
    known = (tag.strip().lower().partition("-")[0] for tag in tags)
    language = next((tag for tag in known if tag in texts), "en")
    return render("unknown.html", text=texts[language], language=language, static=STATIC_URL)

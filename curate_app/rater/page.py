"""The rater's page: one gr.HTML that holds every view; static/rater.js drives it and talks to the JSON routes only."""

import json
from typing import Any

import gradio as gr

from curate_app.assets import STATIC, STATIC_URL, render
from loop.study import Study

FILES = (
    "rater.css", "steps.css", "overlays.css",
    "rater.js", "api.js", "controls.js", "dom.js", "endings.js", "outbox.js", "progress.js", "reveal.js", "slate.js",
    "stage.js", "steps.js", "strings.js", "views.js", "voice.js",
)  # fmt: skip


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

"""The rater's page: one gr.HTML that holds the slate; static/rater.js drives it and talks to the JSON routes only."""

import json

import gradio as gr

from curate_app.assets import STATIC_URL, TEXT, render
from loop.study import Study


def build_rater_page(study: Study) -> gr.Blocks:
    """The Blocks at /. They have no events, so a rater never waits for Gradio's queue."""
    app = study.config.app
    page = render(
        "rater.html",
        title=app.title,
        reveal=app.reveal,
        text=TEXT["rater"],
        strings=json.dumps(TEXT["rater"]),
    )
    with gr.Blocks(title=app.title, analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            page,
            elem_id="curate-page",
            apply_default_css=False,
            js_on_load=f"import('{STATIC_URL}/rater.js').then((page) => page.start(element));",
        )
    return blocks

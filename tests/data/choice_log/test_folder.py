"""The data card and the Croissant metadata of every format: valid, and hostile names run nowhere in them."""

import json
import logging
from pathlib import Path

import mlcroissant as mlc
import pytest
import yaml
from markdown_it import MarkdownIt

from data.choice_log import FORMATS
from tests.data.choice_log.conftest import STUDY


@pytest.mark.parametrize("name", list(FORMATS))
def test_mlcroissant_accepts_the_metadata(write, name: str, caplog: pytest.LogCaptureFixture):
    path, _ = write(name)
    folder = path.parents[len(Path(FORMATS[name].file).parts) - 1]
    with caplog.at_level(logging.WARNING):
        dataset = mlc.Dataset(jsonld=str(folder / "croissant.json"))
    assert dataset.metadata.ctx.issues.errors == set() and "not standard" not in caplog.text
    said = json.loads((folder / "croissant.json").read_text())
    assert said["conformsTo"] == "http://mlcommons.org/croissant/1.1" and STUDY in said["description"]


def test_records_come_through_the_metadata(write, truth):
    path, written = write("long-parquet")
    records = list(mlc.Dataset(jsonld=str(path.parent / "croissant.json")).records("records"))
    picked = {r["records/slate_id"]: r["records/sample_id"] for r in records if r["records/picked"]}
    assert picked == truth.picks and len(records) == written.rows


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_hostile_name_is_text_in_the_card(write, name: str):
    path, _ = write(name)
    folder = path.parents[len(Path(FORMATS[name].file).parts) - 1]
    card = (folder / "README.md").read_text()
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head)["pretty_name"] == f"Picks of the study {STUDY}"
    html = MarkdownIt().render(body)
    assert "<b>" not in html and "&lt;b&gt;&amp; line | `code` 😀" in html
    assert FORMATS[name].limits.split(".")[0] in card

"""A person picks in a study with conditions: they are shown, stored, in every export, fitted and checked."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page
from preflibtools.instances import OrdinalInstance

from data.choice_log import FORMATS, Source
from data.choice_log.export import export
from data.choice_log.formats import original
from loop.study import Study, configure
from loop.worker import Worker
from tests.curate_app.command_line import curate
from tests.curate_app.pages import ready, saved

PROMPTS = "a three", '=a "seven", écrit'
SETTINGS = (
    "data.conditions=none",
    f"conditions=[{{name = '{PROMPTS[0]}', label = 3}}, {{name = '{PROMPTS[1]}', label = 7, weight = 2.0}}]",
    "network.width=16", "network.depth=1", "train.pretrain_steps=30", "train.finetune_steps=5", "train.batch_size=32",
    "train.pair_size=32", "train.warmup_steps=2", "train.ema_decay=0.5", "sampling.steps=2", "evaluation.samples=100",
    "curation.extend=none", "schedule.picks=12", "pool.size=16", "pool.audit=2",
)  # fmt: skip


@pytest.mark.browser
def test_a_condition_is_shown_stored_exported_fitted_and_checked(
    page: Page, serve: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    study = Study.create(tmp_path / "s", configure("digits-classes", SETTINGS, seed=3))
    Worker(study).run(once=True)
    ready(page, serve(study))
    shown = []
    for n in range(1, 13):
        shown.append(page.locator(".condition").inner_text())
        page.keyboard.press(str(1 + n % 4))
        saved(page, n)
        ready(page)
    Worker(study).run(once=True)
    truth = list(
        study.store.rows(
            """SELECT slate.id AS slate_id, slate.condition, pick.id AS choice_id, sample_id FROM pick JOIN slate
            ON slate.id = pick.slate_id JOIN slate_item ON slate_item.slate_id = slate.id
            AND slate_item.position = pick.position ORDER BY pick.id"""
        )
    )
    assert [row["condition"] for row in truth] == shown and set(shown) == set(PROMPTS)
    last = study.store.generations()[-1].measurements
    assert last.condition_picks == tuple(shown.count(name) for name in PROMPTS)

    slates = {row["slate_id"]: row["condition"] for row in truth}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    read = exported(study, tmp_path)
    assert {name for name, found in read.items() if found != slates} == set()
    assert read.keys() == FORMATS.keys()

    done = curate("fit", study.path, "--features", "reward", "--ridge", "0.1", "--by", "condition", "--json")
    assert done.returncode == 0, done.stderr
    fitted = json.loads(done.stdout)
    parts = {part["name"].removeprefix("condition "): part["picks"] for part in fitted["parts"]}
    assert parts == {name: shown.count(name) for name in PROMPTS} and fitted["fit"]["picks"] == 12
    assert curate("check", study.path).returncode == 0


def exported(study: Study, folder: Path) -> dict[str, dict[int, str]]:
    """The conditions by slate as the real readers find them, by format."""
    import datasets

    for name, format_ in FORMATS.items():
        export(Source(study.store, "s"), format_, folder / name)
    files = {name: folder / name / format_.file for name, format_ in FORMATS.items()}

    def load(path: str, **more: str) -> datasets.Dataset:
        loaded = datasets.load_dataset(path, cache_dir=str(folder / "cache"), **more)["train"]  # pyright: ignore
        assert isinstance(loaded, datasets.Dataset)
        return loaded

    def table(frame: pd.DataFrame, column: str, text: Callable[[str], str] = str) -> dict[int, str]:
        assert set(frame.groupby("slate_id")[column].nunique()) == {1}
        return {int(id_): text(rows[column].iloc[0]) for id_, rows in frame.groupby("slate_id")}  # pyright: ignore

    choices = pd.read_parquet(files["long-parquet"]).groupby("choice_id").slate_id.first()
    samples = pd.read_parquet(files["long-parquet"]).set_index("sample_id").slate_id
    found = {
        "long-csv": table(pd.read_csv(files["long-csv"]), "condition", original),
        "long-parquet": table(pd.read_parquet(files["long-parquet"]), "condition"),
        "wide-csv": table(pd.read_csv(files["wide-csv"]), "condition", original),
        "trl": table(load("parquet", data_files=str(files["trl"])).to_pandas(), "prompt"),  # pyright: ignore
        "pickapic": table(pd.read_parquet(files["pickapic"]), "caption"),
        "hpd": table(pd.read_json(files["hpd"]), "prompt"),
    }
    for name, column in (("diffusion-dpo", "caption"), ("hf", "condition")):
        found[name] = table(load(str(folder / name)).to_pandas(), column)  # pyright: ignore
    picked = [dict(row) for row in load("imagefolder", data_dir=str(folder / "imagefolder"))]
    found["imagefolder"] = {int(choices[row["choice_id"]]): row["text"] for row in picked}
    choix = json.loads(files["choix"].read_text(encoding="utf-8"))
    found["choix"] = {int(samples[item["sample_id"]]): item["condition"] for item in choix["items"]}
    orders = OrdinalInstance(str(files["preflib"]))
    named = [name.split(", condition ") for name in orders.alternatives_name.values()]
    found["preflib"] = {int(samples[int(sample.split()[1])]): condition for sample, condition in named}
    return found

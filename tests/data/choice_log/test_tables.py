"""Long, wide and Hugging Face tables, read by pandas, xlogit, statsmodels and datasets: the picks are the study's."""

import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from statsmodels.discrete.conditional_models import ConditionalLogit

from data.choice_log import Source, find_format
from data.choice_log.export import export
from data.choice_log.formats import neutral, original
from data.images import decode_png
from data.records import NewSlate, Pick, Sample
from data.schema import NAMES
from data.store.sessions import PanelIds
from tests.data.choice_log.conftest import NASTY, STUDY


def read(path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, keep_default_na=False, na_values=[""], lineterminator=None)


@pytest.mark.parametrize("name", ["long-csv", "long-parquet"])
def test_pandas_finds_every_slate_and_pick(write, truth, name: str):
    path, written = write(name)
    long = read(path)
    assert tuple(long.columns) == NAMES and len(long) == written.rows
    assert {slate: list(rows.sample_id) for slate, rows in long.groupby("slate_id")} == truth.slates
    assert dict(long[long.picked == 1].set_index("slate_id").sample_id) == truth.picks
    assert dict(long.groupby("slate_id").outcome.first()) == truth.answers


def test_parquet_and_csv_hold_the_same(write):
    csv, parquet = read(write("long-csv")[0]), read(write("long-parquet")[0])
    for name in NAMES:
        if csv[name].dtype.kind in "if":
            assert np.array_equal(csv[name].astype(float), parquet[name].astype(float), equal_nan=True), name
        else:
            texts = [original(cell) if isinstance(cell, str) else None for cell in csv[name]]
            assert texts == [cell if isinstance(cell, str) else None for cell in parquet[name]], name


def test_wide_has_an_answer_a_row(write, truth):
    path, written = write("wide-csv")
    wide = read(path).set_index("slate_id")
    assert len(wide) == written.rows == len(truth.slates)
    for slate, samples in truth.slates.items():
        row = wide.loc[slate]
        assert [row[f"sample_id_{position}"] for position in range(len(samples))] == samples
        assert pd.isna(row.picked) == (slate not in truth.picks)
        if slate in truth.picks:
            assert samples[int(row.picked)] == truth.picks[slate]


def test_datasets_opens_the_folder(write, truth, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    path, _ = write("hf")
    rows = load_dataset(str(path.parents[1]), cache_dir=str(tmp_path / "cache"))["train"]
    assert {row["slate_id"]: row["sample_id"] for row in rows} == truth.slates
    picked = {row["slate_id"]: row["sample_id"][row["picked"]] for row in rows if row["picked"] is not None}
    assert picked == truth.picks
    assert rows[0]["images"][0].size == (8, 8) and rows[len(rows) - 1]["images"] == [None]
    assert {row["study"] for row in rows} == {STUDY}
    for column in ("input", "viewport", "rater_type"):
        assert [row[column] for row in rows if row[column] is not None] == list(NASTY), column


def test_datasets_reads_the_pairs_with_their_pictures(write, truth, study, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    path, written = write("trl")
    pairs = load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    pictured = {slate for slate, samples in truth.slates.items() if len(samples) == 3 and slate in truth.picks}
    wanted = {(s, truth.picks[s], other) for s in pictured for other in truth.slates[s] if other != truth.picks[s]}
    found = [(row["slate_id"], row["chosen_sample_id"], row["rejected_sample_id"]) for row in pairs]
    assert set(found) == wanted and len(found) == len(wanted)
    sha256 = study.value("SELECT image_sha256 FROM sample WHERE id = ?", [pairs[0]["chosen_sample_id"]])
    assert np.array_equal(np.asarray(pairs[0]["chosen"]), decode_png(study.image(sha256))[:, :, 0])
    assert sum(written.left_out.values()) == len(truth.slates) - len(pictured)


def test_row_groups_bound_the_memory(write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data.choice_log.formats.IMAGE_GROUP", 10)
    path, written = write("trl")
    groups = pq.ParquetFile(path).metadata
    assert groups.num_row_groups > 1 and groups.num_rows == written.rows


def test_statsmodels_and_xlogit_agree_on_the_long_table(write):
    from xlogit import MultinomialLogit

    long = read(write("long-parquet")[0])
    long = long[(long.rater_kind == "human") & (long.outcome == "pick")].copy()
    long["first"] = (long.position == 0).astype(float)
    names = ["reward", "first"]
    ours = ConditionalLogit(long.picked, long[names], groups=long.choice_id).fit(disp=False)
    model = MultinomialLogit()
    model.fit(long[names], long.picked, varnames=names, ids=long.choice_id, alts=long.position, verbose=0)
    assert np.allclose(model.coeff_, ours.params, atol=0.02) and ours.nobs == len(long)
    assert np.isclose(model.loglikelihood, ours.llf, atol=1e-4)  # where it is flat, each stops somewhere else


@pytest.mark.parametrize("name", ["long-csv", "long-parquet", "wide-csv"])
def test_every_text_comes_back_the_same(write, name: str):
    table = read(write(name)[0])
    undo = original if name.endswith("csv") else str
    people = table[(table.rater_kind == "human") & table.input.notna()].drop_duplicates("choice_id")
    simulated = table[table.rater_type.notna()].drop_duplicates("choice_id")
    for column, rows in (("input", people), ("viewport", people), ("rater_type", simulated)):
        assert [undo(cell) for cell in rows[column]] == list(NASTY), column
    assert {undo(cell) for cell in table.study} == {STUDY}


@pytest.mark.parametrize("name", ["long-csv", "long-parquet"])
def test_panels_ids_come_back_the_same(study, tmp_path, name: str):
    for number, text in enumerate(NASTY):
        session = study.admit(f"p{number}", PanelIds(text, text, text, text), user_agent=text, consented=True)
        study.add_slates([NewSlate(1, "curation", 2, number, [Sample(1, 5000 + number), Sample(1, 6000 + number)])])
        slate = study.lease(session, ("curation",), 1, 60)
        study.record_pick(session, Pick(slate.id, "pick", 0))
    format_ = find_format(name)
    export(Source(study, STUDY, "salt", panel_ids=True), format_, tmp_path / "told")
    table = read(tmp_path / "told" / format_.file)
    told = table[table.panel.notna()].drop_duplicates("choice_id")
    undo = original if name.endswith("csv") else str
    for column in ("panel", "panel_rater_id", "panel_study_id", "panel_session_id"):
        assert [undo(cell) for cell in told[column]] == list(NASTY), column


def test_no_cell_starts_as_a_formula(write):
    for name in ("long-csv", "wide-csv"):
        table = pd.read_csv(write(name)[0], dtype=str, keep_default_na=False)
        for column in ("study", "input", "viewport", "rater_type"):
            assert not table[column].str.match(r"[=+\-@\t\r\n＝＋－＠]").any(), (name, column)


SPLIT = ("x;=1+1", "x\t=1+1", "x;;@SUM(A1)", "a;b")


def test_no_cell_is_split_into_a_formula(study, tmp_path):
    """LibreOffice splits at semicolons and tabs unless told otherwise; what stands in quotes stays whole."""
    for number, text in enumerate(SPLIT):
        session = study.admit(f"p{number}", PanelIds(text, text, text, text), user_agent=text, consented=True)
        study.add_slates([NewSlate(1, "curation", 2, number, [Sample(1, 7000 + number), Sample(1, 8000 + number)])])
        slate = study.lease(session, ("curation",), 1, 60)
        study.record_pick(session, Pick(slate.id, "pick", 0, input=text, viewport=text))
    source = Source(study, "my;=1+1", "salt", panel_ids=True)
    for name in ("long-csv", "wide-csv"):
        format_ = find_format(name)
        export(source, format_, tmp_path / name)
        text = (tmp_path / name / format_.file).read_text()
        table = pd.read_csv(tmp_path / name / format_.file, dtype=str, keep_default_na=False)
        if name == "long-csv":
            assert set(SPLIT) <= set(table.panel_rater_id) and set(SPLIT) <= set(table.viewport)
        fields = re.sub(r'"(?:[^"]|"")*"', "quoted", text)
        cells = [cell for line in fields.splitlines() for cell in re.split(r"[,;\t]", line)]
        assert not [cell for cell in cells if re.match(r"[=+@]|-[^\d]", cell)]


@pytest.mark.parametrize("text", [*NASTY, STUDY, "", "''", "'a", "'''@"])
def test_what_is_neutralised_is_restored(text: str):
    assert original(neutral(text)) == text

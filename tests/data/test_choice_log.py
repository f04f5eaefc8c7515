"""The long table: one row per answered slate and position, the same as in the database, in a file that is whole."""

import csv
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data.choice_log import Source, find_format
from data.choice_log.export import csv_pages, export
from data.choice_log.source import parse_filters
from data.records import ExclusionRule, NewSlate, Pick, Sample
from data.schema import NAMES
from data.store import Store
from data.store.sessions import PanelIds


@pytest.fixture
def answered(store: Store, fill: Callable[..., list[int]]) -> Store:
    """A pick, a 'none', a slate left open, and a bulk pick of K = inf with a point."""
    for pick in (Pick(1, "pick", 2, rt_ms=700, input="key", viewport="800x600"), Pick(2, "none")):
        assert store.lease("ann", ("curation",), 0, 60)
        store.record_pick("ann", pick)
    assert store.lease("bob", ("curation",), 0, 60)
    sim = store.bulk_session("sim", "luce")
    (slate,) = store.add_slates([NewSlate(0, "curation", None, 9, [Sample(0, 4, 0.5, 1, point=(1.5, 2.0))])])
    store.add_picks([(slate, sim, 0, {})])
    return store


def export_choices(store: Store, study: str, format_: str, out: Path, *, replace: bool = False, where: str = "") -> int:
    source = Source(store, study, "salt", parse_filters([where] if where else []))
    return export(source, find_format(format_), out, replace=replace).rows


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_position_of_every_answered_slate_has_a_row(answered: Store, tmp_path: Path):
    out = tmp_path / "choices.csv"
    assert export_choices(answered, "my study", "long-csv", out) == 7
    rows = rows_of(out)
    assert tuple(rows[0]) == NAMES
    assert [(row["slate_id"], row["position"], row["outcome"], row["picked"]) for row in rows] == [
        ("1", "0", "pick", "0"), ("1", "1", "pick", "0"), ("1", "2", "pick", "1"),
        ("2", "0", "none", "0"), ("2", "1", "none", "0"), ("2", "2", "none", "0"),
        ("5", "0", "pick", "1"),
    ]  # fmt: skip
    assert {row["study"] for row in rows} == {"my study"}
    assert [(row["rater_kind"], row["k"]) for row in rows[2:]] == [("human", "3")] * 4 + [("sim", "")]
    assert rows[6]["point"] == "[1.5, 2.0]"


def test_what_is_written_is_what_the_database_holds(answered: Store, tmp_path: Path):
    export_choices(answered, "s", "long-csv", tmp_path / "c.csv")
    samples = {row["id"]: row for row in answered.rows("SELECT * FROM sample")}
    picks = {row["slate_id"]: row for row in answered.rows("SELECT * FROM pick")}
    items = {(row["slate_id"], row["position"]): row["sample_id"] for row in answered.rows("SELECT * FROM slate_item")}
    for row in rows_of(tmp_path / "c.csv"):
        slate, position = int(row["slate_id"]), int(row["position"])
        sample, pick = samples[int(row["sample_id"])], picks[slate]
        assert items[slate, position] == sample["id"]
        assert (row["image_sha256"], int(row["sample_seed"])) == (sample["image_sha256"] or "", sample["seed"])
        assert (float(row["reward"]), int(row["label"])) == (sample["reward"], sample["label"])
        assert (int(row["choice_id"]), row["outcome"]) == (pick["id"], pick["outcome"])
        assert (row["picked_at"], row["rt_ms"]) == (pick["picked_at"], "" if pick["rt_ms"] is None else "700")
        assert row["checkpoint_sha256"] == "ab" * 32


def test_checks_and_flags_stand_beside_the_answers(answered: Store, fill: Callable[..., list[int]], tmp_path: Path):
    repeated = answered.lease_copy("ann", 1, [2, 0, 1], 7, 60)
    answered.record_pick("ann", Pick(repeated.id, "pick", 1, rt_ms=90, blur_count=2))
    answered.set_flags([(4, {"too_fast": True})], [("ann", {"inconsistent": True})])
    answered.set_flags([(1, {"too_fast": True})], [])
    assert answered.exclude(1, 0, 4, ExclusionRule(picks=("too_fast",))) == {"too_fast": 1}
    export_choices(answered, "s", "long-csv", tmp_path / "c.csv")
    rows = rows_of(tmp_path / "c.csv")
    last = {name: rows[-1][name] for name in ("purpose", "copy_of", "answer", "blur_count", "flags", "excluded_by")}
    assert last == {"purpose": "attention", "copy_of": "1", "answer": "0", "blur_count": "2",
                    "flags": '{"too_fast": true}', "excluded_by": ""}  # fmt: skip
    assert {(row["excluded_by"], row["session_flags"]) for row in rows[:3]} == {("too_fast", '{"inconsistent": true}')}
    assert int(rows[-1]["server_ms"]) >= 0


def test_no_session_id_leaves_the_study(answered: Store, tmp_path: Path):
    export_choices(answered, "s", "long-csv", tmp_path / "c.csv")  # a session's id is its cookie
    assert "ann" not in (tmp_path / "c.csv").read_text()


def test_an_unfinished_export_leaves_nothing(answered: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = set(tmp_path.rglob("*"))

    def failing(self: Source):
        yield from list(batches(self))[:1]
        assert not (tmp_path / "c.csv").exists() and not (tmp_path / "c").exists()  # while written, it isn't there yet
        raise KeyboardInterrupt

    batches = Source.batches
    monkeypatch.setattr(Source, "batches", failing)
    for out in ("c.csv", "c"):
        with pytest.raises(KeyboardInterrupt):
            export_choices(answered, "s", "long-csv", tmp_path / out)
        assert set(tmp_path.rglob("*")) == before


def test_a_file_that_is_there_is_kept_unless_it_may_be_replaced(answered: Store, tmp_path: Path):
    out = tmp_path / "c.csv"
    out.write_text("precious")
    with pytest.raises(ValueError, match="--force"):
        export_choices(answered, "s", "long-csv", out)
    assert out.read_text() == "precious"
    export_choices(answered, "s", "long-csv", out, replace=True)
    assert len(rows_of(out)) == 7


@pytest.mark.parametrize(
    ("format_", "out", "message"), [("xlsx", "c.csv", "xlsx"), ("long-csv", "no/c.csv", "no folder")]
)
def test_an_unknown_format_or_folder_is_refused(answered: Store, tmp_path: Path, format_: str, out: str, message: str):
    before = set(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        export_choices(answered, "s", format_, tmp_path / out)
    assert set(tmp_path.iterdir()) == before


def test_a_study_without_answers_gives_a_header_alone(store: Store, tmp_path: Path):
    assert export_choices(store, "s", "long-csv", tmp_path / "c.csv") == 0
    assert (tmp_path / "c.csv").read_text().strip() == ",".join(NAMES)


def test_a_download_is_the_file(answered: Store, tmp_path: Path):
    export_choices(answered, "=s", "long-csv", tmp_path / "c.csv")
    assert "".join(csv_pages(answered, "=s", "salt")).encode() == (tmp_path / "c.csv").read_bytes()


def test_raters_have_the_same_pseudonym_in_a_study_and_another_elsewhere(answered: Store):
    def names(salt: str) -> list[str]:
        return [name for batch in Source(answered, "s", salt).batches() for name in batch["rater"]]

    assert names("one") == names("one") and len(set(names("one"))) == 2
    assert not set(names("one")) & set(names("another"))
    assert not {"1", "2", "ann"} & set(names("one"))


@pytest.mark.parametrize(
    ("where", "slates"),
    [
        ("kind=human", {1, 2}), ("rater_kind != human", {5}), ("outcome=pick", {1, 5}), ("k=", {5}), ("k!=", {1, 2}),
        ("kind=human,outcome=none", {2}), ("slate_id>=2", {2, 5}), ("slate_id<2", {1}), ("generation=7", set()),
    ],
)  # fmt: skip
def test_filters_keep_whole_answers(answered: Store, tmp_path: Path, where: str, slates: set[int]):
    export_choices(answered, "s", "long-csv", tmp_path / "c.csv", where=where)
    assert {int(row["slate_id"]) for row in rows_of(tmp_path / "c.csv")} == slates


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("kind", "can't read 'kind'"), ("knid=human", "did you mean kind"), ("position=0", "whole answers"),
        ("generation=two", "whole number"),
        ("generation=1e23", "whole number"), ("slate_id<" + "9" * 30, "64 bits"),
        ("k=" + "9" * 5_000, "64 bits"), ("k=-9223372036854775809", "64 bits"), ("rt_ms>1e999", "whole number"),
        ("1=1 OR kind=human", "no column '1'"), ("generation>", "lacks a value"),
        ("", "can't read"),
    ],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_is_refused(where: str, message: str):
    with pytest.raises(ValueError, match=message):
        parse_filters([where])


def test_a_filters_value_is_never_sql(answered: Store, tmp_path: Path):
    where = "outcome=pick' OR 1=1 --"
    assert export_choices(answered, "s", "long-csv", tmp_path / "c.csv", where=where) == 0
    assert answered.last_pick() == 3


def test_a_folder_has_a_card_metadata_and_images_named_by_content(answered: Store, tmp_path: Path):
    export_choices(answered, "s", "long-csv", tmp_path / "e")
    shown = {row["image_sha256"] for row in rows_of(tmp_path / "e" / "choices.csv")} - {""}
    images = list((tmp_path / "e" / "images").iterdir())
    assert {path.stem for path in images} == shown and len(shown) == 6
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.stem for path in images)
    assert {path.name for path in (tmp_path / "e").iterdir()} == {
        "choices.csv",
        "README.md",
        "croissant.json",
        "images",
    }
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="no export made"):
        export_choices(answered, "s", "long-csv", tmp_path / "mine", replace=True)
    assert export_choices(answered, "s", "wide-csv", tmp_path / "e", replace=True) == 3
    assert not (tmp_path / "e" / "choices.csv").exists()


def test_panel_ids_are_in_an_export_that_asks_for_them_and_in_no_other(store: Store):
    session = store.admit("x", PanelIds("prolific", "secret-worker", "hit", "sub"), user_agent="", consented=True)
    assert store.lease(session, ("curation",), 0, 60)
    store.record_pick(session, Pick(1, "pick", 0))
    (plain,), (told,) = Source(store, "s", "salt").batches(), Source(store, "s", "salt", panel_ids=True).batches()
    assert "secret-worker" not in str(plain)
    assert [told[name][0] for name in ("panel", "panel_rater_id", "panel_study_id", "panel_session_id")] == [
        "prolific", "secret-worker", "hit", "sub",
    ]  # fmt: skip


def test_features_are_class_probabilities(store: Store, tmp_path: Path):
    sim = store.bulk_session("sim", "luce")
    samples = [Sample(0, 1, reward_json={"probs": [0.25, 0.75]}), Sample(0, 2)]
    (slate,) = store.add_slates([NewSlate(0, "curation", 2, 9, samples)], picked_by=[sim])
    store.add_picks([(slate, sim, 0, {})])
    source = Source(store, "s", features=True)
    for name in ("long-csv", "hf", "long-parquet"):
        export(source, find_format(name), tmp_path / name)
    rows = rows_of(tmp_path / "long-csv" / "choices.csv")
    assert [(row["prob_0"], row["prob_1"]) for row in rows] == [("0.25", "0.75"), ("", "")]
    assert (tmp_path / "hf" / "README.md").read_text().count("| `prob_") == 2


def test_an_export_that_is_told_to_stop_leaves_nothing(tmp_path: Path, store: Store):
    code = f"""
import os, signal
from pathlib import Path
from curate_app.commands.export import export
from data.choice_log import Source
from loop.study import Study, configure
Study.create(Path({str(tmp_path)!r}, "s"), configure("moons")).store.close()
Source.batches = lambda self: iter(lambda: os.kill(os.getpid(), signal.SIGTERM), 0)
export(Path({str(tmp_path)!r}, "s"), "long-parquet", Path({str(tmp_path)!r}, "picks"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
    assert {path.name for path in tmp_path.iterdir() if "study.db" not in path.name} == {"s"}

"""The long table: one row per answered slate and position, the same as in the database, in a file that is whole."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from data import choice_log
from data.choice_log import COLUMNS, export_choices
from data.records import NewSlate, Pick, Rule, Sample
from data.store import Store


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


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_position_of_every_answered_slate_has_a_row(answered: Store, tmp_path: Path):
    out = tmp_path / "choices.csv"
    assert export_choices(answered, "my study", "long-csv", out) == 7
    rows = rows_of(out)
    assert tuple(rows[0]) == COLUMNS
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
    assert answered.exclude(1, 0, 4, Rule(picks=("too_fast",))) == {"too_fast": 1}
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


def test_an_unfinished_export_leaves_no_file(answered: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = choice_log.long_rows
    before = set(tmp_path.iterdir())

    def failing(store: Store, study: str):
        yield from list(rows(store, study))[:3]
        assert not (tmp_path / "c.csv").exists()  # while it is written, it isn't there yet
        raise OSError("the disk is full")

    monkeypatch.setattr(choice_log, "long_rows", failing)
    with pytest.raises(OSError, match="full"):
        export_choices(answered, "s", "long-csv", tmp_path / "c.csv")
    assert set(tmp_path.iterdir()) == before


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
    assert (tmp_path / "c.csv").read_text().strip() == ",".join(COLUMNS)

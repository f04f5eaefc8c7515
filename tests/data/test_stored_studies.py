"""Studies stored by earlier versions, as SQL: each opens under today's schema, and loses nothing.

`stored/m001.sql` is of the first schema, `stored/m006.sql` has a row in every table of the sixth.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from data.records import ExclusionRule, Pick
from data.store import Store, queries
from data.store.sessions import PanelIds, pseudonym

STORED = Path(__file__).parent / "stored"
Tables = dict[str, list[dict[str, Any]]]


def restore(name: str, folder: Path) -> Path:
    """A stored study as a database."""
    path = folder / "study.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((STORED / f"{name}.sql").read_text())
    return path


def tables(path: Path) -> Tables:
    """All rows of all tables and views."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')").fetchall()
        return {name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}"')] for (name,) in names}


@pytest.mark.parametrize("name", ["m001", "m006"])
def test_a_stored_study_keeps_every_value_of_every_row(name: str, tmp_path: Path):
    path = restore(name, tmp_path)
    before = tables(path)
    Store(path).close()
    after = tables(path)
    if name == "m001":  # panels' ids move to the identity table
        (ann,), (session,) = before["rater"][:1], before["session"][:1]
        (identity,) = after["identity"]
        moved = [session["rater_id"], ann["panel"], ann["panel_rater_id"], session["panel_study_id"]]
        assert [*identity.values()] == [*moved, session["panel_session_id"], ann["created_at"]]
        ann["panel_rater_id"] = pseudonym(PanelIds(ann["panel"], ann["panel_rater_id"]))
        session["panel_session_id"] = None
    assert len(after["_sqlite_migrations"]) == 11
    assert {(row["worst"], row["undone_at"]) for row in after["pick"]} == {(None, None)}
    for counters in (before, after):  # SQLite's own, in the order in which tables were made: `pick` was made anew
        counters["sqlite_sequence"].sort(key=lambda row: row["name"])
    for table, rows in before.items():
        assert rows, f"{name}.sql has no row in {table}"
        kept = after[table][: len(rows)] if table == "_sqlite_migrations" else after[table]
        assert [{column: row[column] for column in rows[0]} for row in kept] == rows, table


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("m001", [("human", "audit", "skip", 1), ("human", "curation", "pick", 1), ("sim", "curation", "pick", 1)]),
        (
            "m006",
            [("human", "attention", "pick", 1), ("human", "curation", "none", 1), ("human", "curation", "pick", 2),
             ("proxy", "curation", "pick", 1), ("sim", "curation", "pick", 1)],
        ),
    ],
)  # fmt: skip
def test_answers_of_a_stored_study_are_in_the_tally(name: str, counts: list[tuple], tmp_path: Path):
    store = Store(restore(name, tmp_path))
    assert store.faults() == []
    assert [(row["kind"], row["purpose"], row["outcome"], row["n"]) for row in queries.tally(store)] == counts
    rule = ExclusionRule(picks=("too_fast",))
    assert queries.count_picks_since(store, 0, ExclusionRule()) == 2  # bob of m006 has withdrawn
    assert queries.count_picks_since(store, 0, rule) == queries.count_curation_picks(store, after=0, rule=rule) == 1
    store.close()


def test_a_stored_study_goes_on(tmp_path: Path):
    store = Store(restore("m001", tmp_path))
    slate = store.lease("ann", ("curation",), 0, 60)
    assert slate is not None and slate.id == 4
    assert store.record_pick("ann", Pick(slate.id, "pick", 1)).id == 4
    assert {"kind": "human", "purpose": "curation", "outcome": "pick", "t": 0, "n": 2} in queries.tally(store)
    store.close()

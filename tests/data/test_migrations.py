"""The schema that other tools rely on, and files that are refused as they are."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import CorruptDatabaseError, NewerDatabaseError, NotAStudyError
from data.store import Store
from data.store.sessions import PanelIds, pseudonym

Contents = Callable[[Path], dict[str, str]]

DOCUMENTED = {  # design.md, "study.db"
    "generation": "t parent_t checkpoint checkpoint_sha256 n_real n_curated policy config_json created_at published_at "
    "metrics_json",
    "sample": "id t seed image_sha256 reward reward_json",
    "image": "sha256 png",
    "slate": "id t purpose k seed created_at leased_to lease_until served_at",
    "slate_item": "slate_id position sample_id",
    "rater": "id kind panel panel_rater_id type created_at",
    "session": "id rater_id panel_study_id panel_session_id consented_at finished_at withdrawn_at completion_code "
    "user_agent flags_json",
    "pick": "id slate_id session_id outcome position shown_at picked_at rt_ms input viewport flags_json",
    "event": "id at actor kind detail_json",
}
ADDED = {  # ours, beyond the documented ones
    "generation": "pick_cut",
    "sample": "label point_json operative_reward text",
    "evaluation": "id t n rewards labels points conditions features",
    "slate": "retired_at copy_of answer condition",
    "session": "created_at instructed_at understood_at failed_at closed_at alias",
    "rater": "alias",
    "pick": "blur_count server_ms worst undone_at",
    "answer": "id session_id question attempt text correct at",
    "identity": "rater_id panel panel_rater_id panel_study_id panel_session_id at",
    "invite": "token_sha256 created_at rater_id used_at",
    "exclusion": "t pick_id flag",
    "drawn_by": "t checkpoint_sha256",
    "tally": "t kind purpose outcome n undone",
    "status": "key value_json at",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed, empty study database in a folder of its own."""
    (tmp_path / "study").mkdir()
    Store.create(tmp_path / "study" / "study.db").close()
    return tmp_path / "study" / "study.db"


def test_tables_have_the_documented_columns_and_those_listed_here(store: Store):
    found = {
        table: {row["name"] for row in store.rows(f"PRAGMA table_info({table})")}
        for table in store.db.table_names()
        if not table.startswith(("sqlite_", "_sqlite_"))
    }
    wanted = {table: set() for table in DOCUMENTED | ADDED}
    for columns in (DOCUMENTED, ADDED):
        for table, names in columns.items():
            wanted[table] |= set(names.split())
    assert found == wanted


def test_every_table_is_strict_so_that_types_hold(store: Store):
    tables = [row for row in store.rows("PRAGMA table_list") if row["schema"] == "main" and row["type"] == "table"]
    loose = {row["name"] for row in tables if not row["strict"]}
    assert {name for name in loose if "sqlite_" not in name} == set()
    with pytest.raises(sqlite3.IntegrityError), store.write() as db:
        db.conn.execute("INSERT INTO sample(t, seed) VALUES (0, 'not a number')")


@pytest.mark.parametrize(
    ("column", "references"),
    [
        ("sample.t", "generation"),
        ("sample.image_sha256", "image"),
        ("slate.t", "generation"),
        ("slate.leased_to", "session"),
        ("slate_item.slate_id", "slate"),
        ("slate_item.sample_id", "sample"),
        ("session.rater_id", "rater"),
        ("pick.slate_id", "slate"),
        ("pick.session_id", "session"),
    ],
)
def test_references_are_declared(store: Store, column: str, references: str):
    table, name = column.split(".")
    declared = {(row["from"], row["table"]) for row in store.rows(f"PRAGMA foreign_key_list({table})")}
    assert (name, references) in declared


def test_opening_again_migrates_nothing(path: Path, contents: Contents):
    before = contents(path.parent)
    store = Store(path)
    assert store.value("SELECT count(*) FROM _sqlite_migrations") == 11
    store.close()
    assert contents(path.parent) == before


def test_creating_over_something_is_refused(path: Path, contents: Contents):
    before = contents(path.parent)
    with pytest.raises(FileExistsError):
        Store.create(path)
    assert contents(path.parent) == before


def make_newer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO _sqlite_migrations(migration_set, name) VALUES ('curate', 'm999_later')")
    connection.commit()
    return connection


def test_a_newer_database_is_refused_and_left_as_it_is(path: Path, contents: Contents):
    make_newer(path).close()
    before = contents(path.parent)
    with pytest.raises(NewerDatabaseError, match="m999_later"):
        Store(path)
    assert contents(path.parent) == before


def test_a_newer_database_that_was_not_closed_is_seen_through_its_log(path: Path, tmp_path: Path, contents: Contents):
    connection = make_newer(path)  # still open: the new row is in the log only
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("study.db", "study.db-wal"):
        shutil.copy(path.with_name(name), copy / name)
    connection.close()
    before = contents(copy)
    with pytest.raises(NewerDatabaseError):
        Store(copy / "study.db")
    assert before.items() <= contents(copy).items()  # SQLite may leave its own -shm beside them


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"Dear diary, this is no database, however long it goes on.\n" * 100,
        lambda content: content[: len(content) // 2],
        lambda content: content[:50],
        lambda content: b"\0" * 100 + content[100:],
    ],
    ids=["text", "half", "50 bytes", "no header"],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path, contents: Contents, damage: Callable[[bytes], bytes]):
    path.write_bytes(damage(path.read_bytes()))
    before = contents(path.parent)
    with pytest.raises(CorruptDatabaseError, match=r"study\.db"):
        Store(path)
    assert contents(path.parent) == before


def test_another_programs_database_is_no_study(path: Path, contents: Contents):
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipe(name TEXT)")
    connection.commit()
    connection.close()
    before = contents(path.parent)
    with pytest.raises(NotAStudyError, match="not a study"):
        Store(path)
    assert contents(path.parent) == before


def test_no_file_is_no_study_and_makes_none(tmp_path: Path):
    with pytest.raises(NotAStudyError):
        Store(tmp_path / "study.db")
    assert list(tmp_path.iterdir()) == []


def test_a_database_under_a_name_with_odd_characters_opens(tmp_path: Path):
    folder = tmp_path / "a study? 100% #1"
    folder.mkdir()
    Store.create(folder / "study.db").close()
    store = Store(folder / "study.db")
    store.log("test", "opened")
    store.close()
    assert [file.name for file in folder.iterdir()] == ["study.db"]


def test_ids_from_before_the_identity_table_are_moved_there(path: Path):
    old = Store(path)
    for name, panel, session in (("ann", "prolific", "s1"), ("ann", "prolific", "s2"), ("bob", None, None)):
        rater = old.add_rater("human", panel=panel, panel_rater_id=name if panel else None)
        old.add_session(f"{name}-{session}", rater, panel_study_id="study", panel_session_id=session)
    old.bulk_session("sim", "luce")
    with old.write() as db:
        db.conn.execute("DELETE FROM _sqlite_migrations WHERE name = 'm004_pseudonyms'")
    old.close()
    store = Store(path)
    ann = PanelIds("prolific", "ann")
    assert store.find_session(ann) == "ann-s1"
    assert [row["panel_rater_id"] for row in store.rows("SELECT panel_rater_id FROM rater ORDER BY id")] == [
        pseudonym(ann), None, "luce",
    ]  # fmt: skip
    assert store.value("SELECT count(panel_session_id) FROM session") == 0
    kept = store.row("SELECT panel, panel_rater_id, panel_study_id, panel_session_id FROM identity")
    assert kept is not None and list(kept.values()) == ["prolific", "ann", "study", "s1"]
    store.close()

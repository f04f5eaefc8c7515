"""docs/columns.md and the descriptions are those of the schema."""

from data.records import Pick
from data.schema import ABOUT, COLUMNS, LONG, NAMES, PAGE, columns_page
from data.store import Store


def test_the_page_is_written_from_the_schema():
    assert PAGE.read_text(encoding="utf-8") == columns_page(), "run: python -m data.schema"


def test_every_table_view_and_column_is_described_and_nothing_else(store: Store):
    names = [name for name in (*store.db.table_names(), *store.db.view_names()) if "sqlite_" not in name]
    found = {name: [row["name"] for row in store.rows(f"PRAGMA table_info({name})")] for name in names}
    assert {name: set(columns) for name, columns in found.items()} == {name: set(COLUMNS[name]) for name in COLUMNS}
    assert set(ABOUT) == set(found)
    assert [name for name in NAMES if name != "study"] == found["v_choice_long"] and len(LONG) == len(NAMES)


def test_views_count_what_tables_hold(store: Store, fill):
    for pick in (Pick(1, "pick", 2, rt_ms=700), Pick(2, "none", rt_ms=300)):
        assert store.lease("ann", ("curation",), 0, 60)
        store.record_pick("ann", pick)
    ann = store.row("SELECT * FROM v_rater WHERE rater = 1")
    assert ann is not None and (ann["sessions"], ann["answers"], ann["picks"], ann["mean_rt_ms"]) == (1, 2, 1, 500)
    generations = list(store.rows("SELECT * FROM v_generation"))
    assert [(row["generation"], row["human_picks"], row["sim_picks"]) for row in generations] == [(0, 1, 0)]

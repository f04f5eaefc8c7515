"""docs/columns.md and the descriptions are those of the schema."""

from data.choice_log.export import COLUMNS
from data.columns_docs import FILE, document
from data.records import Pick
from data.schema import ABOUT, LONG
from data.schema import COLUMNS as DESCRIBED
from data.store import Store


def test_the_page_is_written_from_the_schema():
    assert FILE.read_text(encoding="utf-8") == document(), "run: python -m data.columns_docs"


def test_every_table_view_and_column_is_described_and_nothing_else(store: Store):
    found = {
        name: [row["name"] for row in store.rows(f"PRAGMA table_info({name})")] for name in store.table_and_view_names()
    }
    assert {name: set(columns) for name, columns in found.items()} == {name: set(DESCRIBED[name]) for name in DESCRIBED}
    assert set(ABOUT) == set(found)
    assert [name for name in COLUMNS if name != "study"] == found["v_choice_long"] and len(LONG) == len(COLUMNS)


def test_views_count_what_tables_hold(store: Store, fill):
    for pick in (Pick(1, "pick", 2, rt_ms=700), Pick(2, "none", rt_ms=300)):
        assert store.lease("ann", ("curation",), 0, 60)
        store.record_pick("ann", pick)
    ann = store.one("SELECT * FROM v_rater WHERE rater = 1")
    assert ann is not None and (ann["sessions"], ann["answers"], ann["picks"], ann["mean_rt_ms"]) == (1, 2, 1, 500)
    generations = list(store.rows("SELECT * FROM v_generation"))
    assert [(row["generation"], row["human_picks"], row["sim_picks"]) for row in generations] == [(0, 1, 0)]

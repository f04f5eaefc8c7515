"""docs/columns.md from the schema of a new study: `python -m data.columns_docs`. A test holds the file true."""

import tempfile
from pathlib import Path

from data.schema import ABOUT, COLUMNS, LONG, PANEL
from data.store import Store

FILE = Path(__file__).parents[1] / "docs" / "columns.md"
HEAD = """# Tables and columns

The long table of `curate export`, then the views and tables of a study's `study.db`. This file is written from the
schema by `python -m data.columns_docs`; other tools may rely on these names, and columns may be added.
"""


def document() -> str:
    """The page as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "study.db")
        columns = {name: list(store.rows(f"PRAGMA table_info({name})")) for name in store.table_and_view_names()}
        store.close()
    views = sorted(name for name in columns if name.startswith("v_"))
    tables = [name for name in columns if name not in views]
    return "\n".join([HEAD, _long(), *(_table(name, columns[name]) for name in [*views, *tables])])


def _long() -> str:
    rows = [
        f"| `{one.name}` | {one.kind} | {'answer' if one.of_answer else 'position'} | {one.about} |" for one in LONG
    ]
    panel = "\n".join(f"| `{one.name}` | {one.kind} | answer | {one.about} |" for one in PANEL)
    return (
        "## The long table\n\nOne row per answered slate and position; `--format long-csv` and `long-parquet`.\n\n"
        "| column | kind | the same for | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "With `--include-panel-ids` also:\n\n| column | kind | the same for | |\n|---|---|---|---|\n" + panel + "\n"
    )


def _table(name: str, columns: list[dict]) -> str:
    rows = "\n".join(f"| `{one['name']}` | {one['type'].lower()} | {COLUMNS[name][one['name']]} |" for one in columns)
    return f"## {name}\n\n{ABOUT[name]}\n\n| column | type | |\n|---|---|---|\n{rows}\n"


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")

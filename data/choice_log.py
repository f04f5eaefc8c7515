"""The choice log as it is downloaded: the long table, read piece by piece so that a slow reader holds nothing open.

`data.export` writes it to files, in this and other formats; `data.columns` says what the columns are.
"""

import io
from collections.abc import Iterator

from data.cells import neutral_column, write_rows
from data.columns import NAMES
from data.formats.source import pseudonym
from data.store import Store

PAGE = 1_000  # answers
COLUMNS = NAMES


def csv_pages(store: Store, study: str, salt: str = "") -> Iterator[str]:
    """The log as CSV text in pieces, the same as `curate export` writes it to a file.

    The answers are those of the first moment; flags and withdrawals are as they stand when a piece is read.
    """
    yield ",".join(COLUMNS) + "\r\n"
    last = store.last_pick()
    for after in range(0, last, PAGE):
        text, until = io.StringIO(), min(after + PAGE, last)
        rows = long_rows(store, study, after, until, salt=salt)
        write_rows(text, (neutral_column(list(row.values())) for row in rows))
        yield text.getvalue()


def long_rows(
    store: Store, study: str, after: int = 0, until: int | None = None, *, salt: str = ""
) -> Iterator[dict[str, object]]:
    """One row per position of every answered slate, by pick and position, with the keys of `COLUMNS`.

    `after` and `until` keep the answers with `after < pick id <= until`. Raters stand under pseudonyms that come from
    `salt`, or without one under the study's own numbers; the panels' ids are nowhere in it.
    """
    aliases, study = store.aliases(), store.status("origin").get("study", study)
    for row in store.choices(after, until):
        row["rater"] = aliases.get(row["rater"]) or pseudonym(salt, row["rater"])
        yield {name: study if name == "study" else row[name] for name in COLUMNS}

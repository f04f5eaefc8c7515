"""The choice log as a long table: one row per slate and position, written as it is read."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from data.store import Store

PAGE = 1_000  # answers

COLUMNS = (
    "choice_id", "study", "generation", "checkpoint_sha256", "slate_id", "slate_seed", "purpose", "k", "position",
    "sample_id", "sample_generation", "sample_seed", "image_sha256", "point", "label", "reward", "operative_reward",
    "rater", "rater_kind",
    "rater_type", "session", "shown_at", "picked_at", "rt_ms", "outcome", "picked", "input", "viewport", "flags",
    "session_flags", "server_ms", "blur_count", "copy_of", "answer", "withdrawn",
    "excluded_by",
)  # fmt: skip


def export_choices(store: Store, study: str, format_: str, path: Path, *, replace: bool = False) -> int:
    """Writes the choice log to a file that appears whole or not at all.

    Args:
        store: the study's.
        study: the study's name, for its column.
        format_: 'long-csv'.
        path: the file.
        replace: whether a file that is there may be replaced.

    Returns:
        How many rows were written.

    Raises:
        ValueError: an unknown format, a file that is there already, or no folder for it.
    """
    if format_ != "long-csv":
        raise ValueError(f"There is no format '{format_}'; choose long-csv.")
    if path.exists() and not replace:
        raise ValueError(f"{path} is there already; add --force to replace it, or choose another --out.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} into.")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            n = 0
            for row in long_rows(store, study):
                writer.writerow(row.values())
                n += 1
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return n


def csv_pages(store: Store, study: str) -> Iterator[str]:
    """The log as CSV text in pieces, for a download: none holds the database open while a slow reader takes it.

    The answers are those of the first moment; flags and withdrawals are as they stand when a piece is read.
    """
    yield ",".join(COLUMNS) + "\r\n"
    last = store.last_pick()
    for after in range(0, last, PAGE):
        text = io.StringIO()
        csv.writer(text).writerows(row.values() for row in long_rows(store, study, after, min(after + PAGE, last)))
        yield text.getvalue()


def long_rows(store: Store, study: str, after: int = 0, until: int | None = None) -> Iterator[dict[str, object]]:
    """One row per position of every answered slate, by pick and position, with the keys of `COLUMNS`.

    `after` and `until` keep the answers with `after < pick id <= until`.

    `picked` is 1 at the position that was picked and 0 elsewhere (all 0 for 'none of these'). `copy_of` and `answer`
    are those of check slates: the slate whose samples they show in another order, and the position that is right.
    `excluded_by` is the flag that kept the pick out of training. Raters and sessions stand under numbers of the study's
    own; the panels' ids are nowhere in it.
    """
    for row in store.choices(after, until):
        yield {name: study if name == "study" else row[name] for name in COLUMNS}

"""Writing an export, whole or not at all: a file, or a folder with card, metadata and images."""

import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data.choice_log import Format, Source, Written
from data.choice_log.card import card, metadata
from data.choice_log.source import pseudonym
from data.choice_log.tables import neutral_column, write_rows
from data.schema import NAMES
from data.secret_file import FOLDER_MODE, MODE
from data.store import Store

PAGE = 1_000  # answers
COLUMNS = NAMES
CARD, METADATA = "README.md", "croissant.json"
FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")


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


def export(source: Source, format_: Format, out: Path, *, images: bool = True, replace: bool = False) -> Written:
    """Writes the choice log to a file (a path with a suffix, such as picks.csv) or to a folder (a path without one).

    A folder has the data, README.md (the data card), croissant.json and, unless `images` is false, images/<sha256>.png.
    With panels' ids it is readable by its owner alone.

    Raises:
        ValueError: something is there already, there is no folder to write into, or the format needs one of its own.
    """
    single = check_out(format_, out, replace=replace)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        if single:
            written = format_.write(source, draft / out.name)
            if source.panel_ids:
                (draft / out.name).chmod(MODE)
            (draft / out.name).replace(out)
        else:
            written = _write_folder(source, format_, draft / "export", images=images)
            (draft / "export").chmod(FOLDER_MODE if source.panel_ids else 0o755)
            _put_in_place(draft / "export", out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return written


def check_out(format_: Format, out: Path, *, replace: bool = False) -> bool:
    """True if an export to this path is a file, rather than a folder.

    Raises:
        ValueError: it can't be written, and why.
    """
    single = bool(FILE_NAME.search(out.name)) and not out.is_dir()
    if single and format_.folder_only:
        raise ValueError(f"{format_.name} is a folder of files; choose an --out without a suffix, not {out.name}.")
    if not out.parent.is_dir():
        raise ValueError(f"There is no folder {out.parent} to write {out.name} into.")
    if out.exists() and not replace:
        raise ValueError(f"{out} is there already; add --force to replace it, or choose another --out.")
    if out.is_dir() and not {CARD, METADATA} <= {path.name for path in out.iterdir()}:
        raise ValueError(f"{out} is a folder that no export made, so it isn't replaced; choose another --out.")
    return single


def _write_folder(source: Source, format_: Format, folder: Path, *, images: bool) -> Written:
    (folder / format_.file).parent.mkdir(parents=True)
    with source.store.read():  # the data, the images and the counts are of one moment
        written = format_.write(source, folder / format_.file)
        n = _write_images(source, folder / "images") if images else 0
        counts = source.store.shown_counts(source.where)
    said = card(source.study, format_, written, counts, source.where, n, panel_ids=source.panel_ids)
    (folder / CARD).write_text(said, encoding="utf-8")
    described = metadata(source.study, format_, written, folder, n)
    (folder / METADATA).write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def _write_images(source: Source, folder: Path) -> int:
    n = 0
    for sha256, png in source.store.shown_images(source.where):
        folder.mkdir(exist_ok=True)
        (folder / f"{sha256}.png").write_bytes(png)
        n += 1
    return n


def _put_in_place(folder: Path, out: Path) -> None:
    """Moves a finished folder to its place; what was there comes back if that fails."""
    replaced = folder.with_name("replaced")
    try:
        if out.exists():
            out.rename(replaced)
        folder.rename(out)
    except BaseException:
        if replaced.exists() and not out.exists():
            replaced.rename(out)
        raise

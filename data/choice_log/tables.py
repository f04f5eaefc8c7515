"""Formats with rows: the long table as CSV or Parquet, the wide one, and Hugging Face's datasets."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from data.choice_log.source import Answer, Field, Format, Source, Written, fields_of, images_of, in_batches, write_table
from data.schema import Column

STARTS = frozenset("=+-@\t\r\n＝＋－＠")  # OWASP's list, with the full-width forms
KEPT = ("sample_id", "sample_generation", "sample_seed", "image_sha256", "point", "label", "reward", "operative_reward")


def neutral(text: str) -> str:
    """The text as a cell that every spreadsheet shows as it is.

    Texts that begin with apostrophes and go on like a formula get one more, so that `original` undoes all of them.
    """
    return f"'{text}" if text.lstrip("'")[:1] in STARTS and text.strip("'") else text


def original(cell: str) -> str:
    """The text that `neutral` made the cell from."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'")[:1] in STARTS and cell.strip("'") else cell


def write_rows(file: TextIO, rows: Iterable[Sequence]) -> int:
    """Writes rows of neutral cells as CSV; returns how many."""
    plain, quoting, n = csv.writer(file), csv.writer(file, quoting=csv.QUOTE_NONNUMERIC), 0
    for row in rows:
        splits = any(isinstance(value, str) and (";" in value or "\t" in value) for value in row)
        (quoting if splits else plain).writerow(row)
        n += 1
    return n


def neutral_column(values: Sequence) -> list:
    """A column of cells; what isn't text stays as it is."""
    return [
        neutral(value) if isinstance(value, str) and (value[:1] == "'" or value[:1] in STARTS) else value
        for value in values
    ]


def write_long_csv(source: Source, path: Path) -> Written:
    """Writes the long table as CSV with a head, UTF-8, an empty cell for what is missing."""
    texts = {column.name for column in source.columns if column.kind in ("text", "json")}
    n = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [[column.name for column in source.columns]])
        for batch in source.batches():
            cells = [neutral_column(values) if name in texts else values for name, values in batch.items()]
            n += write_rows(file, zip(*cells, strict=True))
    return Written(n, fields_of(source.columns))


LONG_CSV = Format(
    name="long-csv",
    file="choices.csv",
    about="One row per slate and position, for R, spreadsheets, pandas, xlogit and whatever reads CSV.",
    reading='import pandas as pd\n\nlong = pd.read_csv("choices.csv")\npicks = long[long.picked == 1]',
    write=write_long_csv,
    limits="Text that a spreadsheet would run as a formula has an apostrophe in front. An empty text and a missing one "
    "look alike.",
)


def write_long_parquet(source: Source, path: Path) -> Written:
    """Writes the long table as Parquet; what is missing is null."""
    fields = fields_of(source.columns)
    return Written(write_table(path, fields, source.batches()), fields)


LONG_PARQUET = Format(
    name="long-parquet",
    file="choices.parquet",
    about="One row per slate and position, typed, for pandas, polars, DuckDB, R's arrow and datasets.",
    reading='import pandas as pd\n\nlong = pd.read_parquet("choices.parquet")\npicks = long[long.picked == 1]',
    write=write_long_parquet,
)


def write_wide_csv(source: Source, path: Path) -> Written:
    """Writes CSV with the columns of an answer, `picked` (a position), and `<column>_<position>` for each position."""
    fields = _fields(source)
    with source.store.read(), path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [[one.name for one in fields]])
        n = write_rows(file, (neutral_column(_row(answer, fields)) for answer in source.answers()))
    return Written(n, fields)


def _fields(source: Source) -> tuple[Field, ...]:
    largest = source.store.largest_slate(source.where)
    abouts = {column.name: column for column in source.columns}
    return (
        *(Field(column.name, column.kind, column.about) for column in source.columns if column.of_answer),
        Field("picked", "integer", "the position that was picked; empty where nothing was"),
        *(
            Field(f"{name}_{position}", abouts[name].kind, f"{abouts[name].about}, at position {position}")
            for position in range(largest)
            for name in KEPT
        ),
    )


def _row(answer: Answer, fields: tuple[Field, ...]) -> list[Any]:
    picked = answer.picked
    found = {**answer.values, "picked": None if picked is None else picked["position"]}
    for item in answer.items:
        found.update({f"{name}_{item['position']}": item[name] for name in KEPT})
    return [found.get(one.name) for one in fields]


WIDE_CSV = Format(
    name="wide-csv",
    file="answers.csv",
    about="One row per answer with columns for each position, for spreadsheets, Biogeme, Apollo and xlogit.",
    reading='import pandas as pd\n\nwide = pd.read_csv("answers.csv")\npicks = wide.dropna(subset="picked")',
    write=write_wide_csv,
    limits="Slates smaller than the largest have empty columns. Text that a spreadsheet would run as a formula has an "
    "apostrophe in front.",
)


def write_hf(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each answer; columns of positions are lists in display order."""
    answers = [column for column in source.columns if column.of_answer]
    items = [column for column in source.columns if not column.of_answer and column.name not in ("position", "picked")]
    fields = (
        Field("images", "image", "what was shown, in display order; null where no image was kept", many=True),
        Field("picked", "integer", "index of the picked one in the lists; null where nothing was picked"),
        *(Field(column.name, column.kind, column.about) for column in answers),
        *(Field(column.name, column.kind, f"{column.about}; a list, in display order", many=True) for column in items),
    )
    rows = _rows(source, answers, items)
    return Written(write_table(path, fields, in_batches(rows, [one.name for one in fields])), fields)


def _rows(source: Source, answers: list[Column], items: list[Column]) -> Iterator[tuple]:
    for answer in source.answers():
        picked = answer.picked
        yield (
            images_of(source, answer),
            None if picked is None else answer.items.index(picked),
            *(answer.values[column.name] for column in answers),
            *([item[column.name] for item in answer.items] for column in items),
        )


HF = Format(
    name="hf",
    file="data/train-00000-of-00001.parquet",
    about="One row per answer with its images in display order, for Hugging Face's datasets.",
    reading='from datasets import load_dataset\n\nanswers = load_dataset(".")["train"]\nanswers[0]["images"]',
    write=write_hf,
    folder_only=True,
)

"""wide-csv: one row per answer, with columns for each position."""

from pathlib import Path
from typing import Any

from data.cells import neutral_column, write_rows
from data.formats.records import Field, Format, Written
from data.formats.source import Answer, Source

KEPT = ("sample_id", "sample_generation", "sample_seed", "image_sha256", "point", "label", "reward", "operative_reward")


def write(source: Source, path: Path) -> Written:
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


FORMAT = Format(
    name="wide-csv",
    file="answers.csv",
    about="One row per answer with columns for each position, for spreadsheets, Biogeme, Apollo and xlogit.",
    reading='import pandas as pd\n\nwide = pd.read_csv("answers.csv")\npicks = wide.dropna(subset="picked")',
    write=write,
    limits="Slates smaller than the largest have empty columns. Text that a spreadsheet would run as a formula has an "
    "apostrophe in front.",
)

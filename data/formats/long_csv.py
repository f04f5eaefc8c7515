"""long-csv: one row per slate and position."""

from pathlib import Path

from data.cells import neutral_column, write_rows
from data.formats.records import Format, Written, fields_of
from data.formats.source import Source


def write(source: Source, path: Path) -> Written:
    """Writes the long table as CSV with a head, UTF-8, an empty cell for what is missing."""
    texts = {column.name for column in source.columns if column.kind in ("text", "json")}
    n = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [[column.name for column in source.columns]])
        for batch in source.batches():
            cells = [neutral_column(values) if name in texts else values for name, values in batch.items()]
            n += write_rows(file, zip(*cells, strict=True))
    return Written(n, fields_of(source.columns))


FORMAT = Format(
    name="long-csv",
    file="choices.csv",
    about="One row per slate and position, for R, spreadsheets, pandas, xlogit and whatever reads CSV.",
    reading='import pandas as pd\n\nlong = pd.read_csv("choices.csv")\npicks = long[long.picked == 1]',
    write=write,
    limits="Text that a spreadsheet would run as a formula has an apostrophe in front. An empty text and a missing one "
    "look alike.",
)

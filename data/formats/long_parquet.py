"""long-parquet: the long table, typed and compressed."""

from pathlib import Path

from data.formats.records import Format, Written, fields_of
from data.formats.source import Source
from data.formats.tables import write_table


def write(source: Source, path: Path) -> Written:
    """Writes the long table as Parquet; what is missing is null."""
    fields = fields_of(source.columns)
    return Written(write_table(path, fields, source.batches()), fields)


FORMAT = Format(
    name="long-parquet",
    file="choices.parquet",
    about="One row per slate and position, typed, for pandas, polars, DuckDB, R's arrow and datasets.",
    reading='import pandas as pd\n\nlong = pd.read_parquet("choices.parquet")\npicks = long[long.picked == 1]',
    write=write,
)

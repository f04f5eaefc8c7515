"""Reading a long table from a CSV or Parquet file, row by row, with the place of everything that is wrong in it."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from data.columns import PANEL
from data.log_cells import COLUMNS, REQUIRED, value_of

MOST = 10  # faults that are told


class LogFaultsError(ValueError):
    """A long table can't be imported; the message names the first faults with line and column."""


@dataclass
class Faults:
    """What is wrong with a file, until there is enough of it."""

    file: str
    found: list[str] = field(default_factory=list)

    def add(self, line: int, column: str, words: str) -> None:
        """Notes a fault.

        Raises:
            LogFaultsError: it is the tenth.
        """
        self.found.append(f"line {line}, {column}: {words}")
        if len(self.found) == MOST:
            self.tell("the first ten")

    def tell(self, how_many: str = "") -> None:
        """Raises LogFaultsError when anything was found."""
        if self.found:
            number = how_many or f"{len(self.found)} fault{'s' * (len(self.found) > 1)}"
            raise LogFaultsError(f"{self.file} can't be imported ({number}): " + "; ".join(self.found))


@dataclass(frozen=True, slots=True)
class Row:
    """A row with the line that it begins on; in Parquet files rows are counted from 1.

    One with a fault doesn't fit, and has None in its cell.
    """

    line: int
    values: dict[str, Any]
    fits: bool = True


def read_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """The rows; what is wrong with them goes to `faults`.

    Raises:
        LogFaultsError: unknown or missing columns, or ten faults.
        ValueError: neither a .csv nor a .parquet file.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path} is neither a .csv nor a .parquet file; import what --format long-csv wrote.")
    typed = path.suffix == ".parquet"
    lines = _parquet(path) if typed else _csv(path)
    _, names = next(lines, (0, []))
    _check_names(names, faults)
    for line, cells in lines:
        yield _row(line, names, cells, faults, typed=typed)


def _row(line: int, names: Sequence[str], cells: Sequence[Any], faults: Faults, *, typed: bool) -> Row:
    if len(cells) != len(names):
        end = names[min(len(cells), len(names) - 1)]
        faults.add(line, end, f"{len(cells)} cells where there are {len(names)} columns")
        return Row(line, dict.fromkeys(names), fits=False)
    values, fits = dict.fromkeys(names), True
    for name, cell in zip(names, cells, strict=True):
        try:
            values[name] = value_of(COLUMNS[name], cell, typed=typed)
            if values[name] is None and name in REQUIRED:
                raise ValueError("is empty")
        except ValueError as error:
            faults.add(line, name, str(error))
            fits = False
    return Row(line, values, fits)


def _check_names(names: Sequence[str], faults: Faults) -> None:
    if set(names) & {column.name for column in PANEL}:
        raise LogFaultsError(f"{faults.file} tells who raters are; export it again without --include-panel-ids.")
    if "prob_0" in names:
        raise LogFaultsError(f"{faults.file} has class probabilities; export it again without --features.")
    for name in names:
        if name not in COLUMNS:
            near = get_close_matches(name, list(COLUMNS), 1)
            faults.add(1, name or "(no name)", "no such column" + (f"; did you mean {near[0]}?" if near else ""))
        elif names.count(name) > 1:
            faults.add(1, name, "stands there twice")
    for name in REQUIRED:
        if name not in names:
            faults.add(1, name, "the column is missing")
    faults.tell()


def _csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row, the head first."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        line = 1
        try:
            for cells in reader:
                yield line, cells
                line = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise LogFaultsError(f"{path.name} can't be imported: from line {line} it isn't CSV ({error}).") from None


def _parquet(path: Path) -> Iterator[tuple[int, list[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield 0, file.schema_arrow.names
            line = 1
            for batch in file.iter_batches(batch_size=2_000):
                for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield line, list(cells)
                    line += 1
    except pa.ArrowException as error:
        raise LogFaultsError(f"{path.name} can't be imported: it isn't a whole Parquet file ({error}).") from None

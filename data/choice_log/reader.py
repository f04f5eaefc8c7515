"""Reading a long table from CSV or Parquet, with the place of everything that is wrong in it."""

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any

from data.choice_log.source import Answer
from data.choice_log.tables import original
from data.records import OUTCOMES, PURPOSES
from data.schema import LONG, PANEL, Column

WORDS = {"purpose": PURPOSES, "outcome": OUTCOMES, "rater_kind": ("human", "sim", "proxy")}
LIMIT = 2**63
REQUIRED = ("choice_id", "position", "sample_id", "picked")
# what a log from elsewhere may lack; the rest of what it lacks follows from other columns (see `Answers`)
DEFAULTS: dict[str, Any] = {
    "generation": 0, "checkpoint_sha256": "", "slate_seed": 0, "purpose": "curation",
    "rater": "rater", "rater_kind": "human", "picked_at": "1970-01-01T00:00:00.000Z",
    "flags": "{}", "session_flags": "{}", "withdrawn": 0,
}  # fmt: skip
MOST = 10  # faults that are told
OF_RATER = ("rater_kind", "rater_type")
OF_SESSION = ("rater", "session_flags", "withdrawn")


def value_of(column: Column, cell: Any, *, typed: bool) -> Any:
    """The value of a cell; None for an empty one.

    Args:
        column: what it belongs to.
        cell: text from a CSV file, or a value from a Parquet file.
        typed: whether it comes from Parquet.

    Raises:
        ValueError: it doesn't fit, and why.
    """
    if cell is None or (cell == "" and not typed):
        return DEFAULTS.get(column.name)
    if column.kind in ("text", "json"):
        if not isinstance(cell, str):
            raise ValueError(f"{cell!r} is not a text")
        return CHECKS[column.kind](column.name, cell if typed else original(cell))
    return CHECKS[column.kind](column.name, cell)


def _integer(name: str, cell: Any) -> int:
    try:
        value = int(cell)
    except (ValueError, TypeError):
        raise ValueError(f"{cell!r} is not a whole number") from None
    if not -LIMIT <= value < LIMIT or isinstance(cell, float):
        raise ValueError(f"{cell!r} is not a whole number of 64 bits")
    if value < 0 and name not in ("slate_seed", "sample_seed", "label"):
        raise ValueError(f"{value} is below 0")
    return value


def _number(_: str, cell: Any) -> float:
    try:
        value = float(cell)
    except (ValueError, TypeError):
        raise ValueError(f"{cell!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{cell!r} is not a finite number")
    return value


def _boolean(_: str, cell: Any) -> int:
    if str(cell) not in ("0", "1", "True", "False"):
        raise ValueError(f"{cell!r} is neither 0 nor 1")
    return int(str(cell) in ("1", "True"))


def _text(name: str, cell: str) -> str:
    if name in WORDS and cell not in WORDS[name]:
        raise ValueError(f"{cell!r} is none of {', '.join(WORDS[name])}")
    if name == "image_sha256" and (len(cell) != 64 or set(cell) - set("0123456789abcdef")):
        raise ValueError(f"{cell!r} is not a sha256 in hexadecimal")
    return cell


def _json(name: str, cell: str) -> str:
    wanted, words = (list, "a list of coordinates") if name == "point" else (dict, "an object such as {}")
    try:
        fits = isinstance(json.loads(cell), wanted)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{cell!r} is not {words} in JSON")
    return cell


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "integer": _integer, "number": _number, "boolean": _boolean, "text": _text, "json": _json,
}  # fmt: skip
COLUMNS = {column.name: column for column in LONG}


class LogFaultsError(ValueError):
    """A long table can't be imported; the message names the first faults with line and column."""


@dataclass
class Faults:
    """The faults of a file, until there are enough of them."""

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


SHARED = tuple(column.name for column in LONG if column.of_answer)


class Answers:
    """Checks answers one after another; raters and sessions are remembered, answers aren't."""

    def __init__(self, faults: Faults, study: str):
        self._faults = faults
        self._study = study
        self._last = -1
        self._raters: dict[str, dict[str, Any]] = {}
        self._sessions: dict[str, dict[str, Any]] = {}

    def read(self, rows: Iterator[Row]) -> Iterator[tuple[int, Answer]]:
        """(line of its first row, answer) of every answer without a fault."""
        for _, group in groupby(rows, lambda row: row.values["choice_id"]):
            held = list(group)
            if not all(row.fits for row in held):
                continue
            items = [self._completed(row.values, held) for row in held]
            before = len(self._faults.found)
            self._check_order(held)
            self._check_shared(held, items)
            self._check_slate(held, items)
            self._check_people(held[0].line, items[0])
            if len(self._faults.found) == before:
                yield held[0].line, Answer(items[0], items)

    def _completed(self, values: dict[str, Any], held: list[Row]) -> dict[str, Any]:
        picked = any(row.values["picked"] for row in held)
        found = {column.name: None for column in LONG} | DEFAULTS | values
        lacks = {
            "study": self._study, "slate_id": found["choice_id"], "session": found["rater"],
            "sample_generation": found["generation"], "sample_seed": found["sample_id"],
            "outcome": "pick" if picked else "none",
        }  # fmt: skip
        found |= {name: value for name, value in lacks.items() if found[name] is None}
        if "k" not in values:
            found["k"] = len(held)
        return found

    def _check_order(self, held: list[Row]) -> None:
        choice = held[0].values["choice_id"]
        if choice <= self._last:
            self._faults.add(held[0].line, "choice_id", f"{choice} comes after {self._last}; answers must ascend")
        self._last = max(choice, self._last)

    def _check_shared(self, held: list[Row], items: list[dict[str, Any]]) -> None:
        for row, item in zip(held[1:], items[1:], strict=True):
            for name in SHARED:
                if item[name] != items[0][name]:
                    self._faults.add(row.line, name, f"{item[name]!r} differs from {items[0][name]!r} above it")
        if items[0]["study"] != self._study:
            if not self._raters:
                self._study = items[0]["study"]
            else:
                self._faults.add(
                    held[0].line, "study", f"{items[0]['study']!r} after {self._study!r}; one study a file"
                )

    def _check_slate(self, held: list[Row], items: list[dict[str, Any]]) -> None:
        for expected, (row, item) in enumerate(zip(held, items, strict=True)):
            if item["position"] != expected:
                self._faults.add(row.line, "position", f"{item['position']} where {expected} should be")
                return
        k, n = items[0]["k"], len(items)
        if n != (1 if k is None else k):
            self._faults.add(held[-1].line, "k", f"{n} positions where K is {'infinite' if k is None else k}")
        picked = sum(item["picked"] for item in items)
        if picked != (items[0]["outcome"] == "pick"):
            self._faults.add(
                held[0].line, "picked", f"{picked} positions picked, and the outcome is {items[0]['outcome']}"
            )

    def _check_people(self, line: int, item: dict[str, Any]) -> None:
        for known, key, names in ((self._raters, "rater", OF_RATER), (self._sessions, "session", OF_SESSION)):
            said = known.setdefault(item[key], {name: item[name] for name in names})
            for name in names:
                if item[name] != said[name]:
                    self._faults.add(line, name, f"{item[name]!r}, and earlier {said[name]!r} for {key} {item[key]!r}")

    @property
    def study(self) -> str:
        """The name that the log gives its study."""
        return self._study

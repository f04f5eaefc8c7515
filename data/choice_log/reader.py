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

from data.choice_log.formats import original
from data.choice_log.source import Answer
from data.records import OUTCOMES, PURPOSES
from data.schema import LONG, PANEL, Column

WORDS = {"purpose": PURPOSES, "outcome": OUTCOMES, "rater_kind": ("human", "sim", "proxy")}
LIMIT = 2**63
REQUIRED = ("choice_id", "position", "sample_id", "picked")
# columns that a log from elsewhere may lack; others follow from the columns that it has (see `completed`)
DEFAULTS: dict[str, Any] = {
    "generation": 0, "checkpoint_sha256": "", "slate_seed": 0, "purpose": "curation",
    "rater": "rater", "rater_kind": "human", "picked_at": "1970-01-01T00:00:00.000Z",
    "flags": "{}", "session_flags": "{}", "withdrawn": 0, "undone": 0, "worst": 0,
}  # fmt: skip
MOST = 10  # faults that are reported
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
        return PARSERS[column.kind](column.name, cell if typed else original(cell))
    return PARSERS[column.kind](column.name, cell)


def parse_integer(name: str, cell: Any) -> int:
    """A whole number of 64 bits; below 0 only seeds and labels."""
    try:
        value = int(cell)
    except (ValueError, TypeError):
        raise ValueError(f"{cell!r} is not a whole number") from None
    if not -LIMIT <= value < LIMIT or isinstance(cell, float):
        raise ValueError(f"{cell!r} is not a whole number of 64 bits")
    if value < 0 and name not in ("slate_seed", "sample_seed", "label"):
        raise ValueError(f"{value} is below 0")
    return value


def parse_number(_: str, cell: Any) -> float:
    """A finite number."""
    try:
        value = float(cell)
    except (ValueError, TypeError):
        raise ValueError(f"{cell!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{cell!r} is not a finite number")
    return value


def parse_boolean(_: str, cell: Any) -> int:
    """0 or 1, also from False and True."""
    if str(cell) not in ("0", "1", "True", "False"):
        raise ValueError(f"{cell!r} is neither 0 nor 1")
    return int(str(cell) in ("1", "True"))


def parse_text(name: str, cell: str) -> str:
    """Any text; a word of the column's vocabulary, where it has one, or a hash."""
    if name in WORDS and cell not in WORDS[name]:
        raise ValueError(f"{cell!r} is none of {', '.join(WORDS[name])}")
    if name == "image_sha256" and (len(cell) != 64 or set(cell) - set("0123456789abcdef")):
        raise ValueError(f"{cell!r} is not a sha256 in hexadecimal")
    return cell


def parse_json(name: str, cell: str) -> str:
    """The text of a JSON value: a list for points, else an object."""
    wanted, words = (list, "a list of coordinates") if name == "point" else (dict, "an object such as {}")
    try:
        fits = isinstance(json.loads(cell), wanted)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{cell!r} is not {words} in JSON")
    return cell


PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "integer": parse_integer, "number": parse_number, "boolean": parse_boolean, "text": parse_text, "json": parse_json,
}  # fmt: skip
COLUMNS = {column.name: column for column in LONG}


class LogFaultsError(ValueError):
    """A long table can't be imported; the message names the first faults with line and column."""


@dataclass
class Faults:
    """The faults of a file, up to a number of them."""

    file: str
    sentences: list[str] = field(default_factory=list)

    def add(self, line: int, column: str, words: str) -> None:
        """Notes a fault.

        Raises:
            LogFaultsError: it is the tenth.
        """
        self.sentences.append(f"line {line}, {column}: {words}")
        if len(self.sentences) == MOST:
            self.check("the first ten")

    def check(self, number: str = "") -> None:
        """Raises LogFaultsError where there are faults.

        Args:
            number: words for how many there are; counted without it.
        """
        if self.sentences:
            n = len(self.sentences)
            number = number or f"{n} fault{'s' * (n > 1)}"
            raise LogFaultsError(f"{self.file} can't be imported ({number}): " + "; ".join(self.sentences))


@dataclass(frozen=True, slots=True)
class Row:
    """A row with the line that it begins on; in Parquet files rows are counted from 1.

    A row with a fault doesn't fit, and has None in the cell that is at fault.
    """

    line: int
    values: dict[str, Any]
    fits: bool = True


def read_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """The rows of a long table; their faults go to `faults`.

    Raises:
        LogFaultsError: unknown or missing columns, or ten faults.
        ValueError: neither a .csv nor a .parquet file.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path} is neither a .csv nor a .parquet file; import what --format long-csv wrote.")
    typed = path.suffix == ".parquet"
    lines = read_parquet(path) if typed else read_csv(path)
    _, names = next(lines, (0, []))
    check_names(names, faults)
    for line, cells in lines:
        if len(cells) != len(names):
            end = names[min(len(cells), len(names) - 1)]
            faults.add(line, end, f"{len(cells)} cells where there are {len(names)} columns")
            yield Row(line, dict.fromkeys(names), fits=False)
            continue
        values, fits = dict.fromkeys(names), True
        for name, cell in zip(names, cells, strict=True):
            try:
                values[name] = value_of(COLUMNS[name], cell, typed=typed)
                if values[name] is None and name in REQUIRED:
                    raise ValueError("is empty")
            except ValueError as error:
                faults.add(line, name, str(error))
                fits = False
        yield Row(line, values, fits)


def count_rows(path: Path) -> int:
    """About how many rows a long table has: the lines of a CSV file, in which a cell may hold several."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_metadata(path).num_rows
    with path.open("rb") as file:
        return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))


def check_names(names: Sequence[str], faults: Faults) -> None:
    """Checks the names of a file's columns.

    Raises:
        LogFaultsError: unknown, doubled or missing columns, or columns that an import must not have.
    """
    if set(names) & {column.name for column in PANEL}:
        raise LogFaultsError(f"{faults.file} says who raters are; export it again without --include-panel-ids.")
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
    faults.check()


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row, the head first.

    Raises:
        LogFaultsError: it isn't CSV in UTF-8.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        line = 1
        try:
            for cells in reader:
                yield line, cells
                line = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise LogFaultsError(f"{path.name} can't be imported: from line {line} it isn't CSV ({error}).") from None


def read_parquet(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """(number, cells) of each row, the columns' names first as row 0.

    Raises:
        LogFaultsError: it isn't a whole Parquet file.
    """
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


def completed(values: dict[str, Any], rows: Sequence[Row], study: str) -> dict[str, Any]:
    """The values of a row, with those of the columns that its file lacks.

    Args:
        values: the row's.
        rows: all rows of the answer.
        study: the name of the log's study.
    """
    full = {column.name: None for column in LONG} | DEFAULTS | values
    picked = any(row.values["picked"] for row in rows)
    implied = {
        "study": study, "slate_id": full["choice_id"], "session": full["rater"],
        "sample_generation": full["generation"], "sample_seed": full["sample_id"],
        "outcome": "pick" if picked else "none",
    }  # fmt: skip
    full |= {name: value for name, value in implied.items() if full[name] is None}
    if "k" not in values:
        full["k"] = len(rows)
    return full


class Answers:
    """Checks answers one after another; raters and sessions are remembered, answers aren't.

    Attributes:
        study: the name that the log gives its study.
    """

    def __init__(self, faults: Faults, study: str):
        self.study = study
        self._faults = faults
        self._last = -1
        self._raters: dict[str, dict[str, Any]] = {}
        self._sessions: dict[str, dict[str, Any]] = {}

    def read(self, rows: Iterator[Row]) -> Iterator[tuple[int, Answer]]:
        """(line of its first row, answer) of every answer without a fault."""
        for choice, group in groupby(rows, lambda row: row.values["choice_id"]):
            held = list(group)
            if not all(row.fits for row in held):
                continue
            first, items = held[0].line, [completed(row.values, held, self.study) for row in held]
            before = len(self._faults.sentences)
            if choice <= self._last:
                self._faults.add(first, "choice_id", f"{choice} comes after {self._last}; answers must ascend")
            self._last = max(choice, self._last)
            self.check_shared(held, items)
            self.check_slate(held, items)
            self.check_people(first, items[0])
            if len(self._faults.sentences) == before:
                yield first, Answer(items[0], items)

    def check_shared(self, rows: list[Row], items: list[dict[str, Any]]) -> None:
        """Notes columns of an answer that differ between its rows, and another study than the first answer's."""
        for row, item in zip(rows[1:], items[1:], strict=True):
            for name in SHARED:
                if item[name] != items[0][name]:
                    self._faults.add(row.line, name, f"{item[name]!r} differs from {items[0][name]!r} above it")
        study = items[0]["study"]
        if study != self.study and self._raters:
            self._faults.add(rows[0].line, "study", f"{study!r} after {self.study!r}; one study a file")
        else:
            self.study = study

    def check_slate(self, rows: list[Row], items: list[dict[str, Any]]) -> None:
        """Notes positions that aren't 0, 1, ... K - 1, and a number of picked ones that the outcome excludes."""
        for expected, (row, item) in enumerate(zip(rows, items, strict=True)):
            if item["position"] != expected:
                self._faults.add(row.line, "position", f"{item['position']} where {expected} should be")
                return
        k, n = items[0]["k"], len(items)
        if n != (1 if k is None else k):
            self._faults.add(rows[-1].line, "k", f"{n} positions where K is {'infinite' if k is None else k}")
        picked, outcome = sum(item["picked"] for item in items), items[0]["outcome"]
        if picked != (outcome == "pick"):
            self._faults.add(rows[0].line, "picked", f"{picked} positions picked, and the outcome is {outcome}")
        worst = [item for item in items if item["worst"]]
        if len(worst) > 1 or any(outcome != "pick" or item["picked"] for item in worst):
            self._faults.add(rows[0].line, "worst", "the worst is one position of a pick, and not the picked one")

    def check_people(self, line: int, item: dict[str, Any]) -> None:
        """Notes columns of a rater or a session that differ from an earlier answer's."""
        for known, key, names in ((self._raters, "rater", OF_RATER), (self._sessions, "session", OF_SESSION)):
            earlier = known.setdefault(item[key], {name: item[name] for name in names})
            for name in names:
                if item[name] != earlier[name]:
                    reason = f"{item[name]!r}, and earlier {earlier[name]!r} for {key} {item[key]!r}"
                    self._faults.add(line, name, reason)

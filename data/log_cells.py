"""Cells of a long table as values, column by column; a cell that doesn't fit is told in words."""

import json
import math
from collections.abc import Callable
from typing import Any

from data.cells import original
from data.columns import LONG, Column
from data.records import OUTCOMES, PURPOSES

WORDS = {"purpose": PURPOSES, "outcome": OUTCOMES, "rater_kind": ("human", "sim", "proxy")}
LIMIT = 2**63
REQUIRED = ("choice_id", "position", "sample_id", "picked")
# what a log from elsewhere may lack; the rest of what it lacks follows from other columns (see `data.log_answers`)
DEFAULTS: dict[str, Any] = {
    "generation": 0, "checkpoint_sha256": "", "slate_seed": 0, "purpose": "curation",
    "rater": "rater", "rater_kind": "human", "picked_at": "1970-01-01T00:00:00.000Z",
    "flags": "{}", "session_flags": "{}", "withdrawn": 0,
}  # fmt: skip


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

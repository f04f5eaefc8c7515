"""`--where`: simple conditions on the columns of an answer, read from words; never SQL."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, cast

from data.columns import LONG, Column

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
SHORT = {"kind": "rater_kind", "type": "rater_type"}
FILTERED = {column.name: column for column in LONG if column.of_answer and column.name not in ("study", "rater")}
LARGEST = 2**63  # what SQLite's integers stay under
SHAPE = re.compile(r"\s*(\w+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that whole answers meet or don't.

    Attributes:
        column: of the long table.
        operator: `=` and `!=` compare with an empty value, too.
        value: None stands for an empty cell.
    """

    column: str
    operator: Operator
    value: int | str | None


def parse_filters(conditions: Iterable[str]) -> tuple[Filter, ...]:
    """Conditions such as 'kind=human' and 'generation>=2'; one text may hold several, joined by commas. All must hold.

    Raises:
        ValueError: one that can't be understood, an unknown column, or a value that doesn't fit it.
    """
    return tuple(_parse(part) for text in conditions for part in text.split(","))


def _parse(text: str) -> Filter:
    found = SHAPE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"--where can't read '{text.strip()}'; write a column, one of = != < <= > >=, and a value: kind=human."
        )
    name, operator, value = found.groups()
    column = FILTERED.get(SHORT.get(name, name))
    if column is None:
        raise ValueError(_unknown(name))
    if not value and operator not in ("=", "!="):
        raise ValueError(f"--where {name}{operator} lacks a value.")
    return Filter(column.name, cast(Operator, operator), _value(column, name, value) if value else None)


def _unknown(name: str) -> str:
    if name in (column.name for column in LONG):
        return f"--where can't filter by {name}: only whole answers are kept or left out, by {', '.join(FILTERED)}."
    near = get_close_matches(name, [*FILTERED, *SHORT], 1)
    return f"--where knows no column '{name}'" + (f"; did you mean {near[0]}?" if near else ".")


def _value(column: Column, name: str, value: str) -> int | str:
    if column.kind not in ("integer", "boolean"):
        return value
    try:
        number = int(value)
    except ValueError:
        number = LARGEST
    if not -LARGEST < number < LARGEST:
        shown = value if len(value) <= 40 else f"{value[:37]}…"
        raise ValueError(f"--where {name} needs a whole number of 64 bits, not '{shown}'.")
    return number

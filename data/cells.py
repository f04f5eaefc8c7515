"""Text in CSV cells: what a spreadsheet would run as a formula gets an apostrophe in front, and loses it on import.

Spreadsheets split lines at semicolons and tabs too, unless they stand in quotes: text with one is written in quotes, or
else what comes after it would be a cell of its own.
"""

import csv
from collections.abc import Iterable, Sequence
from typing import TextIO

STARTS = frozenset("=+-@\t\r\n＝＋－＠")  # OWASP's list, with the full-width forms


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

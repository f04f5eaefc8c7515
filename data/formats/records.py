"""What a format is, and what writing one reports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.columns import Column
from data.formats.source import Source

FieldKind = Literal["integer", "number", "boolean", "text", "json", "image"]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a written table, for the data card and the metadata."""

    name: str
    kind: FieldKind
    about: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        rows: lines, records or orders.
        fields: columns, of formats that are tables.
        left_out: answers that the format can't hold, by reason.
    """

    rows: int
    fields: Sequence[Field] = ()
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write the choice log.

    Attributes:
        name: as in `--format`.
        file: its name in an export's folder; its suffix is that of a single file.
        about: what one row is and who reads it, as a sentence.
        reading: Python that reads it back, run in the export's folder.
        write: writes to a path that isn't there yet.
        limits: what it can't hold, as sentences.
        folder_only: it makes no sense without the files beside it.
    """

    name: str
    file: str
    about: str
    reading: str
    write: Callable[[Source, Path], Written]
    limits: str = ""
    folder_only: bool = False


def fields_of(columns: Sequence[Column]) -> tuple[Field, ...]:
    """Columns of the long table as fields."""
    return tuple(Field(column.name, column.kind, column.about) for column in columns)

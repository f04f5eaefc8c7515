"""The choice log of one study, under pseudonyms, as batches, rows or answers: what formats are written from."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, Self, cast

from data.schema import LONG, NAMES, PANEL, Column, probabilities
from data.store import Store

FieldKind = Literal["integer", "number", "boolean", "text", "json", "image", "bytes"]
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
SHORT = {"kind": "rater_kind", "type": "rater_type"}
LARGEST = 2**63  # what SQLite's integers stay under
SHAPE = re.compile(r"\s*(\w+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
FILTERED = {column.name: column for column in LONG if column.of_answer and column.name not in ("study", "rater")}


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on whole answers.

    Attributes:
        column: of the long table.
        operator: `=` and `!=` compare with an empty value, too.
        value: None stands for an empty cell.
    """

    column: str
    operator: Operator
    value: int | str | None

    @property
    def sql(self) -> str:
        """The condition on a column of `v_choice_long`, with a question mark for the value."""
        words = {"=": "IS", "!=": "IS NOT"}
        return f"{self.column} {words.get(self.operator, self.operator)} ?"

    @classmethod
    def parse(cls, text: str) -> Self:
        """One condition such as 'kind=human'; errors as in `parse_filters`."""
        parts = SHAPE.fullmatch(text)
        if parts is None:
            raise ValueError(
                f"--where can't read '{text.strip()}'; write a column, one of = != < <= > >=, and a value: kind=human."
            )
        name, operator, value = parts.groups()
        column = FILTERED.get(SHORT.get(name, name))
        if column is None and name in NAMES:
            filtered = ", ".join(FILTERED)
            raise ValueError(f"--where can't filter by {name}: only whole answers are filtered, by {filtered}.")
        if column is None:
            near = get_close_matches(name, [*FILTERED, *SHORT], 1)
            raise ValueError(f"--where knows no column '{name}'" + (f"; did you mean {near[0]}?" if near else "."))
        if not value and operator not in ("=", "!="):
            raise ValueError(f"--where {name}{operator} lacks a value.")
        if not value or column.kind not in ("integer", "boolean"):
            return cls(column.name, cast(Operator, operator), value or None)
        try:
            number = int(value)
        except ValueError:
            number = LARGEST
        if not -LARGEST < number < LARGEST:
            shown = value if len(value) <= 40 else f"{value[:37]}…"
            raise ValueError(f"--where {name} needs a whole number of 64 bits, not '{shown}'.")
        return cls(column.name, cast(Operator, operator), number)


def parse_filters(conditions: Iterable[str]) -> tuple[Filter, ...]:
    """Conditions such as 'kind=human' and 'generation>=2'; one text may hold several, joined by commas. All must hold.

    Raises:
        ValueError: one that can't be understood, an unknown column, or a value that doesn't fit it.
    """
    return tuple(Filter.parse(part) for text in conditions for part in text.split(","))


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the columns that all its positions share, and those of each position in display order."""

    values: dict[str, Any]
    items: list[dict[str, Any]]

    @property
    def picked(self) -> dict[str, Any] | None:
        """The position that was picked; None when the answer wasn't a pick."""
        return next((item for item in self.items if item["picked"]), None)

    @property
    def worst(self) -> dict[str, Any] | None:
        """The position that was picked as the worst; None where none was."""
        return next((item for item in self.items if item["worst"]), None)


@dataclass(frozen=True)
class Source:
    """The choice log of a study.

    Attributes:
        store: the study's.
        study: its name; an imported log keeps the name that it came with.
        salt: a secret of the study; raters' pseudonyms come from it. Without one raters keep the study's own numbers.
        where: conditions that answers meet.
        panel_ids: adds the columns that identify raters to their panel.
        features: adds a column for each class probability.
        on_rows: called with the number of rows read so far.
    """

    store: Store
    study: str
    salt: str = ""
    where: tuple[Filter, ...] = ()
    panel_ids: bool = False
    features: bool = False
    on_rows: Callable[[int], object] = lambda n: None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Of the long table."""
        columns = LONG + PANEL * self.panel_ids
        if not self.features:
            return columns
        classes = self.store.value("SELECT max(json_array_length(reward_json, '$.probs')) FROM sample")
        return columns + probabilities(classes or 0)

    def batches(self, size: int = 2_000) -> Iterator[dict[str, Sequence]]:
        """The long table of one moment in pieces of at most `size` rows, column by column, in the order of `columns`.

        Rows come by answer and position.
        """
        stored = [column.name for column in LONG + PANEL * self.panel_ids if column.name != "study"]
        classes = len(self.columns) - len(stored) - 1
        sql = ", ".join(stored)
        if self.features:
            sql += ", (SELECT json_extract(reward_json, '$.probs') FROM sample WHERE id = sample_id)"
        panel = "LEFT JOIN identity ON identity.rater_id = rater" if self.panel_ids else ""
        condition, values = self._condition
        with self.store.read() as db:
            study = self.store.status("origin").get("study", self.study)
            names = dict(db.conn.execute("SELECT id, alias FROM rater WHERE alias IS NOT NULL"))
            cursor = db.conn.execute(
                f"SELECT {sql} FROM v_choice_long {panel} WHERE {condition} ORDER BY choice_id, position", values
            )
            read = 0
            while rows := cursor.fetchmany(size):
                self.on_rows(read := read + len(rows))
                cells = list(zip(*rows, strict=True))
                table: dict[str, Sequence] = dict(zip(stored, cells, strict=False))
                names |= {rater: pseudonym(self.salt, rater) for rater in {*table["rater"]} - names.keys()}
                table["study"] = [study] * len(rows)
                table["rater"] = [names[rater] for rater in table["rater"]]
                if self.features:
                    probs = [json.loads(cell) if cell else [None] * classes for cell in cells[-1]]
                    table |= {f"prob_{i}": [row[i] for row in probs] for i in range(classes)}
                yield {column.name: table[column.name] for column in self.columns}

    def rows(self) -> Iterator[dict[str, Any]]:
        """The long table row by row, by column."""
        for batch in self.batches():
            for row in zip(*batch.values(), strict=True):
                yield dict(zip(batch, row, strict=True))

    def answers(self) -> Iterator[Answer]:
        """Answer by answer, in the order in which they were stored."""
        for _, rows in groupby(self.rows(), itemgetter("choice_id")):
            items = list(rows)
            yield Answer(items[0], items)

    def images(self) -> Iterator[tuple[str, bytes]]:
        """(sha256, png) of every image in the log, once each."""
        condition, values = self._condition
        yield from self.store.db.conn.execute(
            f"""SELECT sha256, png FROM image WHERE length(png) > 0 AND sha256 IN
            (SELECT image_sha256 FROM v_choice_long WHERE {condition}) ORDER BY sha256""",
            values,
        )

    def samples(self) -> Iterator[tuple[int, int, int | None, str | None, str | None]]:
        """(id, generation, label, image_sha256, condition of its slates) of every sample in the log, by id."""
        condition, values = self._condition
        yield from self.store.db.conn.execute(
            f"""SELECT sample_id, sample_generation, label, image_sha256, max(condition) FROM v_choice_long
            WHERE {condition} GROUP BY sample_id ORDER BY sample_id""",
            values,
        )

    @property
    def has_texts(self) -> bool:
        """True if samples of the study are texts."""
        return bool(self.store.value("SELECT EXISTS (SELECT 1 FROM sample WHERE text IS NOT NULL)"))

    def largest_slate(self) -> int:
        """The most positions of an answer; 0 without answers."""
        condition, values = self._condition
        return 1 + self.store.value(f"SELECT coalesce(max(position), -1) FROM v_choice_long WHERE {condition}", values)

    def counts(self) -> dict[str, int]:
        """The numbers of answers, picks, raters, sessions and generations; answers that were taken back don't count."""
        condition, values = self._condition
        row = self.store.row(
            f"""SELECT count(*) AS answers, coalesce(sum(outcome = 'pick'), 0) AS picks,
            count(DISTINCT rater) AS raters, count(DISTINCT session) AS sessions,
            count(DISTINCT generation) AS generations FROM v_choice_long
            WHERE position = 0 AND undone = 0 AND {condition}""",
            values,
        )
        assert row is not None
        return row

    @cached_property
    def _condition(self) -> tuple[str, list[int | str | None]]:
        """The conditions as SQL, with question marks for the values."""
        return " AND ".join(filter_.sql for filter_ in self.where) or "1", [filter_.value for filter_ in self.where]


def pseudonym(salt: str, rater: int) -> str:
    """A rater's name outside the study: 64 bits that nobody can link to another study without the salt."""
    if not salt:
        return str(rater)
    return "r" + hashlib.blake2b(str(rater).encode(), key=salt.encode()[:64], digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a written table, for the data card and the metadata."""

    name: str
    kind: FieldKind
    about: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """The result of writing a format.

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
        write: writes to a path that doesn't exist yet.
        limits: what it can't hold, as sentences.
        folder_only: it makes no sense without the files beside it.
        own_images: it writes the images that belong to it itself; the export's folder gets no images/.
    """

    name: str
    file: str
    about: str
    reading: str
    write: Callable[[Source, Path], Written]
    limits: str = ""
    folder_only: bool = False
    own_images: bool = False

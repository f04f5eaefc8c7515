"""The choice log of one study, under pseudonyms, as batches, rows or answers: what formats are written from."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from data.schema import LONG, PANEL, Column, Filter, probabilities
from data.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

FieldKind = Literal["integer", "number", "boolean", "text", "json", "image"]
GROUP = 100_000  # rows of a row group without images
IMAGE_GROUP = 500
WORDS = {"none": "none of these", "skip": "skipped", "timeout": "timed out"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the columns that all its positions share, and those of each position in display order."""

    values: dict[str, Any]
    items: list[dict[str, Any]]

    @property
    def picked(self) -> dict[str, Any] | None:
        """The position that was picked; None when the answer wasn't a pick."""
        return next((item for item in self.items if item["picked"]), None)


@dataclass(frozen=True)
class Source:
    """The choice log of a study.

    Attributes:
        store: the study's.
        study: its name; an imported log keeps the name that it came with.
        salt: a secret of the study; raters' pseudonyms come from it. Without one raters keep the study's own numbers.
        where: conditions that answers meet.
        panel_ids: adds the columns that tell who raters are to their panel.
        features: adds a column for each class probability.
    """

    store: Store
    study: str
    salt: str = ""
    where: tuple[Filter, ...] = ()
    panel_ids: bool = False
    features: bool = False
    _names: dict[int, str] = field(default_factory=dict, repr=False)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Of the long table."""
        return LONG + PANEL * self.panel_ids + self._probabilities

    @cached_property
    def _probabilities(self) -> tuple[Column, ...]:
        return probabilities(self.store.class_count()) if self.features else ()

    def batches(self, size: int = 2_000) -> Iterator[dict[str, Sequence]]:
        """The long table in pieces of at most `size` rows, column by column, in the order of `columns`."""
        names = [column.name for column in LONG + PANEL * self.panel_ids if column.name != "study"]
        names += ["probs"] * self.features
        study = self.store.status("origin").get("study", self.study)
        self._names.update(self.store.aliases())
        for rows in self.store.choice_rows(self.where, panel_ids=self.panel_ids, features=self.features, size=size):
            found: dict[str, Sequence] = dict(zip(names, zip(*rows, strict=True), strict=True))
            found["study"] = [study] * len(rows)
            found["rater"] = [self._name(rater) for rater in found["rater"]]
            if self.features:
                found |= self._features(found["probs"])
            yield {column.name: found[column.name] for column in self.columns}

    def answers(self) -> Iterator[Answer]:
        """Answer by answer, in the order in which they were stored."""
        for _, rows in groupby(self._rows(), itemgetter("choice_id")):
            items = list(rows)
            yield Answer(items[0], items)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches():
            for row in zip(*batch.values(), strict=True):
                yield dict(zip(batch, row, strict=True))

    def _features(self, cells: Sequence[str | None]) -> dict[str, list[float | None]]:
        n = len(self._probabilities)
        rows = [json.loads(cell) if cell else [None] * n for cell in cells]
        return {column.name: [row[i] for row in rows] for i, column in enumerate(self._probabilities)}

    def _name(self, rater: int) -> str:
        name = self._names.get(rater)
        if name is None:
            name = self._names[rater] = pseudonym(self.salt, rater)
        return name


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


def write_table(path: Path, fields: Sequence[Field], batches: Iterator[Mapping[str, Sequence[Any]]]) -> int:
    """Writes a Parquet file in row groups, with no more in memory than one of them; returns the number of rows.

    Images are `image_cell`s. The file's metadata tells Hugging Face's datasets what each column is.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(fields)
    size = IMAGE_GROUP if any(one.kind == "image" for one in fields) else GROUP
    n, waiting = 0, []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            waiting.append(pa.table([pa.array(batch[one.name], _type(one)) for one in fields], schema=schema))
            if sum(len(table) for table in waiting) >= size:
                n += _write(writer, waiting)
        n += _write(writer, waiting)
    return n


def image_cell(sha256: str, png: bytes) -> dict[str, bytes | str]:
    """An image as datasets keeps it in a column."""
    return {"bytes": png, "path": f"{sha256}.png"}


def in_batches(rows: Iterator[tuple], names: Sequence[str]) -> Iterator[dict[str, list]]:
    """Rows as columns, `IMAGE_GROUP` rows at a time."""
    held = []
    for row in rows:
        held.append(row)
        if len(held) == IMAGE_GROUP:
            yield dict(zip(names, map(list, zip(*held, strict=True)), strict=True))
            held = []
    if held:
        yield dict(zip(names, map(list, zip(*held, strict=True)), strict=True))


def _write(writer: Any, waiting: list) -> int:
    import pyarrow as pa

    if not waiting:
        return 0
    table = pa.concat_tables(waiting)
    waiting.clear()
    writer.write_table(table, row_group_size=len(table))
    return len(table)


def _schema(fields: Sequence[Field]) -> "pa.Schema":
    import pyarrow as pa

    features = {one.name: _feature(one) for one in fields}
    schema = pa.schema([pa.field(one.name, _type(one)) for one in fields])
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _type(one: Field) -> "pa.DataType":
    import pyarrow as pa

    types = {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.int8(),
        "text": pa.string(),
        "json": pa.string(),
        "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    }
    return pa.list_(types[one.kind]) if one.many else types[one.kind]


def _feature(one: Field) -> dict[str, Any]:
    types = {"integer": "int64", "number": "float64", "boolean": "int8", "text": "string", "json": "string"}
    plain = {"_type": "Image"} if one.kind == "image" else {"dtype": types[one.kind], "_type": "Value"}
    return {"feature": plain, "_type": "List"} if one.many else plain


COMMON = (
    Field("choice_id", "integer", "the answer"),
    Field("slate_id", "integer", "the slate; pairs of one slate are one choice, not several"),
    Field("generation", "integer", "the generation that the slate was made for"),
    Field("purpose", "text", "curation, audit, attention or practice"),
    Field("rater", "text", "pseudonym of who picked"),
    Field("rater_kind", "text", "human, sim or proxy"),
    Field("picked_at", "text", "when, UTC"),
)


@dataclass
class Comparisons:
    """The picks of a study that compare something, one by one.

    Attributes:
        source: the study's.
        left_out: answers that compare nothing, by reason; complete once `picks` is through.
    """

    source: Source
    left_out: Counter[str] = field(default_factory=Counter)

    def picks(self) -> Iterator[tuple[Answer, dict[str, Any], list[dict[str, Any]]]]:
        """(answer, winner, losers in display order) of every pick from at least two samples."""
        for answer in self.source.answers():
            winner = answer.picked
            if winner is None:
                self.left_out[WORDS[answer.values["outcome"]]] += 1
            elif len(answer.items) < 2:
                self.left_out["picked from infinitely many, or from one alone"] += 1
            else:
                yield answer, winner, [item for item in answer.items if item is not winner]

    def pictured(self) -> Iterator[tuple[Answer, dict[str, Any], list[dict[str, Any]], dict[int, dict | None]]]:
        """The same with the images by position; picks with an image that nobody kept are left out."""
        for answer, winner, losers in self.picks():
            cells = images_of(self.source, answer)
            if all(cells):
                yield answer, winner, losers, dict(enumerate(cells))
            else:
                self.left_out["an image wasn't kept (points, or simulated users' slates)"] += 1


def images_of(source: Source, answer: Answer) -> list[dict | None]:
    """The image cell of each position; None where there is no image."""
    found = []
    for item in answer.items:
        png = source.store.image(item["image_sha256"]) if item["image_sha256"] else None
        found.append(image_cell(item["image_sha256"], png) if png else None)
    return found


def common(answer: Answer) -> tuple:
    """The values of the `COMMON` fields."""
    return tuple(answer.values[one.name] for one in COMMON)


class Items:
    """The samples of a study's answers, 8 bytes each."""

    def __init__(self, source: Source):
        self._source = source
        self._ids = np.fromiter((row[0] for row in source.store.shown_samples(source.where)), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def number(self, sample_id: int) -> int:
        """The item of a sample."""
        return int(np.searchsorted(self._ids, sample_id))

    def described(self):
        """(sample id, generation, label, image_sha256) of each item, in order."""
        return self._source.store.shown_samples(self._source.where)

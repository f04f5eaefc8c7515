"""What every format is written from: the choice log of one study, under pseudonyms, as batches, rows or answers."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any

from data.columns import LONG, PANEL, Column, probabilities
from data.filters import Filter
from data.store import Store


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
    """What a rater is called outside the study: 64 bits that nobody can link to another study without the salt."""
    if not salt:
        return str(rater)
    return "r" + hashlib.blake2b(str(rater).encode(), key=salt.encode()[:64], digest_size=8).hexdigest()

"""Answers as winners and losers: what formats of comparisons are written from, and what they have to leave out."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from data.formats.records import Field
from data.formats.source import Answer, Source
from data.formats.tables import image_cell

WORDS = {"none": "none of these", "skip": "skipped", "timeout": "timed out"}
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

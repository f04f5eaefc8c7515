"""Rows of a long table as answers: what one row can't show to be wrong, and what a log from elsewhere leaves out."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from data.columns import LONG
from data.formats.source import Answer
from data.log_cells import DEFAULTS
from data.log_reader import Faults, Row

SHARED = tuple(column.name for column in LONG if column.of_answer)
OF_RATER = ("rater_kind", "rater_type")
OF_SESSION = ("rater", "session_flags", "withdrawn")


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

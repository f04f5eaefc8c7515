"""What a test found: an effect with its interval, the chance of as much without it, and a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

LEVEL = 0.05  # each test tells of an effect that isn't there in so many studies
POWER = 2.8  # standard errors between zero and an effect that is found in 80 % of studies: 1.96 + 0.84

Verdict = Literal["found", "not found", "can't tell"]


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect size with its 95 % interval.

    Attributes:
        name: what it is, with its unit.
        value: the estimate.
        low: lower end.
        high: upper end.
        detectable: how large an effect would be found in 80 % of studies like this one; None where that isn't known.
    """

    name: str
    value: float
    low: float
    high: float
    detectable: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one test.

    Attributes:
        name: what was looked for.
        verdict: 'found' where chance gives as much in less than 5 % of studies.
        n: picks (or repeats) it rests on.
        p: chance of as much or more where there is nothing to find; None where it can't be told.
        effects: the main one first.
        sentence: all that in words.
        figures: more numbers by name; plain values and lists.
    """

    name: str
    verdict: Verdict
    n: int
    p: float | None
    effects: tuple[Effect, ...]
    sentence: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def verdict(p: float) -> Verdict:
    """The word for a p-value."""
    return "found" if p < LEVEL else "not found"


def cannot_tell(name: str, n: int, why: str) -> Finding:
    """A test that can't be made."""
    return Finding(name, "can't tell", n, None, (), why)


def words(p: float) -> str:
    """A p-value in brackets."""
    return "(p < 0.0001)" if p < 1e-4 else f"(p = {p:.2g})"

"""Features by name, as columns of numbers: what a utility may depend on, and which columns a fit can estimate."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from scipy.optimize import linprog

from loop.analysis.log import Log

LEAST_PICKS = 10
COLLINEAR = 1e-9  # share of a column's variance within slates that the others leave unexplained
ABOVE = 1e-7  # of a difference's length: what is less against a direction counts as rounding
FEATURES = {
    "class": "one column for each class (or mode) but the one that is shown most",
    "generation": "one column for each generation but the oldest",
    "position": "one column for each position but the first",
    "reward": "the recorded reward",
    "operative_reward": "the reward by which the simulated user judged",
    "probs": "the classifier's probability of each class but the one that is shown most",
}


@dataclass(frozen=True, slots=True)
class Details:
    """Further columns known of samples.

    Attributes:
        class_names: of the labels; may be empty.
        probabilities: by class and sample id.
        columns: numbers by name and sample id.
    """

    class_names: Sequence[str] = ()
    probabilities: dict[int, dict[int, float]] = field(default_factory=dict)
    columns: dict[str, dict[int, float]] = field(default_factory=dict)

    @classmethod
    def stored(cls, rows: Iterable[tuple], class_names: Sequence[str]) -> Self:
        """Class probabilities, and x and y of points, from `Store.sample_details`."""
        found = cls(class_names)
        for sample, _, point, more in rows:
            for j, value in enumerate(json.loads(more).get("probs") or () if more else ()):
                found.probabilities.setdefault(j, {})[sample] = value
            for name, value in zip("xy", json.loads(point) if point else (), strict=False):
                found.columns.setdefault(name, {})[sample] = value
        return found


def table_columns(path: Path, rows: Iterable[tuple]) -> dict[str, dict[int, float]]:
    """Columns of a CSV file with `sample_id` or `image_sha256`, by sample id.

    Args:
        path: the file.
        rows: of `Store.sample_details`.

    Raises:
        ValueError: no such file or key, or something that is no number; its line is named.
    """
    if not path.is_file():
        raise ValueError(f"There is no table {path}.")
    ids: dict[str, list[int]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or []
        key = next((name for name in ("sample_id", "image_sha256") if name in header), None)
        if key is None:
            raise ValueError(f"{path} needs a column sample_id or image_sha256, by which samples are known.")
        for sample, image, _, _ in rows:
            ids.setdefault(str(sample) if key == "sample_id" else image, []).append(sample)
        columns: dict[str, dict[int, float]] = {name: {} for name in header if name != key}
        for row in reader:
            for name, column in columns.items():
                value = _number(row[name], path, reader.line_num, name)
                column.update((sample, value) for sample in ids.get(row[key] or "", ()))
    return columns


def _number(text: str | None, path: Path, line: int, name: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{path}, line {line}: '{name}' must be a number, not '{text}'.") from None


class NotIdentifiedError(ValueError):
    """The picks don't determine what was asked for; the message says why and what to do."""


class SeparatedError(NotIdentifiedError):
    """No finite utilities are best, because some columns separate what was picked from what wasn't.

    Attributes:
        columns: their names.
    """

    def __init__(self, columns: Sequence[str], advice: str):
        self.columns = tuple(columns)
        super().__init__(f"{self.reason}; {advice}.")

    @property
    def reason(self) -> str:
        """The same without a full stop or advice."""
        most = "most of it, or the least" if len(self.columns) == 1 else "most of them, or of a weighted sum of them"
        return (
            f"The picks are separated by {listed(self.columns)}: what was picked always had the {most}, so no finite "
            "utilities are best"
        )


def check_enough(n: int, d: int, ridge: float) -> None:
    """Raises NotIdentifiedError where there are too few picks for d coefficients."""
    if not 0 <= ridge < math.inf:
        raise ValueError(f"a ridge must be 0 or more, and finite, not {ridge:g}")
    if n < LEAST_PICKS or (n <= d and not ridge):
        need = LEAST_PICKS if ridge else max(LEAST_PICKS, d + 1)
        raise NotIdentifiedError(
            f"{n} picks are too few to fit {d} coefficients; collect at least {need}, or ask for fewer features."
        )


def check_estimable(centred: np.ndarray, names: Sequence[str], ridge: float) -> np.ndarray:
    """(d,) standard deviations within slates, by which columns are divided.

    Args:
        centred: (rows, d) columns less their slate's mean.
        names: of the columns.
        ridge: with one, columns may follow from others.

    Raises:
        NotIdentifiedError: a column that is constant within slates, or follows from others.
        ValueError: a column with values that aren't finite.
    """
    finite = np.isfinite(centred).all(axis=0)
    if not finite.all():
        raise ValueError(f"'{names[int(finite.argmin())]}' has values that are no finite numbers; leave it out.")
    problems = estimable(centred, names)[1]
    for name, why in problems.items():
        if not ridge or "never differs" in why:
            raise NotIdentifiedError(f"'{name}' can't be estimated: it {why}. Leave it out.")
    return np.sqrt((centred**2).mean(axis=0))


def estimable(centred: np.ndarray, names: Sequence[str]) -> tuple[list[int], dict[str, str]]:
    """The columns that can be estimated together, first come first served, and why the others can't.

    Args:
        centred: (rows, d) columns less their slate's mean.
        names: of the columns.
    """
    size = np.abs(centred).max(axis=0, initial=0.0)
    z = centred / np.where(size > 0, size, 1.0)
    gram = z.T @ z
    kept: list[int] = []
    problems: dict[str, str] = {}
    for j, name in enumerate(names):
        if size[j] < 1e-12:
            problems[name] = "never differs between the samples of a slate"
            continue
        inner = gram[np.ix_(kept, kept)]
        weights = np.linalg.lstsq(inner, gram[kept, j], rcond=1e-14)[0] if kept else np.zeros(0)
        if gram[j, j] - gram[kept, j] @ weights < COLLINEAR * gram[j, j]:
            others = [names[i] for i, weight in zip(kept, weights, strict=True) if abs(weight) > 1e-6]
            problems[name] = f"follows from {', '.join(others)} within slates (collinear)"
        else:
            kept.append(j)
    return kept, problems


def separating(differences: np.ndarray, names: Sequence[str]) -> list[str]:
    """The columns by which picks are separated, completely or in part; empty where finite utilities are best.

    Picks are separated where some direction b has `b . (x_picked - x_other) >= 0` for every sample that wasn't picked,
    and more than 0 for one of them: then the likelihood grows along b for ever. Columns that do so alone are named;
    where none does, those of the direction with the smallest sum of absolute coefficients, by linear programming.

    Args:
        differences: (m, d) x_picked - x_other, in units that make the columns alike.
        names: d of them.

    Source: Albert and Anderson 1984, for the logit; the same argument holds for the conditional logit.
    """
    lengths = np.linalg.norm(differences, axis=1)
    rows = differences[lengths > 0] / lengths[lengths > 0, None]
    if not rows.size:
        return []
    below, above = rows.min(axis=0), rows.max(axis=0)
    alone = ((below >= -ABOVE) & (above > ABOVE)) | ((above <= ABOVE) & (below < -ABOVE))
    if alone.any():
        return [name for name, guilty in zip(names, alone, strict=True) if guilty]
    rows = np.unique(rows.round(12), axis=0)
    along = rows.mean(axis=0)
    # b is written as the difference of two non-negative vectors, and its scale is set by what it gains on the average
    found = linprog(
        np.ones(2 * rows.shape[1]),
        A_ub=-np.hstack([rows, -rows]),
        b_ub=np.zeros(len(rows)),
        A_eq=np.concatenate([along, -along])[None],
        b_eq=[1.0],
        method="highs",
    )
    if found.status != 0:  # infeasible: no direction gains anything
        return []
    parts = np.abs(found.x[: len(along)] - found.x[len(along) :])
    return [name for name, part in zip(names, parts, strict=True) if part > 1e-6 * parts.max()]


def listed(names: Sequence[str]) -> str:
    """Names in quotation marks, the first four of them."""
    shown = [f"'{name}'" for name in names[:4]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


@dataclass(frozen=True, slots=True)
class Design:
    """Columns of a fit.

    Attributes:
        names: (d,) of the columns.
        x: (rows, d).
        references: what the columns of a feature are relative to, by feature.
        left_out: columns that can't be estimated, with why.
    """

    names: tuple[str, ...]
    x: np.ndarray
    references: dict[str, str]
    left_out: dict[str, str]


def design(log: Log, features: Sequence[str], details: Details) -> Design:
    """The columns of some features; those that can't be estimated are left out and named.

    Raises:
        ValueError: a feature that there isn't, or that isn't known of every sample.
    """
    names: list[str] = []
    left_out: dict[str, str] = {}
    parts: list[np.ndarray] = [np.zeros((len(log.items), 0))]
    references: dict[str, str] = {}
    for feature in features:
        columns = _columns(log, feature, details)
        if not columns.names:
            left_out[feature] = "is the same of all samples"
        elif columns.reference:
            references[feature] = columns.reference
        names += columns.names
        parts.append(columns.x)
    x = np.hstack(parts)
    if not np.isfinite(x).all():
        missing = [name for name, column in zip(names, x.T, strict=True) if not np.isfinite(column).all()]
        raise ValueError(f"'{missing[0]}' isn't known of every sample that was shown; leave it out of --features.")
    kept, problems = estimable(log.slates.centred(x), names) if len(log.slates) else ([], {})
    return Design(tuple(names[j] for j in kept), x[:, kept], references, left_out | problems)


@dataclass(frozen=True, slots=True)
class _Columns:
    names: list[str]
    x: np.ndarray
    reference: str = ""


def class_name(label: int, names: Sequence[str]) -> str:
    """A class by its name, where it has one."""
    return names[label] if 0 <= label < len(names) else str(label)


def _columns(log: Log, feature: str, details: Details) -> _Columns:
    items, slates = log.items, log.slates
    if feature == "class":
        if (items["label"] < 0).any():
            raise ValueError("These samples have no classes; leave 'class' out of --features.")
        return _dummies(items["label"], "class {}", details.class_names, most_frequent=True)
    if feature == "generation":
        return _dummies(items["t"], "generation {}", ())
    if feature == "position":
        return _dummies(slates.positions + 1, "position {}", ())
    if feature in ("reward", "operative_reward"):
        return _Columns([feature], items["reward" if feature == "reward" else "operative"][:, None])
    if feature == "probs":
        return _probabilities(items, details)
    if feature in details.columns:
        return _Columns([feature], _looked_up(items, details.columns[feature])[:, None])
    known = dict.fromkeys([*FEATURES, *details.columns])
    raise ValueError(f"There is no feature '{feature}'; choose from {', '.join(known)}, or give a --table with it.")


def _dummies(values: np.ndarray, words: str, names: Sequence[str], most_frequent: bool = False) -> _Columns:
    """A column for each value but the reference: the most frequent or the smallest."""
    found, counts = np.unique(values, return_counts=True)
    if not len(found):
        return _Columns([], np.zeros((0, 0)))
    reference = found[counts.argmax()] if most_frequent else found[0]
    others = found[found != reference]
    return _Columns(
        [words.format(class_name(int(value), names)) for value in others],
        (values[:, None] == others).astype(float),
        words.format(class_name(int(reference), names)),
    )


def _probabilities(items: np.ndarray, details: Details) -> _Columns:
    by_class = details.probabilities
    if not by_class:
        raise ValueError("These samples have no class probabilities; leave 'probs' out of --features.")
    x = np.stack([_looked_up(items, column) for column in by_class.values()], axis=1)
    names = [f"probability of {class_name(label, details.class_names)}" for label in by_class]
    most = int(x.mean(axis=0).argmax())
    kept = [j for j in range(len(names)) if j != most]
    return _Columns([names[j] for j in kept], x[:, kept], names[most])


def _looked_up(items: np.ndarray, column: Mapping[int, float]) -> np.ndarray:
    samples, place = np.unique(items["sample"], return_inverse=True)
    return np.array([column.get(int(sample), np.nan) for sample in samples])[place]

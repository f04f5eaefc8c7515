"""Features by name, as columns of numbers that a utility may depend on, and checks that a fit can estimate them."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from scipy.optimize import linprog

from data.records import Evaluated
from loop.analysis.log import Log

LEAST_PICKS = 10
CLASS = "class "  # by which the columns of classes begin
COLLINEAR = 1e-9  # share of a column's variance within slates that the others leave unexplained
ABOVE = 1e-7  # share of a difference's length; less than that against a direction counts as rounding
FEATURES = {
    "class": "one column for each class (or mode) but the one that is shown most",
    "generation": "one column for each generation but the oldest",
    "position": "one column for each position but the first",
    "reward": "the recorded reward",
    "operative_reward": "the reward by which the simulated user judged",
    "probs": "the classifier's probability of each class but the one that is shown most",
    "factors": "the coordinates of points: of designs their named numbers, from -1 to 1",
}
TEXT_FEATURES = {
    "words": "the number of words",
    "word_length": "the mean length of the words, in characters",
    "share:e": "the share of a letter in the characters, or, as share:because, of a word in the words; any case",
    "log_probability": "the mean log-probability of a token, in nats, under an n-gram model of the study's real text",
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
    def stored(cls, rows: Iterable[tuple], class_names: Sequence[str], coordinates: Sequence[str] = "xy") -> Self:
        """Class probabilities and the named coordinates of points, from `Store.sample_details`."""
        details = cls(class_names)
        for sample, _, point, reward, _ in rows:
            for j, value in enumerate(json.loads(reward).get("probs") or () if reward else ()):
                details.probabilities.setdefault(j, {})[sample] = value
            for name, value in zip(coordinates, json.loads(point) if point else (), strict=False):
                details.columns.setdefault(name, {})[sample] = value
        return details

    def probability_columns(self, samples: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """(m, classes) class probabilities of (m,) sample ids, NaN where unknown, and the names of the classes."""
        x = np.stack([looked_up(samples, column) for column in self.probabilities.values()], axis=1)
        return x, [class_name(label, self.class_names) for label in self.probabilities]


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
            raise ValueError(f"{path} needs a column sample_id or image_sha256, to tell samples apart.")
        for sample, image, _, _, _ in rows:
            ids.setdefault(str(sample) if key == "sample_id" else image, []).append(sample)
        columns: dict[str, dict[int, float]] = {name: {} for name in header if name != key}
        for row in reader:
            for name, column in columns.items():
                try:
                    value = float(row[name] or "")
                except ValueError:
                    wrong = f"{path}, line {reader.line_num}: '{name}' must be a number, not '{row[name]}'."
                    raise ValueError(wrong) from None
                column.update((sample, value) for sample in ids.get(row[key] or "", ()))
    return columns


class NotIdentifiedError(ValueError):
    """Raised where picks don't determine a requested quantity; the message gives the reason and the remedy."""


class SeparatedError(NotIdentifiedError):
    """Raised where no finite utilities are best, because columns separate picked samples from the others.

    Attributes:
        columns: their names.
    """

    def __init__(self, columns: Sequence[str], advice: str):
        self.columns = tuple(columns)
        super().__init__(f"{self.reason}; {advice}.")

    @property
    def reason(self) -> str:
        """The message without advice or a full stop."""
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
    """The columns that can be estimated together, taken in their order, and why the others can't.

    A column is left out where it is constant within slates, or where the ones before it leave less than `COLLINEAR` of
    its sum of squares unexplained (by least squares).

    Args:
        centred: (rows, d) columns less their slate's mean.
        names: of the columns.

    Returns:
        Indices of the columns that can be estimated, and a reason for each of the others by name.
    """
    size = np.abs(centred).max(axis=0, initial=0.0)
    z = centred / np.where(size > 0, size, 1.0)
    gram = z.T @ z
    chosen: list[int] = []
    problems: dict[str, str] = {}
    for j, name in enumerate(names):
        if size[j] < 1e-12:
            problems[name] = "never differs between the samples of a slate"
            continue
        inner = gram[np.ix_(chosen, chosen)]
        weights = np.linalg.lstsq(inner, gram[chosen, j], rcond=1e-14)[0] if chosen else np.zeros(0)
        if gram[j, j] - gram[chosen, j] @ weights < COLLINEAR * gram[j, j]:
            others = [names[i] for i, weight in zip(chosen, weights, strict=True) if abs(weight) > 1e-6]
            problems[name] = f"follows from {', '.join(others)} within slates (collinear)"
        else:
            chosen.append(j)
    return chosen, problems


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
    least, most = rows.min(axis=0), rows.max(axis=0)
    alone = ((least >= -ABOVE) & (most > ABOVE)) | ((most <= ABOVE) & (least < -ABOVE))
    if alone.any():
        return [name for name, separates in zip(names, alone, strict=True) if separates]
    rows = np.unique(rows.round(12), axis=0)
    along = rows.mean(axis=0)
    # b is written as the difference of two non-negative vectors, and its scale is set by its gain on the average
    solution = linprog(
        np.ones(2 * rows.shape[1]),
        A_ub=-np.hstack([rows, -rows]),
        b_ub=np.zeros(len(rows)),
        A_eq=np.concatenate([along, -along])[None],
        b_eq=[1.0],
        method="highs",
    )
    if solution.status != 0:  # infeasible: no direction gains anything
        return []
    parts = np.abs(solution.x[: len(along)] - solution.x[len(along) :])
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
        references: the value that the columns of a feature are relative to, by feature.
        left_out: columns that can't be estimated, each with the reason.
    """

    names: tuple[str, ...]
    x: np.ndarray
    references: dict[str, str]
    left_out: dict[str, str]


def design(log: Log, features: Sequence[str], details: Details) -> Design:
    """The columns of some features; those that can't be estimated are left out and named.

    Raises:
        ValueError: an unknown feature, or one that some samples lack.
    """
    names: list[str] = []
    left_out: dict[str, str] = {}
    parts: list[np.ndarray] = [np.zeros((len(log.items), 0))]
    references: dict[str, str] = {}
    for feature in features:
        columns = feature_columns(log, feature, details)
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
    chosen, problems = estimable(log.slates.centred(x), names) if len(log.slates) else ([], {})
    return Design(tuple(names[j] for j in chosen), x[:, chosen], references, left_out | problems)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one feature.

    Attributes:
        names: d of them; none where the feature is the same of all samples.
        x: (rows, d).
        reference: the value or class that has no column, which the others are relative to; empty for none.
    """

    names: list[str]
    x: np.ndarray
    reference: str = ""


def class_name(label: int, names: Sequence[str]) -> str:
    """A class by its name, where it has one."""
    return names[label] if 0 <= label < len(names) else str(label)


def sample_columns(
    names: Sequence[str], samples: Evaluated, coordinates: Sequence[str], class_names: Sequence[str]
) -> np.ndarray | None:
    """(n, d) named columns of the samples that a generation was measured on; None where it lacks any of them.

    Args:
        names: of the columns, as a fit names them.
        samples: of the generation.
        coordinates: names of their points' coordinates.
        class_names: by label.
    """
    columns = {"reward": samples.rewards[0]}
    for label in np.unique(samples.labels[samples.labels >= 0]).tolist():
        columns[f"{CLASS}{class_name(label, class_names)}"] = samples.labels == label
    for j, name in enumerate(coordinates if samples.points is not None else ()):
        columns[name] = samples.points[:, j] if samples.points is not None else samples.labels
    known = [columns.get(name, np.zeros(len(samples.labels)) if name.startswith(CLASS) else None) for name in names]
    if any(column is None for column in known):
        return None
    return np.array(known, dtype=np.float64).reshape(len(known), len(samples.labels)).T


def looked_up(samples: np.ndarray, column: Mapping[int, float]) -> np.ndarray:
    """(m,) values of (m,) sample ids; NaN where there is none."""
    ids, place = np.unique(samples, return_inverse=True)
    return np.array([column.get(int(sample), np.nan) for sample in ids])[place]


def feature_columns(log: Log, feature: str, details: Details) -> Columns:
    """The columns of one feature, by its name in `FEATURES` or in the details' columns.

    Raises:
        ValueError: an unknown feature, or one that these samples don't have.
    """
    items, slates = log.items, log.slates
    if feature == "class":
        if (items["label"] < 0).any():
            raise ValueError("These samples have no classes; leave 'class' out of --features.")
        return dummies(items["label"], CLASS + "{}", details.class_names, most_frequent=True)
    if feature == "generation":
        return dummies(items["t"], "generation {}", ())
    if feature == "position":
        return dummies(slates.positions + 1, "position {}", ())
    if feature in ("reward", "operative_reward"):
        return Columns([feature], items["reward" if feature == "reward" else "operative"][:, None])
    if feature == "probs":
        if not details.probabilities:
            raise ValueError("These samples have no class probabilities; leave 'probs' out of --features.")
        x, classes = details.probability_columns(items["sample"])
        names = [f"probability of {name}" for name in classes]
        reference = int(x.mean(axis=0).argmax())
        others = [j for j in range(len(names)) if j != reference]
        return Columns([names[j] for j in others], x[:, others], names[reference])
    if feature == "factors":
        if not details.columns:
            raise ValueError("These samples are no points; leave 'factors' out of --features.")
        columns = [looked_up(items["sample"], column) for column in details.columns.values()]
        return Columns(list(details.columns), np.stack(columns, axis=1))
    if feature in details.columns:
        return Columns([feature], looked_up(items["sample"], details.columns[feature])[:, None])
    if feature in TEXT_FEATURES or feature.startswith("share:"):
        raise ValueError(f"These samples are no texts; leave '{feature}' out of --features.")
    known = dict.fromkeys([*FEATURES, *TEXT_FEATURES, *details.columns])
    raise ValueError(f"There is no feature '{feature}'; choose from {', '.join(known)}, or give a --table with it.")


def dummies(values: np.ndarray, words: str, names: Sequence[str], most_frequent: bool = False) -> Columns:
    """A column of 0 and 1 for each value but the reference: the most frequent one, or the smallest.

    Args:
        values: (rows,) whole numbers.
        words: of a column, with a place for the value.
        names: of values; may be empty.
        most_frequent: takes the most frequent value as the reference.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if not len(distinct):
        return Columns([], np.zeros((0, 0)))
    reference = distinct[counts.argmax()] if most_frequent else distinct[0]
    others = distinct[distinct != reference]
    return Columns(
        [words.format(class_name(int(value), names)) for value in others],
        (values[:, None] == others).astype(float),
        words.format(class_name(int(reference), names)),
    )

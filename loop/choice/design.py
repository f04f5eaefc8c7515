"""Features by name: what a utility may depend on, as columns of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loop.choice.columns import estimable
from loop.choice.details import Details
from loop.choice.log import Log

FEATURES = {
    "class": "one column for each class (or mode) but the one that is shown most",
    "generation": "one column for each generation but the oldest",
    "position": "one column for each position but the first",
    "reward": "the recorded reward",
    "operative_reward": "the reward by which the simulated user judged",
    "probs": "the classifier's probability of each class but the one that is shown most",
}


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

"""Which columns a fit can estimate; what it can't is said rather than estimated."""

from collections.abc import Sequence

import numpy as np

LEAST_PICKS = 10
COLLINEAR = 1e-9  # share of a column's variance within slates that the others leave unexplained


class NotIdentifiedError(ValueError):
    """The picks don't determine what was asked for; the message says why and what to do."""


def check_enough(n: int, d: int, ridge: float) -> None:
    """Raises NotIdentifiedError where there are too few picks for d coefficients."""
    if ridge < 0:
        raise ValueError(f"a ridge must be 0 or more, not {ridge:g}")
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
    """
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
        weights = np.linalg.solve(inner, gram[kept, j]) if kept else np.zeros(0)
        if gram[j, j] - gram[kept, j] @ weights < COLLINEAR * gram[j, j]:
            others = [names[i] for i, weight in zip(kept, weights, strict=True) if abs(weight) > 1e-6]
            problems[name] = f"follows from {', '.join(others)} within slates (collinear)"
        else:
            kept.append(j)
    return kept, problems

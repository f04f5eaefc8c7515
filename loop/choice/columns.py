"""Which columns a fit can estimate; what it can't is said rather than estimated."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog

LEAST_PICKS = 10
COLLINEAR = 1e-9  # share of a column's variance within slates that the others leave unexplained
ABOVE = 1e-7  # of a difference's length: what is less against a direction counts as rounding


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

"""What `curate fit` was asked for and what it found, as records and as JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loop.choice.design import Design
from loop.choice.finding import Finding
from loop.choice.items import Worth
from loop.choice.log import Who
from loop.choice.logit import Fit
from loop.choice.raters import RaterScale


@dataclass(frozen=True, slots=True)
class Asked:
    """What `curate fit` was asked for.

    Attributes:
        who: counts.
        features: by name; empty for the study's usual ones.
        ridge: of the main fit and of the parts'.
        by_generation: fits each generation's slates apart, too.
        table: a CSV file with more columns about samples.
    """

    who: Who
    features: tuple[str, ...] = ()
    ridge: float = 0.0
    by_generation: bool = False
    table: Path | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The fit of some of the picks, or why there is none."""

    name: str
    n: int
    fit: Fit | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """The worths of coarse items, or why there are none."""

    name: str
    worths: tuple[Worth, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ChoiceReport:
    """All of it.

    Attributes:
        who: counted.
        features: that utilities depend on.
        design: their columns, with what was left out.
        left_out: answers that don't count, by reason.
        fit: the utilities.
        scale: the fit on the reward alone, whose coefficient is 1 where picks follow the declared reward.
        gamma: declared in study.toml.
        parts: fits of single generations and of single types of rater.
        items: coarse items.
        tests: of the model.
        raters: how strongly each follows the common utilities.
    """

    who: Who
    features: tuple[str, ...]
    design: Design
    left_out: dict[str, int]
    fit: Fit
    scale: Part
    gamma: float
    parts: tuple[Part, ...]
    items: tuple[Items, ...]
    tests: tuple[Finding, ...]
    raters: tuple[RaterScale, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "who": asdict(self.who),
            "features": self.features,
            "picks": self.fit.n,
            "left_out": self.left_out,
            "columns_left_out": self.design.left_out,
            "relative_to": self.design.references,
            "fit": fit_json(self.fit),
            "scale": {**part_json(self.scale), "declared_gamma": self.gamma},
            "parts": [part_json(part) for part in self.parts],
            "items": [
                {"name": items.name, "worths": [asdict(worth) for worth in items.worths], "problem": items.problem}
                for items in self.items
            ],
            "tests": [asdict(test) for test in self.tests],
            "raters": [asdict(rater) for rater in self.raters],
        }


def fit_json(found: Fit) -> dict[str, Any]:
    """A fit as plain values; `clustered_se` is None with a single rater."""
    plain = np.sqrt(np.diag(found.plain))
    clustered = None if found.clustered is None else np.sqrt(np.diag(found.clustered))
    return {
        "picks": found.n,
        "raters": found.raters,
        "clustered": found.jackknife is not None,
        "ridge": found.ridge,
        "log_likelihood": found.log_likelihood,
        "chance": found.chance,
        "coefficients": [
            {
                "name": name,
                "value": float(found.coefficients[j]),
                "se": float(found.se[j]),
                "low": float(low),
                "high": float(high),
                "plain_se": float(plain[j]),
                "clustered_se": None if clustered is None else float(clustered[j]),
            }
            for j, (name, (low, high)) in enumerate(zip(found.names, found.intervals(), strict=True))
        ],
    }


def part_json(part: Part) -> dict[str, Any]:
    """A part's fit as plain values, or why there is none."""
    return {
        "name": part.name,
        "picks": part.n,
        "fit": None if part.fit is None else fit_json(part.fit),
        "problem": part.problem,
    }

"""The analysis of one study's picks: utilities, the reward's scale, coarse items, and the tests of the model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.store import Store
from loop.analysis.assumptions import AssumptionTest, consistency, position_bias, slate_dependence
from loop.analysis.design import (
    Design,
    Details,
    NotIdentifiedError,
    SeparatedError,
    class_name,
    design,
    estimable,
    table_columns,
)
from loop.analysis.log import Log, Who, read_log
from loop.analysis.logit import Fit, Worth, fit, item_table, scores
from loop.analysis.raters import RaterScale, disagreement, rater_findings
from loop.config import StudyConfig

NEEDS_DETAILS = {"probs", "x", "y"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions put to `curate fit`.

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
    tests: tuple[AssumptionTest, ...]
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


def choice_report(store: Store, config: StudyConfig, asked: Asked) -> ChoiceReport:
    """Reads the picks of a study and says what they say.

    Raises:
        NotIdentifiedError: no picks, or picks that determine no utilities; the message says what to do.
        ValueError: an unknown feature, or a table that can't be read.
    """
    log = read_log(store, asked.who)
    if not len(log.slates):
        raise NotIdentifiedError(_nothing(asked.who, log.left_out))
    features = asked.features or _usual(log, asked.who)
    details = _details(store, asked)
    columns = design(log, features, details)
    found = fit(log.slates, columns.x, columns.names, asked.ridge)
    tests, raters = _tests(log, columns, found, features, details)
    return ChoiceReport(
        who=asked.who,
        features=tuple(features),
        design=columns,
        left_out=log.left_out,
        fit=found,
        scale=_scale(log, asked.who),
        gamma=config.reward.gamma,
        parts=tuple(_parts(store, log, columns, asked)),
        items=tuple(_items(log, details)),
        tests=tests,
        raters=tuple(raters),
    )


def _usual(log: Log, who: Who) -> tuple[str, ...]:
    """Simulated users go by a reward; of people nothing is known but what class and which generation they see."""
    if set(who.kinds) == {"sim"} and np.isfinite(log.items["operative"]).all():
        return ("operative_reward",)
    wanted = []
    if (log.items["label"] >= 0).all():
        wanted.append("class")
    if _differ(log, log.items["t"]):
        wanted.append("generation")
    return tuple(wanted)


def _differ(log: Log, values: np.ndarray) -> bool:
    """True if any slate shows two values."""
    starts = log.slates.starts
    return bool((np.maximum.reduceat(values, starts) != np.minimum.reduceat(values, starts)).any())


def _details(store: Store, asked: Asked) -> Details:
    generations = store.generations()
    names = generations[0].measurements.class_names if generations else ()
    if not NEEDS_DETAILS & set(asked.features) and asked.table is None:
        return Details(names)
    details = Details.stored(store.sample_details(asked.who.kinds), names)
    if asked.table is not None:
        details.columns.update(table_columns(asked.table, store.sample_details(asked.who.kinds)))
    return details


def _tests(
    log: Log, columns: Design, found: Fit, features: Sequence[str], details: Details
) -> tuple[tuple[AssumptionTest, ...], list[RaterScale]]:
    slates, utilities = log.slates, columns.x @ found.coefficients
    samples = design(log, [name for name in features if name != "position"], details)
    labels = log.items["label"] if (log.items["label"] >= 0).all() else None
    at_random, differing, raters = rater_findings(slates, samples.x, utilities, informative=found.p < 0.05)
    tests = (
        position_bias(slates, samples.x, samples.names, found.ridge),
        slate_dependence(slates, columns.x, found, labels, details.class_names),
        consistency(slates, utilities, log.repeats),
        disagreement(slates, scores(slates, columns.x, found), found.plain, np.random.default_rng(0)),
        at_random,
        differing,
    )
    return tests, raters


def _scale(log: Log, who: Who) -> Part:
    """The coefficient of the reward alone."""
    reward = log.items["operative" if set(who.kinds) == {"sim"} else "reward"]
    if not np.isfinite(reward).all():
        return Part("reward", len(log.slates), None, "no reward is recorded of some samples")
    try:
        return Part("reward", len(log.slates), fit(log.slates, reward[:, None], ("reward",)))
    except SeparatedError as error:  # a ridge would pull the factor away from the 1 that it is compared with
        return Part("reward", len(log.slates), None, f"{error.reason.replace('utilities are', 'factor is')}.")
    except NotIdentifiedError as error:
        return Part("reward", len(log.slates), None, str(error))


def _parts(store: Store, log: Log, columns: Design, asked: Asked) -> list[Part]:
    kinds = store.rater_types()
    types = np.array([kinds[int(rater)][1] or "" for rater in log.answers["rater"]])
    groups = [("rater type", types)] if len(np.unique(types)) > 1 else []
    if asked.by_generation:
        groups.insert(0, ("generation", log.answers["t"]))
    return [
        _some(log, columns, values == value, f"{what} {value if value != '' else '(none)'}", asked.ridge)
        for what, values in groups
        for value in np.unique(values).tolist()
    ]


def _some(log: Log, columns: Design, chosen: np.ndarray, name: str, ridge: float) -> Part:
    slates, rows = log.slates.keep(chosen)
    x = columns.x[rows]
    kept, _ = estimable(slates.centred(x), columns.names)
    return _part(name, slates, x[:, kept], [columns.names[j] for j in kept], ridge)


def _part(name: str, slates: Any, x: np.ndarray, names: Sequence[str], ridge: float) -> Part:
    try:
        return Part(name, len(slates), fit(slates, x, names, ridge))
    except NotIdentifiedError as error:
        return Part(name, len(slates), None, str(error))


def _items(log: Log, details: Details) -> list[Items]:
    found = []
    for name, values in (("class", log.items["label"]), ("generation", log.items["t"])):
        if (values >= 0).all() and _differ(log, values):
            known, item = np.unique(values, return_inverse=True)
            names = [class_name(value, details.class_names if name == "class" else ()) for value in known.tolist()]
            try:
                found.append(Items(name, tuple(item_table(log.slates, item, names))))
            except NotIdentifiedError as error:
                found.append(Items(name, (), str(error)))
    return found


def _nothing(who: Who, left_out: dict[str, int]) -> str:
    reasons = ", ".join(f"{n:,} {words}" for words, n in left_out.items())
    rest = f" ({reasons} don't count)" if reasons else ""
    return (
        f"There are no picks of {' or '.join(who.kinds)} raters in {' or '.join(who.purposes)} slates{rest}; "
        "choose others with --kind and --purpose, or collect some."
    )

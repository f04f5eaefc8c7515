"""What the picks of one study say: utilities, the reward's scale, coarse items, and the tests of the model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.store import Store
from loop.choice.columns import NotIdentifiedError, SeparatedError, estimable
from loop.choice.context import slate_dependence
from loop.choice.design import Design, class_name, design
from loop.choice.details import Details, table_columns
from loop.choice.finding import Finding
from loop.choice.items import item_table
from loop.choice.log import Log, Who, read_log
from loop.choice.logit import Fit, fit, scores
from loop.choice.position import position_bias
from loop.choice.raters import RaterScale, disagreement, rater_findings
from loop.choice.records import Asked, ChoiceReport, Items, Part
from loop.choice.repeats import consistency
from loop.config import StudyConfig

NEEDS_DETAILS = {"probs", "x", "y"}


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
    """Whether any slate shows two values."""
    starts = log.slates.starts
    return bool((np.maximum.reduceat(values, starts) != np.minimum.reduceat(values, starts)).any())


def _details(store: Store, asked: Asked) -> Details:
    generations = store.generations()
    names = generations[0].metrics.get("class_names", ()) if generations else ()
    if not NEEDS_DETAILS & set(asked.features) and asked.table is None:
        return Details(names)
    details = Details.stored(store.sample_details(asked.who.kinds), names)
    if asked.table is not None:
        details.columns.update(table_columns(asked.table, store.sample_details(asked.who.kinds)))
    return details


def _tests(
    log: Log, columns: Design, found: Fit, features: Sequence[str], details: Details
) -> tuple[tuple[Finding, ...], list[RaterScale]]:
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

"""The analysis of one study's picks: utilities, the reward's scale, coarse items, tests of the model, who gains."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.designs import coordinate_names
from data.records import Evaluated
from data.store import Store, queries
from loop.analysis.assumptions import AssumptionTest, consistency, position_bias, slate_dependence
from loop.analysis.design import (
    TEXT_FEATURES,
    Design,
    Details,
    NotIdentifiedError,
    SeparatedError,
    class_name,
    design,
    estimable,
    sample_columns,
    table_columns,
)
from loop.analysis.groups import TasteGroups, taste_groups
from loop.analysis.log import AnswerFilter, Log, read_log
from loop.analysis.logit import Fit, Worth, fit, item_table, scores
from loop.analysis.raters import RaterScale, disagreement, rater_tests
from loop.analysis.taste import POINT_FACTORS
from loop.config import POINT_SETS, StudyConfig
from loop.evidence.intervals import Estimate
from loop.evidence.prediction import TypeEvidence, TypeGeneration, difference_and_se
from loop.evidence.study import History, analyse
from loop.study import OnShare
from loop.theory.population import Curators
from loop.user_types import target, user_types

NEEDS_DETAILS = {"probs", "factors"}  # and the names of coordinates
NOT_OF_SAMPLES = {"generation", "position", "operative_reward"}
USUAL_OF_TEXTS = ("word_length", "log_probability")
PARTS = ("generation", "condition", "rater_type")


@dataclass(frozen=True, slots=True)
class FitOptions:
    """The options of `curate fit`.

    Attributes:
        counting: the answers that count.
        features: by name; empty for the study's usual ones.
        ridge: of the main fit and of the parts'.
        by: of `PARTS`, by which slates are fitted apart; empty: by condition and by type of rater, where there are
            several.
        table: a CSV file with more columns about samples.
    """

    counting: AnswerFilter
    features: tuple[str, ...] = ()
    ridge: float = 0.0
    by: tuple[str, ...] = ()
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
    """The analysis of a study's picks.

    Attributes:
        counting: the answers that count.
        features: that utilities depend on.
        design: their columns, and those that were left out.
        left_out: answers that don't count, by reason.
        fit: the utilities.
        scale: the fit on the reward alone, whose coefficient is 1 where picks follow the declared reward.
        gamma: declared in study.toml.
        parts: fits of single generations, conditions and types of rater.
        items: coarse items.
        tests: of the model.
        raters: the strength with which each follows the common utilities.
        groups: of raters by taste.
    """

    counting: AnswerFilter
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
    groups: TasteGroups

    def as_json(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {
            "who": asdict(self.counting),
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
            "taste_groups": self.groups.model_dump(mode="json"),
        }


def fit_json(fitted: Fit) -> dict[str, Any]:
    """A fit as plain values; `clustered_se` is None with a single rater."""
    plain = np.sqrt(np.diag(fitted.plain))
    clustered = None if fitted.clustered is None else np.sqrt(np.diag(fitted.clustered))
    return {
        "picks": fitted.n,
        "raters": fitted.raters,
        "worst_picks": fitted.worst,
        "ties": None if fitted.threshold is None else asdict(fitted.threshold),
        "clustered": fitted.jackknife is not None,
        "ridge": fitted.ridge,
        "log_likelihood": fitted.log_likelihood,
        "chance": fitted.chance,
        "coefficients": [
            {
                "name": name,
                "value": float(fitted.coefficients[j]),
                "se": float(fitted.se[j]),
                "low": float(low),
                "high": float(high),
                "plain_se": float(plain[j]),
                "clustered_se": None if clustered is None else float(clustered[j]),
            }
            for j, (name, (low, high)) in enumerate(zip(fitted.names, fitted.intervals(), strict=True))
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


def choice_report(
    store: Store, config: StudyConfig, options: FitOptions, on_share: OnShare = lambda share: None
) -> ChoiceReport:
    """The analysis of a study's picks.

    Args:
        store: the study's.
        config: the study's.
        options: which answers, and what is fitted to them.
        on_share: called with the share done.

    Raises:
        NotIdentifiedError: no picks, or picks that determine no utilities; the message says what to do.
        ValueError: an unknown feature, or a table that can't be read.
    """
    counting = options.counting
    log = read_log(store, counting)
    if not len(log.slates):
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in log.left_out.items())
        uncounted = f" ({reasons} don't count)" if reasons else ""
        raise NotIdentifiedError(
            f"There are no picks of {' or '.join(counting.kinds)} raters in {' or '.join(counting.purposes)} slates"
            f"{uncounted}; choose others with --kind and --purpose, or collect some."
        )
    on_share(0.15)
    features = options.features or usual_features(log, counting, config)
    details = sample_details(store, config, options, features)
    columns = design(log, features, details)
    on_share(0.2)
    fitted = fit(log.slates, columns.x, columns.names, options.ridge)
    on_share(0.35)
    tests, raters = run_tests(log, columns, fitted, features, details)
    on_share(0.6)
    groups = read_groups(store, config, log, options)
    on_share(0.9)
    return ChoiceReport(
        counting=counting,
        features=tuple(features),
        design=columns,
        left_out=log.left_out,
        fit=fitted,
        scale=reward_scale(log, counting),
        gamma=config.reward.gamma,
        parts=tuple(fit_parts(store, log, columns, options)),
        items=tuple(coarse_items(log, details)),
        tests=tests,
        raters=tuple(raters),
        groups=groups,
    )


def study_groups(store: Store, config: StudyConfig) -> TasteGroups | None:
    """The taste groups of a study's people by its usual features; None where nobody picked."""
    counting = AnswerFilter()
    log = read_log(store, counting)
    return read_groups(store, config, log, FitOptions(counting)) if len(log.slates) else None


def read_groups(store: Store, config: StudyConfig, log: Log, options: FitOptions) -> TasteGroups:
    """The taste groups of some picks, and each one's mean utility of the study's generations.

    Utilities depend on those of the options' features that are of samples themselves; where there are none, on the
    named numbers of designs, of texts on their words and how likely they are, else on the class.
    """
    features = [name for name in options.features if name not in NOT_OF_SAMPLES]
    if not features and config.data.family is not None:
        features = ["factors"]
    elif not features and config.data.is_text:
        features = [*USUAL_OF_TEXTS]
    elif not features and (log.items["label"] >= 0).all():
        features = ["class"]
    details = sample_details(store, config, options, features)
    columns, names = design(log, features, details), details.class_names
    factors = config.data.family.factors if config.data.family else POINT_FACTORS
    coordinates = coordinate_names(factors) if config.data.family or config.data.dataset in POINT_SETS else []
    generations = []
    for generation in store.generations():
        samples = store.evaluation(generation.t)
        shown = None if samples is None else sample_columns(columns.names, samples, coordinates, names)
        if shown is None:
            break
        generations.append(shown)
    reference = columns.references.get("class", "")
    return taste_groups(log.slates, columns.x, columns.names, generations, factors, reference)


def usual_features(log: Log, counting: AnswerFilter, config: StudyConfig) -> tuple[str, ...]:
    """The reward that simulated users go by; for people, of whom no reward is known, classes and generations.

    Of designs their named numbers say more than their kinds; of texts their words, and how likely they are.
    """
    if set(counting.kinds) == {"sim"} and np.isfinite(log.items["operative"]).all():
        return ("operative_reward",)
    features = []
    if config.data.family is not None:
        features.append("factors")
    elif config.data.is_text:
        features += USUAL_OF_TEXTS
    elif (log.items["label"] >= 0).all():
        features.append("class")
    if log.slates.vary_in(log.items["t"]):
        features.append("generation")
    return tuple(features)


def sample_details(store: Store, config: StudyConfig, options: FitOptions, features: Sequence[str]) -> Details:
    """Names of the classes, and the further columns that the features need."""
    generations = store.generations()
    names = generations[0].measurements.class_names if generations else ()
    family = config.data.family
    coordinates = ["x", "y"] if family is None else coordinate_names(family.factors)
    kinds, details = options.counting.kinds, Details(names)
    if config.data.is_text:
        details.columns.update(text_columns(store, config, kinds, features))
    elif NEEDS_DETAILS.union(coordinates) & set(features) or options.table is not None:
        details = Details.stored(queries.sample_details(store, kinds), names, coordinates)
    if options.table is not None:
        details.columns.update(table_columns(options.table, queries.sample_details(store, kinds)))
    return details


def text_columns(
    store: Store, config: StudyConfig, kinds: Sequence[str], features: Sequence[str]
) -> dict[str, dict[int, float]]:
    """Those of the features that are numbers of texts (`TEXT_FEATURES`), by name and sample id.

    Raises:
        ValueError: the share of nothing, or coordinates.
    """
    if "factors" in features:
        raise ValueError("These samples are no points; leave 'factors' out of --features.")
    if not any(name in TEXT_FEATURES or name.startswith("share:") for name in features):
        return {}
    from loop.scoring import text_features  # torch

    rows = [row for row in queries.sample_details(store, kinds) if row[2]]  # samples whose tokens are stored
    ids, texts = [row[0] for row in rows], [row[4] for row in rows]
    tokens = np.array([json.loads(row[2]) for row in rows], dtype=np.int64)
    return {
        name: dict(zip(ids, of(texts, tokens).tolist(), strict=True))
        for name, of in text_features(features, config).items()
    }


def run_tests(
    log: Log, columns: Design, fitted: Fit, features: Sequence[str], details: Details
) -> tuple[tuple[AssumptionTest, ...], list[RaterScale]]:
    """All tests of the model, and each rater's figures."""
    slates, utilities = log.slates, columns.x @ fitted.coefficients
    best, rows = slates.best_picks()
    samples = design(log, [name for name in features if name != "position"], details)
    labels = log.items["label"] if (log.items["label"] >= 0).all() else None
    at_random, differing, raters = rater_tests(best, samples.x[rows], utilities[rows], informative=fitted.p < 0.05)
    tests = (
        position_bias(slates, samples.x, samples.names, fitted.ridge),
        slate_dependence(slates, columns.x, fitted, labels, details.class_names),
        consistency(slates, utilities, log.repeats),
        disagreement(slates, scores(slates, columns.x, fitted), fitted.plain, np.random.default_rng(0)),
        at_random,
        differing,
    )
    return tests, raters


def reward_scale(log: Log, counting: AnswerFilter) -> Part:
    """The fit on the reward alone, whose coefficient is the factor on the declared reward; never with a ridge.

    A ridge would pull the factor away from the 1 that it is compared with.
    """
    n, reward = len(log.slates), log.items["operative" if set(counting.kinds) == {"sim"} else "reward"]
    if not np.isfinite(reward).all():
        return Part("reward", n, None, "no reward is recorded of some samples")
    try:
        return Part("reward", n, fit(log.slates, reward[:, None], ("reward",)))
    except SeparatedError as error:
        return Part("reward", n, None, f"{error.reason.replace('utilities are', 'factor is')}.")
    except NotIdentifiedError as error:
        return Part("reward", n, None, str(error))


def fit_parts(store: Store, log: Log, columns: Design, options: FitOptions) -> list[Part]:
    """Fits of the slates of each generation, condition or type of rater, as the options say.

    Raises:
        ValueError: parts by condition where no slate has one.
    """
    kinds, conditions = queries.rater_types(store), queries.slate_conditions(store)
    values_of = {
        "generation": log.answers["t"],
        "condition": np.array([conditions.get(int(slate), "") for slate in log.answers["slate"]]),
        "rater_type": np.array([kinds[int(rater)][1] or "" for rater in log.answers["rater"]]),
    }
    if "condition" in options.by and not (values_of["condition"] != "").any():
        raise ValueError("None of these slates has a condition; leave --by condition out.")
    usual = [name for name in ("condition", "rater_type") if len(np.unique(values_of[name])) > 1]
    groups = [(name.replace("_", " "), values_of[name]) for name in options.by or usual]
    parts = []
    for group, values in groups:
        for value in np.unique(values).tolist():
            slates, rows = log.slates.subset(values == value)
            name, x = f"{group} {value if value != '' else '(none)'}", columns.x[rows]
            chosen, _ = estimable(slates.centred(x), columns.names)
            try:
                fitted = fit(slates, x[:, chosen], [columns.names[j] for j in chosen], options.ridge)
                parts.append(Part(name, len(slates), fitted))
            except NotIdentifiedError as error:
                parts.append(Part(name, len(slates), None, str(error)))
    return parts


def coarse_items(log: Log, details: Details) -> list[Items]:
    """The worths of classes and of generations, where slates show several."""
    tables = []
    for name, values in (("class", log.items["label"]), ("generation", log.items["t"])):
        if (values >= 0).all() and log.slates.vary_in(values):
            distinct, item = np.unique(values, return_inverse=True)
            names = [class_name(value, details.class_names if name == "class" else ()) for value in distinct.tolist()]
            try:
                tables.append(Items(name, tuple(item_table(log.slates, item, names))))
            except NotIdentifiedError as error:
                tables.append(Items(name, (), str(error)))
    return tables


def type_evidence(history: History) -> list[TypeEvidence]:
    """Claim C1 for each type of simulated users by its own reward; empty where there is no other, or no exact law.

    Under a mixture of types a generation is aimed at `p sum_j a_j H_j`, and E[exp r_g] of a type moves by the sum over
    types of `a_j Cov(exp r_g, H_j)`: its own picks raise it, the others' may lower it.

    Args:
        history: of a study in which simulated users alone picked.
    """
    config, types, aim = history.config, user_types(history.config), target(history.config)
    if len(types) < 2 or not history.is_simulated or not isinstance(aim, Curators) or not history.generations:
        return []
    if any(len(samples.rewards) != 1 + len(types) for samples in history.evaluations):
        return []
    simple = not config.policy.accumulates and config.mix.origin == "data" and not history.conditions
    rows = []
    for g, type_ in enumerate(types):
        evaluations = [by_reward_of(samples, g) for samples in history.evaluations]
        real = history.real and by_reward_of(history.real, g)
        known = analyse(replace(history, evaluations=evaluations, real=real), quick=True)
        generations = []
        for t, own in enumerate(known.own):
            figures, ahead = own.figures(), known.steps.moments[t]
            row = TypeGeneration(
                t=t, mean_reward=figures.mean_reward, predicted_reward=None, gain_w=None, predicted_gain_w=None
            )
            before = known.own[max(0, t - 1)].mean_w
            scale = float(before[0])
            if t:
                row = row.model_copy(update={"gain_w": Estimate.of(*difference_and_se(own.mean_w - before, scale))})
            if t and ahead:
                gain, se = difference_and_se(ahead.mean_w - before, scale)
                predicted = {
                    "predicted_reward": ahead.figures().mean_reward,
                    "predicted_gain_w": Estimate.of(gain, float(np.hypot(se, known.steps.noise[t][0]))),
                }
                if simple:
                    predicted |= parts_of_gain(history, aim, t, g, gain)
                row = row.model_copy(update=predicted)
            generations.append(row)
        rows.append(TypeEvidence(name=type_.name, share=type_.share, generations=generations))
    return rows


def by_reward_of(samples: Evaluated, g: int) -> Evaluated:
    """The same samples with the reward of type g as the study's."""
    return replace(samples, rewards=np.concatenate([samples.rewards[[1 + g]], samples.rewards[1:]]))


def parts_of_gain(history: History, aim: Curators, t: int, g: int, gain: float) -> dict[str, float]:
    """The parts of the predicted gain of E[exp r_g] at generation t: by own picks, by others', by the real data."""
    samples, now = history.evaluations[t - 1], history.generations[t]
    by_type = aim.gains(samples.rewards[1:], np.full(len(samples.labels), 1 / len(samples.labels)))[g]
    share = history.config.policy.shares(now.n_real or 1, [now.n_curated])[1][-1]
    own, others = share * float(by_type[g]), share * float(by_type.sum() - by_type[g])
    return {"own_picks": own, "other_picks": others, "real_data": gain - own - others}

"""The evidence of one study, read from its database alone: what `curate report` and the researcher's page show.

`read` gives a loop's history, `analyse` its moments and predictions, and `assess` puts the evidence together; no torch.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

import loop
from data.measurements import CuratedCounts, Divergence, Measurements
from data.records import Evaluated, Generation, timestamp
from data.store import Store, queries
from loop.config import MixConfig, StudyConfig
from loop.evidence import prediction
from loop.evidence.claims import KNOWN_GAIN, Loop, ceilings, examine, floors
from loop.evidence.distribution import Course, Ingredient, distribution_evidence
from loop.evidence.intervals import CLAIMS, LEVEL, all_pairs, ratio_of
from loop.evidence.people import ranking, utility_gains, win_rates
from loop.evidence.prediction import FromStart, Moments, difference_and_se, value_and_se
from loop.evidence.retraining import theorem_3_of
from loop.evidence.schema import (
    VERSION,
    CheckResult,
    ConditionEvidence,
    ConditionGeneration,
    Estimate,
    Evidence,
    GenerationEvidence,
    SecondOpinion,
    Transmission,
    UtilityGain,
    WinRate,
)
from loop.evidence.verdicts import count_verdicts, judge, summary
from loop.policy import DataPolicy
from loop.study import MARKET, OnShare, Study
from loop.user_types import are_alike, luce_rule, target, user_types
from model.config import LARGEST_REWARD, PREFERENCE_LEARNERS, SINGLE_PRECISION

KNOWN_LAW = "of the known density"  # cells by which older versions measured copies of real points, too
LEAST_TOP = 10  # samples that must share the highest reward for it to be a set of its own
QUICK_SAMPLES, QUICK_REPLICATES = 10_000, 60  # with fewer samples, as many more replicates
FILE = "evidence.json"
MADE_BY = ("evidence", "theory")  # of the loop package: whose code the figures follow from
RULE = {  # settings of the rule by which a generation follows from the one before, by table
    "curation": ("k", "lapse", "position_bias", "adversarial", "drift"),
    "mix": ("policy", "lam", "recent"),
}


@dataclass(frozen=True)
class History:
    """The history of a loop, as the store holds it or a simulation in memory makes it.

    Attributes:
        config: the study's.
        generations: those that were measured, in order of t.
        evaluations: the samples of each.
        real: the real data's rewards and labels; None where they weren't stored.
        own_picks: whether each generation was trained on picks from samples of the one before.
        audits: whether the generations come from several studies, whose audit this is.
        imported: whether generation 1 was trained on an imported log.
        changed: which setting of the rule that theory follows is another now than when a generation was trained, in
            words; empty where none is.
    """

    config: StudyConfig
    generations: list[Generation]
    evaluations: list[Evaluated]
    real: Evaluated | None
    own_picks: bool = True
    audits: bool = False
    imported: bool = False
    changed: str = ""

    @property
    def class_names(self) -> list[str]:
        """Names of classes or modes, by label."""
        return list(self.generations[0].measurements.class_names) if self.generations else []

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the study's conditions; empty in a study without."""
        return self.generations[0].measurements.conditions if self.generations else ()

    def within(self, condition: int, weight: float) -> "History":
        """The history of one condition, which is a loop of its own.

        Args:
            condition: its number.
            weight: how often it is asked for.
        """
        generations = []
        for generation in self.generations:
            known = generation.measurements
            picks = known.condition_picks[condition] if known.condition_picks else 0
            own = known.model_copy(update={"conditions": (), "divergence": Divergence()})
            counts = {"n_real": round(generation.n_real * weight), "n_curated": picks, "measurements": own}
            generations.append(replace(generation, **counts))
        evaluations = [of_condition(samples, condition) for samples in self.evaluations]
        real = None if self.real is None else of_condition(self.real, condition)
        config = self.config
        if real is None or not len(real.labels):  # then its own picks alone train it
            real, config = None, config.model_copy(update={"mix": MixConfig(policy="replace")})
        return replace(self, config=config, generations=generations, evaluations=evaluations, real=real)

    @property
    def is_simulated(self) -> bool:
        """True if simulated users alone picked, so that the reward behind the picks is known."""
        return all(generation.measurements.by_simulated_users for generation in self.generations[1:])


def of_condition(samples: Evaluated, condition: int) -> Evaluated:
    """Those of the samples that were drawn under a condition."""
    assert samples.conditions is not None
    own = samples.conditions == condition
    points, features = (None if some is None else some[own] for some in (samples.points, samples.features))
    return Evaluated(samples.t, samples.rewards[:, own], samples.labels[own], points, features=features)


@dataclass(frozen=True)
class Analysis:
    """A history as moments by generation, with the predictions of theory for each.

    Attributes:
        history: the loop's.
        own: moments as measured.
        real: the real data's; None where they weren't stored.
        steps: the predictions of one step.
        from_start: those of many steps; None where they weren't worked out.
        conditions: the same within each condition, of which these are the weighted means; empty in a study without.
    """

    history: History
    own: list[Moments]
    real: Moments | None
    steps: "StepPredictions"
    from_start: FromStart | None
    conditions: tuple["Analysis", ...] = ()


@dataclass(frozen=True)
class StepPredictions:
    """The predictions of each generation from the one before it.

    Attributes:
        moments: None for generation 0, and where it isn't known by which reward picks were made from the samples that
            were measured.
        noise: standard errors of E[w] and E[r] that finitely many picks add.
        effective: effective sample size behind E[w] of each generation, and of what its picks rest on.
        recipes: of each generation's training set; None where there is no prediction, empty under conditions.
    """

    moments: list[Moments | None]
    noise: list[tuple[float, float]]
    effective: list[float]
    recipes: list[list[Ingredient] | None] = field(default_factory=list)


def build(
    study: Study, checks: list[CheckResult] | None = None, *, quick: bool = False,
    on_share: OnShare = lambda share: None,
) -> Evidence:  # fmt: skip
    """All evidence of a study as it stands now.

    Args:
        study: the study; generations that an older version measured without keeping the samples end the evidence.
        checks: of the picks (see `loop.selfcheck`), to be reported beside it.
        quick: of many samples only the first and fewer replicates, no prediction over many steps and no fitted
            utilities, for a page that is refreshed.
        on_share: called with the share done.
    """
    with study.store.read():
        history = read(study.store, study.config, quick)
        rates = win_rates(study.store, study.config, len(history.generations) - 1)
        names, evaluations = history.class_names, history.evaluations
        on_share(0.1)
        skip = quick or history.audits  # whose only verdicts are those of the win rates
        gains = [] if skip else utility_gains(study.store, study.config, evaluations, names)
        on_share(0.2)
        sources = [source.words for source in study.sources]
        real = Measurements.model_validate(study.store.status("real"))
    evidence = assess(
        history, rates, gains, quick=quick, on_share=lambda share: on_share(0.2 + 0.8 * share)
    ).model_copy(
        update={
            "study": study.path.resolve().name,
            "replay_of": study.replay_of,
            "market": market_words(study),
            "checks": checks or [],
            "sources": sources,
            "real_language": real.language,
            "ranking": ranking(rates, len(sources)),
        }
    )
    return evidence.model_copy(update={"summary": summary(evidence)}) if sources else evidence


def market_words(study: Study) -> str:
    """The study whose picks train this one, too, and their share; empty where it trains on its own alone."""
    status = study.store.status(MARKET)
    return f"{Path(status['with']).name}, by a share of {status['exchange']:g}" if status else ""


def read(store: Store, config: StudyConfig, quick: bool = False) -> History:
    """The history of a study; joins a surrounding `read()`.

    Args:
        store: the study's.
        config: the study's.
        quick: of many samples only the first, which are as fair a sample as all of them.
    """
    generations, evaluations = store.generations(), []
    most = QUICK_SAMPLES if quick else None
    for generation in generations:
        stored = store.evaluation(generation.t)
        if stored is None:
            break
        more = (None if some is None else some[:most] for some in (stored.points, stored.conditions, stored.features))
        evaluations.append(Evaluated(stored.t, stored.rewards[:, :most], stored.labels[:most], *more))
    generations = generations[: len(evaluations)]
    own_picks = all(t >= len(generations) - 1 for t in queries.foreign_generations(store))
    audits, imported = bool(store.status("audit")), bool(store.status("replay").get("imported"))
    alone = own_picks and not audits and not imported and not store.status(MARKET)
    changed = changed_rule(config, generations) if alone else ""
    return History(config, generations, evaluations, store.evaluation(None), alone, audits, imported, changed)


def changed_rule(config: StudyConfig, generations: Sequence[Generation]) -> str:
    """The settings of `RULE` that a generation was trained under another value of, in words; empty where there is none.

    Settings that one of the two versions of curate didn't have are left out.
    """
    now, parts = config.as_json(), []
    for table, keys in RULE.items():
        for key in keys:
            before = {
                generation.t: generation.config[table][key]
                for generation in generations[1:]
                if key in generation.config.get(table, {}) and generation.config[table][key] != now[table][key]
            }
            if before:
                t, value = next(iter(before.items()))
                parts.append(f"{table}.{key} is {now[table][key]}, and was {value} at generation {t}")
    return "; ".join(parts)


def assess(
    history: History,
    rates: Sequence[WinRate] = (),
    gains: Sequence[UtilityGain] = (),
    *,
    quick: bool = False,
    mean_alone: bool = False,
    on_share: OnShare = lambda share: None,
) -> Evidence:
    """The evidence that follows from a loop's history and from people's choices; unless `mean_alone` all of it."""
    config, analysis = history.config, analyse(history, quick, on_share)
    loop = described_loop(analysis) if history.generations else None
    generations = generation_evidence(analysis, loop) if loop else []
    margins = list(examine(loop)) if loop else []
    own_margins = [list(examine(described_loop(part))) for part in analysis.conditions]
    comparisons = count_verdicts([*margins, *chain.from_iterable(own_margins)], config.generations)
    level = CLAIMS if rates or gains else LEVEL
    pairs = len(all_pairs(len(history.generations) - 1))
    evidence = Evidence(
        study="",
        created_at=timestamp(),
        preset=config.preset,
        seed=config.seed,
        config=config.as_json(),
        policy=str(config.policy),
        k=config.curation.k,
        lam="inf" if math.isinf(config.mix.lam) else config.mix.lam,
        users=[{"name": type_.name, "share": type_.share} for type_ in user_types(config)],
        class_names=history.class_names,
        w_sup=loop.w_sup if loop and math.isfinite(loop.w_sup) else "inf",
        comparisons=max(1, pairs if history.audits else comparisons + len(rates) + len(gains)),
        real=analysis.real.figures() if analysis.real else None,
        generations=generations,
        claims=judge(margins, comparisons, generations, level),
        conditions=[
            ConditionEvidence(
                name=name,
                weight=float(history.generations[0].measurements.condition_weights[i]),
                generations=condition_rows(part),
                claims=judge(own_margins[i], comparisons, generation_evidence(part, described_loop(part)), level),
            )
            for i, (name, part) in enumerate(zip(history.conditions, analysis.conditions, strict=True))
        ],
        win_rates=list(rates),
        utility_gains=list(gains),
        checks=[],
        summary=[],
        own_picks=history.own_picks,
        theorem_3=theorem_3_of(config, generations),
        imported=history.imported,
        distribution=None if quick or mean_alone or history.conditions else distribution_evidence(course_of(analysis)),
    )
    return evidence.model_copy(update={"summary": summary(evidence)})


def course_of(analysis: Analysis) -> Course:
    """The loop as the questions beyond E[w] need it."""
    history, steps = analysis.history, analysis.steps
    return Course(
        config=history.config,
        class_names=history.class_names,
        evaluations=history.evaluations,
        real=history.real,
        aim=target(history.config),
        recipes=steps.recipes,
        own=analysis.own,
        predicted=steps.moments,
        noise=[noise for noise, _ in steps.noise],
        effective=steps.effective,
        picks=[generation.n_curated for generation in history.generations[1:]],
        n_real=len(history.real.labels) if history.real else 1,
        from_start=analysis.from_start is not None,
    )


def analyse(history: History, quick: bool = False, on_share: OnShare = lambda share: None) -> Analysis:
    """Moments with bootstrap replicates, one-step predictions, and (unless quick) those from generation 0.

    Under conditions the theorem holds within each, so each is analysed as a loop of its own and the means are pooled.
    """
    if history.conditions:
        weights, parts = history.generations[0].measurements.condition_weights, []
        for i, weight in enumerate(weights):
            parts.append(analyse(history.within(i, weight), quick))
            on_share((i + 1) / len(weights))
        return pooled(history, parts, np.asarray(weights))
    evaluations, real, generations = history.evaluations, history.real, history.generations
    largest, replicates = max((len(samples.labels) for samples in evaluations), default=1), prediction.REPLICATES
    if quick:
        replicates = min(replicates, QUICK_SAMPLES * QUICK_REPLICATES // largest)
    classes = len(history.class_names)
    masses = [prediction.replicate_masses(len(samples.labels), replicates) for samples in evaluations]
    real_moments = None
    if real is not None:
        exact = np.full((len(real.labels), replicates + 1), 1 / len(real.labels))
        real_moments = prediction.measured(real, exact, classes)
    own = [prediction.measured(samples, mass, classes) for samples, mass in zip(evaluations, masses, strict=True)]
    on_share(0.3)
    steps = predict_steps(history, masses, real_moments)
    on_share(0.6)
    from_start = None
    aim = target(history.config)
    plain = not (history.config.slates.ties or history.config.curation.drift) and history.config.mix.origin == "data"
    whole = history.own_picks and not history.changed and history.is_simulated and plain
    if evaluations and aim and whole and not quick:
        from_start = prediction.from_start(
            evaluations[0],
            real,
            history.config.policy,
            aim,
            len(real.labels) if real else 1,
            [generation.n_curated for generation in generations[1:]],
            classes,
        )
    return Analysis(history, own, real_moments, steps, from_start)


def pooled(history: History, parts: Sequence[Analysis], weights: np.ndarray) -> Analysis:
    """The analysis of a study with conditions, from those within each.

    All moments are means over conditions by weight, the variance of w too: it is the mean of those within conditions,
    which the bounds rest on, since no loop moves mass from one condition to another.
    """

    def mean(moments: Sequence[Moments | None]) -> Moments | None:
        present = [own for own in moments if own is not None]
        if not present or len(present) < len(moments):
            return None
        values = np.tensordot(weights, np.stack([own.values for own in present]), axes=1)
        within = np.tensordot(weights, np.stack([own.var_w for own in present]), axes=1)
        return Moments(np.concatenate([values[:1], (within + values[0] ** 2)[None], values[2:]]))

    def error(values: Sequence[float]) -> float:
        return math.sqrt(float((weights**2 * np.square(values)).sum()))

    def size(sizes: Sequence[float], means: Sequence[float]) -> float:
        carried = weights * np.asarray(means)
        return float(carried.sum() ** 2 / (carried**2 / np.asarray(sizes)).sum())

    own = [moments for t in range(len(history.generations)) if (moments := mean([part.own[t] for part in parts]))]
    steps = StepPredictions(
        moments=[mean([part.steps.moments[t] for part in parts]) for t in range(len(own))],
        noise=[(error([part.steps.noise[t][0] for part in parts]), error([part.steps.noise[t][1] for part in parts]))
               for t in range(len(own))],
        effective=[size([part.steps.effective[t] for part in parts], [float(part.own[t].mean_w[0]) for part in parts])
                   for t in range(len(own))],
    )  # fmt: skip
    starts = [part.from_start for part in parts if part.from_start is not None]
    from_start = None
    if len(starts) == len(parts):
        columns = [start.influence.shape[1] for start in starts]
        total = sum(columns)
        # scaled so that the mean square over their number is the variance of the weighted mean (`skewed`)
        scales = [weight * math.sqrt(total * (total - 1) / (n * max(n - 1, 1)))
                  for weight, n in zip(weights, columns, strict=True)]  # fmt: skip
        moments = [mean([start.moments[t] for start in starts]) for t in range(len(own))]
        from_start = FromStart(
            moments=[row for row in moments if row is not None],
            pick_noise=np.sqrt(np.tensordot(weights**2, np.stack([start.pick_noise**2 for start in starts]), axes=1)),
            effective=np.array([
                size([start.effective[t] for start in starts], [float(start.moments[t].mean_w[0]) for start in starts])
                for t in range(len(own))
            ]),
            influence=np.concatenate([scale * start.influence for scale, start in zip(scales, starts, strict=True)], 1),
        )  # fmt: skip
    return Analysis(history, own, mean([part.real for part in parts]), steps, from_start, tuple(parts))


def predict_steps(history: History, masses: list[np.ndarray], real: Moments | None) -> StepPredictions:
    """One step ahead of each generation, where it is known by which reward its picks were made.

    Args:
        history: the loop's.
        masses: (n, B + 1) of each generation's samples.
        real: the real data's moments; None where they weren't stored.

    Raises:
        ValueError: the policy trains on real data whose rewards weren't stored.
    """
    config, evaluations, classes = history.config, history.evaluations, len(history.class_names)
    moments: list[Moments | None] = [None]
    recipes: list[list[Ingredient] | None] = [None]
    noise = [(0.0, 0.0)]
    effective = [
        prediction.effective_samples(samples, np.full(len(samples.labels), 1 / len(samples.labels)))
        for samples in evaluations
    ]
    sets, sizes, sources, aim = [], [], [], target(config)
    for before, now in enumerate(history.generations[1:]):
        own = history.own_picks and not history.changed and now.measurements.by_simulated_users and now.n_curated
        if aim is None or config.slates.ties or not own:
            moments.append(None)
            recipes.append(None)
            noise.append((0.0, 0.0))
            continue
        law = prediction.law_of_picks(evaluations[before], masses[before], aim)
        effective[before] = min(effective[before], prediction.effective_samples(evaluations[before], law[:, 0]))
        sets.append(Moments(prediction.functions(evaluations[before], classes) @ law))
        sources.append(before)
        weighted = config.learner.kind == "reward_weighted" and isinstance(config.curation.k, int)
        n = now.n_curated * int(config.curation.k) if weighted else now.n_curated
        sizes.append(prediction.weighted_size(evaluations[before], law, n) if weighted else n)
        training, policy = now.measurements.training, config.policy
        n_real, start, parts, of_parts = now.n_real, real, sets, sizes
        if config.mix.origin == "generation":
            if len(sets) == 1:
                policy = DataPolicy("replace")
            else:  # the first set stands for the real data, with an error of its own
                start, parts, of_parts = sets[0], sets[1:], sizes[1:]
        if policy.accumulates and training:  # what was drawn, rather than what was to be expected
            shares, rows = (training.shares_asked[0], training.shares_asked[1:]), training.rows
        else:
            shares, rows = policy.shares(n_real or 1, of_parts), (n_real, *of_parts)
        moments.append(prediction.blend(start, parts, shares))
        is_drawn = policy.is_random or start is not real
        noisy = [start if is_drawn else None, *parts]
        noise.append(prediction.pick_noise(noisy, rows, (shares[0], *shares[1])))
        first = None if start is real else sources[0]
        recipes.append(
            [Ingredient(first, shares[0], rows[0] if is_drawn else 0)]
            + [Ingredient(*own) for own in zip(sources[len(sets) - len(parts) :], shares[1], rows[1:], strict=True)]
        )
    return StepPredictions(moments, noise, effective, recipes)


def described_loop(analysis: Analysis) -> Loop:
    """The loop as the claims know it, of a history with a generation at least."""
    history, config = analysis.history, analysis.history.config
    rule, largest = luce_rule(config), config.reward.largest(max(1, len(history.class_names)))
    # under conditions the bounds on divergences are of each condition's law, and divergences are of the pooled ones
    divergence = [
        Divergence() if history.conditions else generation.measurements.divergence for generation in history.generations
    ]
    by_law = any(row.space.endswith(KNOWN_LAW) for row in divergence)
    plain = are_alike(config) and not rule.lapse and not any(rule.position_bias)
    at_top = [
        samples.rewards[0] >= largest - SINGLE_PRECISION * max(1.0, abs(largest)) for samples in history.evaluations
    ]
    replicates = analysis.own[0].values.shape[1] - 1
    has_top = at_top[0].sum() >= LEAST_TOP
    return Loop(
        rule=rule,
        policy=config.policy,
        plain=plain and history.is_simulated,
        own=analysis.own,
        predicted=analysis.steps.moments,
        from_start=analysis.from_start,
        pick_noise=analysis.steps.noise,
        top_share=[top @ prediction.replicate_masses(len(top), replicates) for top in at_top] if has_top else [],
        real=analysis.real,
        divergence=divergence,
        w_sup=math.exp(largest) if largest <= LARGEST_REWARD else math.inf,
        effective=analysis.steps.effective,
        own_picks=history.own_picks,
        learner=config.learner.kind,
        starts_at_real=config.network.kind == "resample" and not by_law,
        ties=config.slates.ties,
        audits=history.audits,
        from_generation=config.mix.origin == "generation",
        optimum=f"p exp(r / {config.learner.beta:g})" if config.learner.kind in PREFERENCE_LEARNERS else "",
        imported=history.imported,
        changed=history.changed,
    )


def generation_evidence(analysis: Analysis, loop: Loop) -> list[GenerationEvidence]:
    """The evidence on each generation, without verdicts: what was measured and predicted, and the bounds."""
    history, start = analysis.history, analysis.from_start
    bounded = history.is_simulated and not (loop.ties or loop.from_generation or loop.changed)
    rows = []
    for t, generation in enumerate(history.generations):
        measurements, predicted = generation.measurements, analysis.steps.moments[t]
        training, judge = measurements.training, measurements.judge
        by_slates = history.config.learner.kind in PREFERENCE_LEARNERS  # whose picks aren't what is aimed at
        trained = training.mean_w if training and not by_slates else None
        rows.append(
            GenerationEvidence(
                t=t,
                checkpoint_sha256=generation.checkpoint_sha256,
                picture_sha256=measurements.grid_sha256,
                n_evaluated=len(history.evaluations[t].labels),
                n_real=generation.n_real,
                curated=measurements.curated or CuratedCounts(),
                shares_asked=list(training.shares_asked) if training else [],
                shares_achieved=list(training.shares_achieved) if training else [],
                measured=analysis.own[t].figures(),
                predicted=predicted.figures() if predicted else None,
                predicted_from_start=start.figures(t) if start else None,
                divergence=measurements.divergence,
                floors=floors(loop, t) if bounded else {},
                ceilings=ceilings(loop, t) if bounded else {},
                transmission=transmission(analysis, [t], trained) if predicted else None,
                transmission_so_far=transmission(analysis, range(1, t + 1)) if predicted else None,
                distances=measurements.distances,
                language=measurements.language,
                judge=SecondOpinion.of(judge) if judge else None,
            )
        )
    return rows


def condition_rows(analysis: Analysis) -> list[ConditionGeneration]:
    """The evidence on each generation within one condition."""
    history, start, rows = analysis.history, analysis.from_start, []
    for t, generation in enumerate(history.generations):
        predicted = analysis.steps.moments[t]
        rows.append(
            ConditionGeneration(
                t=t,
                n_evaluated=len(history.evaluations[t].labels),
                picks=generation.n_curated,
                measured=analysis.own[t].figures(),
                predicted=predicted.figures() if predicted else None,
                predicted_from_start=start.figures(t) if start else None,
                transmission=transmission(analysis, [t]) if predicted else None,
                transmission_so_far=transmission(analysis, range(1, t + 1)) if predicted else None,
            )
        )
    return rows


def transmission(analysis: Analysis, ts: Sequence[int], trained: float | None = None) -> Transmission:
    """The transmission of the steps to some generations together; the errors of their training sets are independent.

    Args:
        analysis: the loop's.
        ts: the generations, at least one of them predicted; others are passed over.
        trained: E[w] over the training set of the last one; None where it isn't known or there are several.
    """
    steps = [(analysis.own[t - 1].mean_w, now.mean_w, analysis.own[t].mean_w, analysis.steps.noise[t][0])
             for t in ts if (now := analysis.steps.moments[t])]  # fmt: skip
    wanted = np.sum([now - before for before, now, _, _ in steps], axis=0)
    gained = np.sum([after - before for before, _, after, _ in steps], axis=0)
    noise = math.sqrt(sum(step[3] ** 2 for step in steps))
    scale = float(analysis.own[ts[-1]].mean_w[0])
    gain, gain_se = difference_and_se(wanted, scale)
    difference, se = difference_and_se(gained - wanted, scale)
    se = math.hypot(se, noise)
    known = gain != 0 and abs(gain) >= KNOWN_GAIN * math.hypot(gain_se, se)
    predicted, now = steps[-1][1], steps[-1][2]
    return Transmission(
        predicted_gain=Estimate.of(gain, gain_se),
        measured_gain=Estimate.of(*difference_and_se(gained, scale)),
        ratio=ratio_of(gained, wanted, noise) if known else None,
        difference=Estimate.of(difference, se),
        z=difference / se if se else 0.0,
        sampling=None if trained is None else Estimate.of(*value_and_se(trained - predicted)),
        learning=None if trained is None else Estimate.of(*value_and_se(now - trained)),
    )


def store_quick_evidence(study: Study) -> None:
    """Stores quick evidence for the researcher's page, which must not spend time on it (status 'evidence')."""
    study.store.set_status("evidence", **build(study, quick=True).model_dump(exclude={"config"}))


def stored_quick_evidence(study: Study) -> Evidence | None:
    """The quick evidence that was stored last; None before the first generation, or when another version stored it."""
    status = study.store.status("evidence")
    status.pop("at", None)
    if status.get("schema_version") != VERSION:
        return None
    return Evidence.model_validate({**status, "config": study.config.as_json()})


def evidence_of(study: Study, *, leave: bool = True, on_share: OnShare = lambda share: None) -> Evidence:
    """The evidence left in the folder if it is of these generations, picks, settings and code, else built anew.

    Args:
        study: the study.
        leave: what is built is left there.
        on_share: called with the share done.
    """
    state = [code_hash(), study.store.last_pick(), study.config.as_json()]
    state += [row.checkpoint_sha256 for row in study.store.generations()]
    try:
        content = json.loads((study.path / FILE).read_text(encoding="utf-8"))
        if content["state"] == state:
            return Evidence.model_validate({**content["evidence"], "study": study.path.resolve().name})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # none, or another program's
    evidence = build(study, on_share=on_share)
    if leave:
        draft = study.path / f".{FILE}.{os.getpid()}"
        try:
            draft.write_text(json.dumps({"state": state, "evidence": evidence.model_dump()}), encoding="utf-8")
            draft.replace(study.path / FILE)
        finally:
            draft.unlink(missing_ok=True)
    return evidence


@cache
def code_hash() -> str:
    """The sha256 of the code that makes the evidence."""
    root = Path(loop.__file__).parent
    files = sorted(file for part in MADE_BY for file in (root / part).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

"""Doses and responses: the measurements of each combination of a sweep at the last generation, over its seeds.

Beside its controls, too: the gain beyond that of the same loop without choice, or with a generator that copies. Of a
sweep over adversaries, the diagram of where they turn improvement around.
"""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t as student_t

from data.measurements import LanguageFigures, Mean
from loop.evidence.distribution import VarianceSplit
from loop.evidence.intervals import LEVEL
from loop.evidence.schema import Estimate, Evidence
from loop.evidence.study import evidence_of
from loop.study import Study
from loop.sweep.grid import CONTROLS, Cell, combinations, controlled, label
from loop.theory.population import policy_loop
from loop.user_types import curators

ADVERSARIES, ADVERSARY = "curation.adversarial", "adversary"  # the setting of their share, the table of their reward
FRONTIER_SAMPLES = 2_000  # of generation 0, on which the exact operator works

LANGUAGE: dict[str, Callable[[LanguageFigures], Mean | None]] = {
    "cross-entropy": lambda by: by.cross_entropy,
    "L1 from t = 0": lambda by: by.l1_first,
    "L1 from t = 1": lambda by: by.l1_second,
    "rare tokens": lambda by: by.rare_share,
}


PIVOTS = 20_000  # draws behind an interval of a variance


class OverSeeds(Estimate):
    """A mean over seeds, with the value of each."""

    each: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """The response of one combination at its last generation; intervals are over seeds where there are two or more.

    Attributes:
        values: the swept settings.
        seeds: studies that it rests on.
        t: the generation.
        mean_reward: E[r].
        gain: of E[w], w = exp(r), since generation 0.
        transmission: measured over predicted gains of E[w], each summed over the generations.
        mean_reward_predicted: from generation 0 by the exact operator, mean over seeds; None where unknown.
        gain_predicted: likewise.
        language: of texts, the figures of `LANGUAGE` by name; empty for all else.
        control: which of the controls this is; empty for a combination.
    """

    values: dict[str, Any]
    seeds: int
    t: int
    mean_reward: OverSeeds
    gain: OverSeeds
    transmission: OverSeeds | None
    mean_reward_predicted: float | None
    gain_predicted: float | None
    language: dict[str, OverSeeds] = field(default_factory=dict)
    control: str = ""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The gain of one combination beside that of one of its controls, on the same seeds.

    Attributes:
        name: of the combination, as its studies' folders have it.
        control: which one.
        seeds: that both have reached the last generation on.
        gain: of E[w] since generation 0.
        control_gain: likewise.
        beyond: the difference, seed by seed; its interval is over seeds where there are two or more.
    """

    name: str
    control: str
    seeds: int
    gain: OverSeeds
    control_gain: OverSeeds
    beyond: OverSeeds


@dataclass(frozen=True, slots=True)
class PhaseCell:
    """A share of adversarial picks and an adversary: how far E[r] has moved since generation 0.

    Attributes:
        adversary: the swept settings of its reward, in words.
        share: phi, of the picks.
        covariance: of the true and the adversary's reward over the variance of the true one, in generation 0.
        seeds: studies.
        changes: of E[r], the true reward, by generation: the first and the last; intervals are over seeds.
        predicted: the same from generation 0 by the exact operator; None where unknown.
    """

    adversary: str
    share: float
    covariance: float
    seeds: int
    changes: dict[int, OverSeeds]
    predicted: dict[int, float | None]

    def direction(self, t: int) -> int:
        """1 where E[r] has risen by generation t, -1 where it has fallen, 0 where the interval holds both."""
        return int(self.changes[t].low > 0) - int(self.changes[t].high < 0)


@dataclass(frozen=True, slots=True)
class PhaseDiagram:
    """The diagram of where adversaries turn improvement around: measured cells, and the predicted frontier.

    Attributes:
        cells: in order of the share, then of the covariance.
        frontier: by generation, pairs of a covariance and the share from which on E[r] falls by the exact operator; of
            adversaries against whom it never does there are none.
    """

    cells: list[PhaseCell]
    frontier: dict[int, list[tuple[float, float]]]

    def words(self, t: int) -> str:
        """The outcome at generation t, in a sentence."""
        ways = [cell.direction(t) for cell in self.cells]
        decided = [(cell, way) for cell, way in zip(self.cells, ways, strict=True) if way]
        agree = sum((cell.predicted[t] or 0.0) * way > 0 for cell, way in decided)
        return (
            f"Adversaries, generation {t}: of {len(ways)} combinations E[r] has risen in {ways.count(1)} and fallen in "
            f"{ways.count(-1)}, {ways.count(0)} can't be told; {agree} of the {len(decided)} decided as predicted."
        )


def reached(folder: Path, cells: Sequence[Cell], last: int) -> dict[str, Evidence]:
    """The evidence of the studies that have reached generation `last`, by name."""
    evidence = {}
    for cell in cells:
        if (folder / cell.name).exists():
            study = Study.open(folder / cell.name)
            with closing(study.store):
                evidence[cell.name] = evidence_of(study)
    return {name: study for name, study in evidence.items() if len(study.generations) > last}


def responses(folder: Path, cells: Sequence[Cell], last: int) -> list[Response]:
    """The responses of all combinations and controls, from their studies that have reached generation `last`."""
    evidence, rows = reached(folder, cells, last), []
    for group in combinations(cells):
        studies = [evidence[cell.name] for cell in group if cell.name in evidence]
        if studies:
            rows.append(response(dict(group[0].values), studies, last, group[0].control))
    return rows


def contrasts(folder: Path, cells: Sequence[Cell], last: int) -> list[Contrast]:
    """Each combination beside each of its controls, from studies that have reached generation `last`."""
    evidence = reached(folder, cells, last)
    by_settings = {cell.config: cell for cell in cells}
    rows = []
    for group in combinations(cells):
        for control in CONTROLS if not group[0].control else ():
            pairs = [(cell, by_settings.get(controlled(cell.config, control))) for cell in group]
            gains = [
                (gain_of(evidence[cell.name], last), gain_of(evidence[other.name], last))
                for cell, other in pairs
                if other and other is not cell and cell.name in evidence and other.name in evidence
            ]
            if not gains:
                continue
            beyond = [Estimate.of(own.value - its.value, math.hypot(own.se, its.se)) for own, its in gains]
            own, its = (over_seeds(side) for side in zip(*gains, strict=True))
            name = group[0].name.rpartition(",")[0]
            rows.append(Contrast(name, control, len(gains), own, its, over_seeds(beyond)))
    return rows


def phase_diagram(folder: Path, cells: Sequence[Cell], last: int) -> PhaseDiagram | None:
    """The diagram of a sweep over the share of adversaries and over their reward; None where it is another sweep.

    Source: Wei and Zhang 2025 (arXiv 2505.09768), whose condition is on the covariance of the true and the operative
    reward, `(1 - phi) Var[r] + phi Cov[r, r~] > 0`; the frontier here is exact for any K and scale.
    """
    keys = list(cells[0].values)
    tables = {key.partition(".")[0] for key in keys if key != ADVERSARIES}
    if ADVERSARIES not in keys or tables != {ADVERSARY} or cells[0].config.learner.kind != "curate":
        return None
    times = sorted({1, last})
    adversaries: dict[str, dict[int, tuple[float, dict[int, float | None]]]] = {}
    for cell in cells:  # of every seed the first share that has adversaries
        name, path, seed = adversary_of(cell), folder / cell.name, cell.config.seed
        known = adversaries.setdefault(name, {})
        if cell.control or not cell.values[ADVERSARIES] or seed in known or not path.exists():
            continue
        study = Study.open(path)
        with closing(study.store):
            first = study.store.evaluation(0)
            if first is not None and len(study.store.generations()) > last:
                covariance = np.cov(first.rewards[[0, -1]])
                known[seed] = float(covariance[0, 1] / covariance[0, 0]), {t: turning_share(study, t) for t in times}
    evidence, rows, frontier = reached(folder, cells, last), [], {t: [] for t in times}
    for group in combinations(cells):
        studies = [evidence[cell.name] for cell in group if cell.name in evidence]
        name = adversary_of(group[0])
        if not group[0].control and studies and adversaries[name]:
            covariance, share = _mean([x for x, _ in adversaries[name].values()]), float(group[0].values[ADVERSARIES])
            moved = {t: [change_of(study, t) for study in studies] for t in times}
            changes = {t: over_seeds([measured for measured, _ in pairs]) for t, pairs in moved.items()}
            predicted = {t: _mean([x for _, x in pairs if x is not None]) for t, pairs in moved.items()}
            rows.append(PhaseCell(name, share, covariance or 0.0, len(studies), changes, predicted))
    for known in filter(None, adversaries.values()):
        for t in times:
            shares = [share for _, by_time in known.values() if (share := by_time[t]) is not None]
            if len(shares) == len(known):
                frontier[t].append((_mean([x for x, _ in known.values()]), _mean(shares)))
    ordered = {t: sorted(points) for t, points in frontier.items()}
    return PhaseDiagram(sorted(rows, key=lambda row: (row.share, row.covariance)), ordered) if rows else None


def adversary_of(cell: Cell) -> str:
    """The swept settings of the adversary, in words."""
    named = [f"{key.partition('.')[2]} = {label(value)}" for key, value in cell.values.items() if key != ADVERSARIES]
    return ", ".join(named)


def change_of(study: Evidence, t: int) -> tuple[Estimate, float | None]:
    """The change of E[r] since generation 0, measured and predicted from generation 0."""
    start, end = study.generations[0].measured.mean_reward, study.generations[t]
    now, predicted = end.measured.mean_reward, end.predicted_from_start
    measured = Estimate.of(now.value - start.value, math.hypot(now.se, start.se))
    return measured, predicted.mean_reward.value - start.value if predicted else None


def turning_share(study: Study, t: int) -> float | None:
    """The share of adversaries at which E[r] stays until generation t what it was at first; None where none does so.

    By the exact operator, from a study's generation 0; below that share E[r] rises.
    """
    config, first, real = study.config, study.store.evaluation(0), study.store.evaluation(None)
    assert first is not None
    rewards, n = first.rewards[:, :FRONTIER_SAMPLES], min(FRONTIER_SAMPLES, first.rewards.shape[1])
    p0 = np.full(n, 1 / n)
    p_ref = np.zeros(n)
    if config.policy.uses_real and real is not None:
        more = real.rewards[:, :FRONTIER_SAMPLES]
        rewards, m = np.concatenate([rewards, more], axis=1), more.shape[1]
        p0, p_ref = np.concatenate([p0, np.zeros(m)]), np.concatenate([p_ref, np.full(m, 1 / m)])
    sizes = [generation.n_curated for generation in study.store.generations()[1 : t + 1]]

    def change(share: float) -> float:
        curation = config.curation.model_copy(update={"adversarial": max(share, 1e-12)})
        users = curators(config.model_copy(update={"curation": curation}))
        laws = policy_loop(rewards[1:], p0, p_ref, config.policy, users, t, len(study.real), sizes)
        return float(rewards[0] @ (laws[t] - laws[0]))

    return float(brentq(change, 0, 1, xtol=1e-4)) if change(0) > 0 > change(1) else None  # pyright: ignore


def gain_of(study: Evidence, last: int) -> Estimate:
    """The gain of E[w] from generation 0 to generation `last`."""
    now, before = study.generations[last].measured.mean_w, study.generations[0].measured.mean_w
    return Estimate.of(now.value - before.value, math.hypot(now.se, before.se))


def response(values: dict[str, Any], studies: Sequence[Evidence], last: int, control: str = "") -> Response:
    """The response of one combination or control at generation `last`, from the studies of its seeds."""
    ends = [(study.generations[0], study.generations[last]) for study in studies]
    predicted = [(first, end.predicted_from_start) for first, end in ends if end.predicted_from_start]
    carried = [ratio for study in studies if (ratio := transmission(study, last))]
    written = [by for _, end in ends if (by := end.language)]
    language = {name: [mean for by in written if (mean := of(by))] for name, of in LANGUAGE.items()}
    return Response(
        values=values,
        seeds=len(studies),
        t=last,
        mean_reward=over_seeds([end.measured.mean_reward for _, end in ends]),
        gain=over_seeds([gain_of(study, last) for study in studies]),
        transmission=over_seeds(carried) if carried else None,
        mean_reward_predicted=_mean([end.mean_reward.value for _, end in predicted]),
        gain_predicted=_mean([end.mean_w.value - first.measured.mean_w.value for first, end in predicted]),
        language={
            name: over_seeds([Estimate.of(mean.value, mean.se) for mean in means])
            for name, means in language.items()
            if 0 < len(means) == len(studies)
        },
        control=control,
    )


def transmission(study: Evidence, last: int) -> Estimate | None:
    """Measured over predicted gain of E[w], each summed over the generations; None if there was little to gain."""
    so_far = study.generations[last].transmission_so_far
    return so_far.ratio if so_far else None


def over_seeds(values: Sequence[Estimate]) -> OverSeeds:
    """The mean over seeds with Student's 95% interval from their spread; one seed keeps its own interval."""
    n, by_seed = len(values), tuple(estimate.value for estimate in values)
    if n == 1:
        return OverSeeds(**values[0].model_dump(include=set(Estimate.model_fields)), each=by_seed)
    mean = sum(by_seed) / n
    se = math.sqrt(sum((value - mean) ** 2 for value in by_seed) / (n - 1) / n)
    reach = float(student_t.ppf(0.975, n - 1)) * se
    return OverSeeds(value=mean, se=se, low=mean - reach, high=mean + reach, each=by_seed)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def variance_splits(evidences: Sequence[Evidence]) -> list[VarianceSplit]:
    """The variance of E[r] at the last generation, of each set of studies that differ in their seeds alone.

    Left out are sets of a single study, and within a set those with fewer generations than the others.
    """
    sets: dict[str, list[int]] = {}
    for i, study in enumerate(evidences):
        train = {**study.config.get("train", {}), "finetune_seed": None}
        key = json.dumps({**study.config, "seed": None, "train": train}, sort_keys=True, default=str)
        if study.distribution and not study.sources:
            sets.setdefault(key, []).append(i)
    splits = []
    for places in sets.values():
        last = max(len(evidences[i].generations) for i in places) - 1
        places = [i for i in places if len(evidences[i].generations) == last + 1]
        if len(places) < 2:
            continue
        studies = []
        for i in places:
            mean, by = evidences[i].generations[last].measured.mean_reward, evidences[i].distribution
            studies.append(SeededMean(evidences[i].seed, mean.value, mean.se, np.array(by.reward_groups if by else [])))
        evaluation, training, picks = split_variance(studies)
        seeds, mean = len({study.seed for study in studies}), float(np.mean([study.value for study in studies]))
        split = VarianceSplit(studies=places, t=last, seeds=seeds, mean=mean, evaluation=evaluation, training=training,
                              picks=picks, sentence="")  # fmt: skip
        splits.append(split.model_copy(update={"sentence": split_words(split)}))
    return splits


def split_words(split: VarianceSplit) -> str:
    """A split of the variance in a sentence."""
    parts: list[tuple[str, float, Estimate | None]] = [("evaluation", split.evaluation, None)]
    if split.picks:
        name = "picks" if split.training else "picks and training together (no seed has two train.finetune_seed)"
        parts.append((name, split.picks.value, split.picks))
    if split.training:
        parts.append(("the training seed", split.training.value, split.training))
    total = sum(value for _, value, _ in parts)
    words = []
    for name, value, interval in parts:
        share = f"{value / total:.0%}" if total else "none"
        limits = (
            f" (standard deviation {math.sqrt(interval.low):.2g} to {math.sqrt(interval.high):.2g})" if interval else ""
        )
        words.append(f"{share} {name}{limits}")
    n = len(split.studies)
    return (
        f"E[r] of generation {split.t}, over {n} studies of {split.seeds} seed{'s' * (split.seeds != 1)}: mean "
        f"{split.mean:.4g}, standard deviation {math.sqrt(total):.2g}, of whose square {', '.join(words)}."
    )


@dataclass(frozen=True)
class SeededMean:
    """E[r] of one study's last generation, among studies that differ in their seeds alone.

    Attributes:
        seed: of everything random.
        value: E[r].
        se: of its evaluation.
        groups: (groups,) mean rewards without one group of evaluation seeds after another, which studies of one seed
            share.
    """

    seed: int
    value: float
    se: float
    groups: np.ndarray


def split_variance(
    studies: Sequence[SeededMean], level: float = LEVEL
) -> tuple[float, Estimate | None, Estimate | None]:
    """Variance of E[r] by evaluation, by the training seed, and by the seed of all else, by the method of moments.

    A nested random-effects model: studies of one seed differ by their training and by what of the evaluation noise
    they don't share; the means of seeds differ by picks as well. Evaluation noise is known from the samples. Intervals
    are generalised confidence intervals: the mean squares are drawn from their chi-square laws, all else is plugged in.

    Args:
        studies: two or more.
        level: of error of an interval.

    Returns:
        The evaluation's; the training seed's, None where no seed has two studies; the seed's (both together where
        that is None), None where there is one seed.

    Source: Weerahandi 1993 (JASA 88:899) for the intervals, Thomas and Hultquist 1978 for seeds with unequal numbers.
    """
    rng, seeds = np.random.default_rng(len(studies)), sorted({study.seed for study in studies})
    nests = [[study for study in studies if study.seed == seed] for seed in seeds]
    counts = np.array([len(nest) for nest in nests])
    spread = np.array([np.var([study.value for study in nest], ddof=1) if len(nest) > 1 else 0.0 for nest in nests])
    shared = [shared_noise(nest) for nest in nests]  # of each, the covariances of its evaluations
    evaluation = float(np.mean([study.se**2 for study in studies]))
    freedom, training = int((counts - 1).sum()), None
    draws, square, apart = np.zeros(PIVOTS), 0.0, 0.0
    if freedom:
        square = float((counts - 1) @ spread) / freedom
        own = [np.trace(cov) / n - (cov.sum() - np.trace(cov)) / (n * (n - 1)) if n > 1 else 0.0
               for cov, n in zip(shared, counts, strict=True)]  # fmt: skip
        apart = float((counts - 1) @ own) / freedom
        draws = square * freedom / rng.chisquare(freedom, PIVOTS) - apart
        training = component(square - apart, draws, level)
    if len(seeds) < 2:
        return evaluation, training, None
    means = np.array([np.mean([study.value for study in nest]) for nest in nests])
    between, noise = float(means.var(ddof=1)), float(np.mean([cov.mean() for cov in shared]))
    within = float((1 / counts).mean())
    value = between - noise - within * (square - apart)
    pivots = between * (len(seeds) - 1) / rng.chisquare(len(seeds) - 1, PIVOTS) - noise - within * draws
    return evaluation, training, component(value, pivots, level)


def shared_noise(nest: Sequence[SeededMean]) -> np.ndarray:
    """(n, n) covariances of the evaluation errors of studies of one seed, from their groups of seeds."""
    variances = np.diag([study.se**2 for study in nest])
    sizes = {len(study.groups) for study in nest}
    if len(nest) < 2 or sizes & {0, 1} or len(sizes) > 1:
        return variances
    without = np.stack([study.groups for study in nest])
    n = without.shape[1]
    return np.cov(without) * (n - 1) ** 2 / n  # the jackknife's


def component(value: float, pivots: np.ndarray, level: float) -> Estimate:
    """A variance, which is no less than 0, with the interval of its pivots."""
    low, high = np.quantile(np.maximum(pivots, 0.0), [level / 2, 1 - level / 2])
    return Estimate(value=max(0.0, value), se=float(np.std(pivots)), low=float(low), high=float(high))

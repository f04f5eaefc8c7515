"""The evidence of one study, read from its database alone: what `curate report` and the researcher's page show."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import loop
from data.measurements import CuratedCounts, JudgeFigures
from data.records import Evaluated, Generation, timestamp
from data.store import Store
from loop.config import StudyConfig
from loop.evidence import prediction
from loop.evidence.claims import KNOWN_GAIN, Inapplicable, Loop, Margin, apart, examine, value_and_se
from loop.evidence.intervals import CLAIMS, LEVEL
from loop.evidence.people import utility_gains, win_rates
from loop.evidence.prediction import FromStart, Moments
from loop.evidence.schema import (
    VERSION,
    Z95,
    CheckResult,
    ClaimVerdict,
    Estimate,
    Evidence,
    Figures,
    GenerationEvidence,
    SecondOpinion,
    Transmission,
    UtilityGain,
    WinRate,
)
from loop.evidence.verdicts import judge, summary
from loop.study import Study
from loop.theory import bounds
from loop.user_types import are_alike, curators, luce_rule, user_types
from model.config import LARGEST_REWARD, SINGLE_PRECISION

KNOWN_LAW = "of the known density"  # cells by which older versions measured copies of real points, too
LEAST_TOP = 10  # samples that must share the highest reward for it to be a set of its own
QUICK_SAMPLES, QUICK_REPLICATES = 10_000, 60  # with fewer samples, as many more replicates
FILE = "evidence.json"
MADE_BY = ("evidence", "theory")  # of the loop package: whose code the figures follow from


@dataclass(frozen=True)
class History:
    """The history of a loop, as the store holds it or a simulation in memory makes it.

    Attributes:
        config: the study's.
        generations: those that were measured, in order of t.
        evaluations: the samples of each.
        real: the real data's rewards and labels; None where they weren't kept.
        own_picks: whether each generation was trained on picks from samples of the one before.
    """

    config: StudyConfig
    generations: list[Generation]
    evaluations: list[Evaluated]
    real: Evaluated | None
    own_picks: bool = True

    @property
    def class_names(self) -> list[str]:
        """Names of classes or modes, by label."""
        return list(self.generations[0].measurements.class_names) if self.generations else []


@dataclass(frozen=True)
class Analysis:
    """History as moments by generation, with what theory predicts of each."""

    history: History
    own: list[Moments]
    real: Moments | None
    predicted: list[Moments | None]
    pick_noise: list[tuple[float, float]]
    from_start: FromStart | None
    effective: list[float]

    @property
    def generations(self) -> list[Generation]:
        """The records."""
        return self.history.generations


def build(study: Study, checks: list[CheckResult] | None = None, *, quick: bool = False) -> Evidence:
    """All evidence of a study as it stands now.

    Args:
        study: the study; generations that an older version measured without keeping the samples end the evidence.
        checks: of the picks (see `loop.selfcheck`), to be reported beside it.
        quick: of many samples only the first and fewer replicates, no prediction over many steps and no fitted
            utilities, for a page that is refreshed.
    """
    with study.store.read():
        history = read(study.store, study.config, quick)
        rates = win_rates(study.store, study.config, len(history.generations) - 1)
        names, evaluations = history.class_names, history.evaluations
        liked = [] if quick else utility_gains(study.store, study.config, evaluations, names)
    return assess(history, rates, liked, quick=quick).model_copy(
        update={"study": study.path.resolve().name, "replay_of": study.replay_of, "checks": checks or []}
    )


def assess(
    history: History,
    rates: Sequence[WinRate] = (),
    liked: Sequence[UtilityGain] = (),
    *,
    quick: bool = False,
) -> Evidence:
    """The evidence that follows from a loop's history and from people's choices, whoever made them."""
    config, analysis = history.config, analyse(history, quick)
    loop = _loop(analysis) if analysis.generations else None
    generations = _generations(analysis, loop) if loop else []
    margins = list(examine(loop)) if loop else []
    comparisons = _comparisons(margins, config.generations)
    level = CLAIMS if rates or liked else LEVEL
    claims: list[ClaimVerdict] = judge(margins, comparisons, generations, level)
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
        comparisons=max(1, comparisons + len(rates) + len(liked)),
        real=_figures(analysis.real) if analysis.real else None,
        generations=generations,
        claims=claims,
        win_rates=list(rates),
        utility_gains=list(liked),
        checks=[],
        summary=[],
        own_picks=history.own_picks,
    )
    return evidence.model_copy(update={"summary": summary(evidence)})


def _comparisons(found: Sequence[Margin | Inapplicable], planned: int) -> int:
    """Verdicts on claims that share the error: each claim at each generation, the planned ones to come among them.

    So a verdict is as strict at the first look as at the last, and looking after every generation costs nothing.
    """
    margins = [one for one in found if isinstance(one, Margin)]
    last = max((one.t for one in margins), default=0)
    return len({one.claim.name for one in margins}) * max(planned, last)


def keep(study: Study) -> None:
    """Leaves the evidence for the researcher's page, which must not spend time on it (status 'evidence')."""
    study.store.set_status("evidence", **build(study, quick=True).model_dump(exclude={"config"}))


def kept(study: Study) -> Evidence | None:
    """The evidence that `keep` left last; None before the first generation, or when another version left it."""
    found = study.store.status("evidence")
    found.pop("at", None)
    if found.get("schema_version") != VERSION:
        return None
    return Evidence.model_validate({**found, "config": study.config.as_json()})


def read(store: Store, config: StudyConfig, quick: bool = False) -> History:
    """The history of a study; joins a surrounding `read()`."""
    generations, found = store.generations(), []
    for generation in generations:
        evaluation = store.evaluation(generation.t)
        if evaluation is None:
            break
        found.append(_first(evaluation, QUICK_SAMPLES if quick else None))
    generations = generations[: len(found)]
    own_picks = all(t >= len(generations) - 1 for t in store.foreign_generations())
    return History(config, generations, found, store.evaluation(None), own_picks)


def analyse(history: History, quick: bool = False) -> Analysis:
    """Moments with bootstrap replicates, one-step predictions, and (unless quick) those from generation 0."""
    found, real, generations = history.evaluations, history.real, history.generations
    replicates = _replicates(max((len(one.labels) for one in found), default=1), quick)
    classes = len(history.class_names)
    masses = [prediction.replicate_masses(len(one.labels), replicates) for one in found]
    real_moments = None
    if real is not None:
        exact = np.full((len(real.labels), replicates + 1), 1 / len(real.labels))
        real_moments = prediction.measured(real, exact, classes)
    own = [prediction.measured(one, mass, classes) for one, mass in zip(found, masses, strict=True)]
    known = [history.own_picks and _by_simulated_users(generation) for generation in generations]
    predicted, noise, effective = _predict(history, known, masses, real_moments, classes)
    start = None
    if found and all(known) and not quick:
        start = _from_start(history, classes)
    return Analysis(history, own, real_moments, predicted, noise, start, effective)


def _replicates(n: int, quick: bool) -> int:
    """The number of replicates of n samples that give the intervals."""
    most = prediction.REPLICATES
    return min(most, QUICK_SAMPLES * QUICK_REPLICATES // n) if quick else most


def _first(found: Evaluated, n: int | None) -> Evaluated:
    """The first n samples, as fair a sample as all of them."""
    points = None if found.points is None else found.points[:n]
    return Evaluated(found.t, found.rewards[:, :n], found.labels[:n], points)


def _predict(
    history: History,
    known: list[bool],
    masses: list[np.ndarray],
    real: Moments | None,
    classes: int,
) -> tuple[list[Moments | None], list[tuple[float, float]], list[float]]:
    """One step ahead of each generation, what finitely many picks add to E[w] and E[r], and effective sample sizes.

    Only where it is `known` by which reward picks were made from the samples that were measured.
    """
    config, found = history.config, history.evaluations
    predicted: list[Moments | None] = [None]
    noise = [(0.0, 0.0)]
    effective = [_effective(one, np.full(len(one.labels), 1 / len(one.labels))) for one in found]
    sets, sizes = [], []
    for before, now in zip(range(len(found) - 1), history.generations[1:], strict=True):
        if not known[before + 1]:
            predicted.append(None)
            noise.append((0.0, 0.0))
            continue
        law = prediction.law_of_picks(found[before], masses[before], curators(config))
        effective[before] = min(effective[before], _effective(found[before], law[:, 0]))
        sets.append(Moments(prediction.functions(found[before], classes) @ law))
        sizes.append(now.n_curated)
        training = now.measurements.training
        if config.policy.accumulates and training:  # what was drawn, rather than what was to be expected
            shares, rows = (training.shares_asked[0], training.shares_asked[1:]), training.rows
        else:
            shares, rows = config.policy.shares(now.n_real or 1, sizes), [now.n_real, *sizes]
        predicted.append(prediction.blend(real, sets, shares))
        is_subset = config.policy.kind == "accumulate_subsample"
        parts = [real if is_subset else None, *sets]
        noise.append(_pick_noise(parts, rows, (shares[0], *shares[1])))
    return predicted, noise, effective


def _effective(found: Evaluated, law: np.ndarray) -> float:
    return prediction.effective_size(law, np.exp(found.rewards[0] - found.rewards[0].max()))


def _pick_noise(parts: Sequence[Moments | None], rows: Sequence[int], shares: Sequence[float]) -> tuple[float, float]:
    """Standard errors of E[w] and E[r] over a training set, from the finite number of rows of its parts.

    A part that is None is there as a whole and has no error: the real data, which the theorem takes as they are.
    """

    def error(first: int) -> float:
        total = 0.0
        for part, n, share in zip(parts, rows, shares, strict=True):
            if part is not None and n and share:
                values = part.values[:, 0]
                total += share**2 * max(0.0, float(values[first + 1] - values[first] ** 2)) / n
        return math.sqrt(total)

    return error(0), error(2)


def _from_start(history: History, classes: int) -> FromStart:
    real, policy = history.real, history.config.policy
    n_real = len(real.labels) if real else 1
    picks = [generation.n_curated for generation in history.generations[1:]]
    return prediction.from_start(history.evaluations[0], real, policy, curators(history.config), n_real, picks, classes)


def _loop(analysis: Analysis) -> Loop:
    config, found = analysis.history.config, analysis.history.evaluations
    rule, largest = luce_rule(config), config.reward.largest(max(1, len(analysis.history.class_names)))
    divergence = [generation.measurements.divergence for generation in analysis.generations]
    by_law = any(one.space.endswith(KNOWN_LAW) for one in divergence)
    plain = are_alike(config) and not rule.lapse and not any(rule.position_bias)
    return Loop(
        rule=rule,
        policy=config.policy,
        plain=plain and _is_simulated(analysis.generations),
        own=analysis.own,
        predicted=analysis.predicted,
        from_start=analysis.from_start,
        pick_noise=analysis.pick_noise,
        top_share=_top_shares(found, largest, analysis.own[0].values.shape[1] - 1),
        real=analysis.real,
        divergence=divergence,
        w_sup=math.exp(largest) if largest <= LARGEST_REWARD else math.inf,
        effective=analysis.effective,
        own_picks=analysis.history.own_picks,
        starts_at_real=config.network.kind == "resample" and not by_law,
    )


def _top_shares(found: list[Evaluated], largest: float, replicates: int) -> list[np.ndarray]:
    """The share of samples at the reward's supremum with its replicates; empty where that is no set of its own."""
    at_top = [one.rewards[0] >= largest - SINGLE_PRECISION * max(1.0, abs(largest)) for one in found]
    if at_top[0].sum() < LEAST_TOP:
        return []
    return [top @ prediction.replicate_masses(len(top), replicates) for top in at_top]


def _generations(analysis: Analysis, loop: Loop) -> list[GenerationEvidence]:
    simulated, start = _is_simulated(analysis.generations), analysis.from_start
    out = []
    for t, generation in enumerate(analysis.generations):
        measurements, predicted = generation.measurements, analysis.predicted[t]
        training, judge = measurements.training, measurements.judge
        out.append(
            GenerationEvidence(
                t=t,
                checkpoint_sha256=generation.checkpoint_sha256,
                picture_sha256=measurements.grid_sha256,
                n_evaluated=len(analysis.history.evaluations[t].labels),
                n_real=generation.n_real,
                curated=measurements.curated or CuratedCounts(),
                shares_asked=list(training.shares_asked) if training else [],
                shares_achieved=list(training.shares_achieved) if training else [],
                measured=_figures(analysis.own[t]),
                predicted=_figures(predicted) if predicted else None,
                predicted_from_start=_figures_from_start(start, t) if start else None,
                divergence=measurements.divergence,
                floors=_floors(loop, t) if simulated else {},
                ceilings=_ceilings(loop, t) if simulated and t else {},
                transmission=_transmission(analysis, [t], training.mean_w if training else None) if predicted else None,
                transmission_so_far=_transmission(analysis, range(1, t + 1)) if predicted else None,
                distances=measurements.distances,
                judge=_second_opinion(judge) if judge else None,
            )
        )
    return out


def _second_opinion(judge: JudgeFigures) -> SecondOpinion:
    return SecondOpinion(
        mean_reward=Estimate.of(judge.mean_reward.value, judge.mean_reward.se),
        class_shares=list(judge.class_shares),
        agreement=judge.agreement,
    )


def _transmission(analysis: Analysis, ts: Sequence[int], trained: float | None = None) -> Transmission:
    """Of the steps to some generations together; the errors of their training sets are independent."""
    steps = [(analysis.own[t - 1].mean_w, now.mean_w, analysis.own[t].mean_w, analysis.pick_noise[t][0])
             for t in ts if (now := analysis.predicted[t])]  # fmt: skip
    wanted = np.sum([now - before for before, now, _, _ in steps], axis=0)
    gained = np.sum([after - before for before, _, after, _ in steps], axis=0)
    noise = math.sqrt(sum(step[3] ** 2 for step in steps))
    scale = float(analysis.own[ts[-1]].mean_w[0])
    gain, gain_se = apart(wanted, scale)
    difference, se = apart(gained - wanted, scale)
    se = math.hypot(se, noise)
    known = gain != 0 and abs(gain) >= KNOWN_GAIN * math.hypot(gain_se, se)
    predicted, now = steps[-1][1], steps[-1][2]
    return Transmission(
        predicted_gain=Estimate.of(gain, gain_se),
        measured_gain=Estimate.of(*apart(gained, scale)),
        ratio=ratio_of(gained, wanted, noise) if known else None,
        difference=Estimate.of(difference, se),
        z=difference / se if se else 0.0,
        sampling=None if trained is None else Estimate.of(*value_and_se(trained - predicted)),
        learning=None if trained is None else Estimate.of(*value_and_se(now - trained)),
    )


def ratio_of(numerator: np.ndarray, denominator: np.ndarray, noise: float = 0.0) -> Estimate | None:
    """The ratio of two quantities with its 95% interval; None where the interval has no end.

    The interval holds every ratio rho whose `numerator - rho denominator` is within 1.96 standard errors of 0 (Fieller,
    J. R. Stat. Soc. B 16:175, 1954).

    Args:
        numerator: (B + 1,) the quantity and its bootstrap replicates.
        denominator: (B + 1,) likewise, from the same resamples.
        noise: a further standard error of the numerator.
    """
    a, b = float(numerator[0]), float(denominator[0])
    (var_a, cov), (_, var_b) = np.cov(numerator[1:], denominator[1:]) if len(numerator) > 2 else np.zeros((2, 2))
    var_a, z2 = var_a + noise**2, Z95**2
    leading = b**2 - z2 * var_b
    if leading <= 0:
        return None
    middle, last = a * b - z2 * cov, a**2 - z2 * var_a
    half = math.sqrt(max(0.0, middle**2 - leading * last)) / leading
    value = a / b
    se = math.sqrt(max(0.0, var_a - 2 * value * cov + value**2 * var_b)) / abs(b)
    return Estimate(value=value, se=se, low=middle / leading - half, high=middle / leading + half)


def _floors(loop: Loop, t: int) -> dict[str, float]:
    """Lower bounds on E[w] of generation t, those that apply."""
    if not loop.plain or not loop.own_picks or t == 0 or not math.isfinite(loop.w_sup):
        return {}
    k, before = loop.rule.k, loop.own[t - 1]
    mean_w, var_w = float(before.mean_w[0]), float(before.var_w[0])
    if loop.policy.is_pure:
        return {"C1": bounds.c1_floor(mean_w, var_w, loop.w_sup, k)}
    if not loop.policy.is_mixed or loop.real is None:
        return {}
    ref, var_ref, lam = float(loop.real.mean_w[0]), float(loop.real.var_w[0]), loop.policy.lam
    first = loop.own[0]
    floor = bounds.c4_floor_from(ref, var_ref, first.mean_w, first.var_w, loop.w_sup, k, lam, t)
    return {
        "C4": float(floor[0]),
        "C4 one step": bounds.c4_floor_step(ref, mean_w, var_w, loop.w_sup, k, lam),
    }


def _ceilings(loop: Loop, t: int) -> dict[str, float]:
    """Upper bounds on the divergences, those that apply."""
    if not loop.plain or not loop.policy.is_mixed:
        return {}
    found = {"C5 reversed": bounds.c5_reverse_ceiling(loop.policy.lam)}
    if loop.own_picks and bounds.c5_applies(loop.rule.k, loop.policy.lam):
        density = loop.divergence[t].density
        if density and density.ceiling:
            found["C5"] = density.ceiling.value
        elif loop.starts_at_real:
            found["C5"] = bounds.c5_ceiling_sharp(loop.rule.k, loop.policy.lam)
    return found


def _figures(moments: Moments) -> Figures:
    return Figures(
        mean_w=Estimate.of(*value_and_se(moments.mean_w)),
        var_w=Estimate.of(*value_and_se(moments.var_w)),
        mean_reward=Estimate.of(*value_and_se(moments.mean_reward)),
        class_shares=[Estimate.of(*value_and_se(share)) for share in moments.shares],
    )


def _figures_from_start(start: FromStart, t: int) -> Figures:
    figures = _figures(start.moments[t])
    return figures.model_copy(update={"mean_w": prediction.skewed(figures.mean_w.value, start.influence[t])})


def _is_simulated(generations: list[Generation]) -> bool:
    """True if simulated users alone picked, so that the reward behind the picks is known."""
    return all(_by_simulated_users(generation) for generation in generations[1:])


def _by_simulated_users(generation: Generation) -> bool:
    counts = generation.measurements.curated
    return counts is None or not (counts.human or counts.proxy)


def evidence_of(study: Study, *, leave: bool = True) -> Evidence:
    """The evidence left in the folder if it is of these generations, picks, settings and code, else built anew.

    Args:
        study: the study.
        leave: what is built is left there.
    """
    state = [_code(), study.store.last_pick(), study.config.as_json()]
    state += [row.checkpoint_sha256 for row in study.store.generations()]
    try:
        found = json.loads((study.path / FILE).read_text(encoding="utf-8"))
        if found["state"] == state:
            return Evidence.model_validate({**found["evidence"], "study": study.path.resolve().name})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # none, or not ours
    evidence = build(study)
    if leave:
        _write(study, {"state": state, "evidence": evidence.model_dump()})
    return evidence


def _write(study: Study, content: dict[str, Any]) -> None:
    draft = study.path / f".{FILE}.{os.getpid()}"
    try:
        draft.write_text(json.dumps(content), encoding="utf-8")
        draft.replace(study.path / FILE)
    finally:
        draft.unlink(missing_ok=True)


@cache
def _code() -> str:
    """A hash of the code that makes the evidence."""
    root = Path(loop.__file__).parent
    files = sorted(file for part in MADE_BY for file in (root / part).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

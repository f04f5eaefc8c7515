"""The evidence of one study, read from its database alone: what `curate report` and the researcher's page show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.records import Evaluated, Generation, timestamp
from data.store import Store
from loop.config import StudyConfig
from loop.evidence import prediction
from loop.evidence.claims import Loop, examine, value_and_se
from loop.evidence.liking import utility_gains
from loop.evidence.people import win_rates
from loop.evidence.prediction import Moments
from loop.evidence.schema import (
    VERSION,
    CheckResult,
    Estimate,
    Evidence,
    Figures,
    GenerationEvidence,
    SecondOpinion,
    Transmission,
)
from loop.evidence.verdicts import judge, summary
from loop.rater_types import are_alike, choice_rule, curators, user_types
from loop.study import Study
from loop.theory import bounds

LEAST_TOP = 10  # samples that must share the highest reward for it to be a set of its own
QUICK_SAMPLES, QUICK_REPLICATES = 10_000, 60  # with fewer samples, as many more replicates
UNKNOWN_GAIN = 3.0  # a predicted gain under so many standard errors makes the ratio meaningless


@dataclass(frozen=True)
class _Measured:
    """What the database holds of the loop, as moments by generation."""

    generations: list[Generation]
    found: list[Evaluated]
    real: Evaluated | None
    own: list[Moments]
    real_moments: Moments | None
    predicted: list[Moments | None]
    pick_noise: list[tuple[float, float]]
    own_picks: bool


def build(study: Study, checks: list[CheckResult] | None = None, *, quick: bool = False) -> Evidence:
    """All evidence of a study as it stands now.

    Args:
        study: the study; generations that an older version measured without keeping the samples end the evidence.
        checks: of the picks (see `loop.selfcheck`), to be reported beside it.
        quick: of many samples only the first and fewer replicates, no prediction over many steps and no fitted
            utilities, for a page that is refreshed.
    """
    config = study.config
    with study.store.read():
        measured = _read(study.store, config, quick)
        rates = win_rates(study.store, len(measured.generations) - 1)
        names = list(measured.generations[0].metrics.get("class_names", [])) if measured.generations else []
        liked = [] if quick else utility_gains(study.store, measured.found, names)
    known = measured.own_picks and _is_simulated(measured.generations)
    from_start = _from_start(measured, config) if known and not quick else []
    generations = _generations(measured, config, from_start)
    claims, comparisons = judge(examine(_loop(measured, config, from_start)), generations) if generations else ([], 0)
    return Evidence(
        study=study.path.resolve().name,
        created_at=timestamp(),
        preset=config.preset,
        seed=config.seed,
        config=config.as_json(),
        policy=str(config.policy),
        k=config.curation.k,
        lam="inf" if math.isinf(config.mix.lam) else config.mix.lam,
        users=[{"name": type_.name, "share": type_.share} for type_ in user_types(config)],
        class_names=names,
        w_max=_w_max(measured) if generations else 1.0,
        comparisons=comparisons,
        real=_figures(measured.real_moments) if measured.real_moments else None,
        generations=generations,
        claims=claims,
        win_rates=rates,
        utility_gains=liked,
        checks=checks or [],
        summary=summary(claims, generations),
        replay_of=study.replay_of,
        own_picks=measured.own_picks,
    )


def keep(study: Study) -> None:
    """Leaves the evidence for the researcher's page, which must not spend time on it (status 'evidence')."""
    study.store.set_status("evidence", **build(study, quick=True).model_dump(exclude={"config"}))


def kept(study: Study) -> Evidence | None:
    """What `keep` left last; None before the first generation, or when another version left it."""
    found = study.store.status("evidence")
    found.pop("at", None)
    if found.get("schema_version") != VERSION:
        return None
    return Evidence.model_validate({**found, "config": study.config.as_json()})


def _read(store: Store, config: StudyConfig, quick: bool) -> _Measured:
    generations, found = store.generations(), []
    for generation in generations:
        evaluation = store.evaluation(generation.t)
        if evaluation is None:
            break
        found.append(_first(evaluation, QUICK_SAMPLES if quick else None))
    generations = generations[: len(found)]
    replicates = _replicates(max((len(one.labels) for one in found), default=1), quick)
    classes = len(generations[0].metrics["class_names"]) if generations else 0
    masses = [prediction.replicate_masses(len(one.labels), replicates) for one in found]
    real = store.evaluation(None)
    real_moments = None
    if real is not None:
        exact = np.full((len(real.labels), replicates + 1), 1 / len(real.labels))
        real_moments = prediction.measured(real, exact, classes)
    own = [prediction.measured(one, mass, classes) for one, mass in zip(found, masses, strict=True)]
    own_picks = all(t >= len(generations) - 1 for t in store.foreign_generations())
    known = [own_picks and _by_simulated_users(generation) for generation in generations]
    predicted, noise = _predict(generations, known, found, masses, real_moments, config, classes)
    return _Measured(generations, found, real, own, real_moments, predicted, noise, own_picks)


def _replicates(n: int, quick: bool) -> int:
    """How many replicates of n samples give the intervals."""
    most = prediction.REPLICATES
    return min(most, QUICK_SAMPLES * QUICK_REPLICATES // n) if quick else most


def _first(found: Evaluated, n: int | None) -> Evaluated:
    """The first n samples, as fair a sample as all of them."""
    points = None if found.points is None else found.points[:n]
    return Evaluated(found.t, found.rewards[:, :n], found.labels[:n], points)


def _predict(
    generations: list[Generation],
    known: list[bool],
    found: list[Evaluated],
    masses: list[np.ndarray],
    real: Moments | None,
    config: StudyConfig,
    classes: int,
) -> tuple[list[Moments | None], list[tuple[float, float]]]:
    """One step ahead of each generation, and what the finite number of picks may add to E[w] and E[r].

    Only where it is `known` by which reward picks were made from the samples that were measured.
    """
    predicted: list[Moments | None] = [None]
    noise = [(0.0, 0.0)]
    sets, sizes = [], []
    for before, now in zip(range(len(found) - 1), generations[1:], strict=True):
        if not known[before + 1]:
            predicted.append(None)
            noise.append((0.0, 0.0))
            continue
        sets.append(prediction.picked(found[before], masses[before], curators(config), classes))
        sizes.append(now.n_curated)
        training = now.metrics.get("training")
        if config.policy.accumulates and training:  # what was drawn, rather than what was to be expected
            shares = training["shares_asked"][0], tuple(training["shares_asked"][1:])
            rows = training["rows"]
        else:
            shares, rows = config.policy.shares(now.n_real or 1, sizes), [now.n_real, *sizes]
        predicted.append(prediction.blend(real, sets, shares))
        is_subset = config.policy.kind == "accumulate_subsample"
        parts = [real if is_subset else None, *sets]
        noise.append(_pick_noise(parts, rows, (shares[0], *shares[1])))
    return predicted, noise


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


def _from_start(measured: _Measured, config: StudyConfig) -> list[Moments]:
    if not measured.found:
        return []
    n_real = len(measured.real.labels) if measured.real else 1
    picks = measured.generations[1].n_curated if len(measured.generations) > 1 else config.policy.asked(n_real)
    classes = len(measured.generations[0].metrics["class_names"])
    steps = len(measured.found) - 1
    return prediction.from_start(
        measured.found[0], measured.real, config.policy, curators(config), (n_real, picks), steps, classes
    )


def _loop(measured: _Measured, config: StudyConfig, from_start: list[Moments]) -> Loop:
    rule = choice_rule(config)
    plain = are_alike(config) and not rule.lapse and not any(rule.position_bias)
    return Loop(
        rule=rule,
        policy=config.policy,
        plain=plain and _is_simulated(measured.generations),
        own=measured.own,
        predicted=measured.predicted,
        from_start=from_start,
        pick_noise=measured.pick_noise,
        top_share=_top_shares(measured.found, measured.own[0].values.shape[1] - 1),
        real=measured.real_moments,
        divergence=[generation.metrics.get("divergence", {}) for generation in measured.generations],
        w_max=_w_max(measured),
        own_picks=measured.own_picks,
    )


def _top_shares(found: list[Evaluated], replicates: int) -> list[np.ndarray]:
    """The share of samples at the highest reward with its replicates; empty where that is no set of its own."""
    highest = max(float(one.rewards[0].max()) for one in found)
    at_top = [one.rewards[0] >= highest - 1e-9 for one in found]
    if at_top[0].sum() < LEAST_TOP:
        return []
    return [top @ prediction.replicate_masses(len(top), replicates) for top in at_top]


def _w_max(measured: _Measured) -> float:
    found = [*measured.found, *([measured.real] if measured.real else [])]
    return math.exp(max(float(one.rewards[0].max()) for one in found))


def _generations(measured: _Measured, config: StudyConfig, from_start: list[Moments]) -> list[GenerationEvidence]:
    simulated = _is_simulated(measured.generations)
    loop = _loop(measured, config, from_start) if measured.found else None
    out = []
    for t, generation in enumerate(measured.generations):
        metrics, predicted = generation.metrics, measured.predicted[t]
        training = metrics.get("training") or {}
        out.append(
            GenerationEvidence(
                t=t,
                checkpoint_sha256=generation.checkpoint_sha256,
                picture_sha256=metrics.get("grid_sha256"),
                n_evaluated=len(measured.found[t].labels),
                n_real=generation.n_real,
                curated=metrics.get("curated") or {},
                shares_asked=training.get("shares_asked", []),
                shares_achieved=training.get("shares_achieved", []),
                measured=_figures(measured.own[t]),
                predicted=_figures(predicted) if predicted else None,
                predicted_from_start=_figures(from_start[t]) if from_start else None,
                divergence=metrics.get("divergence") or {},
                floors=_floors(loop, t) if loop and simulated else {},
                ceilings=_ceilings(loop) if loop and simulated and t else {},
                transmission=_transmission(measured, t, training) if predicted else None,
                distances=metrics.get("distances"),
                judge=_second_opinion(metrics.get("judge")),
            )
        )
    return out


def _second_opinion(found: dict[str, Any] | None) -> SecondOpinion | None:
    if not found:
        return None
    return SecondOpinion(**{**found, "mean_reward": Estimate.of(**found["mean_reward"])})


def _transmission(measured: _Measured, t: int, training: dict[str, Any]) -> Transmission:
    predicted = measured.predicted[t]
    assert predicted is not None
    before, now, noise = measured.own[t - 1].mean_w, measured.own[t].mean_w, measured.pick_noise[t][0]
    gain, gain_se = value_and_se(predicted.mean_w - before)
    difference, se = value_and_se(now - predicted.mean_w)
    se = math.hypot(se, noise)
    known = abs(gain) >= UNKNOWN_GAIN * math.hypot(gain_se, se)
    trained = training.get("mean_w")
    return Transmission(
        predicted_gain=Estimate.of(gain, gain_se),
        measured_gain=Estimate.of(*value_and_se(now - before)),
        ratio=Estimate.of(1 + difference / gain, se / abs(gain)) if known else None,
        difference=Estimate.of(difference, se),
        z=difference / se if se else 0.0,
        sampling=None if trained is None else Estimate.of(*value_and_se(trained - predicted.mean_w)),
        learning=None if trained is None else Estimate.of(*value_and_se(now - trained)),
    )


def _floors(loop: Loop, t: int) -> dict[str, float]:
    """Lower bounds on E[w] of generation t, those that apply."""
    if not loop.plain or not loop.own_picks or t == 0:
        return {}
    k, before = loop.rule.k, loop.own[t - 1]
    mean_w, var_w = float(before.mean_w[0]), float(before.var_w[0])
    if loop.policy.is_pure:
        return {"C1": bounds.c1_floor(mean_w, var_w, loop.w_max, k)}
    if not loop.policy.is_mixed or loop.real is None:
        return {}
    ref, var_ref, lam = float(loop.real.mean_w[0]), float(loop.real.var_w[0]), loop.policy.lam
    return {
        "C4": bounds.c4_floor_paper(ref, var_ref, loop.w_max, k, lam),
        "C4 sharper": bounds.c4_floor_step(ref, mean_w, var_w, loop.w_max, k, lam),
    }


def _ceilings(loop: Loop) -> dict[str, float]:
    """Upper bounds on the divergences, those that apply."""
    if not loop.plain or not loop.policy.is_mixed:
        return {}
    found = {"C5 reversed": bounds.c5_reverse_ceiling(loop.policy.lam)}
    if loop.own_picks and bounds.c5_applies(loop.rule.k, loop.policy.lam):
        found["C5"] = bounds.c5_ceiling(loop.rule.k, loop.policy.lam)
    return found


def _figures(moments: Moments) -> Figures:
    return Figures(
        mean_w=Estimate.of(*value_and_se(moments.mean_w)),
        var_w=Estimate.of(*value_and_se(moments.var_w)),
        mean_reward=Estimate.of(*value_and_se(moments.mean_reward)),
        class_shares=[Estimate.of(*value_and_se(share)) for share in moments.shares],
    )


def _is_simulated(generations: list[Generation]) -> bool:
    """Whether simulated users alone picked, so that the reward behind the picks is known."""
    return all(_by_simulated_users(generation) for generation in generations[1:])


def _by_simulated_users(generation: Generation) -> bool:
    counts = generation.metrics.get("curated") or {}
    return not counts.get("human") and not counts.get("proxy")

"""Drifting tastes: do later raters, or the later picks of each, lean toward what the generator has come to show?

The direction is that in which generation 1 differs from generation 0, less what the first picks liked already (toward
that no taste can drift), all of it set by the picks before generation 1; so picks from then on are held against each
other, and no noise that moved the generator is counted again. Each test is against its permutation null: raters, or the
picks of each rater, in another order (theory.md, section 6); it is exact where slates are alike but for a shift. Of a
simulated user whose taste follows by `curation.drift` the way is known: how far it has turned, and the lock-in.
"""

import json
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from data.datasets import ring
from data.records import Generation
from data.store import Store, queries
from loop.analysis.log import AnswerFilter, Slates, read_log
from loop.analysis.logit import Likelihood
from loop.analysis.taste import study_traits
from loop.config import StudyConfig
from loop.evidence.intervals import Estimate
from loop.evidence.schema import Coevolution, DriftEvidence, GenerationEvidence, TasteStep, VerdictWord
from loop.theory.toy_loops import lock_in_bound
from loop.user_types import FollowingUser

LEVEL = 0.05
PERMUTATIONS = 999
LEAST_RATERS = 6  # so that there are enough orders of them
LEAST_PICKS = 20  # in all raters' sequences together, from generation 1 on
PRECISION = 1.0  # of the prior of utilities, per standard deviation within slates; it hardly matters beside many picks
ITERATIONS = 25
Series = Literal["raters", "picks"]
POINTLIKE = 1e-2  # standard deviation of a mode over the ring's radius, under which its samples are an item
LEAST_OTHERS = 20  # samples of all other items, so that their odds can be told


def drift_tests(slates: Slates, x: np.ndarray, shown: np.ndarray, at: np.ndarray, seed: int = 0) -> list[DriftEvidence]:
    """Both tests: of raters, and of each rater's picks.

    Args:
        slates: n picks of people.
        x: (rows, d) features of the samples in them.
        shown: (rows,) generations of these samples.
        at: (n,) the latest generation when each pick was made.
        seed: of the permutations.
    """
    late = at >= 1
    raters = len(np.unique(slates.raters[late]))
    reason, known = "", sorted({int(t) for t in np.unique(shown)})
    if not {0, 1} <= set(known) or len(np.unique(at[late])) < 2:
        reason = "there are no picks under two generations or more after the first, so that nothing could drift"
    elif late.sum() < LEAST_PICKS:
        reason = f"the test needs {LEAST_PICKS} picks made after generation 1, and there are only {int(late.sum())}"
    if reason:
        return [without_verdict(of, int(late.sum()), raters, reason) for of in ("raters", "picks")]
    z = slates.centred(x)
    spread = np.sqrt((z**2).mean(axis=0))
    varies = spread > 1e-9
    z, y = z[:, varies] / spread[varies], x[:, varies] / spread[varies]
    means = {t: y[shown == t].mean(axis=0) for t in known}
    step, prior = means[1] - means[0], np.full(z.shape[1], PRECISION)
    first, before = slates.subset(at == 0)
    if len(first):
        liked = Likelihood(first, z[before], prior).maximum()
        step = step - (step @ liked) / max(float(liked @ liked), 1e-12) * liked
    if not (step @ step) > 0:
        why = "generation 1 shows nothing new beside generation 0"
        return [without_verdict(of, int(late.sum()), raters, why) for of in ("raters", "picks")]
    along = z @ step / np.sqrt(step @ step)
    base = z @ Likelihood(slates, z, prior).maximum()
    own, rows = slates.subset(late)
    rng = np.random.default_rng(seed)
    return [
        raters_test(own, base[rows], along[rows], at[late].astype(float), rng),
        picks_test(own, base[rows], along[rows], at[late].astype(float), rng),
    ]


def residuals(slates: Slates, base: np.ndarray, along: np.ndarray, lean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) scores of the picks along a direction, and (n,) information on it, at utilities `base + lean * along`.

    Args:
        slates: n picks.
        base: (rows,) utilities.
        along: (rows,) coordinates along the direction.
        lean: (n,) what more of it is worth in each slate.
    """
    p = np.exp(slates.log_probabilities(base + slates.per_sample(lean) * along))
    mean = slates.total(p * along)
    return along[slates.rows] - mean, slates.total(p * along**2) - mean**2


def raters_test(
    slates: Slates, base: np.ndarray, along: np.ndarray, at: np.ndarray, rng: np.random.Generator
) -> DriftEvidence:
    """Do raters who came under later generations lean more toward where the generator went?

    Each rater's score and information, at the utilities that all have in common, go together in another order of
    raters. Arguments as in `drift_tests`, of late picks alone.
    """
    ids, cluster = np.unique(slates.raters, return_inverse=True)
    n, g = len(slates), len(ids)
    score, information = residuals(slates, base, along, np.zeros(n))
    sums, weights = np.bincount(cluster, score, g), np.bincount(cluster, information, g)
    place = np.bincount(cluster, at, g) / np.bincount(cluster, minlength=g)
    if g < LEAST_RATERS or np.ptp(place) < 1e-9:
        few = f"the test needs {LEAST_RATERS} raters after generation 1, and only {g} came"
        why = few if g < LEAST_RATERS else "all raters picked under the same generations"
        return without_verdict("raters", n, g, why)
    orders = np.stack([np.arange(g), *(rng.permutation(g) for _ in range(PERMUTATIONS))])
    s, v = sums[orders], weights[orders]
    centred = place - (v @ place / v.sum(axis=1))[:, None]
    statistic = (centred * s).sum(axis=1) / np.sqrt(np.maximum((centred**2 * s**2).sum(axis=1), 1e-12))
    first = centred[0]
    slope = float(first @ sums / max(float(first**2 @ weights), 1e-12))
    return judged("raters", statistic, slope, n, g)


def picks_test(
    slates: Slates, base: np.ndarray, along: np.ndarray, at: np.ndarray, rng: np.random.Generator
) -> DriftEvidence:
    """Do a rater's picks under later generations lean more toward where the generator went?

    Scores are at each rater's own leaning, and go in another order within the rater. Arguments as in `raters_test`.
    """
    _, cluster = np.unique(slates.raters, return_inverse=True)
    n, g = len(slates), int(cluster.max()) + 1
    lean = np.zeros(g)
    for _ in range(ITERATIONS):
        score, information = residuals(slates, base, along, lean[cluster])
        gradient = np.bincount(cluster, score, g) - PRECISION * lean
        lean += np.clip(gradient / (np.bincount(cluster, information, g) + PRECISION), -1, 1)
    score, information = residuals(slates, base, along, lean[cluster])
    weights = np.maximum(np.bincount(cluster, information, g), 1e-12)
    centred = at - (np.bincount(cluster, information * at, g) / weights)[cluster]
    if float(centred**2 @ information) < 1e-9:
        return without_verdict("picks", n, g, "each rater picked under one generation alone")
    statistic = np.empty(PERMUTATIONS + 1)
    for i in range(PERMUTATIONS + 1):
        order = np.arange(n) if i == 0 else np.lexsort((rng.random(n), cluster))
        if i == 0:
            own = score
        else:
            own = np.empty(n)
            own[np.lexsort((np.arange(n), cluster))] = score[order]
        statistic[i] = centred @ own / np.sqrt(max(float(centred**2 @ own**2), 1e-12))
    slope = float(centred @ score / max(float(centred**2 @ information), 1e-12))
    return judged("picks", statistic, slope, n, g)


def without_verdict(of: Series, picks: int, raters: int, reason: str) -> DriftEvidence:
    """A test that can't be made, and why."""
    return DriftEvidence(of=of, verdict="can't tell", p=None, slope=None, picks=picks, raters=raters, reason=reason)


def judged(of: Series, statistic: np.ndarray, slope: float, picks: int, raters: int) -> DriftEvidence:
    """The test from its statistic: the observed one first, then those of other orders."""
    p = float((statistic >= statistic[0] - 1e-12).sum() / len(statistic))
    verdict = "found" if p <= LEVEL else "not found"
    return DriftEvidence(of=of, verdict=verdict, p=p, slope=slope, picks=picks, raters=raters)


def study_drift(store: Store, config: StudyConfig) -> list[DriftEvidence]:
    """Both tests of a study's people; empty where nobody picked, or nothing has named numbers or classes."""
    log, traits = read_log(store, AnswerFilter()), study_traits(store, config)
    if traits is None or not len(log.slates):
        return []
    column = 3 if traits.of_classes else 2
    details = {row[0]: row[column] for row in queries.sample_details(store, ("human",))}
    values = {}
    for id_, text in details.items():
        number = json.loads(text) if text else None
        values[id_] = number.get("probs") if traits.of_classes and number else number
    ids = log.items["sample"].tolist()
    known = np.array([values[id_] is not None for id_ in ids], dtype=bool)
    counted = log.slates.total((~known).astype(float)) == 0
    if log.slates.tied is not None:
        counted &= ~log.slates.tied
    slates, rows = log.slates.subset(counted)
    if not len(slates):
        return []
    x = np.array([values[id_] for id_, row in zip(ids, rows, strict=True) if row], dtype=np.float64)
    best = Slates(slates.sizes, slates.picked, slates.raters)
    return drift_tests(best, x, log.items["t"][rows], log.answers["t"][counted])


def coevolution(
    config: StudyConfig, generations: Sequence[Generation], rows: Sequence[GenerationEvidence]
) -> Coevolution | None:
    """The way of a simulated user's taste, and the lock-in on an item; None where tastes stay.

    The bound is of finitely many items, in a loop of picks alone whose generator copies them: modes that are points.

    Args:
        config: the study's.
        generations: as stored, those that were measured.
        rows: the evidence on them.

    Source: arXiv 2610.09415, as in theory.md, section 6.
    """
    user = FollowingUser.of(config)
    if user is None or not rows or not all(generation.measurements.taste for generation in generations):
        return None
    tastes = np.array([generation.measurements.taste for generation in generations[: len(rows)]])
    turns = np.degrees(np.arccos(np.clip(tastes @ tastes[0], -1, 1)))
    steps = [
        TasteStep(t=t, taste=taste.tolist(), turned=float(turn))
        for t, (taste, turn) in enumerate(zip(tastes, turns, strict=True))
    ]
    data, k = config.data, config.curation.k
    are_items = data.dataset == "gaussians" and data.std <= POINTLIKE * data.radius and data.modes > 1
    if not (are_items and config.network.kind == "resample" and config.policy.is_pure and not config.curation.lapse):
        sentence = f"The taste of the simulated user has turned by {turns[-1]:.1f} degrees since generation 0."
        return Coevolution(beta=user.beta, steps=steps, verdict="not applicable", sentence=sentence)
    leads = tastes @ (ring(data) / data.radius).T
    item, by_lead = int(leads[0].argmax()), np.sort(leads[0])
    margin = float(by_lead[-1] - by_lead[-2])
    others = np.delete(leads, item, axis=1).max(axis=1)
    bound = lock_in_bound(k, user.scale * data.radius, margin / 2)
    logs, predicted, variance, last = [], [], 0.0, 0.0
    for t, row in enumerate(rows):
        share, n = row.measured.class_shares[item].value, row.n_evaluated
        steps[t] = steps[t].model_copy(update={"share": share})
        before = rows[t - 1].measured.class_shares[item].value if t else 0.0
        if not t or len(logs) < t - 1 or n * (1 - share) < LEAST_OTHERS or not 0 < before < 1:
            continue
        if leads[t - 1, item] - others[t - 1] < margin / 2:  # the bound says nothing from here on
            continue
        of_picks = 1 / (generations[t].n_curated * share * (1 - share))
        measured = 1 / (n * share * (1 - share)), 1 / (n * before * (1 - before))
        logs.append(log_odds(share) - log_odds(before))
        ideal = row.predicted.class_shares[item].value if row.predicted else share
        predicted.append(log_odds(ideal) - log_odds(before))
        variance += of_picks + (measured[1] if t == 1 else 0.0)
        rate = rate_of([logs[-1]], of_picks + sum(measured))
        steps[t] = steps[t].model_copy(update={"rate": rate, "predicted": math.exp(predicted[-1])})
        last = measured[0]
    name = generations[0].measurements.class_names[item]
    if not logs:
        sentence = f"No generation shows how fast the loop locks in on {name}."
        return Coevolution(beta=user.beta, steps=steps, item=name, margin=margin, bound=bound, verdict="can't tell",
                           sentence=sentence)  # fmt: skip
    mean = rate_of(logs, variance + last)
    verdict: VerdictWord = "holds" if mean.high <= bound else "fails" if mean.low > bound else "can't tell"
    ideal = math.exp(float(np.mean(predicted)))
    sentence = (
        f"{verdict.capitalize()}: over {len(logs)} generations the odds of all others against {name} became "
        f"{mean.value:.4g} times as large each ({mean.low:.4g} to {mean.high:.4g}; predicted {ideal:.4g}); the bound "
        f"is {bound:.4g}. The taste has turned by {turns[-1]:.1f} degrees."
    )
    return Coevolution(beta=user.beta, steps=steps, item=name, margin=margin, rate=mean, predicted=ideal, bound=bound,
                       verdict=verdict, sentence=sentence)  # fmt: skip


def log_odds(share: float) -> float:
    """The log-odds of all others against an item of this share."""
    return math.log1p(-share) - math.log(share)


def rate_of(logs: Sequence[float], variance: float) -> Estimate:
    """The geometric mean of rates, from their logarithms and the variance of the sum of these; 95% on that scale."""
    value, se = float(np.mean(logs)), math.sqrt(variance) / len(logs)
    low, high = math.exp(value - 1.96 * se), math.exp(value + 1.96 * se)
    return Estimate(value=math.exp(value), se=math.exp(value) * se, low=low, high=high)

"""The fitted user (the proxy) held against people's later picks: calibration, and whether the loop exploits it.

A pick is scored by the latest fit before it, so that none is predicted by a fit that knows it. A loop curated by the
proxy converges to the proxy (theory.md, section 6): its score must rise; whether people follow, audit slates say.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, stdtr, stdtrit

from data.measurements import Mean, ProxyFitGain
from loop.analysis.design import NotIdentifiedError
from loop.analysis.log import Slates
from loop.analysis.logit import Fit, fit
from loop.config import StudyConfig
from loop.evidence.claims import KNOWN_GAIN, TOLERANCE
from loop.evidence.intervals import Z95, ratio_of
from loop.evidence.people import clustered_share
from loop.evidence.prediction import REPLICATES, replicate_masses, value_and_se
from loop.evidence.schema import (
    Estimate,
    ProxyAudit,
    ProxyCalibration,
    ProxyEvidence,
    ProxyGain,
    ReliabilityBin,
    TestVerdict,
)
from loop.theory.population import Curators
from model.luce import LuceRule

LEVEL = 0.05  # of the verdict, which is a test of its own
BINS = 10
LEAST_BIN = 10  # samples in a bin of the reliability diagram
LEAST_AUDITS = 20  # comparisons, before a verdict is given


@dataclass(frozen=True)
class HeldOut:
    """People's picks after the fits by which they are scored.

    Attributes:
        slates: n picks of a best sample.
        scores: (rows,) utilities of their samples by the latest fit before the pick.
        shown: (rows,) generations of these samples.
        fits: (n,) generation that each one's fit helped to train.
    """

    slates: Slates
    scores: np.ndarray
    shown: np.ndarray
    fits: np.ndarray

    def subset(self, chosen: np.ndarray) -> "HeldOut":
        """The picks in an (n,) mask."""
        slates, rows = self.slates.subset(chosen)
        return HeldOut(slates, self.scores[rows], self.shown[rows], self.fits[chosen])

    @property
    def probabilities(self) -> np.ndarray:
        """(rows,) the proxy's probability of each sample in its slate."""
        return np.exp(self.slates.log_probabilities(self.scores))


def clustered_mean(values: np.ndarray, raters: np.ndarray) -> Estimate:
    """The mean of (n,) values with a 95% interval, each rater a cluster; of one rater, over picks like these."""
    mean, n = float(values.mean()), len(values)
    groups, cluster = np.unique(raters, return_inverse=True)
    g = len(groups)
    if g < 2:
        se = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
        return Estimate.of(mean, se)
    sums = np.bincount(cluster, values - mean, g)
    se = math.sqrt(g / (g - 1) * float((sums**2).sum())) / n
    half = float(stdtrit(g - 1, 0.975)) * se
    return Estimate(value=mean, se=se, low=mean - half, high=mean + half)


def calibrations(held: HeldOut, trained_on: dict[int, float | None]) -> list[ProxyCalibration]:
    """The log-likelihood of later picks by each fit, per pick, beside that of the picks it was fitted to.

    Args:
        held: the later picks.
        trained_on: mean log-likelihood of its own picks, by the generation that a fit helped to train.
    """
    rows = []
    for t in np.unique(held.fits).tolist():
        part = held.subset(held.fits == t)
        log_p = part.slates.log_probabilities(part.scores)[part.slates.rows]
        chance = -np.log(part.slates.sizes)
        rows.append(
            ProxyCalibration(
                t=t,
                n=len(part.slates),
                raters=len(np.unique(part.slates.raters)),
                log_likelihood=clustered_mean(log_p, part.slates.raters),
                gain=clustered_mean(log_p - chance, part.slates.raters),
                chance=float(chance.mean()),
                own_picks=trained_on.get(t),
            )
        )
    return rows


def reliability(held: HeldOut) -> list[ReliabilityBin]:
    """Predicted and observed shares of samples that were picked, in bins of equal counts of predicted probability."""
    p, raters = held.probabilities, held.slates.per_sample(held.slates.raters)
    picked = np.zeros(len(p))
    picked[held.slates.rows] = 1.0
    bins = max(1, min(BINS, len(p) // LEAST_BIN))
    place = np.empty(len(p), dtype=np.int64)
    place[np.argsort(p, kind="stable")] = np.arange(len(p)) * bins // len(p)
    rows = []
    for j in range(bins):
        own = place == j
        difference = clustered_mean(picked[own] - p[own], raters[own])
        predicted = float(p[own].mean())
        observed = Estimate(
            value=float(picked[own].mean()),
            se=difference.se,
            low=max(0.0, predicted + difference.low),
            high=min(1.0, predicted + difference.high),
        )
        rows.append(ReliabilityBin(predicted=predicted, observed=observed, n=int(own.sum())))
    return rows


def slope(held: HeldOut) -> Estimate | None:
    """The factor by which the proxy's scores say what people pick within slates: 1 where it is calibrated."""
    try:
        fitted = fit(held.slates, held.scores[:, None], ["proxy score"])
    except (NotIdentifiedError, np.linalg.LinAlgError):
        return None
    low, high = fitted.intervals()[0]
    return Estimate(value=float(fitted.coefficients[0]), se=float(fitted.se[0]), low=float(low), high=float(high))


def beyond_score(held: HeldOut) -> tuple[Fit, list[int]] | None:
    """The conditional logit of later picks on the proxy's score and on each generation but the first.

    The score's coefficient is the calibration within slates: regression to the mean, by which a fitted user that was
    selected on promises more than it gives, is in it. What is left for a generation is what people like of its samples
    beyond their score: 0 where the proxy sees all that they see.

    Returns:
        The fit, and the generations of its columns from the second on; None where it isn't determined.
    """
    mixed = held.slates.total((held.shown != held.slates.per_sample(held.shown[held.slates.starts])).astype(float)) > 0
    ts = [t for t in np.unique(held.shown[held.slates.per_sample(mixed)]).tolist() if t > 0]
    if not ts:
        return None
    columns = np.column_stack([held.scores, *(held.shown == t for t in ts)]).astype(float)
    try:
        return fit(held.slates, columns, ["proxy score", *(f"generation {t}" for t in ts)]), ts
    except (NotIdentifiedError, np.linalg.LinAlgError):
        return None


def audits(held: HeldOut, judge: dict[int, Estimate], fitted: tuple[Fit, list[int]] | None) -> list[ProxyAudit]:
    """Each generation against generation 0 in audit pairs: the proxy's expectation, people's choice, the judge's view.

    Args:
        held: the later picks.
        judge: the mean reward by a second classifier, by generation; empty where there is none.
        fitted: from `beyond_score`.
    """
    pairs = held.subset(held.slates.sizes == 2)
    first, second = pairs.shown[pairs.slates.starts], pairs.shown[pairs.slates.starts + 1]
    p, rows = pairs.probabilities, []
    for t in sorted({*first.tolist(), *second.tolist()} - {0}):
        own = ((first == t) & (second == 0)) | ((first == 0) & (second == t))
        if not own.any():
            continue
        place = pairs.slates.starts[own] + (second[own] == t)
        won = (pairs.slates.rows[own] == place).astype(float)
        raters, cluster = np.unique(pairs.slates.raters[own], return_inverse=True)
        people = clustered_share(np.bincount(cluster, won, len(raters)), np.bincount(cluster).astype(float))
        gap = clustered_mean(won - p[place], pairs.slates.raters[own])
        by_judge = None
        if t in judge and 0 in judge:
            gain = judge[t].value - judge[0].value
            se = math.hypot(judge[t].se, judge[0].se)
            low, value, high = (float(expit(gain + side * Z95 * se)) for side in (-1, 0, 1))
            by_judge = Estimate(value=value, se=value * (1 - value) * se, low=low, high=high)
        beyond, p_value = None, None
        if fitted and t in fitted[1]:
            latest, earlier = place, 2 * pairs.slates.starts[own] + 1 - place
            promised = float((pairs.scores[latest] - pairs.scores[earlier]).mean())
            beyond, p_value = shortfall(fitted[0], 1 + fitted[1].index(t), promised)
        rows.append(
            ProxyAudit(
                t=t,
                n=int(own.sum()),
                raters=len(raters),
                proxy=clustered_mean(p[place], pairs.slates.raters[own]),
                people=people,
                judge=by_judge,
                gap=gap,
                beyond=beyond,
                p=p_value,
            )
        )
    return rows


def shortfall(fitted: Fit, j: int, promised: float) -> tuple[Estimate, float]:
    """A generation's utility beyond its score with its 95% interval, and the p-value of a shortfall.

    The test allows for a tenth of the gain that the score promises, as the report's claims on predicted gains do:
    raters who differ, and what few picks can't tell, take a share off a large gain that they leave of a small one.

    Args:
        fitted: from `beyond_score`.
        j: the generation's column.
        promised: mean of its samples' scores less that of generation 0's.
    """
    low, high = fitted.intervals()[j]
    estimate = Estimate(value=float(fitted.coefficients[j]), se=float(fitted.se[j]), low=float(low), high=float(high))
    combination = np.zeros((1, len(fitted.names)))
    combination[0, 0], combination[0, j] = TOLERANCE * max(promised, 0.0), 1.0
    value, se = float((combination @ fitted.coefficients)[0]), float(fitted.se_of(combination)[0])
    freedom = np.inf if fitted.jackknife is None else fitted.freedom
    return estimate, float(stdtr(freedom, value / se))


def verdict_on(rows: Sequence[ProxyAudit]) -> tuple[TestVerdict, int | None, str]:
    """The verdict whether the loop exploits the proxy, since which generation, and a sentence.

    Found where the proxy expects people to prefer a generation and they like it less than its score says, by more than
    a tenth of the gain that it promises: a one-sided test at 5% that all generations share (Holm 1979).
    """
    known = [row for row in rows if row.p is not None and row.n >= LEAST_AUDITS]
    if not known:
        n = max((row.n for row in rows), default=0)
        return "can't tell", None, (
            f"Too few audit pairs of a later generation with generation 0 were answered after a fit (at most {n}; "
            f"{LEAST_AUDITS} are needed) to say if the loop exploits the proxy."
        )  # fmt: skip
    named = []
    for i, row in enumerate(sorted(known, key=lambda row: row.p or 0.0)):
        if (row.p or 0.0) > LEVEL / (len(known) - i):
            break
        named.append(row)
    named = [row for row in named if row.proxy.low > 0.5]  # its score rose
    if not named:
        return "not found", None, (
            "No generation is liked less than its proxy score says, by more than chance and a tenth of the gain that "
            "it promises (a test at 5%)."
        )  # fmt: skip
    first = min(named, key=lambda row: row.t)
    chosen = f"they did in {first.people.value:.0%} ({first.people.low:.0%} to {first.people.high:.0%})"
    if first.raters == 1:
        chosen = f"the only rater did in {first.people.value:.0%}, which says nothing of others"
    return "found", first.t, (
        f"The proxy is being exploited since generation {first.t}: its score has people prefer generation {first.t} to "
        f"generation 0 in {first.proxy.value:.0%} of pairs, and {chosen}; there is something in it that is liked "
        "less and that the proxy doesn't see."
    )  # fmt: skip


def fit_gain(
    before: np.ndarray, after: np.ndarray, real: np.ndarray, config: StudyConfig, picks: int
) -> ProxyFitGain | None:
    """The gain of r^ over one generation, predicted by the exact operator and measured, with bootstrap errors.

    The curated set counts as the proxy's altogether, though a few of its picks are people's.

    Args:
        before: (n,) scores of the parent's samples, by the fit that picked from it.
        after: (n,) scores of the generation's, on the same seeds.
        real: (m,) scores of the real data.
        config: the study's; its K and policy.
        picks: that trained the generation.

    Returns:
        None under conditions, and where sets of earlier generations train, too.
    """
    k, policy = config.curation.k, config.policy
    if policy.accumulates or config.conditions or config.data.conditions != "none":
        return None
    masses = replicate_masses(len(before), REPLICATES)
    law = Curators.alike(LuceRule(k)).pick(before, masses)
    real_share, (share,) = policy.shares(len(real), [picks])
    own, real_w = np.exp(before), float(np.exp(real).mean())
    wanted = real_share * real_w + share * (own @ law) - own @ masses
    gained = np.exp(after) @ masses - own @ masses
    picked = law[:, 0]
    noise = share * math.sqrt(max(0.0, float(own**2 @ picked - (own @ picked) ** 2)) / max(picks, 1))
    gain, gain_se = value_and_se(wanted)
    _, se = value_and_se(gained - wanted)
    ratio = ratio_of(gained, wanted, noise) if abs(gain) >= KNOWN_GAIN * math.hypot(gain_se, se, noise) else None
    value, error = value_and_se(gained)
    score, score_se = value_and_se(after @ masses - before @ masses)
    return ProxyFitGain(
        predicted=Mean(value=gain, se=gain_se),
        measured=Mean(value=value, se=error),
        ratio=None if ratio is None else (ratio.value, ratio.se, ratio.low, ratio.high),
        score=Mean(value=score, se=score_se),
    )


def proxy_evidence(
    held: HeldOut,
    trained_on: dict[int, float | None],
    judge: dict[int, Estimate] | None = None,
    gains: Sequence[ProxyGain] = (),
) -> ProxyEvidence:
    """All that people's later picks say of the proxy, and the gains of its own reward."""
    if not len(held.slates):
        return ProxyEvidence(
            calibrations=[], reliability=[], slope=None, audits=[], gains=list(gains), verdict="can't tell",
            sentence="Nobody has picked since the proxy was fitted, so nothing says how well it knows people.",
        )  # fmt: skip
    fitted = beyond_score(held)
    rows = audits(held, judge or {}, fitted)
    verdict, since, sentence = verdict_on(rows)
    return ProxyEvidence(
        calibrations=calibrations(held, trained_on),
        reliability=reliability(held),
        slope=slope(held),
        audits=rows,
        gains=list(gains),
        verdict=verdict,
        since=since,
        sentence=sentence,
    )

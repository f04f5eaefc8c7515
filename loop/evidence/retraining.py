"""Claims on retraining without choice, over the seeds of several studies: replacing diverges, keeping data doesn't.

Studies with `curation.k = 1` that differ in their data policy and their seed alone are a family. Its verdicts share 5%
of error. Intervals are Student's, over the seeds; what compares two policies is paired by seed.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from loop.config import StudyConfig
from loop.evidence.claims import TOLERANCE
from loop.evidence.intervals import LEVEL, Z95
from loop.evidence.schema import Deviation, Estimate, Evidence, GenerationEvidence, RetrainingClaim, side_of
from loop.policy import DataPolicy
from loop.theory.collapse import MeasuredMean, deviation_verdict
from loop.theory.toy_models import spread

FEWEST = 3  # generations that a slope is fitted to
DIVERGES = "replace diverges"
SLOWS = "kept data slow it"
BOUNDED = "kept data bound it"
STATEMENTS = {
    DIVERGES: "with the latest set alone the error rises: its slope over the generations is above 0",
    SLOWS: "with {policy} the error rises more slowly than with {baseline}",
    BOUNDED: "with {policy} the error stays bounded: over the second half of the generations its slope is under a "
    "tenth of {baseline}'s over all",
}
SOURCES = {
    DIVERGES: "Gerstgrasser et al. 2024 (arXiv 2404.01413); Seddik et al. 2024 (arXiv 2404.05090), Theorem 1",
    SLOWS: "Gerstgrasser et al. 2024 (arXiv 2404.01413)",
    BOUNDED: "Gerstgrasser et al. 2024 (arXiv 2404.01413); they report that of their VAE it isn't so",
}


@dataclass(frozen=True)
class ErrorCurves:
    """The error of each generation under one policy, by seed.

    Attributes:
        policy: that trained.
        by_seed: (generations,) each, from generation 0 on.
    """

    policy: DataPolicy
    by_seed: dict[int, np.ndarray]

    def slopes(self, late: bool = False) -> dict[int, float]:
        """Least-squares slopes a generation, by seed; `late`: over the second half of the generations."""
        result = {}
        for seed, values in self.by_seed.items():
            part = values[len(values) // 2 :] if late else values
            times = np.arange(len(part)) - (len(part) - 1) / 2
            result[seed] = float(times @ part / (times @ times))
        return result

    @property
    def length(self) -> int:
        """Generations of the shortest study."""
        return min(map(len, self.by_seed.values()))


def retraining_claims(evidences: Sequence[Evidence]) -> list[RetrainingClaim]:
    """Verdicts on the claims, of every family among studies; of others there are none."""
    claims = []
    for family in families(evidences):
        named = error_curves(family)
        if named:
            claims += judge_family(*named)
    return claims


def families(evidences: Sequence[Evidence]) -> list[list[Evidence]]:
    """Studies without choice, those together that differ in their data policy and their seed alone."""
    groups: dict[str, list[Evidence]] = defaultdict(list)
    for evidence in evidences:
        if evidence.k == 1 and evidence.own_picks and not evidence.sources and len(evidence.generations) > 1:
            config = {key: value for key, value in evidence.config.items() if key not in ("seed", "generations")}
            config["mix"] = {"origin": evidence.config["mix"].get("origin")}
            groups[repr(config)].append(evidence)
    return list(groups.values())


def fd(generation: GenerationEvidence) -> float | None:
    """The Fréchet distance from the real images."""
    return generation.distances and generation.distances.fd


def kl_reverse(generation: GenerationEvidence) -> float | None:
    """KL(p_ref || p_t) by densities."""
    density = generation.divergence.density
    return density and density.kl_reverse.value


def tv(generation: GenerationEvidence) -> float | None:
    """The total variation over cells or classes."""
    return generation.divergence.tv and generation.divergence.tv.value


def cross_entropy(generation: GenerationEvidence) -> float | None:
    """The cross-entropy of held-out real text."""
    by = generation.language
    return by and by.cross_entropy and by.cross_entropy.value


def l1(generation: GenerationEvidence) -> float | None:
    """The mean L1 distance of next-token laws from generation 0's."""
    by = generation.language
    return by and by.l1_first and by.l1_first.value


ERRORS: dict[str, Callable[[GenerationEvidence], float | None]] = {
    "cross-entropy": cross_entropy,
    "L1 of next-token laws": l1,
    "Fréchet distance": fd,
    "KL(p_ref || p_t)": kl_reverse,
    "total variation": tv,
}


def error_curves(family: Sequence[Evidence]) -> tuple[str, list[ErrorCurves]] | None:
    """The first error that all generations of a family have, with its curves by policy; None where there is none."""
    for name, error in ERRORS.items():
        by_policy: dict[DataPolicy, dict[int, np.ndarray]] = defaultdict(dict)
        values = [[error(generation) for generation in evidence.generations] for evidence in family]
        if any(value is None for row in values for value in row):
            continue
        for evidence, row in zip(family, values, strict=True):
            policy = StudyConfig.model_validate(evidence.config).policy
            by_policy[policy][evidence.seed] = np.array(row, dtype=float)
        return name, [ErrorCurves(policy, by_seed) for policy, by_seed in by_policy.items()]
    return None


def judge_family(error: str, curves: Sequence[ErrorCurves]) -> list[RetrainingClaim]:
    """The verdicts on one family, whose intervals share 5% of error, up to the last generation that all have.

    Studies with fewer generations than a slope takes are left out.

    Args:
        error: its name.
        curves: of each policy.
    """
    long = [
        ErrorCurves(some.policy, {seed: row for seed, row in some.by_seed.items() if len(row) >= FEWEST})
        for some in curves
    ]
    curves = [some for some in long if some.by_seed]
    if not curves:
        return []
    length = min(some.length for some in curves)
    curves = [ErrorCurves(some.policy, {seed: v[:length] for seed, v in some.by_seed.items()}) for some in curves]
    pure = [some for some in curves if some.policy.is_pure]
    baseline = next((some for some in pure if some.policy.kind != "replace_grown"), pure[0] if pure else None)
    measured: list[tuple[str, ErrorCurves, dict[int, float]]] = [(DIVERGES, some, some.slopes()) for some in pure]
    for some in curves:
        if baseline is None or some.policy.is_pure:
            continue
        slopes, own = baseline.slopes(), some.slopes()
        shared = slopes.keys() & own.keys()
        measured.append((SLOWS, some, {seed: slopes[seed] - own[seed] for seed in shared}))
        if (length + 1) // 2 >= FEWEST:
            late = some.slopes(late=True)
            measured.append((BOUNDED, some, {seed: TOLERANCE * slopes[seed] - late[seed] for seed in shared}))
    level = LEVEL / max(1, len(measured))
    return [
        _claim(name, error, some.policy, baseline.policy if baseline else some.policy, list(values.values()), level)
        for name, some, values in measured
    ]


def _claim(
    name: str, error: str, policy: DataPolicy, baseline: DataPolicy, values: list[float], level: float
) -> RetrainingClaim:
    margin = student(values, level) if len(values) > 1 else None
    return RetrainingClaim(
        claim=name,
        policy=str(policy),
        error=error,
        seeds=len(values),
        statement=STATEMENTS[name].format(policy=policy, baseline=baseline),
        source=SOURCES[name],
        verdict=side_of(margin, 0.0) if margin else "can't tell",
        reason="" if margin else "its interval is over seeds, and takes two or more",
        margin=margin,
    )


def student(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """The mean of two or more values with Student's interval at 1 - level."""
    x = np.asarray(values)
    se = float(x.std(ddof=1) / np.sqrt(len(x)))
    reach = float(student_t.isf(level / 2, len(x) - 1)) * se
    return Estimate(value=float(x.mean()), se=se, low=float(x.mean()) - reach, high=float(x.mean()) + reach)


def theorem_3_of(config: StudyConfig, generations: Sequence[GenerationEvidence]) -> Deviation | None:
    """Theorem 3 of Seddik et al. at the latest generation of an n-gram control that mixes; None for all else.

    The first law is generation 0's. The derived bound takes all tokens to have mass and S_0 to be 0: it is larger so.
    """
    by = generations[-1].language if len(generations) > 1 else None
    draws, policy = config.network.draws, config.policy
    if not (by and by.l1_first and by.vocabulary and draws and policy.is_mixed):
        return None
    off = spread(policy, draws, len(generations))
    derived = math.sqrt(by.vocabulary * (1 - off[-1] / off[0]))
    value, reach = by.l1_first.value, Z95 * by.l1_first.se
    measured = MeasuredMean(value, value - reach, value + reach)
    judged = deviation_verdict(measured, derived, draws, policy.asked(draws), by.vocabulary)
    return Deviation(
        real=draws,
        synthetic=judged.synthetic,
        vocabulary=by.vocabulary,
        bound="inf" if judged.bound == math.inf else judged.bound,
        verdict=judged.verdict,
        measured=Estimate.of(value, by.l1_first.se),
        derived=derived,
        derived_verdict=judged.derived_verdict,
        sentence=str(judged),
    )


def sentences(claims: Sequence[RetrainingClaim]) -> list[str]:
    """The outcome of each policy in words; a policy that slows the error and doesn't bound it is named as such."""
    said = []
    by_policy: dict[tuple[str, str], dict[str, RetrainingClaim]] = defaultdict(dict)
    for claim in claims:
        by_policy[claim.policy, claim.error][claim.claim] = claim
    for (policy, error), own in by_policy.items():
        words = {name: claim.verdict for name, claim in own.items()}
        if DIVERGES in words:
            outcome = {"holds": "diverges", "fails": "does not diverge"}.get(words[DIVERGES], "may or may not diverge")
        elif words.get(BOUNDED) == "holds":
            outcome = "stays bounded"
        elif words.get(BOUNDED) == "fails":
            slowed = words.get(SLOWS) == "holds"
            outcome = "slows the degradation and does not stop it" if slowed else "does not stop the degradation"
        elif words.get(SLOWS) == "holds":
            outcome = "slows the degradation; whether it stops it the seeds can't tell"
        else:
            outcome = "may or may not slow the degradation"
        seeds = next(iter(own.values())).seeds
        said.append(f"{policy}: it {outcome} ({error}, {seeds} seed{'s' * (seeds != 1)}).")
    return said

"""More than the mean of w: the transmission of other figures, tests of a generation's whole law, and of decay.

The exact operator promises the law of the next generation, not its E[w] alone. What is measured and what is promised
come from the same seeds, so errors are those of leaving out one group of seeds after another (`jackknife_masses`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy.spatial.distance import pdist

from data.designs import to_designs, to_points
from data.records import Evaluated
from loop.config import StudyConfig
from loop.evidence.claims import KNOWN_GAIN, LEAST_EFFECTIVE
from loop.evidence.intervals import LEVEL, Estimate, Part, TestVerdict, ratio_of
from loop.evidence.prediction import (
    GROUPS,
    Moments,
    difference_and_se,
    jackknife_masses,
    loops_of_finite_picks,
    operative_rewards,
)
from loop.theory.population import Target

FREQUENCIES = 128  # of the kernel: random Fourier features
SAME_LAW = 1e-9  # of a kernel distance: less is rounding
FLIPS = 999  # of the two-sample test
SIMULATED = 499  # studies of constant transmission
LEAST_STEPS = 3  # predicted generations, before a slope is tested
ATOMS = 1_000  # of rewards that simulated studies rest on
FOR_BANDWIDTH = 400  # samples whose median distance is the bandwidth, of each side
VARIANCE, CLASSES, CLASS_DIVERSITY, SPREAD = "Var[w]", "class shares", "class diversity", "spread"


class Change(Part):
    """The change of a figure over one generation, or over all together: predicted, measured, and their ratio."""

    of: str = Field(
        description="Var[w]; share of a class; class shares (all, along the predicted change); class diversity (chance "
        "that two samples are of different classes); spread (mean squared distance of two samples' features)"
    )
    t: int | None = Field(description="the generation; None: the steps of all generations together")
    predicted: Estimate = Field(description="change by the exact operator from the generation before")
    measured: Estimate = Field(description="change on fresh samples")
    ratio: Estimate | None = Field(
        description="measured over predicted: transmission, its interval by Fieller's method with the noise of "
        "finitely many picks; None where the predicted change is under three standard errors"
    )


class LawTest(Part):
    """A two-sample test whether a generation has the law that its picks promise."""

    t: int = Field(description="the generation")
    n: int = Field(description="samples it was measured on")
    space: str = Field(description="in which samples are compared")
    verdict: TestVerdict = Field(description="found: it differs, at 5% for all generations together (Holm's method)")
    p: float | None = Field(default=None, description="of so large a distance by chance, uncorrected")
    distance: float | None = Field(
        default=None, description="kernel distance (MMD) from the promised law, bias removed; 0 where none is seen"
    )
    promised: float | None = Field(
        default=None, description="kernel distance of the promised law from the generation before, to compare with"
    )
    reason: str = Field(default="", description="why there is no verdict")


class DecayTest(Part):
    """A test whether transmission of E[w] falls from generation to generation."""

    verdict: TestVerdict = Field(description="found: it falls, by a one-sided test at 5%")
    p: float | None = Field(
        default=None, description="share of simulated studies of constant transmission whose slope is as low"
    )
    slope: float | None = Field(default=None, description="change of transmission a generation, weighted by precision")
    carried: float | None = Field(default=None, description="the constant transmission that is simulated")
    expected: tuple[float, float] | None = Field(
        default=None, description="90% of the slopes that constant transmission gives"
    )
    simulated: int = Field(default=0, description="studies behind p")
    reason: str = Field(default="", description="why there is no verdict")


class DistributionEvidence(Part):
    """More than the mean of w: other figures' transmission, tests of the whole law, and of decay."""

    changes: list[Change] = Field(description="by figure, then t")
    laws: list[LawTest] = Field(description="by generation")
    decay: DecayTest = Field(description="of the transmission of E[w]")
    sentences: list[str] = Field(description="the outcome of the tests in words")
    reward_groups: list[float] = Field(
        default=[],
        description="mean rewards of the last generation without one group of evaluation seeds after another: studies "
        "of the same seed share these groups, and so evaluation noise",
    )


class VarianceSplit(Part):
    """The variance of E[r] between studies that differ in their seeds alone, by where it comes from."""

    studies: list[int] = Field(description="their places in the list of studies, from 0")
    t: int = Field(description="the generation, the last of each")
    seeds: int = Field(description="different values of `seed`")
    mean: float = Field(description="of E[r]")
    evaluation: float = Field(description="variance that finitely many evaluation samples make")
    training: Estimate | None = Field(
        description="variance that train.finetune_seed makes, with its 95% interval; None where no seed has two"
    )
    picks: Estimate | None = Field(
        description="variance that `seed` makes: picks, slates and generation 0; where training is None both together; "
        "None where there is a single seed"
    )
    sentence: str = Field(description="the same in words")


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A part of a training set.

    Attributes:
        source: the generation it was picked from; None for the real data.
        share: of what is drawn for training.
        rows: it has, whose number adds noise; 0 where it is there as a whole.
    """

    source: int | None
    share: float
    rows: int


@dataclass(frozen=True)
class Course:
    """The course of one loop, as far as these questions need it; lists are by generation.

    Attributes:
        config: the study's.
        class_names: by label.
        evaluations: samples of each generation.
        real: the real data; None where they weren't stored.
        aim: by whom the next training set is picked; None where it isn't known.
        recipes: of each training set; None where nothing is predicted.
        own: moments as measured, with bootstrap replicates, and
        predicted: one step ahead, from the same resamples.
        noise: standard error of E[w] that finitely many picks make.
        effective: effective sample size behind E[w].
        picks: that trained each generation from the first on.
        n_real: real data in a training set.
        from_start: whether the loop can be simulated from generation 0.
    """

    config: StudyConfig
    class_names: Sequence[str]
    evaluations: Sequence[Evaluated]
    real: Evaluated | None
    aim: Target | None
    recipes: Sequence[Sequence[Ingredient] | None]
    own: Sequence[Moments]
    predicted: Sequence[Moments | None]
    noise: Sequence[float]
    effective: Sequence[float]
    picks: Sequence[int]
    n_real: int
    from_start: bool

    @property
    def groups(self) -> int:
        """Groups of seeds, of which each is left out once."""
        return min([GROUPS, *(len(samples.labels) for samples in self.evaluations)])


@dataclass(frozen=True)
class Step:
    """Means of some functions before a generation, as promised for it, and as measured.

    Attributes:
        t: the generation.
        before: (functions, groups + 1): of all samples, then with each group left out; and so are
        promised: by the exact operator, and
        now: the generation's own.
        noise: (functions, functions) covariance of what finitely many picks add to the promise.
    """

    t: int
    before: np.ndarray
    promised: np.ndarray
    now: np.ndarray
    noise: np.ndarray


Functions = Callable[[Evaluated], np.ndarray]
"""(functions, n) values of some functions of samples."""


def distribution_evidence(course: Course) -> DistributionEvidence | None:
    """All that is said of more than the mean; None where nothing is predicted."""
    ts = [t for t, recipe in enumerate(course.recipes) if recipe is not None]
    if not ts or course.aim is None:
        return None
    by_size = {n: leave_out_masses(n, course.groups) for n in {len(samples.labels) for samples in course.evaluations}}
    masses = [by_size[len(samples.labels)] for samples in course.evaluations]
    every = [samples for samples in (*course.evaluations, course.real) if samples is not None]
    features = {id(samples): features_of(samples, course.config) for samples in every}
    known = {key: own for key, own in features.items() if own is not None}
    comparable = len(known) == len(features)

    def moments(samples: Evaluated) -> np.ndarray:
        w = np.exp(samples.rewards[0])
        rows = [np.stack([w, w**2]), np.eye(len(course.class_names))[samples.labels].T]
        if comparable:
            x = known[id(samples)]
            rows += [x.T, (x**2).sum(axis=1)[None]]
        return np.concatenate(rows)

    laws: dict[int, np.ndarray] = {}
    steps, tests = [], []
    for t in ts:
        laws[t - 1] = course.aim.pick(operative_rewards(course.evaluations[t - 1]), masses[t - 1])
        steps.append(measure(course, t, masses, laws, moments))
        tests.append(law_test(course, t, masses, laws, known if comparable else {}))
        later = {part.source for recipe in course.recipes[t + 1 :] for part in recipe or () if part.share}
        laws = {source: laws[source] for source in laws if source in later}
    tests, decay = holm(tests), decay_test(course)
    return DistributionEvidence(
        changes=changes_of(steps, course.class_names, comparable),
        laws=tests,
        decay=decay,
        sentences=[*law_words(tests), decay_words(decay)],
        reward_groups=(course.evaluations[-1].rewards[0] @ masses[-1][:, 1:]).tolist(),
    )


def law_test(
    course: Course,
    t: int,
    masses: Sequence[np.ndarray],
    laws: dict[int, np.ndarray],
    features: dict[int, np.ndarray],
) -> LawTest:
    """The test of generation t's whole law, not yet corrected for the others.

    Args:
        course: the loop's.
        t: the generation.
        masses: (n, groups + 1) of each generation's samples.
        laws: (n, groups + 1) of the picks from each generation that trained it.
        features: (n, d) of samples, by their `id`; empty where there are none.
    """
    before, now = course.evaluations[t - 1], course.evaluations[t]
    n, space = len(now.labels), space_of(now, course.config)
    rests = min(n, 1 / float((laws[t - 1][:, 0] ** 2).sum()))
    reason = "" if features else "there are no features by which such samples are compared"
    if not reason and rests < LEAST_EFFECTIVE:
        reason = f"it rests on {rests:.0f} effective samples, under the {LEAST_EFFECTIVE:.0f} that are needed"
    if reason:
        return LawTest(t=t, n=n, space=space, verdict="can't tell", reason=reason)
    sides = features[id(before)], features[id(now)]
    waves = fourier(bandwidth(sides), sides[0].shape[1], seed=t)
    step = measure(course, t, masses, laws, lambda samples: waves(features[id(samples)]))
    p, distance, promised = two_sample(step, seed=t)
    return LawTest(t=t, n=n, space=space, verdict="not found", p=p, distance=distance, promised=promised)


def leave_out_masses(n: int, groups: int) -> np.ndarray:
    """(n, groups + 1) masses of n samples: of all alike, then without each group."""
    return np.column_stack([np.full(n, 1 / n), jackknife_masses(n, groups)])


def features_of(samples: Evaluated, config: StudyConfig) -> np.ndarray | None:
    """(n, d) coordinates by which samples are compared: of points, of named numbers, or the classifier's of images.

    Texts have none, and images that an older version measured.
    """
    if config.data.is_text:
        return None
    if samples.features is not None:
        return samples.features.astype(np.float64)
    if samples.points is None or config.data.family is None:
        return None if samples.points is None else samples.points.astype(np.float64)
    factors = config.data.family.factors
    return to_points(factors, to_designs(factors, samples.points)).astype(np.float64)


def space_of(samples: Evaluated, config: StudyConfig) -> str:
    """The space of `features_of`, in words."""
    if config.data.family is not None:
        return "named numbers"
    return "points" if samples.features is None else "features of the classifier"


def measure(
    course: Course, t: int, masses: Sequence[np.ndarray], laws: dict[int, np.ndarray], functions: Functions
) -> Step:
    """Generation t beside what its training set promises, on some functions.

    Args:
        course: the loop's.
        t: the generation.
        masses: (n, groups + 1) of each generation's samples.
        laws: (n, groups + 1) of the picks from each generation.
        functions: whose means are wanted.
    """
    recipe = course.recipes[t]
    assert recipe is not None
    promised, noise = 0.0, 0.0
    for part in recipe:
        if not part.share:
            continue
        samples = course.real if part.source is None else course.evaluations[part.source]
        assert samples is not None
        values = functions(samples)
        n = values.shape[1]
        law = np.full((n, 1), 1 / n) if part.source is None else laws[part.source]
        promised = promised + part.share * (values @ law)
        if part.rows:
            weighted = values * law[:, 0]
            mean = weighted.sum(axis=1)
            noise = noise + part.share**2 / part.rows * (weighted @ values.T - np.outer(mean, mean))
    before, now = (functions(course.evaluations[own]) @ masses[own] for own in (t - 1, t))
    return Step(t, before, np.broadcast_to(promised, before.shape), now, np.broadcast_to(noise, (len(now), len(now))))


def unbiased(columns: np.ndarray) -> np.ndarray:
    """(..., groups + 1) a figure without its bias of order 1/n, then replicates that spread as it does.

    Args:
        columns: (..., groups + 1) the figure of all samples, then of all but a group.
    """
    whole, without = columns[..., :1], columns[..., 1:]
    groups, mean = without.shape[-1], without.mean(axis=-1, keepdims=True)
    value = groups * whole - (groups - 1) * mean
    return np.concatenate([value, value + (groups - 1) / math.sqrt(groups) * (without - mean)], axis=-1)


def changes_of(steps: Sequence[Step], class_names: Sequence[str], comparable: bool) -> list[Change]:
    """The changes of all figures but E[w], by generation and over all of them."""
    classes, rows = slice(2, 2 + len(class_names)), []

    def add(
        of: str, wanted: list[np.ndarray], gained: list[np.ndarray], noises: list[float], scale: float,
        units: Sequence[float] = (),
    ) -> None:  # fmt: skip
        units = units or [1.0] * len(steps)
        for step, ahead, moved, noise, unit in zip(steps, wanted, gained, noises, units, strict=True):
            rows.append(change(of, step.t, ahead / unit, moved / unit, noise / unit, scale))
        if len(steps) > 1:
            unit = math.hypot(*units) if of == CLASSES else 1.0
            ahead, moved = np.sum(wanted, axis=0) / unit, np.sum(gained, axis=0) / unit
            rows.append(change(of, None, ahead, moved, math.hypot(*noises) / unit, scale))

    figures = {VARIANCE: (lambda m: m[1] - m[0] ** 2, lambda m: np.r_[-2 * m[0], 1.0, np.zeros(len(m) - 2)])}
    if len(class_names) > 1:
        figures[CLASS_DIVERSITY] = (
            lambda m: 1 - (m[classes] ** 2).sum(axis=0),
            lambda m: np.r_[0.0, 0.0, -2 * m[classes], np.zeros(len(m) - classes.stop)],
        )
    if comparable:
        figures[SPREAD] = (
            lambda m: 2 * (m[-1] - (m[classes.stop : -1] ** 2).sum(axis=0)),
            lambda m: np.r_[np.zeros(classes.stop), -4 * m[classes.stop : -1], 2.0],
        )
    for of, (figure, slope) in figures.items():
        wanted = [unbiased(figure(step.promised) - figure(step.before)) for step in steps]
        gained = [unbiased(figure(step.now) - figure(step.before)) for step in steps]
        slopes = [slope(step.promised[:, 0]) for step in steps]
        noises = [math.sqrt(max(0.0, float(g @ step.noise @ g))) for g, step in zip(slopes, steps, strict=True)]
        add(of, wanted, gained, noises, max(abs(float(figure(step.now)[0])) for step in steps))
    if len(class_names) < 2:
        return rows
    wanted, gained, noises, lengths = [], [], [], []
    for step in steps:
        ahead, moved = step.promised[classes] - step.before[classes], step.now[classes] - step.before[classes]
        along = ahead[:, 0]
        wanted.append(unbiased((ahead**2).sum(axis=0)))
        gained.append(unbiased((ahead * moved).sum(axis=0)))
        noises.append(math.sqrt(max(0.0, float(along @ step.noise[classes, classes] @ along))))
        lengths.append(math.sqrt(float(along @ along)) or 1.0)
    add(CLASSES, wanted, gained, noises, 1.0, lengths)  # over their lengths they are shares, not squares
    for label, name in enumerate(class_names):
        row = classes.start + label
        wanted = [unbiased(step.promised[row] - step.before[row]) for step in steps]
        gained = [unbiased(step.now[row] - step.before[row]) for step in steps]
        noises = [math.sqrt(max(0.0, float(step.noise[row, row]))) for step in steps]  # rounding may leave less than 0
        add(f"share of {name}", wanted, gained, noises, 1.0)
    return rows


def change(of: str, t: int | None, wanted: np.ndarray, gained: np.ndarray, noise: float, scale: float) -> Change:
    """A change as the report has it.

    Args:
        of: the figure.
        t: the generation; None for all.
        wanted: (replicates + 1,) predicted, and
        gained: (replicates + 1,) measured, of the same resamples.
        noise: standard error that finitely many picks add to what is measured.
        scale: of the figure; differences that are rounding errors beside it are none.
    """
    predicted, difference = difference_and_se(wanted, scale), difference_and_se(gained - wanted, scale)
    error = math.hypot(predicted[1], difference[1], noise)
    known = predicted[0] != 0 and abs(predicted[0]) >= KNOWN_GAIN * error
    value, se = difference_and_se(gained, scale)
    return Change(
        of=of,
        t=t,
        predicted=Estimate.of(*predicted),
        measured=Estimate.of(value, se),
        ratio=ratio_of(gained, wanted, noise) if known else None,
    )


def bandwidth(sides: Sequence[np.ndarray]) -> float:
    """The median distance between two of the pooled samples (the median heuristic); 1 where all are the same."""
    pooled = np.concatenate([side[:: max(1, len(side) // FOR_BANDWIDTH)] for side in sides])
    return float(np.median(pdist(pooled))) or 1.0


def fourier(width: float, dimension: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Random Fourier features of the Gaussian kernel `exp(-|x - y|^2 / 2 width^2)`, as a function of (n, d) samples.

    It gives (2 FREQUENCIES, n) values whose products, added up, are the kernel but for the finite number.

    Source: Rahimi and Recht 2007 (NeurIPS 20).
    """
    waves = np.random.default_rng([seed, dimension]).standard_normal((FREQUENCIES, dimension)) / width

    def features(x: np.ndarray) -> np.ndarray:
        phases = waves @ x.T
        return np.concatenate([np.cos(phases), np.sin(phases)]) / math.sqrt(FREQUENCIES)

    return features


def two_sample(step: Step, seed: int, flips: int = FLIPS) -> tuple[float, float, float]:
    """The kernel two-sample test of a generation against the law that was promised for it.

    The squared distance of the mean features (MMD) beside those with measured and promised swapped in random groups of
    seeds: a permutation test of paired groups, which allows for the weights, for the operator's own error, and for
    seeds that the generations share. To each is added what finitely many picks may do: the generation can't know more
    of the promised law than its training set says.

    Args:
        step: of Fourier features.
        seed: of the permutations.
        flips: their number.

    Returns:
        p, the distance without its bias (0 where that leaves nothing), and that of the promised law from before.

    Source: Gretton et al. 2012 (JMLR 13) for the statistic; the paired permutation with the noise of the picks was
    derived for this project.
    """
    rng, groups = np.random.default_rng([seed, 0x3AD]), step.now.shape[1] - 1
    swaps = rng.choice([-1.0, 1.0], size=(flips, groups))
    values, vectors = np.linalg.eigh(step.noise)
    scaled = vectors * np.sqrt(np.maximum(values, 0.0))
    noise = rng.standard_normal((flips, len(values))) @ scaled.T

    def squared(columns: np.ndarray, added: np.ndarray | float) -> tuple[float, np.ndarray]:
        by_group = groups * columns[:, :1] - (groups - 1) * columns[:, 1:]
        null = swaps @ by_group.T / groups + added
        return float((by_group.mean(axis=1) ** 2).sum()), (null**2).sum(axis=1)

    statistic, null = squared(step.now - step.promised, noise)
    wanted, spread = squared(step.promised - step.before, 0.0)
    p = (1 + int((null >= statistic * (1 - 1e-9)).sum())) / (1 + flips)
    distance, promised = (math.sqrt(max(0.0, some)) for some in (statistic - null.mean(), wanted - spread.mean()))
    return p, distance, promised if promised > SAME_LAW else 0.0  # without choice the picks promise no move


def holm(tests: Sequence[LawTest]) -> list[LawTest]:
    """The tests with the verdicts that they share 5% of error for (Holm 1979)."""
    known = sorted((test for test in tests if test.p is not None), key=lambda test: test.p or 0.0)
    named = set()
    for i, test in enumerate(known):
        if (test.p or 0.0) > LEVEL / (len(known) - i):
            break
        named.add(test.t)
    return [test.model_copy(update={"verdict": "found"}) if test.t in named else test for test in tests]


def law_words(tests: Sequence[LawTest]) -> list[str]:
    """The outcome of the tests of the whole law, in a sentence; nothing where none could be made."""
    known = [test for test in tests if test.p is not None]
    if not known:
        return [f"No test of the whole law: {tests[0].reason}."]
    differ = [test for test in known if test.verdict == "found"]
    about = f"a kernel two-sample test on {known[0].space}, {known[0].n:,} samples a generation, 5% for all together"
    if not differ:
        return [f"No generation is seen to differ from the law that its picks promise ({about})."]
    ts = ", ".join(str(test.t) for test in differ)
    shares = [test.distance / test.promised for test in differ if test.distance and test.promised]
    left = f", by up to {max(shares):.0%} of the distance that they promised to move" if shares else ""
    return [
        f"Generation{'s' * (len(differ) > 1)} {ts} differ{'s' * (len(differ) == 1)} from the law that the picks "
        f"promise{left} ({about})."
    ]


def decay_test(course: Course) -> DecayTest:
    """The test whether transmission falls, against simulated studies in which it is constant.

    These start from the same measured rewards, pick by the exact operator with as many picks, and go the same share of
    the way in each generation; the errors of evaluation are those of the study's own bootstrap replicates. So whatever
    a slope takes from rewards that saturate, and gains that are known ever less, is in them.
    """
    ts = [t for t, law in enumerate(course.predicted) if law is not None]
    if not course.from_start or course.aim is None or ts != list(range(1, len(course.own))):
        return DecayTest(verdict="can't tell", reason="the loop can't be simulated from generation 0")
    if len(ts) < LEAST_STEPS:
        return DecayTest(verdict="can't tell", reason=f"a slope needs {LEAST_STEPS} generations after the first")
    if min(course.effective) < LEAST_EFFECTIVE:
        return DecayTest(
            verdict="can't tell",
            reason=f"E[w] rests on {min(course.effective):.0f} effective samples, under {LEAST_EFFECTIVE:.0f}",
        )
    own = np.stack([moments.mean_w for moments in course.own])
    ahead = np.stack([law.mean_w for law in course.predicted if law is not None])
    wanted, gained = ahead - own[:-1], np.diff(own, axis=0)
    errors = [math.hypot(difference_and_se(gained[i] - wanted[i], float(own[0, 0]))[1], course.noise[t])
              for i, t in enumerate(ts)]  # fmt: skip
    gain, gain_se = difference_and_se(wanted.sum(axis=0), float(own[0, 0]))
    if not all(errors) or abs(gain) < KNOWN_GAIN * math.hypot(gain_se, *errors):
        return DecayTest(verdict="can't tell", reason="the predicted gains are under three standard errors")
    weights = 1 / np.square(errors)
    slope = float(slopes_of(gained[:, :1], wanted[:, :1], weights)[0])
    carried = float(weights @ (wanted[:, 0] * gained[:, 0]) / (weights @ wanted[:, 0] ** 2))
    null = simulated_slopes(course, own, ahead, weights, min(max(carried, 0.0), 1.5))
    p = (1 + int((null <= slope).sum())) / (1 + len(null))
    low, high = np.quantile(null, [0.05, 0.95])
    return DecayTest(
        verdict="found" if p <= LEVEL else "not found",
        p=p,
        slope=slope,
        carried=carried,
        expected=(float(low), float(high)),
        simulated=len(null),
    )


def slopes_of(gained: np.ndarray, wanted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) slopes s of `gained_t = (c + s t) wanted_t`, by weighted least squares.

    Args:
        gained: (T, B), and
        wanted: (T, B).
        weights: (T,) inverse variances.
    """
    trend = wanted * (np.arange(len(wanted)) - (len(wanted) - 1) / 2)[:, None]
    w = weights[:, None]
    level, cross, square = ((w * a * b).sum(axis=0) for a, b in ((wanted, wanted), (wanted, trend), (trend, trend)))
    of_level, of_trend = ((w * a * gained).sum(axis=0) for a in (wanted, trend))
    return (level * of_trend - cross * of_level) / (level * square - cross**2)


def simulated_slopes(
    course: Course, own: np.ndarray, ahead: np.ndarray, weights: np.ndarray, carried: float
) -> np.ndarray:
    """(SIMULATED,) slopes of studies of constant transmission.

    Args:
        course: the loop's.
        own: (T + 1, B + 1) E[w] as measured, with bootstrap replicates, and
        ahead: (T, B + 1) as predicted.
        weights: (T,) of the generations in a slope.
        carried: the transmission.
    """
    assert course.aim is not None
    parts = [thinned(course.evaluations[0])]
    if course.config.policy.uses_real and course.real is not None:
        parts.append(thinned(course.real))
    sizes = [len(part.labels) for part in parts]
    rewards = np.concatenate([operative_rewards(part) for part in parts], axis=1)
    w = np.exp(np.concatenate([part.rewards[0] for part in parts]))
    p0, p_ref = (np.repeat([float(i == side) / sizes[i] for i in range(len(sizes))], sizes)[:, None] for side in (0, 1))
    laws, promised = loops_of_finite_picks(
        rewards, p0, p_ref, course.config.policy, course.aim, course.n_real, course.picks, SIMULATED, carried
    )
    chosen = np.random.default_rng(len(w)).integers(1, own.shape[1], size=SIMULATED)
    now = np.stack([w @ law for law in laws]) + (own - own[:, :1])[:, chosen]
    wanted = np.stack([w @ law for law in promised]) + (ahead - ahead[:, :1])[:, chosen] - now[:-1]
    return slopes_of(np.diff(now, axis=0), wanted, weights)


def thinned(samples: Evaluated) -> Evaluated:
    """At most `ATOMS` of the samples, evenly by rank of reward."""
    n = len(samples.labels)
    if n <= ATOMS:
        return samples
    chosen = np.argsort(operative_rewards(samples)[0], kind="stable")[
        ((np.arange(ATOMS) + 0.5) * n / ATOMS).astype(int)
    ]
    return Evaluated(samples.t, samples.rewards[:, chosen], samples.labels[chosen])


def decay_words(test: DecayTest) -> str:
    """The outcome of the test of decay, in a sentence."""
    if test.p is None or test.slope is None or test.expected is None:
        return f"Whether transmission decays can't be told: {test.reason}."
    word = "Transmission falls" if test.verdict == "found" else "Transmission isn't seen to fall"
    low, high = test.expected
    return (
        f"{word} from generation to generation: its slope is {test.slope:+.3g} a generation, and {low:+.3g} to "
        f"{high:+.3g} in 90% of {test.simulated} simulated studies of constant transmission ({test.carried:.2f}; "
        f"p = {test.p:.2g}, one-sided)."
    )

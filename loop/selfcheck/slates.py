"""Checks that slates are plain draws of their generation, and that picks are as many as were requested."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np
from scipy.special import ndtri
from scipy.stats import f as f_law
from scipy.stats import ks_2samp, rankdata

from data.measurements import CuratedCounts
from data.records import Generation
from data.store import Store, queries
from loop.selfcheck.rule import ChiSquare, chi_square, noncentrality
from loop.selfcheck.verdicts import POWER, Detectable, Finding, by_chi_square

LEAST_SLATES = 10
LEAST_SAMPLES = 30
KINDS = ("human", "sim", "proxy")


def disjoint(n: int, shared: int, again: int, foreign: int) -> Finding:
    """A rule without exceptions: no sample in two slates, no draw under two names, none of another generation.

    Args:
        n: samples in curation slates of finite K.
        shared: of them, in more than one slate.
        again: drawn with the generation and seed of another (see `drawn_again`).
        foreign: of another generation than their slate.
    """
    return Finding(
        "disjoint slates",
        None,
        n,
        f"{n:,} samples in curation slates looked through for repeats",
        f"{shared:,} in more than one slate, {again:,} drawn again with the seed of another, {foreign:,} of another "
        "generation than their slate",
        "Slates must hold fresh samples of their own generation; shared ones make the picks depend on each other, "
        "and the theorem doesn't speak of that.",
        broken=bool(shared or again or foreign) if n else None,
        figures={"shared": shared, "drawn_again": again, "foreign": foreign},
    )


def against_evaluation(
    shown: np.ndarray, fresh: np.ndarray, t: int | None, under: tuple[np.ndarray, np.ndarray] | None = None
) -> Finding:
    """Rewards of the samples in slates against those of fresh samples of the same generation.

    The two-sample Kolmogorov-Smirnov test, whose p-value is that of as large a difference of the distributions or
    larger if both are one; ties make it cautious. Under conditions the samples of a slate are alike in theirs, and
    independent within it alone: instead of the rewards their ranks within the condition are compared. The difference
    of the ranks' distributions then varies as that of independent draws does, or less where the shares differ.

    Args:
        shown: (n,) rewards.
        fresh: (m,) rewards.
        t: the generation.
        under: (n,) and (m,) conditions; None in a study without.
    """
    compared = f"Rewards of {len(shown):,} samples in slates against {len(fresh):,} fresh ones"
    compared += "" if under is None else ", by rank within each condition"
    if min(len(shown), len(fresh)) < LEAST_SAMPLES:
        return Finding("fresh draws", t, len(shown), compared, "too few to compare")
    values = (shown, fresh) if under is None else ranks_within(shown, fresh, *under)
    test: tuple[float, float] = tuple(ks_2samp(*values, method="asymp"))  # pyright: ignore[reportAssignmentType]
    distance, p = map(float, test)

    def difference(threshold: float) -> float:
        """The size found with power: Kolmogorov's limit, and the error of a share of a half.

        Cautious where the distributions differ twice.
        """
        spread = math.sqrt(1 / len(shown) + 1 / len(fresh))
        least = spread * (math.sqrt(-math.log(threshold / 2) / 2) + float(ndtri(POWER)) / 2)
        return least if least < 1 else math.inf

    return Finding(
        "fresh draws",
        t,
        len(shown),
        compared,
        f"largest difference of the distributions {distance:.4f}, means {shown.mean():.3f} and {fresh.mean():.3f}",
        "The slates don't show what the generator draws: samples were chosen before users saw them, come from "
        "another generator, or were judged by another reward.",
        p=p,
        figures={"ks": distance, "mean_shown": float(shown.mean()), "mean_fresh": float(fresh.mean())},
        detectable=(Detectable("difference", "a difference of {} between the distributions", difference),),
    )


def ranks_within(
    shown: np.ndarray, fresh: np.ndarray, shown_under: np.ndarray, fresh_under: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rewards' mean ranks among all of the same condition, in (0, 1), without conditions that one side lacks."""
    lower, upper = [], []
    for name in np.intersect1d(shown_under, fresh_under):
        own, others = shown[shown_under == name], fresh[fresh_under == name]
        ranks = rankdata(np.concatenate([own, others])) / (len(own) + len(others) + 1)
        lower.append(ranks[: len(own)])
        upper.append(ranks[len(own) :])
    return np.concatenate(lower), np.concatenate(upper)


def conditions_asked(names: Sequence[str], wrong: int, declared: Mapping[str, float], t: int | None) -> Finding:
    """Conditions of slates against the declared weights, and against those that follow from the slates' seeds.

    Args:
        names: (n,) of the slates.
        wrong: slates of another condition than their seed says.
        declared: weights by name; they add up to 1.
        t: the generation.
    """
    n, counts = len(names), Counter(names)
    compared = f"Conditions of {n:,} slates against their seeds and weights"
    meaning = "Slates are not of the conditions that the settings ask for: they were chosen, or changed afterwards."
    if wrong:
        outcome = f"{wrong:,} are of another condition than their seed says"
        return Finding("conditions", t, n, compared, outcome, meaning, broken=True)
    test, unit = share_test(np.array([counts[name] for name in declared]), np.array(list(declared.values())))
    if not test.df:
        return Finding("conditions", t, n, compared, "all are as their seeds say", meaning, broken=False)
    return Finding(
        "conditions",
        t,
        n,
        compared,
        f"all are as their seeds say; chi-square {test.value:.1f} on {test.df} degrees of freedom",
        meaning,
        p=test.p,
        figures={"chi_square": test.value, "df": test.df, "observed": {name: counts[name] for name in declared}},
        detectable=(
            by_chi_square("share", "a condition's share off by {}", lambda size: size**2 * unit, test.df, most=1.0),
        ),
    )


def exchangeable(
    slates: Mapping[int, np.ndarray], t: int | None, conditions: Mapping[int, np.ndarray] | None = None
) -> list[Finding]:
    """Tests that rewards differ between slates, and between positions, as much as chance lets them (`variance_ratio`).

    Args:
        slates: (n, K) rewards by K.
        t: the generation.
        conditions: (n,) of the slates by K, within which their samples are exchangeable; None where they are in all.
    """
    findings = []
    for k, rewards in slates.items():
        if k >= 2 and len(rewards) >= LEAST_SLATES:
            scores = np.empty(rewards.shape)
            under = np.zeros(len(rewards)) if conditions is None else conditions[k]
            for condition in np.unique(under):
                scores[under == condition] = normal_scores(rewards[under == condition])
            findings += [between_slates(scores, t), between_positions(scores, t)]
    return findings


def normal_scores(rewards: np.ndarray) -> np.ndarray:
    """(n, K) standard normal quantiles of the rewards' ranks; equal rewards are put in a random order.

    Of exchangeable samples this is a random order of known numbers, whatever the rewards are, so the variance ratios
    below have the same law for every generator. Source: van der Waerden scores.
    """
    flat = rewards.ravel()
    rng = np.random.default_rng(crc32(flat.tobytes()))  # the same order whenever the same study is looked at
    order = np.lexsort((rng.random(len(flat)), flat))
    ranks = np.empty(len(flat))
    ranks[order] = np.arange(1, len(flat) + 1)
    return ndtri(ranks / (len(flat) + 1)).reshape(rewards.shape)


def variance_ratio(scores: np.ndarray) -> tuple[float, float]:
    """(F, two-sided p) of the variance between the rows of (n, K) scores over that within them.

    One-way analysis of variance: F has n - 1 and n (K - 1) degrees of freedom if all scores are independent draws.
    """
    n, k = scores.shape
    means = scores.mean(axis=1, keepdims=True)
    within = float(((scores - means) ** 2).sum()) / (n * (k - 1))
    between = k * float(((means - scores.mean()) ** 2).sum()) / (n - 1)
    ratio = between / within if within else np.inf
    law = f_law(n - 1, n * (k - 1))
    return ratio, float(min(1.0, 2 * min(law.sf(ratio), law.cdf(ratio))))


def between_slates(scores: np.ndarray, t: int | None) -> Finding:
    """The variance of (n, K) normal scores between slates over that within them."""
    (n, k), (ratio, p) = scores.shape, variance_ratio(scores)
    alike = (ratio - 1) / (ratio + k - 1) if np.isfinite(ratio) else 1.0
    law = f_law(n - 1, n * (k - 1))

    def correlation(threshold: float) -> float:
        factor = float(law.isf(threshold / 2) / law.ppf(1 - POWER))
        return (factor - 1) / (factor + k - 1)

    meaning = (
        "Samples of one slate are alike, as in slates cut from a sorted list (top-k); slates must be plain draws."
        if ratio > 1
        else "Slates resemble each other more than plain draws do, as if each were composed on purpose."
    )
    return Finding(
        "slates alike",
        t,
        n,
        f"Rewards between {n:,} slates of {k} against those within",
        f"variance ratio {ratio:.3f}, correlation of samples in a slate {alike:+.4f}, expected 1 and 0",
        meaning,
        p=p,
        figures={"f": float(ratio), "correlation": float(alike)},
        detectable=(Detectable("correlation", "a correlation of {} between the samples of a slate", correlation),),
    )


def between_positions(scores: np.ndarray, t: int | None) -> Finding:
    """The variance of (n, K) normal scores between positions over that within them."""
    (n, k), (ratio, p) = scores.shape, variance_ratio(scores.T)
    means = scores.mean(axis=0)
    worst = int(np.abs(means).argmax())
    return Finding(
        "order in slates",
        t,
        n,
        f"Rewards between the {k} positions of {n:,} slates against those within",
        f"variance ratio {ratio:.3f}; position {worst + 1} is off by {means[worst]:+.3f} standard deviations",
        "What stands where depends on its reward, as in slates that are sorted; positions must be plain draws.",
        p=p,
        figures={"f": float(ratio), "position_means": means.tolist()},
        detectable=(
            by_chi_square(
                "shift", "a position better by {} standard deviations", lambda size: n * size**2 * (k - 1) / k, k - 1
            ),
        ),
    )


def drawn_again(items: np.ndarray) -> int:
    """The number of samples with generation and seed of another sample."""
    rows = items[np.lexsort((items["seed"], items["t"]))]
    same = (rows["t"][1:] == rows["t"][:-1]) & (rows["seed"][1:] == rows["seed"][:-1])
    return int((same & (rows["sample"][1:] != rows["sample"][:-1])).sum())


def counts(store: Store, generations: Sequence[Generation]) -> list[Finding]:
    """The picks that each generation says it was trained on, against those in the database."""
    by_t = {generation.t: generation for generation in generations}
    in_bulk = not queries.count_raters(store).get("human") and not store.events(kinds=("simulate_requested",))
    return [
        count_of(store, generation, by_t.get(generation.t - 1), in_bulk)
        for generation in generations
        if generation.measurements.curated
    ]


def shares(picks: Mapping[str, int], declared: Mapping[str, float]) -> Finding:
    """Picks by type of simulated user against the declared shares: Pearson's chi-square (`rule.chi_square`).

    Args:
        picks: by type.
        declared: shares by type; they add up to 1.
    """
    names = sorted({*picks, *declared})
    observed = np.array([picks.get(name, 0) for name in names])
    p, n = np.array([declared.get(name, 0.0) for name in names]), int(observed.sum())
    compared = f"{n:,} simulated picks counted by the type of user"
    unknown = [name for name in names if picks.get(name) and not declared.get(name)]
    if unknown:
        outcome, meaning = f"{', '.join(unknown)} is no declared type", "Users picked whom the settings don't name."
        return Finding("rater types", None, n, compared, outcome, meaning, broken=True)
    test, unit = share_test(observed, p)
    if not test.df:
        return Finding("rater types", None, n, compared, "too few to compare")
    by_type = ", ".join(
        f"{name or 'honest'} {o / n:.1%} of {q:.1%}" for name, o, q in zip(names, observed, p, strict=True)
    )
    return Finding(
        "rater types",
        None,
        n,
        compared,
        f"chi-square {test.value:.1f} on {test.df} degrees of freedom; {by_type}",
        "The types don't give the shares that the settings declare.",
        p=test.p,
        figures={"chi_square": test.value, "df": test.df, "observed": dict(zip(names, observed.tolist(), strict=True))},
        detectable=(
            by_chi_square("share", "a type's share off by {}", lambda size: size**2 * unit, test.df, most=1.0),
        ),
    )


def share_test(observed: np.ndarray, p: np.ndarray) -> tuple[ChiSquare, float]:
    """Pearson's test of (m,) counts against (m,) shares, and its noncentrality per squared error of one share.

    One share grows at the cost of the others in proportion; of all shares it is that which shows least.
    """
    n, places = int(observed.sum()), np.arange(len(p))
    covariance = n * (np.diag(p) - np.outer(p, p))
    units = [
        noncentrality(n * np.where(places == i, 1.0, -p / (1 - share)), covariance)
        for i, share in enumerate(p)
        if 0 < share < 1
    ]
    return chi_square(observed - n * p, covariance), min(units, default=0.0)


def count_of(store: Store, generation: Generation, parent: Generation | None, in_bulk: bool) -> Finding:
    """The picks that one generation says it was trained on, against those in the database.

    Args:
        store: the study's.
        generation: any but the first.
        parent: the generation before, if it is stored.
        in_bulk: simulated users alone picked, as many as were requested.
    """
    measurements = generation.measurements
    curated = measurements.curated or CuratedCounts()
    after = parent.pick_cut if parent else 0
    if measurements.turn:
        after = measurements.turn.after
    elif generation.config.get("curation", {}).get("extend") == "accumulate" and not in_bulk:
        after = 0  # older versions stored the cuts alone
    stored = queries.training_pick_counts(store, after, generation.pick_cut, generation.t - 1)
    faults = []
    for kind in KINDS:
        name = measurements.proxy.sha256 if kind == "proxy" else None
        rows = [row for row in stored if row["kind"] == kind and row["name"] == name]
        most = sum(row["n"] for row in rows)
        least = sum(row["n"] for row in rows if not row["withdrawn"])  # someone may have withdrawn since
        reported = curated.of_kind(kind)
        if not least <= reported <= most:
            faults.append(f"{reported:,} {kind} picks trained it and {most:,} are stored")
    total = curated.total
    if (in_bulk or curated.proxy) and total != curated.asked:  # people alone give what they give
        faults.append(f"{curated.asked:,} picks were asked for and {total:,} trained it")
    return Finding(
        "counts",
        generation.t,
        total,
        f"Picks asked for, used ({total:,}) and stored",
        "; ".join(faults) or "they agree",
        "The generation was not trained on the picks that the study holds.",
        broken=bool(faults),
        figures=curated.as_json(),
    )

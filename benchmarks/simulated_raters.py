"""Raters with tastes of their own, in memory: choices of known truth, judged as every report judges them.

Of audits, a rater's chance to prefer the newer of two samples is drawn from a Beta law around the true mean, so raters
differ; how many comparisons each makes differs, too. Of taste groups, utilities are drawn around those of the rater's
group, and the picks move the generator.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import comb

from loop.analysis.groups import TasteGroups, taste_groups
from loop.analysis.log import Slates
from loop.analysis.logit import Likelihood
from loop.evidence.intervals import WIN_RATES, comparisons, error_level, log_wealth
from loop.evidence.people import PLAIN, Raters, clustered_share, rates_of
from loop.evidence.schema import WinRate, side_of

LEAST, MOST = 2, 24  # comparisons of a rater for each pair of generations


@dataclass(frozen=True)
class Crowd:
    """A kind of study with raters.

    Attributes:
        raters: who finish.
        preference: mean chance that the newer generation of a pair is preferred; 0.5 is none.
        generations: after generation 0.
        planned: whether the number of raters was set before the first pick, and the report is looked at then alone.
        intraclass: correlation of one rater's comparisons; 0 where all have the same taste.
    """

    raters: int
    preference: float = 0.5
    generations: int = 3
    planned: bool = False
    intraclass: float = 0.1


@dataclass(frozen=True)
class Outcome:
    """The verdict and the intervals of one study's win rates.

    Attributes:
        verdict: True if any rate, at any look, got another verdict than "can't tell".
        covered: by pair of generations, whether the 95% interval held the truth, at all looks together.
        widths: of these intervals at the end; empty where they weren't made.
    """

    verdict: bool
    covered: list[bool]
    widths: list[float]


def judge(crowd: Crowd, rng: np.random.Generator, through_report: bool = True) -> Outcome:
    """Simulates a study and judges it: once at its end where that was planned, else after each rater.

    At a look of an always valid interval the mean m is refuted where the wealth against it has reached 1 / level:
    that is the interval of a report (`always_valid` inverts it), at all looks in one pass.

    Args:
        crowd: the kind of study.
        rng: draws it.
        through_report: the win rates at the end are made as in a report, too, and must agree; without it there are no
            widths, and it takes a fifth of the time.
    """
    pairs = comparisons(crowd.generations)
    played, won = _choices(crowd, len(pairs), rng)
    verdict, covered = False, []
    for (t, against), all_, newer in zip(pairs, played, won, strict=True):
        level = error_level(t, against, WIN_RATES, crowd.generations if crowd.planned else 0)
        if crowd.planned:
            plain, corrected = clustered_share(newer, all_), clustered_share(newer, all_, level)
            verdict |= side_of(corrected, 0.5) != "can't tell"
            covered.append(plain.low <= crowd.preference <= plain.high)
        else:
            values = newer / all_
            verdict |= bool((log_wealth(values, 0.5) >= -np.log(level)).any())
            covered.append(not (log_wealth(values, crowd.preference) >= -np.log(PLAIN)).any())
    if not through_report:
        return Outcome(verdict, covered, [])
    rates = _rates(crowd, pairs, played, won)
    reported = any(rate.verdict != "can't tell" for rate in rates)
    if reported > verdict or (crowd.planned and reported != verdict):
        raise AssertionError(f"the report's verdicts differ from these: {crowd}")
    return Outcome(verdict, covered, [rate.rate.high - rate.rate.low for rate in rates])


def _choices(crowd: Crowd, pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(pairs, raters) comparisons, and those that the newer generation won."""
    shape = (pairs, crowd.raters)
    played, taste = rng.integers(LEAST, MOST + 1, shape), np.full(shape, crowd.preference)
    if crowd.intraclass:
        size = 1 / crowd.intraclass - 1
        taste = rng.beta(crowd.preference * size, (1 - crowd.preference) * size, shape)
    return played, rng.binomial(played, taste)


def _rates(crowd: Crowd, pairs: list[tuple[int, int]], played: np.ndarray, won: np.ndarray) -> list[WinRate]:
    """The win rates of the report at the end."""
    wins = {}
    for (t, s), all_, newer in zip(pairs, played, won, strict=True):
        for rater, (n, k) in enumerate(zip(all_, newer, strict=True)):
            wins[(str(rater), rater, 2, t, s)] = int(k)
            wins[(str(rater), rater, 2, s, t)] = int(n - k)
    raters = Raters(
        sessions=frozenset(map(str, range(crowd.raters))), ids=frozenset(range(crowd.raters)), finished=crowd.raters,
        last=crowd.generations if crowd.planned else 0, planned=crowd.raters if crowd.planned else 0,
        kind="fixed n" if crowd.planned else "always valid",
    )  # fmt: skip
    return rates_of({key: n for key, n in wins.items() if n}, raters, crowd.generations, level=WIN_RATES)


@dataclass(frozen=True)
class GroupStudy:
    """A study whose raters come from groups of their own tastes; the picks of all move the generator.

    Attributes:
        shares: of raters in each group.
        raters: in all.
        picks: of each, in equal parts over the generations.
        k: samples in a slate.
        factors: numbers that people see; samples are normal along each with standard deviation 1.
        strength: length of a group's taste.
        alike: cosine between the tastes of any two groups; None draws directions at random.
        spread: standard deviation of a rater's taste around the group's, along each factor.
        scale: standard deviation of the logarithm of a rater's strength.
        generations: the last t.
        step: by how much the fitted common taste moves the generator.
        samples: that a generation is measured on.
    """

    shares: tuple[float, ...] = (1.0,)
    raters: int = 30
    picks: int = 40
    k: int = 4
    factors: int = 6
    strength: float = 1.0
    alike: float | None = None
    spread: float = 0.0
    scale: float = 0.0
    generations: int = 3
    step: float = 0.7
    samples: int = 1_000


@dataclass(frozen=True)
class GroupOutcome:
    """The groups that one study shows, beside the planted ones.

    Attributes:
        number: of groups that it shows.
        right: share of raters who are where most of their own group are; where two groups are lost in one, the share
            of the larger.
        agreement: adjusted Rand index with the planted groups (Hubert and Arabie 1985).
        coefficients: whether each coefficient's 95% interval held the truth, where the number is right.
        gains: the same of each gain since generation 0.
        flattered: by how many standard errors each of these gains is too high.
        clear: groups whose gain at the last generation has an interval beside 0, where the number is right.
        rightly: of them, those with the true sign.
    """

    number: int
    right: float
    agreement: float
    coefficients: list[bool]
    gains: list[bool]
    flattered: list[float]
    clear: int
    rightly: int


@dataclass(frozen=True)
class Planted:
    """The truth of one study with groups.

    Attributes:
        group: (raters,) of each rater.
        tastes: (groups, d) mean utilities.
        means: (generations + 1, d) centres of what each generation shows.
    """

    group: np.ndarray
    tastes: np.ndarray
    means: np.ndarray


def simulate_groups(setting: GroupStudy, seed: int) -> tuple[TasteGroups, Planted]:
    """One study: raters of each group pick, the common fit moves the generator, and the groups are looked for."""
    rng, d, c = np.random.default_rng(seed), setting.factors, len(setting.shares)
    tastes = rng.standard_normal((c, d))
    tastes /= np.linalg.norm(tastes, axis=1, keepdims=True)
    if setting.alike is not None and c > 1:
        tastes = np.linalg.qr(rng.standard_normal((d, d)))[0][:c]
        tastes[1] = setting.alike * tastes[0] + np.sqrt(1 - setting.alike**2) * tastes[1]
    tastes *= setting.strength
    ends = np.round(np.cumsum([0.0, *setting.shares]) * setting.raters).astype(int)
    group = np.repeat(np.arange(c), np.diff(ends))
    factor = np.exp(setting.scale * rng.standard_normal((setting.raters, 1)))
    own = tastes[group] * factor + setting.spread * rng.standard_normal((setting.raters, d))
    means, columns, picks = [np.zeros(d)], [], []
    raters = np.repeat(np.arange(setting.raters), setting.picks // (setting.generations + 1))
    for t in range(setting.generations + 1):
        x = means[t] + rng.standard_normal((len(raters), setting.k, d))
        utilities = np.einsum("nkd,nd->nk", x, own[raters])
        columns.append(x.reshape(-1, d))
        picks.append((utilities + rng.gumbel(size=utilities.shape)).argmax(axis=1))
        if t < setting.generations:
            slates = Slates.of_equal_size(setting.k, np.concatenate(picks))
            common = Likelihood(slates, slates.centred(np.concatenate(columns)), np.ones(d)).maximum()
            means.append(means[t] + setting.step * common)
    slates = Slates.of_equal_size(setting.k, np.concatenate(picks), np.tile(raters, len(picks)))
    noise, names = rng.standard_normal((setting.samples, d)), [f"factor {j}" for j in range(d)]
    groups = taste_groups(slates, np.concatenate(columns), names, [mean + noise for mean in means], seed=seed)
    return groups, Planted(group, tastes * np.exp(setting.scale**2 / 2), np.stack(means))  # times the mean factor


def judge_groups(setting: GroupStudy, seed: int) -> GroupOutcome:
    """One study, held against its truth."""
    shown, truth = simulate_groups(setting, seed)
    c = len(setting.shares)
    belongs = np.array([int(np.argmax(member.groups)) for member in shown.members])
    counts = np.zeros((c, len(shown.groups)))
    np.add.at(counts, (truth.group, belongs), 1)
    places = counts.argmax(axis=1).tolist()
    covered, gains, flattered, clear, rightly = [], [], [], 0, 0
    if len(shown.groups) == c and len(set(places)) == c:
        for taste, place in zip(truth.tastes, places, strict=True):
            group = shown.groups[place]
            covered += [row.low <= value <= row.high
                        for row, value in zip(group.coefficients.values(), taste, strict=True)]  # fmt: skip
            exact = (truth.means - truth.means[0]) @ taste
            gains += [row.gain.low <= exact[row.t] <= row.gain.high for row in group.generations[1:]]
            flattered += [(row.gain.value - exact[row.t]) / row.gain.se for row in group.generations[1:]]
            last = group.generations[-1].gain
            if not last.low <= 0 <= last.high:
                clear += 1
                rightly += int(np.sign(last.value) == np.sign(exact[-1]))
    right = float(counts.max(axis=1).sum()) if len(set(places)) == c else float(counts.sum(axis=1).max())
    return GroupOutcome(
        number=len(shown.groups),
        right=right / setting.raters,
        agreement=adjusted_rand(counts),
        coefficients=covered,
        gains=gains,
        flattered=flattered,
        clear=clear,
        rightly=rightly,
    )


def adjusted_rand(counts: np.ndarray) -> float:
    """The adjusted Rand index of a table of counts of two partitions; 1 where they are the same."""
    parts = (counts, counts.sum(axis=1), counts.sum(axis=0))
    pairs, rows, columns = (float(np.sum(comb(part, 2))) for part in parts)
    expected = rows * columns / float(comb(counts.sum(), 2))
    most = (rows + columns) / 2
    return 1.0 if most == expected else (pairs - expected) / (most - expected)

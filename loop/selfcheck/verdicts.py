"""Findings of the checks, and verdicts on them: thresholds are corrected for the number of checks of a study."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal

from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import chi2, ncx2

CheckVerdict = Literal["pass", "suspicious", "fail", "not applicable"]
FAIL, SUSPICIOUS = 1e-6, 1e-3  # chance that an honest study gets the verdict, over all its checks together
VERDICTS: tuple[CheckVerdict, ...] = ("fail", "suspicious", "pass", "not applicable")
POWER = 0.8  # share of faulty studies in which a fault of the size that a pass names isn't passed


@dataclass(frozen=True, slots=True)
class Detectable:
    """A fault that a check could have found.

    Attributes:
        name: of its size, as a key of `figures`.
        words: with a place for the size.
        size: the smallest that is found in 80% of studies like this one, from the p-value under which nothing passes.
            Infinite where no possible size is.
    """

    name: str
    words: str
    size: Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison, before the verdict.

    Attributes:
        name: of the check.
        t: the generation whose slates it is about; None for the whole study.
        n: picks, slates or samples that it rests on.
        compared: the two sides of the comparison, as the subject of a sentence.
        outcome: with figures, to follow a colon.
        meaning: of the outcome if it isn't chance, as a sentence.
        p: probability of at least this deviation in an honest study; None where nothing is left to chance.
        broken: where p is None: True if a rule without exceptions is broken; None when there is nothing to check.
        figures: statistics and effect sizes by name; plain numbers and lists.
        detectable: faults that the check could have found.
        passed: a sentence for the reader of a pass; may be empty.
    """

    name: str
    t: int | None
    n: int
    compared: str
    outcome: str
    meaning: str = ""
    p: float | None = None
    broken: bool | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    detectable: tuple[Detectable, ...] = ()
    passed: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A finding with its verdict.

    Attributes:
        name: of the check.
        verdict: 'fail' where an honest study would get it once in a million, 'suspicious' once in a thousand.
        t: the generation whose slates it is about; None for the whole study.
        n: picks, slates or samples that it rests on.
        p: p-value before any correction; None where nothing is left to chance.
        figures: statistics and effect sizes by name; plain numbers and lists. `threshold` is the p-value under which
            the check doesn't pass, and each name that begins with `detectable_` a size found in 80% of studies.
        sentence: the comparison, its outcome, and its meaning or, where it passed, the faults that it could have found.
    """

    name: str
    verdict: CheckVerdict
    t: int | None
    n: int
    p: float | None
    figures: Mapping[str, Any]
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """The check as plain values; infinite numbers are the words 'inf' and '-inf'."""
        return plain_values(asdict(self))


def judge(findings: Sequence[Finding]) -> list[Check]:
    """Verdicts on all findings of one study, each p-value times their number (Bonferroni)."""
    tests = sum(finding.p is not None for finding in findings)
    return [check_of(finding, tests) for finding in findings]


def check_of(finding: Finding, tests: int) -> Check:
    """A finding with its verdict and sentence, where a study gets so many tests."""
    verdict = verdict_of(finding, tests)
    where = "" if finding.t is None else f"Generation {finding.t}: "
    chance = ""
    if finding.p is not None:
        chance = " (p < 1e-300)" if finding.p < 1e-300 else f" (p = {finding.p:.2g})"
    sentence = f"{where}{finding.compared}: {finding.outcome}{chance}."
    if verdict in ("fail", "suspicious"):
        sentence += f" {finding.meaning}"
    if finding.p is None:
        return Check(finding.name, verdict, finding.t, finding.n, finding.p, finding.figures, sentence)
    threshold = SUSPICIOUS / tests
    sizes = {fault: fault.size(threshold) for fault in finding.detectable}
    if verdict == "pass":
        over = f"{SUSPICIOUS:g} over {tests} tests" if tests > 1 else "there is one test"
        sentence += f" It passes because p isn't under {threshold:.2g} ({over})."
        sentence += "".join(f" {part}" for part in (finding.passed, power_sentence(sizes)) if part)
    figures = {"threshold": threshold, **{f"detectable_{fault.name}": size for fault, size in sizes.items()}}
    return Check(finding.name, verdict, finding.t, finding.n, finding.p, {**finding.figures, **figures}, sentence)


def verdict_of(finding: Finding, tests: int) -> CheckVerdict:
    """The verdict on a finding, where a study gets so many tests."""
    if finding.p is None:
        return "not applicable" if finding.broken is None else "fail" if finding.broken else "pass"
    corrected = finding.p * tests
    return "fail" if corrected < FAIL else "suspicious" if corrected < SUSPICIOUS else "pass"


def power_sentence(sizes: Mapping[Detectable, float]) -> str:
    """The faults that a check could have found, by their smallest sizes, in words."""
    seen = [fault.words.format(f"{size:.2g}") for fault, size in sizes.items() if size < math.inf]
    unseen = [fault.name.replace("_", " ") for fault, size in sizes.items() if size == math.inf]
    parts = []
    if seen:
        parts.append(f"In {POWER:.0%} of studies like this it would have found {' or '.join(seen)}, seldom less.")
    if unseen:
        parts.append(f"No {' or '.join(unseen)} of any size would have been found.")
    return " ".join(parts)


def plain_values(value: Any) -> Any:
    """Dicts, lists and scalars for JSON; infinite numbers become the words 'inf' and '-inf'."""
    if isinstance(value, Mapping):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@cache
def least_noncentrality(df: int, threshold: float) -> float:
    """The noncentrality at which a chi-square of `df` degrees of freedom has a p-value under the threshold in 80%."""
    if df == 1:
        return float((ndtri(POWER) - ndtri(threshold / 2)) ** 2)
    critical = chi2.isf(threshold, df)
    root = brentq(lambda value: ncx2.sf(critical, df, value) - POWER, 1e-6, 1e6)
    return float(root)  # pyright: ignore[reportArgumentType]


def by_chi_square(
    name: str, words: str, noncentrality: Callable[[float], float], df: int, most: float = math.inf
) -> Detectable:
    """A fault that gives a chi-square a noncentrality nearly in proportion to its squared size.

    Args:
        name: of the size.
        words: with a place for it.
        noncentrality: by size.
        df: degrees of freedom.
        most: sizes as large or larger can't occur.
    """

    def size(threshold: float) -> float:
        target, guess = least_noncentrality(df, threshold), 0.01
        for _ in range(4):
            reached = noncentrality(guess)
            if reached <= 0:
                return math.inf
            guess *= math.sqrt(target / reached)
            if guess >= most:
                return math.inf
        return guess if noncentrality(guess) > 0.9 * target else math.inf

    return Detectable(name, words, size)

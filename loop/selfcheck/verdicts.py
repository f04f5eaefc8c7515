"""Findings of the checks, and verdicts on them: thresholds are corrected for how many checks a study gets."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal

from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import chi2, ncx2

Verdict = Literal["pass", "suspicious", "fail", "not applicable"]
FAIL, SUSPICIOUS = 1e-6, 1e-3  # chance that an honest study gets the verdict, over all its checks together
VERDICTS: tuple[Verdict, ...] = ("fail", "suspicious", "pass", "not applicable")
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
        n: how many picks, slates or samples it rests on.
        compared: what with what, as the subject of a sentence.
        found: what came out, with figures, to follow a colon.
        meaning: what it would mean if it isn't chance, as a sentence.
        p: chance of at least this deviation in an honest study; None where nothing is left to chance.
        broken: where p is None: whether a rule without exceptions is broken; None when there is nothing to check.
        figures: statistics and effect sizes by name; plain numbers and lists.
        detectable: what the check could have found.
        passed: what else a reader of a pass must know, as a sentence.
    """

    name: str
    t: int | None
    n: int
    compared: str
    found: str
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
        n: how many picks, slates or samples it rests on.
        p: p-value before any correction; None where nothing is left to chance.
        figures: statistics and effect sizes by name; plain numbers and lists. `threshold` is the p-value under which
            the check doesn't pass, and each name that begins with `detectable_` a size found in 80% of studies.
        sentence: what was compared, what was found, and what it would mean or, where it passed, what could have been
            found.
    """

    name: str
    verdict: Verdict
    t: int | None
    n: int
    p: float | None
    figures: Mapping[str, Any]
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Plain values; infinite numbers are the words 'inf' and '-inf'."""
        return _plain(asdict(self))


def judge(findings: Sequence[Finding]) -> list[Check]:
    """Verdicts on all findings of one study, each p-value times their number (Bonferroni)."""
    tests = sum(finding.p is not None for finding in findings)
    return [_judged(finding, tests) for finding in findings]


def _judged(finding: Finding, tests: int) -> Check:
    verdict = _verdict(finding, tests)
    where = "" if finding.t is None else f"Generation {finding.t}: "
    chance = "" if finding.p is None else f" (p {_p(finding.p)})"
    sentence = f"{where}{finding.compared}: {finding.found}{chance}."
    if verdict in ("fail", "suspicious"):
        sentence += f" {finding.meaning}"
    if finding.p is None:
        return Check(finding.name, verdict, finding.t, finding.n, finding.p, finding.figures, sentence)
    threshold = SUSPICIOUS / tests
    sizes = {fault: fault.size(threshold) for fault in finding.detectable}
    if verdict == "pass":
        over = f"{SUSPICIOUS:g} over {tests} tests" if tests > 1 else "there is one test"
        sentence += f" It passes because p isn't under {threshold:.2g} ({over})."
        sentence += "".join(f" {part}" for part in (finding.passed, _power(sizes)) if part)
    figures = {"threshold": threshold, **{f"detectable_{fault.name}": size for fault, size in sizes.items()}}
    return Check(finding.name, verdict, finding.t, finding.n, finding.p, {**finding.figures, **figures}, sentence)


def _power(sizes: Mapping[Detectable, float]) -> str:
    seen = [fault.words.format(f"{size:.2g}") for fault, size in sizes.items() if size < math.inf]
    unseen = [fault.name.replace("_", " ") for fault, size in sizes.items() if size == math.inf]
    parts = []
    if seen:
        parts.append(f"In {POWER:.0%} of studies like this it would have found {' or '.join(seen)}, seldom less.")
    if unseen:
        parts.append(f"No {' or '.join(unseen)} of any size would have been found.")
    return " ".join(parts)


@cache
def least_noncentrality(df: int, threshold: float) -> float:
    """The noncentrality at which a chi-square of `df` degrees of freedom has a p-value under the threshold in 80%."""
    if df == 1:
        return float((ndtri(POWER) - ndtri(threshold / 2)) ** 2)
    critical = chi2.isf(threshold, df)
    found = brentq(lambda value: ncx2.sf(critical, df, value) - POWER, 1e-6, 1e6)
    return float(found)  # pyright: ignore[reportArgumentType]


def by_chi_square(
    name: str, words: str, noncentrality: Callable[[float], float], df: int, most: float = math.inf
) -> Detectable:
    """A fault that gives a chi-square some noncentrality, nearly in proportion to its squared size.

    Args:
        name: of the size.
        words: with a place for it.
        noncentrality: by size.
        df: degrees of freedom.
        most: sizes as large or larger can't occur.
    """

    def size(threshold: float) -> float:
        wanted, guess = least_noncentrality(df, threshold), 0.01
        for _ in range(4):
            reached = noncentrality(guess)
            if reached <= 0:
                return math.inf
            guess *= math.sqrt(wanted / reached)
            if guess >= most:
                return math.inf
        return guess if noncentrality(guess) > 0.9 * wanted else math.inf

    return Detectable(name, words, size)


def _verdict(finding: Finding, tests: int) -> Verdict:
    if finding.p is None:
        return "not applicable" if finding.broken is None else "fail" if finding.broken else "pass"
    corrected = finding.p * tests
    return "fail" if corrected < FAIL else "suspicious" if corrected < SUSPICIOUS else "pass"


def _p(p: float) -> str:
    return "< 1e-300" if p < 1e-300 else f"= {p:.2g}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

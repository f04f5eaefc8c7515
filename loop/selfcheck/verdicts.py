"""What a check found, and the verdict on it: thresholds are corrected for how many checks a study gets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["pass", "suspicious", "fail", "not applicable"]
FAIL, SUSPICIOUS = 1e-6, 1e-3  # chance that an honest study gets the verdict, over all its checks together
VERDICTS: tuple[Verdict, ...] = ("fail", "suspicious", "pass", "not applicable")


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


@dataclass(frozen=True, slots=True)
class Check:
    """A finding with its verdict.

    Attributes:
        name: of the check.
        verdict: 'fail' where an honest study would get it once in a million, 'suspicious' once in a thousand.
        t: the generation whose slates it is about; None for the whole study.
        n: how many picks, slates or samples it rests on.
        p: p-value before any correction; None where nothing is left to chance.
        figures: statistics and effect sizes by name; plain numbers and lists.
        sentence: what was compared, what was found and, unless it passed, what it would mean.
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
    return Check(finding.name, verdict, finding.t, finding.n, finding.p, finding.figures, sentence)


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

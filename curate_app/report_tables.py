"""The tables of a report as plain rows for the templates: verdicts, self-checks, figures, training sets, settings."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from curate_app.report_charts import moved_classes
from loop.evidence.schema import CheckResult, ClaimVerdict, Estimate, Evidence, GenerationEvidence, VerdictWord
from loop.evidence.verdicts import overall

WORDS: tuple[VerdictWord, ...] = ("holds", "fails", "can't tell", "not applicable")
CHECK_WORDS = ("fail", "suspicious", "pass", "not applicable")
ROOMY = 6  # generations whose cells have room for margins
BLOCK = 10  # generations in one table
HASH = 12


def tally(evidence: Evidence) -> list[tuple[VerdictWord, int]]:
    """How many verdicts there are of each kind; claims that don't apply are counted once each."""
    counts = Counter(claim.verdict for claim in evidence.claims)
    return [(word, counts[word]) for word in WORDS if counts[word]]


def by_claim(claims: Sequence[ClaimVerdict]) -> dict[str, list[ClaimVerdict]]:
    """The verdicts of each claim, in the order of the claims."""
    found: dict[str, list[ClaimVerdict]] = {}
    for claim in claims:
        found.setdefault(claim.claim, []).append(claim)
    return found


def verdict_blocks(evidence: Evidence) -> list[dict[str, Any]]:
    """The verdict table in blocks of generations that fit a page: heads, and a row for each claim."""
    ts = [generation.t for generation in evidence.generations if generation.t > 0]
    roomy = len(ts) <= ROOMY
    blocks = [ts[start : start + BLOCK] for start in range(0, len(ts), BLOCK)] or [[]]
    return [
        {"ts": block, "rows": list(_rows(evidence, block, first=index == 0)), "roomy": roomy}
        for index, block in enumerate(blocks)
    ]


def _rows(evidence: Evidence, block: Sequence[int], *, first: bool) -> Iterator[dict[str, Any]]:
    several = sum(generation.t > 0 for generation in evidence.generations) > 1
    for name, verdicts in by_claim(evidence.claims).items():
        one = verdicts[0]
        row = {"name": name, "statement": one.statement, "source": one.source, "cells": [], "all": None, "why": ""}
        if one.verdict == "not applicable":
            row["why"] = one.reason
        elif len(verdicts) == 1 and several:
            row["all"] = cell(one)
        else:
            cells = {verdict.t: cell(verdict) for verdict in verdicts}
            row["cells"] = [cells.get(t) for t in block]
        if first or row["cells"]:
            yield row


def cell(verdict: ClaimVerdict) -> dict[str, Any]:
    """A verdict as the templates show it."""
    margin = verdict.margin
    return {
        "t": verdict.t,
        "word": verdict.verdict,
        "margin": signed(margin.value) if margin else "",
        "interval": f"{signed(margin.low)} to {signed(margin.high)}" if margin else "",
        "reason": verdict.reason,
    }


def failures(evidence: Evidence) -> list[dict[str, Any]]:
    """Why claims failed, where something is known of it."""
    return [
        {"name": claim.claim, "t": claim.t, "reason": claim.reason}
        for claim in evidence.claims
        if claim.verdict == "fails" and claim.reason
    ]


def margins(evidence: Evidence) -> list[list[str]]:
    """Every verdict with its figures: claim, t, verdict, measured, bound, margin, corrected interval, z, p."""
    return [
        [
            claim.claim, str(claim.t), claim.verdict, number(claim.measured.value), number(claim.bound),
            signed(claim.margin.value), f"{signed(claim.margin.low)} to {signed(claim.margin.high)}",
            signed(claim.z), number(claim.p, 2),
        ]
        for claim in evidence.claims
        if claim.measured and claim.margin
    ]  # fmt: skip


def check_rows(checks: Sequence[CheckResult]) -> list[dict[str, Any]]:
    """Each check once: its worst verdict, its verdicts counted, and what it says of the whole study if it does."""
    found: dict[str, list[CheckResult]] = {}
    for check in checks:
        found.setdefault(check.name, []).append(check)
    rows = []
    for name, some in found.items():
        counts = Counter(check.verdict for check in some)
        worst = next(word for word in CHECK_WORDS if counts[word])
        whole = next((check for check in some if check.t is None), some[-1])
        said = ", ".join(f"{counts[word]} {word}" for word in CHECK_WORDS if counts[word])
        rows.append({"name": name, "word": worst, "said": said, "sentence": whole.sentence})
    return rows


def odd_checks(checks: Sequence[CheckResult]) -> list[CheckResult]:
    """Those that failed, then the suspicious ones."""
    return [check for word in CHECK_WORDS[:2] for check in checks if check.verdict == word]


def figures(evidence: Evidence) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of numbers; the real data are its last row."""
    moved = moved_classes(evidence)[:1]
    names = [f"share of {evidence.class_names[label]}" for label in moved]
    heads = ["t", "samples", "E[r]", "E[w]", "predicted E[w]", "Var[w]", *names, "KL", "KL reversed", "TV"]
    rows = [_figures(one, moved) for one in evidence.generations]
    if evidence.real:
        law = evidence.real
        shares = [number(law.class_shares[label].value) for label in moved]
        exact = [number(law.mean_reward.value), number(law.mean_w.value), "", number(law.var_w.value)]
        rows.append(["real", "", *exact, *shares, "", "", ""])
    return heads, rows


def _figures(one: GenerationEvidence, moved: Sequence[int]) -> list[str]:
    law, ahead = one.measured, one.predicted
    far = [_with_error(found["value"], found["se"]) if (found := one.divergence.get(key)) else "" for key in _DISTANCES]
    return [
        str(one.t),
        f"{one.n_evaluated:,}",
        _estimate(law.mean_reward),
        _estimate(law.mean_w),
        _estimate(ahead.mean_w) if ahead else "",
        _estimate(law.var_w),
        *(_estimate(law.class_shares[label]) for label in moved),
        *far,
    ]


def gains(evidence: Evidence) -> list[list[str]]:
    """Gains of E[w] by generation: t, predicted, measured, transmission, sampling and learning error."""
    return [
        [
            str(one.t),
            _estimate(found.predicted_gain),
            _estimate(found.measured_gain),
            _estimate(found.ratio) if found.ratio else "too small a gain",
            _estimate(found.sampling) if found.sampling else "",
            _estimate(found.learning) if found.learning else "",
        ]
        for one in evidence.generations
        if (found := one.transmission)
    ]


def training(evidence: Evidence) -> list[list[str]]:
    """What trained each generation: t, real data, picks asked and got, shares asked and achieved, checkpoint."""
    return [
        [
            str(one.t),
            f"{one.n_real:,}",
            f"{one.curated['asked']:,}" if "asked" in one.curated else "",
            " + ".join(f"{one.curated[kind]:,} {said}" for kind, said in KINDS.items() if one.curated.get(kind)),
            _shares(one.shares_asked),
            _shares(one.shares_achieved),
            one.checkpoint_sha256[:HASH],
        ]
        for one in evidence.generations
    ]


def rates(evidence: Evidence) -> list[list[str]]:
    """People's win rates: t, against, comparisons, raters, rate, 95 %."""
    return [
        [
            str(one.t), str(one.against), f"{one.n:,}", f"{one.raters:,}", f"{one.rate.value:.1%}",
            f"{one.rate.low:.1%} to {one.rate.high:.1%}",
        ]
        for one in evidence.win_rates
    ]  # fmt: skip


def settings(config: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The configuration by section, the top level first as ''."""
    top = [(key, _plain(value)) for key, value in config.items() if not isinstance(value, dict)]
    sections = [
        (name, [(key, _plain(value)) for key, value in table.items()])
        for name, table in config.items()
        if isinstance(table, dict)
    ]
    return [("", top), *sections]


def flat(config: dict[str, Any]) -> dict[str, str]:
    """The configuration as a.b: value."""
    return {f"{name}.{key}".strip("."): value for name, pairs in settings(config) for key, value in pairs}


def word_of(verdicts: Sequence[ClaimVerdict]) -> VerdictWord:
    """One word for a claim over all generations: the worst that was found."""
    return overall(verdict.verdict for verdict in verdicts)


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table, with a proper minus sign."""
    return "" if value is None else f"{value:.{digits}g}".replace("-", "−")


def signed(value: float | None) -> str:
    """A number with its sign."""
    return "" if value is None else f"{value:+.3g}".replace("-", "−")


def _estimate(one: Estimate) -> str:
    return _with_error(one.value, one.se)


def _with_error(value: float, se: float) -> str:
    return f"{number(value)} ± {number(1.96 * se, 2)}" if se > 1e-12 else number(value)


def _shares(shares: Sequence[float]) -> str:
    """Real data, earlier sets together, the latest picks."""
    if not shares:
        return ""
    real, *sets = shares
    earlier = [f"{sum(sets[:-1]):.3g} earlier"] if len(sets) > 1 else []
    return " + ".join([f"{real:.3g} real", *earlier, *(f"{one:.3g} picks" for one in sets[-1:])])


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value) if value != "" else "none"


KINDS = {"human": "by people", "sim": "simulated", "proxy": "by proxy"}
_DISTANCES = ("kl", "kl_reverse", "tv")

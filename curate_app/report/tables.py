"""The tables of a report as plain rows for the templates: verdicts, self-checks, figures, training sets, settings."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from curate_app.plots.svg import number as plain_number
from curate_app.report.charts import kl_figures, moved_classes, with_error
from data.measurements import DensityDivergence, TotalVariation
from loop.evidence.schema import (
    CheckResult,
    ClaimVerdict,
    Estimate,
    Evidence,
    Figures,
    GenerationEvidence,
    UtilityGain,
    VerdictWord,
    WinRate,
)
from loop.evidence.verdicts import overall

WORDS: tuple[VerdictWord, ...] = ("holds", "not refuted", "fails", "can't tell", "not applicable")
CHECK_WORDS = ("fail", "suspicious", "pass", "not applicable")
ROOMY = 6  # generations whose cells have room for margins
BLOCK = 10  # generations in one table
HASH = 12
MARGIN_HEADS = (
    "claim", "t", "verdict", "measured", "bound", "as printed", "margin", "corrected interval", "z", "p",
    "bound asks for", "slack used", "could see", "samples for 10%",
)  # fmt: skip
ODD_SHOWN = 8  # self-checks told one by one
MOST_SHARE = 10  # of a predicted gain
KINDS = {"human": "by people", "sim": "simulated", "proxy": "by proxy"}


def preferred(evidence: Evidence) -> list[list[str]]:
    """People's preferences, by t and against: win rate and fitted gain with verdicts, then the reward's own gains."""
    rates = {(one.t, one.against): one for one in evidence.win_rates}
    gains = {(one.t, one.against): one for one in evidence.utility_gains}
    return [
        [str(t), str(against), *_rate(rates.get((t, against))), *_gain(gains.get((t, against))),
         *_moved(evidence.generations[t].measured, evidence.generations[against].measured)]
        for t, against in sorted(rates.keys() | gains.keys())
        if t < len(evidence.generations)
    ]  # fmt: skip


def intervals(evidence: Evidence) -> list[list[str]]:
    """The intervals of win rates and fitted gains: kind, width beside the other kind's, and the verdict's own."""
    return [
        [str(one.t), str(one.against), name, one.interval_kind, _width(shown), _width(one.other),
         "{margin} ({interval})".format(**margin_cells(one.corrected)), f"{one.level:.2g}"]
        for name, found in (("win rate", evidence.win_rates), ("fitted gain", evidence.utility_gains))
        for one in found
        if (shown := one.rate if isinstance(one, WinRate) else one.gain) and one.corrected
    ]  # fmt: skip


def _width(one: Estimate | None) -> str:
    return f"{one.high - one.low:.2g}" if one else ""


def slate_sizes(rates: Sequence[WinRate]) -> str:
    """The sizes of the slates that these rates are from, such as '2' or '3 to 4'."""
    sizes = {size for rate in rates for size in rate.slate_sizes}
    return f"{min(sizes)}" if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"


def _rate(one: WinRate | None) -> list[str]:
    if one is None:
        return [""] * 3
    made = f"{one.n:,} by {one.raters:,}"
    return [made, f"{one.rate.value:.1%} ({one.rate.low:.1%} to {one.rate.high:.1%})", one.verdict]


def _gain(one: UtilityGain | None) -> list[str]:
    if one is None:
        return [""] * 3
    made = f"{one.n:,} by {one.raters:,}"
    return [made, "{margin} ({interval})".format(**margin_cells(one.gain)) if one.gain else "", one.verdict]


def _moved(now: Figures, before: Figures) -> list[str]:
    """The gains of E[r] and E[w]."""
    pairs = (now.mean_reward, before.mean_reward), (now.mean_w, before.mean_w)
    return [with_error(Estimate.of(a.value - b.value, math.hypot(a.se, b.se))) for a, b in pairs]


def unknown(evidence: Evidence) -> list[str]:
    """Why verdicts can't be given, each reason once with its generations."""
    found: dict[str, list[str]] = {}
    for one in (*evidence.win_rates, *evidence.utility_gains):
        pair = f"{one.t} over {one.against}"
        if one.reason and pair not in found.setdefault(one.reason, []):
            found[one.reason].append(pair)
    return [f"Generation {', '.join(pairs)}: {reason}" for reason, pairs in found.items()]


def tally(evidence: Evidence) -> list[tuple[VerdictWord, int]]:
    """The number of verdicts of each kind; claims that don't apply are counted once each."""
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
        if one.verdict == "not applicable":
            continue
        row = {"name": name, "statement": one.statement, "source": one.source, "cells": [], "all": None}
        if len(verdicts) == 1 and several:
            row["all"] = cell(one)
        else:
            cells = {verdict.t: cell(verdict) for verdict in verdicts}
            row["cells"] = [cells.get(t) for t in block]
        if first or row["cells"]:
            yield row


def idle_claims(evidence: Evidence) -> list[tuple[str, str]]:
    """The claims that don't apply, together where it is for the same reason: names, reason."""
    found: dict[str, list[str]] = {}
    for claim in evidence.claims:
        if claim.verdict == "not applicable":
            found.setdefault(claim.reason, []).append(claim.claim)
    return [(", ".join(names), reason) for reason, names in found.items()]


def cell(verdict: ClaimVerdict) -> dict[str, Any]:
    """A verdict as the templates show it."""
    margin = verdict.margin
    return {
        "t": verdict.t,
        "word": verdict.verdict,
        **(margin_cells(margin) if margin else {"margin": "", "interval": ""}),
        "reason": verdict.reason,
    }


def margin_cells(margin: Estimate) -> dict[str, str]:
    """`margin` and `interval`: a value and its interval, to the decimals that the interval's width deserves."""
    half = (margin.high - margin.low) / 2
    if half <= 0:
        return {"margin": signed(margin.value), "interval": ""}
    decimals = min(12, max(0, 1 - math.floor(math.log10(half))))
    value, low, high = (
        f"{round(one, decimals) + 0.0:+,.{decimals}f}".replace("-", "−")
        for one in (margin.value, margin.low, margin.high)
    )
    return {"margin": value, "interval": f"{low} to {high}"}


def failures(evidence: Evidence) -> list[dict[str, Any]]:
    """Why claims failed, where something is known of it."""
    return [
        {"name": claim.claim, "t": claim.t, "reason": claim.reason}
        for claim in evidence.claims
        if claim.verdict == "fails" and claim.reason
    ]


def margins(evidence: Evidence) -> list[list[str]]:
    """Every verdict with its figures, in the columns of `MARGIN_HEADS`."""
    return [
        [
            claim.claim, str(claim.t), claim.verdict, number(claim.measured.value), number(claim.bound),
            number(claim.paper_bound),
            *margin_cells(claim.margin).values(),
            signed(claim.z), number(claim.p, 2),
            share(claim.asked_share), share(claim.slack_used), share(claim.visible_share),
            f"{claim.n_needed:,}" if claim.n_needed else "",
        ]
        for claim in evidence.claims
        if claim.measured and claim.margin
    ]  # fmt: skip


def untold(evidence: Evidence) -> list[dict[str, str]]:
    """Why verdicts can't tell, or are only not refuted, where more is known of it than a wide interval: by claim."""
    rows = []
    for name, verdicts in by_claim(evidence.claims).items():
        for word in ("can't tell", "not refuted"):
            some = [one for one in verdicts if one.verdict == word and one.reason]
            if some:
                rows.append({"name": name, "ts": ", ".join(str(one.t) for one in some), "reason": some[-1].reason})
    return rows


def check_rows(checks: Sequence[CheckResult]) -> list[dict[str, Any]]:
    """Each check once: its worst verdict, its verdicts counted, and the worst in words."""
    found: dict[str, list[CheckResult]] = {}
    for check in checks:
        found.setdefault(check.name, []).append(check)
    rows = []
    for name, some in found.items():
        counts = Counter(check.verdict for check in some)
        worst = next(word for word in CHECK_WORDS if counts[word])
        whole = min(some, key=lambda check: (CHECK_WORDS.index(check.verdict), check.t is not None, check.p or 0.0))
        said = ", ".join(f"{counts[word]} {word}" for word in CHECK_WORDS if counts[word])
        rows.append({"name": name, "word": worst, "said": said, "sentence": whole.sentence})
    return rows


def odd_checks(checks: Sequence[CheckResult]) -> list[CheckResult]:
    """Those that failed, then the suspicious ones; of each those about the whole study first."""
    odd = [check for check in checks if check.verdict in CHECK_WORDS[:2]]
    return sorted(odd, key=lambda check: (CHECK_WORDS.index(check.verdict), check.t is not None, check.t or 0))


def figures(evidence: Evidence) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of numbers; the real data are its last row."""
    moved = moved_classes(evidence)[:1]
    names = [f"share of {evidence.class_names[label]}" for label in moved]
    heads = ["t", "samples", "E[r]", "E[w]", "predicted E[w]", "Var[w]", *names, "KL", "KL reversed", "TV over cells"]
    by_features = [one.distances for one in evidence.generations if one.distances]
    if not any(isinstance(kl_figures(evidence, one), DensityDivergence) for one in evidence.generations):
        heads[-3:-1] = ["KL over cells", "KL reversed over cells"]
    rows = [[*_figures(evidence, one, moved), *_by_features(one, bool(by_features))] for one in evidence.generations]
    if evidence.real:
        law = evidence.real
        shares = [number(law.class_shares[label].value) for label in moved]
        exact = [number(law.mean_reward.value), number(law.mean_w.value), "", number(law.var_w.value)]
        rows.append(["real", "", *exact, *shares, "", "", "", *([""] * (2 if by_features else 0))])
    if by_features:
        heads += [f"{name}({by_features[-1].features})" for name in ("FD", "KD")]
    return heads, rows


def _figures(evidence: Evidence, one: GenerationEvidence, moved: Sequence[int]) -> list[str]:
    law, ahead = one.measured, one.predicted
    far = kl_figures(evidence, one)
    return [
        str(one.t),
        f"{one.n_evaluated:,}",
        with_error(law.mean_reward),
        with_error(law.mean_w),
        with_error(ahead.mean_w) if ahead else "",
        with_error(law.var_w),
        *(with_error(law.class_shares[label]) for label in moved),
        *(with_error(Estimate.of(kl.value, kl.se)) if kl else "" for kl in (far.kl, far.kl_reverse)),
        _total_variation(one.divergence.tv),
    ]


def _total_variation(tv: TotalVariation | None) -> str:
    """The value with its interval; nothing of an older study's, which was too large by what sampling alone makes."""
    return "" if tv is None or tv.low is None else f"{tv.value:.3f} ({tv.low:.3f} to {tv.high:.3f})"


def _by_features(one: GenerationEvidence, shown: bool) -> list[str]:
    if not shown or not one.distances:
        return ["", ""] if shown else []
    found = one.distances
    return [_with_interval(found.fd, found.fd_interval), _with_interval(found.kd, found.kd_interval)]


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    low_high = f" ({number(interval[0], 3)} to {number(interval[1], 3)})" if interval else ""
    return number(value, 3 if interval else 4) + low_high


def gains(evidence: Evidence) -> list[list[str]]:
    """Gains of E[w] by generation: t, predicted, measured, transmission, sampling and learning error."""
    return [
        [
            str(one.t),
            with_error(found.predicted_gain),
            with_error(found.measured_gain),
            with_error(found.ratio) if found.ratio else "too small a gain",
            with_error(found.sampling) if found.sampling else "",
            with_error(found.learning) if found.learning else "",
        ]
        for one in evidence.generations
        if (found := one.transmission)
    ]


def training(evidence: Evidence) -> list[list[str]]:
    """The training of each generation: t, real data, picks asked and got, shares asked and achieved, checkpoint."""
    return [
        [
            str(one.t),
            f"{one.n_real:,}",
            f"{one.curated.asked:,}" if "asked" in one.curated.model_fields_set else "",
            " + ".join(f"{n:,} {word}" for kind, word in KINDS.items() if (n := one.curated.of_kind(kind))),
            _shares(one.shares_asked),
            _shares(one.shares_achieved),
            one.checkpoint_sha256[:HASH],
        ]
        for one in evidence.generations
    ]


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


def how_often(verdicts: Sequence[ClaimVerdict], word: VerdictWord) -> str:
    """At how many generations a claim was found so, and at which where it isn't all; nothing for a claim on all."""
    if len(verdicts) == 1:
        return ""
    found = [str(verdict.t) for verdict in verdicts if verdict.verdict == word]
    where = f", t = {', '.join(found)}" if len(found) < len(verdicts) else ""
    return f"{len(found)} of {len(verdicts)}{where}"


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table; nothing for None."""
    return "" if value is None else plain_number(value, digits)


def share(value: float | None) -> str:
    """A share in per cent, beyond ten times no longer exactly; nothing for None."""
    if value is None:
        return ""
    if abs(value) > MOST_SHARE:
        return f"{'under −' if value < 0 else 'over '}{MOST_SHARE:,.0%}"
    return f"{round(value, 2) + 0.0:.0%}".replace("-", "−")


def signed(value: float | None) -> str:
    """A number with its sign."""
    return "" if value is None else f"{value + 0.0:+.3g}".replace("-", "−")


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

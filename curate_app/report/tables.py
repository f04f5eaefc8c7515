"""The tables of reports as plain rows for the templates: verdicts, self-checks, figures, training sets, settings.

Those of one study come first, then those that compare several.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from curate_app.assets import TEXT
from curate_app.plots.svg import number as plain_number
from curate_app.report.charts import kl_figures, moved_classes, with_error
from data.measurements import DensityDivergence, LanguageFigures
from loop.analysis.logit import LEAST_RATERS
from loop.analysis.taste import RaterTaste
from loop.evidence.schema import (
    CheckResult,
    ClaimVerdict,
    Estimate,
    Evidence,
    GenerationEvidence,
    RetrainingClaim,
    TasteEvidence,
    VerdictWord,
    WinRate,
)
from loop.evidence.verdicts import count_of, overall

WORDS: tuple[VerdictWord, ...] = ("holds", "not refuted", "fails", "can't tell", "not applicable")
CHECK_WORDS = ("fail", "suspicious", "pass", "not applicable")
ROOMY = 6  # generations whose cells have room for margins
BLOCK = 10  # generations in one table
HASH = 12
MARGIN_HEADS = (
    "claim", "t", "verdict", "measured", "bound", "as printed", "margin", "corrected interval", "z", "p",
    "bound asks for", "slack used", "could see", "samples for 10%",
)  # fmt: skip
ODD_SHOWN = 8  # self-checks in full
MOST_SHARE = 10  # of a predicted gain
LEAST_SHOWN, MOST_SHOWN = 3, 8  # leanings of a taste
SAY_TASTE = TEXT["taste"]
KINDS = {"human": "by people", "sim": "simulated", "proxy": "by proxy"}


def taste_evidence(some: RaterTaste) -> TasteEvidence:
    """A taste as a report holds it."""
    fields = asdict(some.taste)
    return TasteEvidence(rater=some.rater, kind=some.kind, **fields)


def taste_note(tastes: Sequence[TasteEvidence]) -> str:
    """Why there is no taste of all raters together; empty where there is one."""
    for taste in tastes:
        if taste.by_rater and not taste.leanings:
            return SAY_TASTE["few_raters"].format(least=LEAST_RATERS, raters=count_of(taste.raters, "rater"))
    return ""


def drift_sentences(evidence: Evidence) -> list[tuple[str, str]]:
    """The tests whether people's tastes moved toward what the generator shows: verdict and sentence."""
    say, rows = SAY_TASTE, []
    for test in evidence.drift:
        who = say[f"drift_{test.of}"]
        if test.p is None or test.slope is None:
            rows.append((test.verdict, say["drift_unknown"].format(who=who, reason=test.reason)))
            continue
        counts = f"{count_of(test.picks, 'pick')} of {count_of(test.raters, 'rater')}"
        slope = f"{test.slope:+.2f}".replace("-", "−")
        rows.append((test.verdict, say["drift_tested"].format(who=who, slope=slope, p=f"{test.p:.2g}", counts=counts)))
    return rows


def coevolution_rows(evidence: Evidence) -> list[list[str]]:
    """The taste of a simulated user who follows what is shown, by generation, as cells; empty where tastes stay."""
    rows = []
    for step in evidence.coevolution.steps if evidence.coevolution else []:
        rate = f"{step.rate.value:.3f} ({step.rate.low:.3f} to {step.rate.high:.3f})" if step.rate else ""
        taste = ", ".join(f"{x:+.3f}".replace("-", "−") for x in step.taste)
        share, predicted = ("" if x is None else f"{x:.3f}" for x in (step.share, step.predicted))
        rows.append([str(step.t), taste, f"{step.turned:.1f}°", share, rate, predicted])
    return rows


def taste_view(taste: TasteEvidence) -> dict[str, Any]:
    """A taste as the templates show it: sentences, and for each leaning its words and a bar in percent of the width.

    Leanings are those that are clear, at least `LEAST_SHOWN` and at most `MOST_SHOWN` of them. The width is from the
    lowest end of an interval, or 0, to the highest.
    """
    say, picks, clear = SAY_TASTE, count_of(taste.picks, "pick"), taste.clear
    if taste.rater is not None:
        title = say["rater"].format(n=taste.rater)
    else:
        title = say["together" if taste.kind == "human" else "sim"]
    if not taste.leanings:
        return {"title": title, "words": say["few"].format(picks=picks), "rows": [], "guesses": "", "about": ""}
    shown = clear[:MOST_SHOWN] if len(clear) >= LEAST_SHOWN else taste.leanings[:LEAST_SHOWN]
    least = min(0.0, *(leaning.low for leaning in shown))
    width = max(0.1, *(leaning.high for leaning in shown)) - least
    if clear:
        words = say["likes"].format(picks=picks, likes=", ".join(leaning.words for leaning in clear[:LEAST_SHOWN]))
    else:
        words = say["unclear"].format(picks=picks)
    basis = "own" if not taste.by_rater else "clustered" if taste.kind == "human" else "independent"
    unit = say["unit_classes" if taste.of_classes else "unit"]
    counts = {"hits": f"{taste.hits:,}", "predicted": f"{taste.predicted:,}", "chance": f"{taste.chance:,.1f}"}
    guesses = say["guesses_many" if taste.by_rater else "guesses"].format(**counts)
    if taste.predicted == 1 and not taste.by_rater:
        guesses = say["guesses_last"][taste.hits]
    return {
        "title": title,
        "words": words,
        "rows": [
            {
                "words": leaning.words,
                "clear": leaning.low > 0,
                "start": 100 * (leaning.low - least) / width,
                "length": 100 * (leaning.high - leaning.low) / width,
                "value": 100 * leaning.value / width,
                "figures": f"{leaning.value:z.2f} ({leaning.low:z.2f} to {leaning.high:z.2f})".replace("-", "−"),
            }
            for leaning in shown
        ],
        "zero": -100 * least / width,
        "guesses": guesses if taste.predicted else "",
        "about": f"{unit} {say[basis].format(raters=count_of(taste.raters, 'rater'))}",
    }


def preferred(evidence: Evidence) -> list[list[str]]:
    """People's preferences, by t and against: win rate and fitted gain with verdicts, then the reward's own gains."""
    rates = {(rate.t, rate.against): rate for rate in evidence.win_rates}
    gains = {(gain.t, gain.against): gain for gain in evidence.utility_gains}
    rows = []
    for t, against in sorted(rates.keys() | gains.keys()):
        if t >= len(evidence.generations):
            continue
        row, rate, gain = [str(t), str(against)], rates.get((t, against)), gains.get((t, against))
        if rate:
            shown = rate.rate
            share_won = f"{shown.value:.1%} ({shown.low:.1%} to {shown.high:.1%})"
            row += [f"{rate.n:,} by {count_of(rate.raters, 'rater')}", share_won, rate.verdict]
        else:
            row += [""] * 3
        if gain:
            fitted = "{margin} ({interval})".format(**margin_cells(gain.gain)) if gain.gain else ""
            row += [f"{gain.n:,} by {count_of(gain.raters, 'rater')}", fitted, gain.verdict]
        else:
            row += [""] * 3
        now, before = evidence.generations[t].measured, evidence.generations[against].measured
        moved = ((now.mean_reward, before.mean_reward), (now.mean_w, before.mean_w))
        rows.append(row + [with_error(Estimate.of(a.value - b.value, math.hypot(a.se, b.se))) for a, b in moved])
    return rows


def ranks(evidence: Evidence) -> list[list[str]]:
    """The generations of an audit, the most preferred first: mean win rate, over and under which, and if it is best."""
    sources = evidence.sources
    return [
        [str(row.t), sources[row.t], "" if row.mean_rate is None else f"{row.mean_rate:.1%}",
         *("; ".join(sources[t] for t in ts) or "–" for ts in (row.preferred_to, row.less_than)), row.best]
        for row in evidence.ranking
    ]  # fmt: skip


def audit_pairs(evidence: Evidence) -> list[list[str]]:
    """The win rates of an audit's pairs, with their own intervals and those of the verdicts."""
    sources, rows = evidence.sources, []
    for rate in evidence.win_rates if sources else ():
        shown, judged = rate.rate, rate.corrected or rate.rate
        rows.append(
            [sources[rate.t], sources[rate.against], f"{rate.n:,} by {count_of(rate.raters, 'rater')}",
             f"{shown.value:.1%} ({shown.low:.1%} to {shown.high:.1%})", f"{judged.low:.1%} to {judged.high:.1%}",
             rate.verdict, rate.interval_kind]
        )  # fmt: skip
    return rows


def by_kind(picks: Mapping[str, Any]) -> str:
    """Picks by kind of rater in words, such as "30 by people + 1,200 by proxy"; empty where there are none."""
    return " + ".join(f"{picks[kind]:,} {words}" for kind, words in KINDS.items() if picks.get(kind))


def intervals(evidence: Evidence) -> list[list[str]]:
    """The intervals of win rates and fitted gains: kind, width beside the other kind's, and the verdict's own."""
    return [
        [str(of.t), str(of.against), name, of.interval_kind, width(shown), width(of.other),
         "{margin} ({interval})".format(**margin_cells(of.corrected)), f"{of.level:.2g}"]
        for name, measured in (("win rate", evidence.win_rates), ("fitted gain", evidence.utility_gains))
        for of in measured
        if (shown := of.rate if isinstance(of, WinRate) else of.gain) and of.corrected
    ]  # fmt: skip


def width(estimate: Estimate | None) -> str:
    """The width of an interval; nothing for None."""
    return f"{estimate.high - estimate.low:.2g}" if estimate else ""


def slate_sizes(rates: Sequence[WinRate]) -> str:
    """The sizes of the slates that these rates are from, such as '2' or '3 to 4'."""
    sizes = {size for rate in rates for size in rate.slate_sizes}
    return f"{min(sizes)}" if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"


def unknown(evidence: Evidence) -> list[str]:
    """Why verdicts can't be given, each reason once with its generations."""
    reasons: dict[str, list[str]] = {}
    for comparison in (*evidence.win_rates, *evidence.utility_gains):
        pair, reason = f"{comparison.t} over {comparison.against}", comparison.reason
        if reason and pair not in reasons.setdefault(reason, []):
            reasons[reason].append(pair)
    return [f"Generation {', '.join(pairs)}: {reason}" for reason, pairs in reasons.items()]


def tally(evidence: Evidence) -> list[tuple[VerdictWord, int]]:
    """The number of verdicts of each kind; claims that don't apply are counted once each."""
    counts = Counter(claim.verdict for claim in evidence.claims)
    return [(word, counts[word]) for word in WORDS if counts[word]]


def by_claim(claims: Sequence[ClaimVerdict]) -> dict[str, list[ClaimVerdict]]:
    """The verdicts of each claim, in the order of the claims."""
    verdicts: dict[str, list[ClaimVerdict]] = {}
    for claim in claims:
        verdicts.setdefault(claim.claim, []).append(claim)
    return verdicts


def verdict_blocks(evidence: Evidence) -> list[dict[str, Any]]:
    """The verdict table in blocks of generations that fit a page: heads, and a row for each claim."""
    ts = [generation.t for generation in evidence.generations if generation.t > 0]
    roomy = len(ts) <= ROOMY
    blocks = [ts[start : start + BLOCK] for start in range(0, len(ts), BLOCK)] or [[]]
    return [
        {"ts": block, "rows": list(verdict_rows(evidence, block, first=index == 0)), "roomy": roomy}
        for index, block in enumerate(blocks)
    ]


def verdict_rows(evidence: Evidence, block: Sequence[int], *, first: bool) -> Iterator[dict[str, Any]]:
    """A row for each claim that applies; claims on all generations together stand in the `first` block alone."""
    several = sum(generation.t > 0 for generation in evidence.generations) > 1
    for name, verdicts in by_claim(evidence.claims).items():
        claim = verdicts[0]
        if claim.verdict == "not applicable":
            continue
        row = {"name": name, "statement": claim.statement, "source": claim.source, "cells": [], "all": None}
        if len(verdicts) == 1 and several:
            row["all"] = cell(claim)
        else:
            cells = {verdict.t: cell(verdict) for verdict in verdicts}
            row["cells"] = [cells.get(t) for t in block]
        if first or row["cells"]:
            yield row


def idle_claims(evidence: Evidence) -> list[tuple[str, str]]:
    """The claims that don't apply, together where it is for the same reason: names, reason."""
    reasons: dict[str, list[str]] = {}
    for claim in evidence.claims:
        if claim.verdict == "not applicable":
            reasons.setdefault(claim.reason, []).append(claim.claim)
    return [(", ".join(names), reason) for reason, names in reasons.items()]


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
        f"{round(end, decimals) + 0.0:+,.{decimals}f}".replace("-", "−")
        for end in (margin.value, margin.low, margin.high)
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


def undecided(evidence: Evidence) -> list[dict[str, str]]:
    """Why verdicts can't tell, or are only not refuted, where more is known of it than a wide interval: by claim."""
    rows = []
    for name, verdicts in by_claim(evidence.claims).items():
        for word in ("can't tell", "not refuted"):
            some = [verdict for verdict in verdicts if verdict.verdict == word and verdict.reason]
            if some:
                ts = ", ".join(str(verdict.t) for verdict in some)
                rows.append({"name": name, "ts": ts, "reason": some[-1].reason})
    return rows


def check_rows(checks: Sequence[CheckResult]) -> list[dict[str, Any]]:
    """Each check once: its worst verdict, its verdicts counted, and the worst in words."""
    by_name: dict[str, list[CheckResult]] = {}
    for check in checks:
        by_name.setdefault(check.name, []).append(check)
    rows = []
    for name, some in by_name.items():
        counts = Counter(check.verdict for check in some)
        worst = next(word for word in CHECK_WORDS if counts[word])
        whole = min(some, key=lambda check: (CHECK_WORDS.index(check.verdict), check.t is not None, check.p or 0.0))
        counted = ", ".join(f"{counts[word]} {word}" for word in CHECK_WORDS if counts[word])
        rows.append({"name": name, "word": worst, "counted": counted, "sentence": whole.sentence})
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
    if not any(isinstance(kl_figures(evidence, generation), DensityDivergence) for generation in evidence.generations):
        heads[-3:-1] = ["KL over cells", "KL reversed over cells"]
    if any(generation.language for generation in evidence.generations):
        return language_figures(evidence, heads[:-3])
    by_features = [generation.distances for generation in evidence.generations if generation.distances]
    rows = []
    for generation in evidence.generations:
        row = figures_of(evidence, generation, moved)
        if by_features:
            by = generation.distances
            row += [with_interval(by.fd, by.fd_interval), with_interval(by.kd, by.kd_interval)] if by else ["", ""]
        rows.append(row)
    if evidence.real:
        law = evidence.real
        shares = [number(law.class_shares[label].value) for label in moved]
        exact = [number(law.mean_reward.value), number(law.mean_w.value), "", number(law.var_w.value)]
        rows.append(["real", "", *exact, *shares, "", "", "", *([""] * (2 if by_features else 0))])
    if by_features:
        heads += [f"{name}({by_features[-1].features})" for name in ("FD", "KD")]
    return heads, rows


def language_figures(evidence: Evidence, heads: list[str]) -> tuple[list[str], list[list[str]]]:
    """The same of texts: cross-entropy, distances of laws and variety beside the rewards, whose heads are given."""
    rows, real = [], evidence.real_language
    lengths = [length for length in (256, 4_096) if all(g.language is None or length in g.language.type_lengths
                                                       for g in evidence.generations)]  # fmt: skip

    def variety(by: LanguageFigures) -> list[str]:
        types = dict(zip(by.type_lengths, by.types, strict=True))
        return [*(f"{share:.1%}" for share in by.distinct), *(f"{types.get(length, 0):,}" for length in lengths)]

    for generation in evidence.generations:
        row, by = figures_of(evidence, generation, ())[: len(heads)], generation.language
        if by:
            means = [None if mean is None else with_error(Estimate.of(mean.value, mean.se))
                     for mean in (by.cross_entropy, by.l1_first, by.l1_second)]  # fmt: skip
            if by.no_mass:
                means[0] = f"∞ ({by.no_mass:.2%} without mass)"
            rare = Estimate.of(100 * by.rare_share.value, 100 * by.rare_share.se)
            row += [means[0] or "", number(by.perplexity, 3), means[1] or "", means[2] or "", f"{with_error(rare)} %"]
            row += variety(by)
        rows.append(row)
    last = next(g.language for g in reversed(evidence.generations) if g.language)
    heads += ["cross-entropy", "perplexity", "L1 from t = 0", "L1 from t = 1", "rare tokens"]
    heads += [f"distinct-{n}" for n in last.distinct_n]
    heads += [f"words among {length:,}" for length in lengths]
    if evidence.real:
        law = evidence.real
        exact = [number(law.mean_reward.value), number(law.mean_w.value), "", number(law.var_w.value)]
        rows.append(["real", "", *exact, "", "", "", "", "10 %", *(variety(real) if real else [])])
    return heads, rows


def types(evidence: Evidence) -> tuple[list[str], list[list[str]]]:
    """Type-token curves: heads, and a row for each number of words with how many are different, by generation."""
    measured = [g.language for g in evidence.generations if g.language]
    curves = [dict(zip(by.type_lengths, by.types, strict=True)) for by in (*measured, evidence.real_language) if by]
    lengths = sorted(length for length in {length for curve in curves for length in curve} if not length & (length - 1))
    heads = [
        "words",
        *(f"t = {g.t}" for g in evidence.generations if g.language),
        *["real"] * bool(evidence.real_language),
    ]
    rows = [
        [f"{length:,}", *(f"{curve[length]:,}" if length in curve else "" for curve in curves)] for length in lengths
    ]
    return heads, rows


def figures_of(evidence: Evidence, generation: GenerationEvidence, moved: Sequence[int]) -> list[str]:
    """A generation's numbers, with the shares of the classes `moved`."""
    law, ahead = generation.measured, generation.predicted
    divergences, tv = kl_figures(evidence, generation), generation.divergence.tv
    return [
        str(generation.t),
        f"{generation.n_evaluated:,}",
        with_error(law.mean_reward),
        with_error(law.mean_w),
        with_error(ahead.mean_w) if ahead else "",
        with_error(law.var_w),
        *(with_error(law.class_shares[label]) for label in moved),
        *(with_error(Estimate.of(kl.value, kl.se)) if kl else "" for kl in (divergences.kl, divergences.kl_reverse)),
        # without an interval it is an older study's, too large by what sampling alone makes
        f"{tv.value:.3f} ({tv.low:.3f} to {tv.high:.3f})" if tv and tv.low is not None else "",
    ]


def with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """A number with the ends of its interval, where it has one."""
    low_high = f" ({number(interval[0], 3)} to {number(interval[1], 3)})" if interval else ""
    return number(value, 3 if interval else 4) + low_high


def gains(evidence: Evidence) -> list[list[str]]:
    """Gains of E[w] by generation: t, predicted, measured, transmission, sampling and learning error."""
    return [
        [
            str(generation.t),
            with_error(gain.predicted_gain),
            with_error(gain.measured_gain),
            with_error(gain.ratio) if gain.ratio else "too small a gain",
            with_error(gain.sampling) if gain.sampling else "",
            with_error(gain.learning) if gain.learning else "",
        ]
        for generation in evidence.generations
        if (gain := generation.transmission)
    ]


def changes(evidence: Evidence) -> list[list[str]]:
    """Changes of figures other than E[w]: of which, t, predicted, measured, transmission; of classes those that moved.

    Those of all generations together come first.
    """
    if evidence.distribution is None:
        return []
    shown = [f"share of {evidence.class_names[label]}" for label in moved_classes(evidence)[:2]]
    rows = [some for some in evidence.distribution.changes if some.of in shown or not some.of.startswith("share of ")]
    return [
        [
            some.of,
            "all" if some.t is None else str(some.t),
            with_error(some.predicted),
            with_error(some.measured),
            "{margin} ({interval})".format(**margin_cells(some.ratio)).replace("+", "") if some.ratio else "too small",
        ]
        for some in sorted(rows, key=lambda some: some.t is not None)
    ]


def laws(evidence: Evidence) -> list[list[str]]:
    """Tests of a generation's whole law: t, samples, verdict, p, distance from the promised law, distance promised."""
    return [
        [
            str(test.t),
            f"{test.n:,}",
            test.verdict,
            number(test.p, 2),
            number(test.distance, 2),
            number(test.promised, 2),
        ]
        for test in (evidence.distribution.laws if evidence.distribution else ())
    ]


def conditions(evidence: Evidence) -> list[list[str]]:
    """Within each condition by generation: condition, t, picks, E[r], predicted and measured gains, transmission."""
    rows = []
    for condition in evidence.conditions:
        for generation in condition.generations:
            gain = generation.transmission
            rows.append(
                [
                    condition.name,
                    str(generation.t),
                    f"{generation.picks:,}" if generation.t else "",
                    with_error(generation.measured.mean_reward),
                    with_error(generation.measured.mean_w),
                    with_error(gain.predicted_gain) if gain else "",
                    with_error(gain.measured_gain) if gain else "",
                    (with_error(gain.ratio) if gain.ratio else "too small a gain") if gain else "",
                ]
            )
    return rows


def condition_gains(evidence: Evidence) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of what was gained within each condition, the last row over all of them by weight.

    Transmission is given by generation, where they are few, and over all of them; nowhere, where nothing was predicted.
    """
    parts = [
        (part.name, f"{part.weight:.1%}", sum(row.picks for row in part.generations), part.generations)
        for part in evidence.conditions
    ]
    if not parts:
        return [], []
    pooled = sum(generation.curated.total for generation in evidence.generations)
    last = len(evidence.generations) - 1
    known = any(generation.transmission for generation in evidence.generations)
    ts = range(1, last + 1) if known and last <= ROOMY else ()
    so_far = known and last > 1
    rows = []
    for name, weight, picks, generations in [*parts, ("all, by weight", "", pooled, evidence.generations)]:
        gains = [generations[t].transmission for t in ts] + [generations[last].transmission_so_far] * so_far
        measured = [with_error(generations[t].measured.mean_w) for t in sorted({0, last})]
        cells = ["" if gain is None else with_error(gain.ratio) if gain.ratio else "too small a gain" for gain in gains]
        rows.append([name, weight, f"{picks:,}", *measured, *cells])
    heads = ["condition", "weight", "picks", *(f"E[w], t = {t}" for t in sorted({0, last}))]
    heads += [f"transmission, t = {t}" for t in ts] + [f"transmission, t = 1 to {last}"] * so_far
    return heads, rows


def condition_verdicts(evidence: Evidence) -> tuple[list[str], list[dict[str, Any]]]:
    """The claims that apply within a condition, and for each condition and all together a word and how often it is."""
    parts = [(part.name, by_claim(part.claims)) for part in evidence.conditions]
    names = [
        name
        for name in dict.fromkeys(name for _, claims in parts for name in claims)
        if any(word_of(claims[name]) != "not applicable" for _, claims in parts if name in claims)
    ]
    rows = []
    for part, claims in [*parts, ("all, by weight", by_claim(evidence.claims))] if names else ():
        words: dict[str, VerdictWord] = {name: word_of(claims[name]) for name in names if name in claims}
        cells = [
            {"word": words[name], "count": how_often(claims[name], words[name])} if name in words else {}
            for name in names
        ]
        rows.append({"name": part, "cells": cells})
    return names, rows


def training(evidence: Evidence) -> list[list[str]]:
    """The training of each generation: t, real data, picks requested and given, shares likewise, checkpoint."""
    return [
        [
            str(generation.t),
            f"{generation.n_real:,}",
            f"{generation.curated.asked:,}" if "asked" in generation.curated.model_fields_set else "",
            by_kind(generation.curated.model_dump()),
            mix_words(generation.shares_asked),
            mix_words(generation.shares_achieved),
            generation.checkpoint_sha256[:HASH],
        ]
        for generation in evidence.generations
    ]


def settings(config: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The configuration by section, the top level first as ''."""
    top = [(key, setting_words(value)) for key, value in config.items() if not isinstance(value, dict)]
    sections = [
        (name, [(key, setting_words(value)) for key, value in table.items()])
        for name, table in config.items()
        if isinstance(table, dict)
    ]
    return [("", top), *sections]


def flat(config: dict[str, Any]) -> dict[str, str]:
    """The configuration as a.b: value."""
    return {f"{name}.{key}".strip("."): value for name, pairs in settings(config) for key, value in pairs}


def word_of(verdicts: Sequence[ClaimVerdict]) -> VerdictWord:
    """One word for a claim over all generations: the worst of its verdicts."""
    return overall(verdict.verdict for verdict in verdicts)


def how_often(verdicts: Sequence[ClaimVerdict], word: VerdictWord) -> str:
    """The number of generations with this verdict, and which where it isn't all; nothing for a claim on all at once."""
    if len(verdicts) == 1:
        return ""
    ts = [str(verdict.t) for verdict in verdicts if verdict.verdict == word]
    where = f", t = {', '.join(ts)}" if len(ts) < len(verdicts) else ""
    return f"{len(ts)} of {len(verdicts)}{where}"


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


def mix_words(shares: Sequence[float]) -> str:
    """Shares of a training set in words: real data, earlier sets together, the latest picks."""
    if not shares:
        return ""
    real, *sets = shares
    earlier = [f"{sum(sets[:-1]):.3g} earlier"] if len(sets) > 1 else []
    return " + ".join([f"{real:.3g} real", *earlier, *(f"{latest:.3g} picks" for latest in sets[-1:])])


def setting_words(value: Any) -> str:
    """A setting's value as text; 'none' for an empty one."""
    if isinstance(value, list | tuple):
        return ", ".join(map(setting_words, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {setting_words(more)}" for key, more in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value) if value != "" else "none"


def setting_differences(evidences: Sequence[Evidence]) -> list[tuple[str, list[str]]]:
    """Settings that aren't the same in all studies: name, then a value for each study."""
    settings_of = [flat(evidence.config) for evidence in evidences]
    keys = list(dict.fromkeys(key for by_key in settings_of for key in by_key))
    rows = [(key, [by_key.get(key, "none") for by_key in settings_of]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def compared_verdicts(evidences: Sequence[Evidence]) -> list[dict[str, Any]]:
    """For each claim a row, and in it for each study one word with its count; those that apply nowhere come last."""
    studies = [by_claim(evidence.claims) for evidence in evidences]
    rows = []
    for name in dict.fromkeys(name for claims in studies for name in claims):
        any_ = next(claims[name][0] for claims in studies if name in claims)
        cells: list[dict[str, str] | None] = []
        for verdicts in (claims.get(name, []) for claims in studies):
            word = word_of(verdicts) if verdicts else None
            if word is None:
                cells.append(None)
            elif word == "not applicable":
                cells.append({"word": word, "count": "", "why": verdicts[0].reason})
            else:
                cells.append({"word": word, "count": how_often(verdicts, word), "why": ""})
        rows.append({"name": name, "statement": any_.statement, "source": any_.source, "cells": cells})
    return sorted(rows, key=lambda row: all(not cell or cell["word"] == "not applicable" for cell in row["cells"]))


def retraining(claims: Sequence[RetrainingClaim]) -> list[dict[str, Any]]:
    """A row for each claim on retraining without choice, with its margin and interval in words."""
    rows = []
    for claim in claims:
        cells = margin_cells(claim.margin) if claim.margin else {"margin": "", "interval": ""}
        shown = f"{cells['margin']} ({cells['interval']})" if cells["interval"] else cells["margin"]
        parts = [shown, claim.error, count_of(claim.seeds, "seed"), claim.reason]
        rows.append({**claim.model_dump(exclude={"margin"}), "why": "; ".join(part for part in parts if part)})
    return rows

"""The curves of a report, from its evidence alone: measured, predicted over them, and the bounds.

Those of one study come first, then those of several studies over each other.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from curate_app.plots.svg import Chart, Line, Look, Point, number
from data.measurements import DensityDivergence, Divergence, LanguageFigures, Mean
from loop.analysis.groups import TasteGroups
from loop.evidence.schema import (
    Estimate,
    Evidence,
    Figures,
    GenerationEvidence,
    ProxyEvidence,
    TypeEvidence,
    WinRate,
)

MOVED_SHOWN = 3  # classes in colour; the others stay grey
MEASURED, ONE_STEP, FROM_START = "measured, with its 95% interval", "predicted, one step", "predicted from t = 0"
BOUND = "bound that a claim sets"
LABEL = 12  # characters of a study's name at the end of its curve
Value = Callable[[Figures], Estimate]
Measurement = Callable[[GenerationEvidence], Estimate | None]


@dataclass(frozen=True, slots=True)
class Titled:
    """A chart with its heading and what there is to say of it."""

    title: str
    chart: Chart
    note: str = ""


def study_charts(evidence: Evidence) -> list[Titled]:
    """All curves that there is something to draw of, the most telling first."""
    if not evidence.generations:
        return []
    charts = [
        win_rates(evidence.win_rates),
        group_gains(evidence.taste_groups),
        type_rewards(evidence.user_types),
        proxy_and_people(evidence.proxy),
        reliability(evidence.proxy),
        proxy_transmission(evidence.proxy),
        mean_w(evidence),
        mean_reward(evidence),
        variance(evidence),
        shares(evidence),
        transmission(evidence),
        errors(evidence),
        divergences(evidence),
        second_opinion(evidence.generations),
        frechet(evidence.generations),
        fidelity(evidence.generations),
        *language(evidence.generations, evidence.real_language),
    ]
    return [chart for chart in charts if chart]


def mean_w(evidence: Evidence) -> Titled | None:
    """E[w] with its predictions and floors; nothing where people picked, whose reward is unknown."""
    if not is_simulated(evidence):
        return None
    floors = sorted({name for generation in evidence.generations for name in generation.floors})
    bounds = [
        Line(name, estimate_points(evidence, lambda g, name=name: g.floors.get(name)), look="bound", legend=BOUND)
        for name in floors
    ]
    return law_chart(evidence, "E[w], what the theorem is about", "E[w],  w = exp(r)", lambda law: law.mean_w, bounds)


def mean_reward(evidence: Evidence) -> Titled | None:
    """E[r] with its predictions."""
    title = "Mean reward" if is_simulated(evidence) else "Mean simulated reward (not people's preferences)"
    return law_chart(evidence, title, "E[r]", lambda law: law.mean_reward)


def variance(evidence: Evidence) -> Titled | None:
    """Var[w] with its predictions."""
    if not is_simulated(evidence):
        return None
    return law_chart(evidence, "Variance of w", "Var[w]", lambda law: law.var_w, floor=0.0)


def shares(evidence: Evidence) -> Titled | None:
    """The shares of the classes that moved most, with predictions; all others in grey."""
    moved = moved_classes(evidence)
    if not moved:
        return None
    lines = []
    for label in range(len(evidence.class_names)):
        hue = moved.index(label) if label in moved[:MOVED_SHOWN] else None
        lines += law_lines(evidence, lambda law, label=label: law.class_shares[label], evidence.class_names[label], hue)
    first, last = (share_of(generation, moved[0]) for generation in (evidence.generations[0], evidence.generations[-1]))
    name = evidence.class_names[moved[0]]
    spoken = f"Share of class {name}, which moved most: {first:.1%} at first, {last:.1%} at last."
    return Titled("Class shares", Chart("share of samples", spoken, lines, form="{:.0%}".format, floor=0.0))


def transmission(evidence: Evidence) -> Titled | None:
    """Measured over predicted gain, by generation."""
    points = estimate_points(evidence, lambda g: g.transmission.ratio if g.transmission else None)
    if not points:
        return None
    ratios = ", ".join(f"{point.value:.2f} at generation {point.t}" for point in points)
    line = Line("transmission", points, loud=True, look="marks", legend="transmission, 95% interval", named=False)
    chart = Chart("measured / predicted gain", f"Transmission: {ratios}.", [line], 1.0, "all of it")
    missing = sum(g.transmission is not None for g in evidence.generations) - len(points)
    note = f"{missing} left out: too small a predicted gain to divide by." if missing else ""
    return Titled("Transmission: the share of the predicted gain that was measured", chart, note)


def errors(evidence: Evidence) -> Titled | None:
    """The parts of the difference between measured and predicted E[w]."""
    parts = [
        ("sampling", "sampling: the picks are finitely many", 2, -5.0),
        ("learning", "learning: the generator isn't its training set", 1, 5.0),
    ]
    lines = [
        Line(name, points, loud=True, look="marks", hue=hue, legend=legend, named=False, aside=aside)
        for name, legend, hue, aside in parts
        if (
            points := estimate_points(
                evidence, lambda g, name=name: getattr(g.transmission, name) if g.transmission else None
            )
        )
    ]
    if not lines:
        return None
    last = lines[0].points[-1].t
    spoken = f"Errors of E[w] at generation {last}: " + ", ".join(
        f"{line.name} {line.points[-1].value:+.3g}".replace("-", "−") for line in lines
    )
    chart = Chart("error of E[w]", f"{spoken}.", lines, 0.0, "none")
    return Titled("Where the difference comes from", chart)


def divergences(evidence: Evidence) -> Titled | None:
    """Both Kullback-Leibler divergences from the real data, with their ceilings."""
    names = {"kl": "KL(generation ‖ real)", "kl_reverse": "KL(real ‖ generation)"}
    measured = [(g.t, figures) for g in evidence.generations if (figures := kl_figures(evidence, g))]
    lines = []
    for hue, (key, name) in enumerate(names.items()):
        points = [Point(t, kl.value, kl.se) for t, figures in measured if (kl := getattr(figures, key))]
        if points:
            lines.append(Line(name, points, True, hue=hue, legend=f"{name}, 95% interval", named=False))
    if not lines:
        return None
    spoken = ", ".join(f"{line.name} {number(line.points[-1].value, 3)}" for line in lines)
    ceilings = sorted({name for generation in evidence.generations for name in generation.ceilings})
    lines += [
        Line(name, estimate_points(evidence, lambda g, name=name: g.ceilings.get(name)), look="bound", legend=BOUND)
        for name in ceilings
    ]
    chart = Chart("divergence in nats", f"At the last generation: {spoken}.", lines, floor=0.0)
    return Titled("Distance from the real data", chart, divergence_note(evidence))


def kl_figures(evidence: Evidence, generation: GenerationEvidence) -> Divergence | DensityDivergence:
    """`kl` and `kl_reverse` of a generation: by densities where those of all generations are known, else over cells."""
    known = all(g.divergence.density for g in evidence.generations if g.divergence.space)
    return generation.divergence.density or Divergence() if known else generation.divergence


def divergence_note(evidence: Evidence) -> str:
    """A note on the space in which the divergences were measured."""
    last = evidence.generations[-1].divergence
    figures = kl_figures(evidence, evidence.generations[-1])
    if isinstance(figures, DensityDivergence):
        return f"By the densities of {figures.n:,} samples and as many draws of the real law, both of them exact."
    space = next((g.divergence.space for g in evidence.generations if g.divergence.space), "")
    if not space:
        return ""
    empty = [str(g.t) for g in evidence.generations if g.divergence.empty]
    unknown = f" Some hold no sample at t = {', '.join(empty)}, which makes KL(real ‖ generation) infinite there."
    why = f" {last.no_density.capitalize()}." if evidence.class_names and last.no_density else ""
    return f"Measured on {space}, so that both are lower bounds.{unknown if empty else ''}{why}"


def second_opinion(generations: Sequence[GenerationEvidence]) -> Titled | None:
    """The mean reward by the classifier that picks go by, beside that by one that they don't."""
    judged = [(g, g.judge) for g in generations if g.judge]
    if not judged:
        return None
    own = [Point(g.t, e.value, interval=(e.low, e.high)) for g, _ in judged for e in [g.measured.mean_reward]]
    other = [Point(g.t, e.value, interval=(e.low, e.high)) for g, judge in judged for e in [judge.mean_reward]]
    lines = [
        Line("classifier", own, loud=True, legend="by the classifier that picks go by", named=False),
        Line("judge", other, loud=True, hue=1, legend="by the judge, trained on its own", named=False),
    ]
    judge = judged[-1][1]
    spoken = (
        f"At last {number(own[-1].value, 3)} by the classifier and {number(other[-1].value, 3)} by the judge; they "
        f"agree on the class of {judge.agreement:.0%}."
    )
    chart = Chart("mean reward", spoken, lines)
    note = "Where only the classifier's curve rises, the loop has learned to please it."
    return Titled("A second opinion on the reward", chart, note)


def frechet(generations: Sequence[GenerationEvidence]) -> Titled | None:
    """The Fréchet distance from the real images, under the name of the features it rests on."""
    measured = [(g.t, g.distances) for g in generations if g.distances]
    points = [Point(t, by.fd, interval=by.fd_interval) for t, by in measured if by.fd is not None]
    if not points:
        return None
    last = measured[-1][1]
    name = f"FD({last.features})"
    spoken = f"{name} is {number(points[0].value, 3)} at first, {number(points[-1].value, 3)} at last."
    note = f"Of {last.n:,} samples and {last.n_real:,} real images; other counts give other values."
    if last.fd_interval:
        note += " The interval is of other samples as many (95%)."
    chart = Chart(name, spoken, [Line(name, points, loud=True, named=False)], floor=0.0)
    return Titled(f"{name}: distance from the real images", chart, note)


def fidelity(generations: Sequence[GenerationEvidence]) -> Titled | None:
    """Precision and density (fidelity), recall and coverage (diversity)."""
    names = ("precision", "density", "recall", "coverage")
    measured = [(g.t, g.distances) for g in generations if g.distances and g.distances.precision is not None]
    if not measured:
        return None
    lines = [
        Line(
            name,
            [Point(t, getattr(by, name), interval=getattr(by, f"{name}_interval")) for t, by in measured],
            loud=True,
            hue=hue,
            legend=name,
        )
        for hue, name in enumerate(names)
    ]
    spoken = ", ".join(f"{line.name} {number(line.points[-1].value, 3)}" for line in lines)
    chart = Chart("share (density: mean)", f"At the last generation: {spoken}.", lines, floor=0.0)
    title = f"Fidelity and diversity, by {measured[-1][1].features}"
    return Titled(title, chart, "Fidelity: precision, density. Diversity: recall, coverage; all with 95% intervals.")


def language(generations: Sequence[GenerationEvidence], real: LanguageFigures | None = None) -> list[Titled | None]:
    """Of texts: cross-entropy, the distance of laws, distinct n-grams, rare tokens and different words.

    Args:
        generations: of the study.
        real: the variety of as much real text.
    """
    measured = [(g.t, g.language) for g in generations if g.language]
    if not measured:
        return []
    return [
        cross_entropy(measured),
        laws(measured),
        distinct_grams(measured, real),
        rare_tokens(measured),
        different_words(measured, real),
    ]


def cross_entropy(measured: Sequence[tuple[int, LanguageFigures]]) -> Titled | None:
    """The cross-entropy on held-out real text; what has no mass makes it infinite, and isn't drawn."""
    points = [Point(t, by.cross_entropy.value, by.cross_entropy.se) for t, by in measured if by.cross_entropy]
    if not points:
        return None
    unit = f"nats a {measured[0][1].tokens}"
    first, last = (math.exp(point.value) for point in (points[0], points[-1]))
    spoken = f"{number(points[0].value, 3)} {unit} at first, {number(points[-1].value, 3)} at last."
    note = f"Perplexity, its exponential: {number(first, 3)} at first, {number(last, 3)} at last."
    chart = Chart(unit, spoken, [Line("cross-entropy", points, loud=True, named=False)])
    return Titled("Cross-entropy on held-out real text", chart, note)


def laws(measured: Sequence[tuple[int, LanguageFigures]]) -> Titled | None:
    """The mean L1 of next-token laws from those of the first two generations."""
    lines = [
        Line(
            f"generation {earlier}",
            [Point(t, mean.value, mean.se) for t, by in measured if (mean := getattr(by, name)) and t >= earlier],
            loud=True,
            hue=earlier,
            legend=f"from generation {earlier}, 95% interval",
            named=False,
        )
        for earlier, name in enumerate(("l1_first", "l1_second"))
    ]
    lines = [line for line in lines if len(line.points) > 1]
    if not lines:
        return None
    spoken = "; ".join(f"{number(line.points[-1].value, 3)} from {line.name}" for line in lines)
    chart = Chart("mean L1, 0 to 2", f"At the last generation {spoken}.", lines, floor=0.0)
    return Titled("How far the laws of the next token have moved", chart, "Over contexts that generation 0 wrote.")


def distinct_grams(measured: Sequence[tuple[int, LanguageFigures]], real: LanguageFigures | None) -> Titled | None:
    """Distinct n-grams over all of them, by n."""
    lines = [
        Line(f"n = {n}", [Point(t, by.distinct[i]) for t, by in measured], loud=True, hue=i, legend=f"n = {n}")
        for i, n in enumerate(measured[0][1].distinct_n)
    ]
    if not lines:
        return None
    spoken = ", ".join(f"{line.points[-1].value:.1%} for {line.name}" for line in lines)
    texts, tokens = measured[-1][1].texts, measured[-1][1].tokens
    note = f"Of {tokens}s in {texts:,} texts; fewer texts have a larger share."
    if real:
        known = ", ".join(f"{share:.1%}" for share in real.distinct)
        note += f" Of {real.texts:,} real texts: {known}."
    chart = Chart("distinct / all n-grams", f"At the last generation {spoken}.", lines, form="{:.0%}".format, floor=0.0)
    return Titled("Distinct n-grams", chart, note)


def rare_tokens(measured: Sequence[tuple[int, LanguageFigures]]) -> Titled:
    """The share of the tokens that are the rarest tenth of real text."""
    points = [Point(t, by.rare_share.value, by.rare_share.se) for t, by in measured]
    spoken = f"{points[0].value:.1%} at first, {points[-1].value:.1%} at last; 10% of real text."
    line = Line("rare tokens", points, loud=True, named=False)
    chart = Chart("share of tokens", spoken, [line], 0.1, "real text", form="{:.0%}".format, floor=0.0)
    return Titled(
        "The vanishing tail: rare tokens", chart, "Rare are the tokens that make up the rarest tenth of real text."
    )


def different_words(measured: Sequence[tuple[int, LanguageFigures]], real: LanguageFigures | None) -> Titled | None:
    """Different words among as many words as all generations wrote: the type-token curve at one length."""
    curves = [dict(zip(by.type_lengths, by.types, strict=True)) for _, by in measured]
    shared = set(curves[0]).intersection(*curves)
    if not shared:
        return None
    length = max(shared)
    points = [Point(t, curve[length]) for (t, _), curve in zip(measured, curves, strict=True)]
    of_real = dict(zip(real.type_lengths, real.types, strict=True)).get(length) if real else None
    spoken = f"{number(points[0].value)} at first, {number(points[-1].value)} at last, among {length:,} words."
    line = Line("words", points, loud=True, named=False)
    chart = Chart("different words", spoken, [line], of_real, "real text", floor=0.0)
    return Titled(f"Different words among {length:,}", chart, "The whole type-token curves are in the figures.")


def win_rates(measured: Sequence[WinRate]) -> Titled | None:
    """Shares of comparisons in which people preferred each generation, in audit slates."""
    lines = []
    for hue, (name, against) in enumerate([("t = 0", lambda t: 0), ("t - 1", lambda t: t - 1)]):
        rates = [rate for rate in measured if rate.against == against(rate.t) and (hue == 0 or rate.t > 1)]
        points = [Point(rate.t, rate.rate.value, interval=(rate.rate.low, rate.rate.high)) for rate in rates]
        lines.append(
            Line(name, points, True, "marks", hue, f"against {name}, 95% interval", named=False, aside=10.0 * hue - 5)
        )
    if not any(line.points for line in lines):
        return None
    latest = [
        f"in {rate.rate.value:.0%} of {rate.n:,} comparison{'s' * (rate.n != 1)} with generation {rate.against}"
        for rate in measured[-2:]
    ]
    spoken = f"The last generation was preferred {' and '.join(latest)} in audit slates."
    pairs = all(rate.indifference is not None for rate in measured)
    line = {"reference": 0.5, "reference_name": "indifference"} if pairs else {}
    chart = Chart("share of comparisons", spoken, lines, form="{:.0%}".format, **line)
    return Titled("How often people preferred each generation", chart, f"Intervals: {measured[-1].interval_kind}.")


def group_gains(groups: TasteGroups | None) -> Titled | None:
    """The gain of each taste group's mean utility since generation 0."""
    if groups is None or not groups.groups or len(groups.groups[0].generations) < 2:
        return None
    lines = []
    for j, group in enumerate(groups.groups):
        points = [Point(row.t, row.gain.value, interval=(row.gain.low, row.gain.high)) for row in group.generations]
        name = f"group {j + 1}" if len(groups.groups) > 1 else "all raters"
        legend = f"{name} ({group.share.value:.0%}), {group.words}" if len(groups.groups) > 1 else group.words
        lines.append(Line(name, points, True, hue=j, legend=f"{legend}; 95% interval"))
    spoken = re.sub(r"(?<!\w)-(?=\d)", "−", " ".join(groups.sentences))
    chart = Chart("mean utility − that of t = 0", spoken, lines, 0.0, "generation 0")
    return Titled("Who is optimised? Mean utility by taste group", chart)


def type_rewards(types: Sequence[TypeEvidence]) -> Titled | None:
    """The mean of each user type's own reward by generation, measured and predicted one step ahead."""
    if not types or len(types[0].generations) < 2:
        return None
    lines = []
    for j, type_ in enumerate(types):
        rows, name = type_.generations, type_.name or "the others"
        points = [Point(row.t, row.mean_reward.value, row.mean_reward.se) for row in rows]
        ahead = [Point(row.t, row.predicted_reward.value) for row in rows if row.predicted_reward]
        lines.append(Line(name, points, True, hue=j, legend=f"{name} ({type_.share:.0%}), measured, 95% interval"))
        if ahead:
            lines.append(Line("one step", ahead, True, "rings", j, ONE_STEP, named=False))
    spoken = "; ".join(
        f"{type_.name or 'the others'} from {type_.generations[0].mean_reward.value:.3g} to "
        f"{type_.generations[-1].mean_reward.value:.3g}"
        for type_ in types
    )
    return Titled("Who is optimised? E[r] of each user type", Chart("E[r], own reward", f"{spoken}.", lines))


def proxy_and_people(proxy: ProxyEvidence | None) -> Titled | None:
    """Each generation against generation 0 in audit pairs: by the proxy's score, by the judge, and as people chose."""
    if proxy is None or not proxy.audits:
        return None
    sides = [
        ("proxy", "expected by the proxy's score", 1, [(row.t, row.proxy) for row in proxy.audits]),
        ("judge", "by the judge's mean reward", 2, [(row.t, row.judge) for row in proxy.audits if row.judge]),
        ("people", "chosen by people, 95% interval", 0, [(row.t, row.people) for row in proxy.audits]),
    ]
    lines = []
    for index, (name, legend, hue, rows) in enumerate(sides):
        points = [Point(t, e.value, interval=(max(0.0, e.low), min(1.0, e.high))) for t, e in rows]  # a share
        lines.append(Line(name, points, True, "marks", hue, legend, named=False, aside=8.0 * (index - 1)))
    last = proxy.audits[-1]
    spoken = (
        f"Of {last.n:,} pairs with generation 0, generation {last.t} is expected to win {last.proxy.value:.0%} by its "
        f"proxy score and won {last.people.value:.0%} by people's choice."
    )
    line = {"reference": 0.5, "reference_name": "indifference"}
    chart = Chart("share won against t = 0", spoken, lines, form="{:.0%}".format, **line)
    return Titled("The proxy, and the people it was fitted to", chart, proxy.sentence)


def reliability(proxy: ProxyEvidence | None) -> Titled | None:
    """The reliability diagram: how often samples of each predicted probability were picked."""
    if proxy is None or len(proxy.reliability) < 2:
        return None
    bins = [(100 * row.predicted, row) for row in proxy.reliability]
    observed = [Point(x, row.observed.value, interval=(row.observed.low, row.observed.high)) for x, row in bins]
    ideal = [Point(x, row.predicted) for x, row in bins]
    lines = [
        Line("as predicted", ideal, look="dashed", legend="as predicted", named=False),
        Line("people", observed, True, "marks", 0, "people's later picks, 95% interval", named=False),
    ]
    n = sum(row.n for row in proxy.calibrations)
    gain = sum(row.n * row.gain.value for row in proxy.calibrations) / n
    over = f"{gain:+.3f}".replace("-", "−")
    spoken = f"In {n:,} picks made after its fit the proxy's log-likelihood is {over} a pick over chance's."
    note = ""
    if proxy.slope:
        note = (
            f"Its scores count {proxy.slope.value:.2f} times (95%: {proxy.slope.low:.2f} to {proxy.slope.high:.2f}) "
            "what they say: 1 is calibrated, less is too sure."
        )
    chart = Chart(
        "share picked", spoken, lines, form="{:.0%}".format, floor=0.0,
        x_label="probability by the proxy", x_form="{:.0f}%".format,
    )  # fmt: skip
    return Titled("Does the proxy know what people pick next?", chart, note.replace("-", "−"))


def proxy_transmission(proxy: ProxyEvidence | None) -> Titled | None:
    """Measured over predicted gain of the proxy's own reward, by generation."""
    points = [
        Point(gain.t, gain.ratio.value, interval=(gain.ratio.low, gain.ratio.high))
        for gain in (proxy.gains if proxy else ())
        if gain.ratio
    ]
    if not points:
        return None
    line = Line("transmission", points, loud=True, look="marks", legend="transmission, 95% interval", named=False)
    ratios = ", ".join(f"{point.value:.2f} at generation {point.t}" for point in points)
    chart = Chart("measured / predicted gain", f"Transmission for the proxy: {ratios}.", [line], 1.0, "all of it")
    return Titled("Transmission of the proxy's own reward, which is known exactly", chart)


def is_simulated(evidence: Evidence) -> bool:
    """True if simulated users alone picked, so that the reward behind the picks is known."""
    return not any(g.curated.human or g.curated.proxy for g in evidence.generations)


def moved_classes(evidence: Evidence) -> list[int]:
    """Labels by how far their share is from where it began, the farthest first; none where all are of one class."""
    if not evidence.generations or len(evidence.class_names) < 2:
        return []
    first, last = (g.measured.class_shares for g in (evidence.generations[0], evidence.generations[-1]))
    return sorted(range(len(first)), key=lambda label: -abs(last[label].value - first[label].value))


def share_of(generation: GenerationEvidence, label: int) -> float:
    """The measured share of a class."""
    return generation.measured.class_shares[label].value


def with_error(estimate: Estimate, *others: Estimate) -> str:
    """A value with the half of its 95% interval, both to the same decimal, which suits others read with it as well."""
    return estimate.beside(*others).replace("-", "−") if estimate.se > 1e-12 else number(estimate.value)


def predictions(
    generations: Sequence[GenerationEvidence], value: Value, hue: int | None = None, quiet: bool = False
) -> list[Line]:
    """The dashed curve from generation 0 and the rings one step ahead, those that there are."""
    start = [Point(g.t, value(g.predicted_from_start).value) for g in generations if g.predicted_from_start]
    ahead = [Point(g.t, value(g.predicted).value) for g in generations if g.predicted]
    lines = [
        Line("from t = 0", start, not quiet, "dashed", hue, FROM_START, named=False),
        Line("one step", ahead, not quiet, "rings", hue, ONE_STEP, named=False),
    ]
    return [line for line in lines if len(line.points) > (line.look == "dashed")]


def law_chart(
    evidence: Evidence, title: str, label: str, value: Value, bounds: Sequence[Line] = (), floor: float = -math.inf
) -> Titled:
    """One figure of the samples' law by generation: measured, predicted, the real data's, and bounds."""
    lines = [*law_lines(evidence, value, "measured"), *(line for line in bounds if line.points)]
    first, last = (value(generation.measured) for generation in (evidence.generations[0], evidence.generations[-1]))
    spoken = f"{with_error(first, last)} at first, {with_error(last, first)} at last"
    ahead = evidence.generations[-1].predicted
    if ahead:
        spoken += f", where one step of theory predicts {number(value(ahead).value)}"
    reference = value(evidence.real).value if evidence.real else None
    return Titled(title, Chart(label, f"{spoken}.", lines, reference, "real data", floor=floor))


def law_lines(evidence: Evidence, value: Value, name: str, hue: int | None = -1) -> list[Line]:
    """Measured and predicted curves; hue -1 is the page's own, None makes the measured one quiet and stand alone."""
    points = estimate_points(evidence, lambda g: value(g.measured))
    if hue is None:
        return [Line(name, [Point(point.t, point.value) for point in points])]
    colour = None if hue < 0 else hue
    return [
        Line(name, points, True, hue=colour, legend=MEASURED),
        *predictions(evidence.generations, value, colour),
    ]


def estimate_points(evidence: Evidence, value: Callable[[GenerationEvidence], Estimate | float | None]) -> list[Point]:
    """A value of each generation that has it, with its interval if it is an estimate."""
    values = [(generation.t, value(generation)) for generation in evidence.generations]
    return [
        Point(t, some.value, interval=(some.low, some.high)) if isinstance(some, Estimate) else Point(t, some)
        for t, some in values
        if some is not None
    ]


def compared_charts(evidences: Sequence[Evidence], names: Sequence[str]) -> list[Titled]:
    """Curves of all studies over each other."""
    known = [(index, evidence) for index, evidence in enumerate(evidences) if evidence.generations]
    if not known:
        return []
    simulated = [(index, evidence) for index, evidence in known if is_simulated(evidence)]
    name = most_moved_class(evidences)
    charts = [
        overlaid("Mean reward", "E[r]", known, names, lambda evidence: lambda g: g.measured.mean_reward),
        overlaid("E[w] relative to the first generation", "E[w] / E[w] at t = 0", simulated, names, relative_mean_w),
        overlaid(
            f"Share of class {name}", "share of samples", known, names,
            lambda evidence: class_share(evidence, name), form="{:.0%}".format,
        ),
        overlaid(
            "Transmission", "measured / predicted gain", simulated, names,
            lambda evidence: lambda g: g.transmission.ratio if g.transmission else None,
            look="marks", reference=1.0, reference_name="all of it",
        ),
        overlaid(
            "Cross-entropy on held-out real text", "nats a token", known, names,
            lambda _: lambda g: estimate_of(g.language and g.language.cross_entropy),
        ),
        overlaid(
            "Distance of the laws of the next token from generation 0's", "mean L1, 0 to 2", known, names,
            lambda _: lambda g: estimate_of(g.language and g.language.l1_first), floor=0.0,
        ),
    ]  # fmt: skip
    features = {g.distances.features for _, evidence in known for g in evidence.generations if g.distances}
    if len(features) == 1:  # by others they can't be compared
        title = f"Fréchet distance from the real images, by {features.pop()}"
        charts.append(overlaid(title, "FD", known, names, lambda _: fd_estimate, floor=0.0))
    return [chart for chart in charts if chart]


def estimate_of(mean: Mean | None) -> Estimate | None:
    """A mean with its interval."""
    return Estimate.of(mean.value, mean.se) if mean else None


def fd_estimate(generation: GenerationEvidence) -> Estimate | None:
    """A generation's Fréchet distance with its interval; None where an older version measured it without."""
    by = generation.distances
    if by is None or by.fd is None or by.fd_interval is None:
        return None
    return Estimate(value=by.fd, low=by.fd_interval[0], high=by.fd_interval[1])


def overlaid(
    title: str,
    y_label: str,
    evidences: Sequence[tuple[int, Evidence]],
    names: Sequence[str],
    measurement: Callable[[Evidence], Measurement],
    look: Look = "line",
    **more: Any,
) -> Titled | None:
    """One measurement of several studies, each in its colour; None where no study has it.

    Args:
        title: of the chart.
        y_label: of its vertical axis.
        evidences: each with the place of its study in `names`.
        names: of all studies.
        measurement: of a study's generations.
        look: of the lines.
        more: arguments of `Chart`.
    """
    lines = []
    for index, evidence in evidences:
        points = estimate_points(evidence, measurement(evidence))
        aside = 5.0 * (index - (len(names) - 1) / 2) if look == "marks" else 0.0
        name = names[index] if len(names[index]) <= LABEL else f"{names[index][: LABEL - 1]}…"
        lines.append(Line(name, points, True, look, index, names[index], look == "line", aside))
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    spoken = "; ".join(
        f"{line.legend} {number(line.points[-1].value)} at generation {line.points[-1].t}" for line in lines
    )
    return Titled(title, Chart(y_label, f"At the last: {spoken}.", lines, **more))


def relative_mean_w(evidence: Evidence) -> Measurement:
    """E[w] of a generation over that of the first, which counts as exact."""
    first = evidence.generations[0].measured.mean_w.value

    def relative(generation: GenerationEvidence) -> Estimate | None:
        now = generation.measured.mean_w
        return Estimate.of(now.value / first, now.se / first) if first else None

    return relative


def class_share(evidence: Evidence, name: str) -> Measurement:
    """The share of a class, which not every study has."""
    if name not in evidence.class_names:
        return lambda generation: None
    label = evidence.class_names.index(name)
    return lambda generation: generation.measured.class_shares[label]


def most_moved_class(evidences: Sequence[Evidence]) -> str:
    """The name of the class whose share moved most in any of the studies."""
    farthest, name = -1.0, ""
    for evidence in evidences:
        for label in moved_classes(evidence)[:1]:
            first, last = (share_of(g, label) for g in (evidence.generations[0], evidence.generations[-1]))
            if abs(last - first) > farthest:
                farthest, name = abs(last - first), evidence.class_names[label]
    return name

"""Reports as HTML: of one study, or of several side by side; functions of the evidence and the pictures.

Each is one file: no scripts, nothing external.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from curate_app.assets import STATIC, TEXT, render
from curate_app.plots.svg import HUES, draw
from curate_app.report import tables
from curate_app.report.charts import Titled, compared_charts, is_simulated, study_charts, with_error
from curate_app.report.pictures import Gallery, data_address
from curate_app.report.tables import by_claim, count_of, slate_sizes, tally
from loop.analysis.groups import TasteGroups, groups_words
from loop.evidence.retraining import retraining_claims, sentences
from loop.evidence.schema import Estimate, Evidence, TypeEvidence
from loop.evidence.verdicts import audit_sentences, type_sentences
from loop.registration import own_version
from loop.sweep.results import variance_splits

SAY = TEXT["report"]
CONTRAST_HEADS = ("studies", "control", "seeds", "gain of E[w]", "control's gain", "beyond the control (95%)")
COMPARISON_VERSION = "curate-comparison/1"
SIGNS = {
    r"\blam\s?=\s?": "λ = ", r"\blam\b": "λ", r"\bbeta\b": "β", r"\|\|": "‖", r"\binf\b": "∞",
    r"(?<=[\w)])-(?=\d)": "−", r"(?<![\w.])-(?=[\d\w])": "−", r" - (?=\w)": " − ",
    r"\b(p|E|V|Var|C)_(ref|t|0)\b": r"\1<sub>\2</sub>", r"\^([3t])\b": r"<sup>\1</sup>",
}  # fmt: skip
PURE = ("replace", "replace_grown", "recent 1")  # policies that the latest set alone trains, in words
STYLES = ("base.css", "charts.css", "report.css")
Figure = tuple[str, str, bytes | Markup]


def pretty(text: str) -> Markup:
    """A sentence with its formulas in proper signs and letters, escaped."""
    written = str(escape(text))
    for plain, proper in SIGNS.items():
        written = re.sub(plain, proper, written)
    return Markup(written)


def lede(evidence: Evidence) -> list[str]:
    """Sentences: the set-up, how the reward moved, what was transmitted, the verdicts counted."""
    if not evidence.generations:
        return [SAY["old"].format(n=evidence.unmeasured) if evidence.unmeasured else SAY["empty"]]
    if evidence.sources:
        return [SAY["audit"].format(n=len(evidence.sources), sources="; ".join(evidence.sources)), *findings(evidence)]
    sentences = [setup_sentence(evidence)]
    if evidence.replay_of:
        key = "imported" if evidence.imported else "replay" if evidence.own_picks else "counterfactual"
        sentences.append(SAY[key].format(study=evidence.replay_of))
    if evidence.market:
        sentences.append(SAY["market"].format(study=evidence.market))
    sentences += findings(evidence)
    if len(evidence.generations) == 1:
        sentences.append(SAY["only_first"])
    if evidence.unmeasured:
        sentences.append(SAY["partly_old"].format(n=evidence.unmeasured))
    return sentences


def setup_sentence(evidence: Evidence) -> str:
    """The study in a sentence: rounds, who picks from how many samples, and the mix that trains."""
    last = len(evidence.generations) - 1
    who = SAY["sim"] if is_simulated(evidence) else SAY["people"]
    is_mix = evidence.policy.startswith("mix")
    is_pure = evidence.policy in PURE or (is_mix and evidence.lam == "inf")
    mixed = SAY["pure" if is_pure else "mixed" if is_mix else "earlier"]
    slate = SAY[{"inf": "infinite", 1: "single"}.get(evidence.k, "finite")].format(k=evidence.k)
    rounds = SAY["rounds_1"] if last == 1 else SAY["rounds_n"].format(n=last) if last else SAY["rounds_0"]
    return SAY["setup"].format(
        rounds=rounds, preset=evidence.preset or "own", who=who, slate=slate, mixed=mixed.format(policy=evidence.policy)
    )


def registered_sentence(evidence: Evidence) -> str:
    """The pre-registration in a sentence: since when there is one, and how many departures; or that there is none."""
    registration = evidence.registration
    if registration is None:
        return SAY["unregistered"]
    n = len(registration.departures)
    moment = registration.registered_at[:16].replace("T", " ")
    return SAY["registered"].format(
        at=moment, departures=SAY["no_departures"] if not n else SAY["departures"].format(n=count_of(n, "departure"))
    )


def findings(evidence: Evidence) -> list[str]:
    """The findings, without the claims one by one."""
    if evidence.sources:
        return audit_sentences(evidence, undecided=False)  # a table has all pairs
    moved = evidence.summary[: len(evidence.summary) - len(by_claim(evidence.claims))]
    if is_simulated(evidence):
        return [*moved, *preference_sentences(evidence), *counted(evidence)]
    by_reward = [SAY["by_reward"].format(sentence=sentence) for sentence in moved]
    exploited = [evidence.proxy.sentence] if evidence.proxy and evidence.proxy.verdict == "found" else []
    return [*preference_sentences(evidence), *exploited, *by_reward, *counted(evidence)]


def preference_sentences(evidence: Evidence) -> list[str]:
    """The share of comparisons in which people preferred the last generation to the first, in a sentence."""
    rates = [rate for rate in evidence.win_rates if rate.against == 0]
    if not rates:
        return [] if is_simulated(evidence) else [SAY["no_audit"]]
    last = rates[-1]
    key, sizes = "preferred_1" if last.raters == 1 else "preferred", slate_sizes([last])
    return [
        SAY[key].format(
            t=last.t,
            rate=f"{last.rate.value:.0%}",
            low=f"{last.rate.low:.0%}",
            high=f"{last.rate.high:.0%}",
            n=f"{last.n:,}",
            comparisons=count_of(last.n, "comparison"),
            raters=count_of(last.raters, "rater"),
            kind=last.interval_kind,
            line=SAY["no_line"].format(sizes=sizes) if last.indifference is None else SAY["indifferent"],
        )
    ]


def counted(evidence: Evidence) -> list[str]:
    """The verdicts in one sentence; none where no claim applies."""
    counts = dict(tally(evidence))
    counts.pop("not applicable", None)
    if not counts:
        return [SAY["no_verdicts"]] if len(evidence.generations) > 1 else []
    parts = [SAY["counted"][word][n > 1].format(n=n) for word, n in counts.items()]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return [SAY["verdicts"].format(total=count_of(sum(counts.values()), "verdict"), counted=listed)]


def glossary(evidence: Evidence) -> list[dict[str, str]]:
    """The meanings of terms and claims, with each claim's statement and source."""
    terms = [{"term": name, "text": text.format(n=evidence.comparisons)} for name, text in SAY["terms"].items()]
    claims = [
        {"term": name, "text": SAY["claims"].get(name, ""), "statement": first.statement, "source": first.source}
        for name, (first, *_) in by_claim(evidence.claims).items()
    ]
    return [*terms, *claims]


def page(evidence: Evidence, gallery: Gallery, way: bytes | None = None) -> str:
    """The report of one study as a whole HTML document.

    Args:
        evidence: of the study.
        gallery: its pictures.
        way: the way so far as a PNG; None before there is any.
    """
    heads, rows = tables.figures(evidence) if evidence.generations else ([], [])
    judged = len(evidence.generations) > 1
    passed = sum(check.verdict == "pass" for check in evidence.checks)
    return render(
        "report.html",
        **frame(evidence.study),
        e=evidence,
        say=SAY,
        lede=lede(evidence),
        tally=tables.tally(evidence) if judged else [],
        simulated=is_simulated(evidence),
        odd=tables.odd_checks(evidence.checks),
        odd_shown=tables.ODD_SHOWN,
        registered=registered_sentence(evidence),
        checks=tables.check_rows(evidence.checks),
        checks_sentence=SAY["checks_pass"][passed > 1].format(n=passed) if passed else SAY["checks_none"],
        blocks=tables.verdict_blocks(evidence) if judged else [],
        idle=tables.idle_claims(evidence),
        failures=tables.failures(evidence),
        undecided=tables.undecided(evidence),
        margin_heads=tables.MARGIN_HEADS,
        charts=[] if evidence.sources else drawn(study_charts(evidence)),
        ranks=tables.ranks(evidence),
        pairs=tables.audit_pairs(evidence),
        shared=count_of(evidence.comparisons, "pair"),
        gallery=gallery,
        way=data_address(way) if way and judged else "",
        tastes=[tables.taste_view(some) for some in evidence.tastes if some.leanings or not some.by_rater],
        taste_note=tables.taste_note(evidence.tastes),
        drift=tables.drift_sentences(evidence),
        coevolution=tables.coevolution_rows(evidence),
        groups=group_rows(evidence.taste_groups),
        groups_words=groups_words(evidence.taste_groups) if evidence.taste_groups else "",
        types_by_reward=type_rows(evidence.user_types),
        type_sentences=type_sentences(evidence.user_types),
        figures={"heads": heads, "rows": rows},
        types=dict(zip(("heads", "rows"), tables.types(evidence), strict=True)),
        gains=tables.gains(evidence),
        changes=tables.changes(evidence),
        laws=tables.laws(evidence),
        preferred=[] if evidence.sources else tables.preferred(evidence),
        preferred_intervals=tables.intervals(evidence),
        unknown=tables.unknown(evidence),
        margins=tables.margins(evidence),
        training=tables.training(evidence),
        conditions=tables.conditions(evidence),
        condition_gains=tables.condition_gains(evidence),
        condition_verdicts=tables.condition_verdicts(evidence),
        settings=tables.settings(evidence.config),
        hashes=[(some.t, some.checkpoint_sha256, some.picture_sha256) for some in evidence.generations],
        glossary=glossary(evidence),
    )


def comparison_page(
    evidences: Sequence[Evidence],
    galleries: Sequence[Gallery],
    names: Sequence[str],
    *,
    title: str,
    figures: Sequence[Figure] = (),
    controls: Sequence[Sequence[str]] = (),
) -> str:
    """The comparison of several studies as a whole HTML document.

    Args:
        evidences: of the studies.
        galleries: their pictures, in the same order.
        names: of the studies.
        title: of the page.
        figures: to stand on top: heading, caption, and a PNG or markup that is known to be safe.
        controls: combinations of a sweep beside their controls, in the columns of `CONTRAST_HEADS`.
    """
    studies, retraining = list(zip(names, evidences, strict=True)), retraining_claims(evidences)
    return render(
        "report_compare.html",
        **frame(title),
        lede=SAY["comparison"][len(evidences) > 1].format(n=len(evidences)),
        names=names,
        hues=[index % HUES for index in range(len(names))],
        summaries=[
            " ".join([*(findings(evidence) or lede(evidence)), registered_sentence(evidence)]) for evidence in evidences
        ],
        odd=[(name, check) for name, evidence in studies for check in tables.odd_checks(evidence.checks)],
        differences=tables.setting_differences(evidences),
        controls=controls,
        contrast_heads=CONTRAST_HEADS,
        controls_note=SAY["controls_note"],
        verdicts=tables.compared_verdicts(evidences),
        retraining=tables.retraining(retraining),
        retraining_note=SAY["retraining"],
        outcomes=sentences(retraining),
        splits=[(those_of(split.studies, names), split.sentence) for split in variance_splits(evidences)],
        splits_note=SAY["variance_note"],
        charts=drawn(compared_charts(evidences, names)),
        pairs=first_and_last(galleries, names),
        figures=[
            (
                heading,
                caption,
                picture
                if isinstance(picture, Markup)
                else Markup('<img src="{}" alt="{}">').format(data_address(picture), caption),
            )
            for heading, caption, picture in figures
        ],
        hashes=[(name, evidence.seed, evidence.generations[-1:]) for name, evidence in studies],
        version=COMPARISON_VERSION,
    )


def those_of(places: Sequence[int], names: Sequence[str]) -> str:
    """Some of the compared studies in few words: all of them, two by name, or the first and how many more."""
    if len(places) == len(names):
        return "All studies"
    first, *others = (names[i] for i in places)
    return f"{first} and {others[0] if len(others) == 1 else f'{len(others)} more that differ in seeds alone'}"


def group_rows(groups: TasteGroups | None) -> list[list[str]]:
    """By taste group and generation: group, raters, t, E[r] and its gain with intervals, raters who lose."""
    rows = []
    for j, group in enumerate(groups.groups if groups else ()):
        for row in group.generations:
            first = row is group.generations[0]
            rows.append([
                str(j + 1) if first else "",
                f"{group.share.value:.0%} ({group.share.low:.0%} to {group.share.high:.0%})" if first else "",
                str(row.t),
                interval_words(row.utility),
                interval_words(row.gain) if row.t else "",
                f"{row.losing:.0%}" if row.t else "",
            ])  # fmt: skip
    return rows


def interval_words(estimate: Estimate) -> str:
    """A signed value and its interval."""
    return f"{estimate.value:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f})".replace("-", "−")


def type_rows(types: Sequence[TypeEvidence]) -> list[list[str]]:
    """By user type and generation: its own E[r] measured and predicted, and the parts of the predicted gain of E[w]."""
    return [
        [
            f"{type_.name or 'the others'} ({type_.share:.0%})" if not row.t else "",
            str(row.t),
            with_error(row.mean_reward),
            with_error(row.predicted_reward) if row.predicted_reward else "",
            with_error(row.predicted_gain_w) if row.predicted_gain_w else "",
            with_error(row.gain_w) if row.gain_w else "",
            *(
                "" if part is None else tables.number(part, 3)
                for part in (row.own_picks, row.other_picks, row.real_data)
            ),
        ]
        for type_ in types
        for row in type_.generations
    ]


def first_and_last(galleries: Sequence[Gallery], names: Sequence[str]) -> list[dict[str, Any]]:
    """The pictures of the first and the last generation of each study that has some."""
    pairs = []
    for index, gallery in enumerate(galleries):
        generations = [picture for picture in gallery.pictures if picture.title.startswith("t =")]
        ends = generations[:1] + generations[1:][-1:]
        if ends:
            pairs.append({"name": names[index], "hue": index % HUES, "pictures": ends, "gallery": gallery})
    return pairs


def comparison_json(evidences: Sequence[Evidence], controls: Sequence[dict[str, Any]] = ()) -> str:
    """The evidence of all studies as one JSON document, with the combinations of a sweep beside their controls."""
    studies = [evidence.model_dump(mode="json") for evidence in evidences]
    retraining = [claim.model_dump(mode="json") for claim in retraining_claims(evidences)]
    variance = [split.model_dump(mode="json") for split in variance_splits(evidences)]
    whole = {"schema_version": COMPARISON_VERSION, "studies": studies, "retraining": retraining, "variance": variance}
    if controls:
        whole["controls"] = list(controls)
    return json.dumps(whole, indent=1, ensure_ascii=False)


def frame(title: str) -> dict[str, Any]:
    """The frame of every report: its title, the styles to be written into it, and the version that made it."""
    styles = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES)
    return {"title": title, "pretty": pretty, "styles": styles, "made_by": f"curate {own_version()}"}


def drawn(charts: Sequence[Titled]) -> list[dict[str, Any]]:
    """Charts as the templates show them."""
    return [
        {"title": titled.title, "note": titled.note, "spoken": titled.chart.spoken, "picture": draw(titled.chart)}
        for titled in charts
    ]

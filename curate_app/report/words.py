"""A report in plain words: what was done and what came of it, in a paragraph; what the claims and terms mean."""

import re

from markupsafe import Markup, escape

from curate_app.assets import TEXT
from curate_app.report.charts import is_simulated
from curate_app.report.people import slate_sizes
from curate_app.report.tables import by_claim, tally
from loop.evidence.schema import Evidence

SAY = TEXT["report"]
SIGNS = {
    r"\blam\s?=\s?": "λ = ", r"\blam\b": "λ", r"\bbeta\b": "β", r"\|\|": "‖", r"\binf\b": "∞",
    r"(?<=[\w)])-(?=\d)": "−", r"(?<![\w.])-(?=[\d\w])": "−", r" - (?=\w)": " − ",
    r"\b(p|E|V|Var)_(ref|t|0)\b": r"\1<sub>\2</sub>", r"\^([3t])\b": r"<sup>\1</sup>",
    r"(?<=\d) %": "\u00a0%",
}  # fmt: skip


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
    said = [_setup(evidence), *_replayed(evidence), *findings(evidence)]
    if len(evidence.generations) == 1:
        said.append(SAY["only_first"])
    if evidence.unmeasured:
        said.append(SAY["partly_old"].format(n=evidence.unmeasured))
    return said


def findings(evidence: Evidence) -> list[str]:
    """What came of it, without the claims one by one."""
    moved = evidence.summary[: len(evidence.summary) - len(by_claim(evidence.claims))]
    if not is_simulated(evidence):
        moved = [SAY["yardstick"].format(sentence=sentence) for sentence in moved]
    return [*moved, *_preferred(evidence), *counted(evidence)]


def counted(evidence: Evidence) -> list[str]:
    """The verdicts in one sentence; none where no claim applies."""
    counts = dict(tally(evidence))
    counts.pop("not applicable", None)
    if not counts:
        return [SAY["no_verdicts"]] if len(evidence.generations) > 1 else []
    said = [SAY["counted"][word].format(n=n) for word, n in counts.items()]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return [SAY["verdicts"].format(total=sum(counts.values()), counted=listed)]


def glossary(evidence: Evidence) -> list[dict[str, str]]:
    """What each term and each claim means, with the claim's statement and source."""
    terms = [{"term": name, "text": text.format(n=evidence.comparisons)} for name, text in SAY["terms"].items()]
    claims = [
        {"term": name, "text": SAY["claims"].get(name, ""), "statement": one[0].statement, "source": one[0].source}
        for name, one in by_claim(evidence.claims).items()
    ]
    return [*terms, *claims]


def _setup(evidence: Evidence) -> str:
    last = len(evidence.generations) - 1
    who = SAY["sim"] if is_simulated(evidence) else SAY["people"]
    mixed = SAY["pure"] if evidence.lam == "inf" and evidence.policy.startswith("mix") else SAY["mixed"]
    slate = SAY["infinite"] if evidence.k == "inf" else SAY["finite"].format(k=evidence.k)
    made = SAY["made_1"] if last == 1 else SAY["made_n"].format(n=last) if last else SAY["made_0"]
    return SAY["setup"].format(
        made=made, preset=evidence.preset or "own", who=who, slate=slate, mixed=mixed.format(policy=evidence.policy)
    )


def _replayed(evidence: Evidence) -> list[str]:
    if not evidence.replay_of:
        return []
    return [SAY["replay" if evidence.own_picks else "counterfactual"].format(study=evidence.replay_of)]


def _preferred(evidence: Evidence) -> list[str]:
    rates = [rate for rate in evidence.win_rates if rate.against == 0]
    if not rates:
        return [] if is_simulated(evidence) else [SAY["no_audit"]]
    last = rates[-1]
    low, high = f"{last.rate.low:.0%}", f"{last.rate.high:.0%}"
    key, sizes = "preferred_1" if last.raters == 1 else "preferred", slate_sizes([last])
    line = SAY["no_line"].format(sizes=sizes) if last.indifference is None else SAY["indifferent"]
    counts = {"t": last.t, "n": last.n, "raters": last.raters, "kind": last.interval_kind, "line": line}
    return [SAY[key].format(rate=f"{last.rate.value:.0%}", low=low, high=high, **counts)]

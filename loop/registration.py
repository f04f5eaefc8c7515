"""Pre-registration: what a study is to show, when it ends, what it leaves out and by which analysis, set beforehand.

`curate plan --register` stores it before the first pick, once and for good. A report prints it and every departure.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import loop
from data.records import timestamp
from data.secret_file import replace_file
from data.store import queries
from loop.config import POINT_SETS, StudyConfig, plain
from loop.evidence.intervals import LEVEL
from loop.evidence.people import raters_of
from loop.evidence.schema import VERSION, Departure, DepartureKind, Registration, RegistrationEvidence, StoppingRule
from loop.evidence.verdicts import count_of
from loop.raters.journey import control_state
from loop.study import Study

FILE = "registration.json"  # a copy, to be deposited elsewhere; what counts is in the database
STATUS = "registration"
VERDICTS = "loop.evidence.study"  # where a report's verdicts come from: the analysis is this and what it imports of ...
ANALYSIS = ("loop.analysis", "loop.evidence", "loop.theory", "loop.policy", "loop.user_types", "model.luce")
FREE = ("compute", "generations", "preset")  # settings that change no result, or that the stopping rule has
MOST_NAMED = 3  # generations named in a sentence


class RegistrationError(ValueError):
    """The study can't be registered any more, or not so."""


@cache
def analysis_files() -> dict[str, Path]:
    """The modules of the registered analysis: the report's verdicts, and what they import to follow from the log."""
    root = Path(loop.__file__).parents[1]
    files, waiting = dict[str, Path](), [VERDICTS]
    while waiting:
        name = waiting.pop()
        file = root.joinpath(*name.split(".")).with_suffix(".py")
        if name in files or not name.startswith(ANALYSIS) or not file.exists():
            continue
        files[name] = file
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return dict(sorted(files.items()))


@cache
def analysis_sha256() -> str:
    """The sha256 of the code of the registered analysis."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in analysis_files().values())).hexdigest()


def register(
    study: Study, hypotheses: list[str], picks: int | None = None, power: dict[str, Any] | None = None
) -> Registration:
    """Registers a study before its first pick, and leaves registration.json in its folder.

    Args:
        study: the study, of which nothing was picked yet.
        hypotheses: in words; empty for those that the report's verdicts are on.
        picks: in all, after which the study ends; None where the stopping rule counts none.
        power: of the plan, in plain values.

    Raises:
        RegistrationError: something was picked, it is registered already, or a hypothesis has no words.
    """
    config = study.config
    rule = StoppingRule(
        raters=config.stop.raters or None,
        picks_per_rater=config.journey.picks or None,
        generations=config.stop.generations or None,
        picks=picks,
        simulated_generations=config.generations,
    )
    if not all(text.strip() for text in hypotheses):
        raise RegistrationError("A hypothesis is empty: write it in words, or leave --hypothesis out.")
    registration = Registration(
        registered_at=timestamp(),
        hypotheses=hypotheses or default_hypotheses(study, rule),
        stopping_rule=rule,
        exclusions=plain(config.quality.model_dump()),
        analysis=about_analysis(rule),
        analysis_sha256=analysis_sha256(),
        software=f"curate {own_version()}",
        settings=settings_of(config),
        power=power or {},
    )
    with study.store.write():  # a pick that comes meanwhile waits, and is the first one after
        if study.store.status(STATUS):
            raise RegistrationError(
                f"{study.path} is registered already, which can't be changed; `curate report` has it."
            )
        if study.store.last_pick():
            raise RegistrationError(
                f"Picks were made in {study.path} already, and a study is registered before the first one. Make a new "
                "study and register that."
            )
        study.store.set_status(STATUS, text=registration.model_dump_json(), sha256=registration.sha256)
        study.store.log("curate", "registered", sha256=registration.sha256)
        replace_file(study.path / FILE, text_of(registration))
    return registration


def text_of(registration: Registration) -> str:
    """The text of registration.json."""
    content = {**registration.model_dump(mode="json"), "sha256": registration.sha256}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def own_version() -> str:
    """The version of this package; 'unknown' where it runs without being installed."""
    try:
        return version("curate")
    except PackageNotFoundError:
        return "unknown"


def settings_of(config: StudyConfig) -> dict[str, Any]:
    """All settings that raters or results depend on, as plain values; no password is among them."""
    return {**config.as_json(), "journey": plain(config.journey.model_dump())}


def default_hypotheses(study: Study, rule: StoppingRule) -> list[str]:
    """The hypotheses that the verdicts of a report are on, in words."""
    if study.sources:
        return ["One of the generations is preferred to all others: each of its win rates lies above 1/2."]
    if study.config.data.dataset in POINT_SETS:
        return ["Every claim of the report that applies to this study holds at every generation."]
    last = f"generation {rule.generations}" if rule.generations else "the last generation"
    return [
        f"People prefer {last} to generation 0: the mean over raters of each one's share of audit pairs that it wins "
        "lies above 1/2.",
        "Where simulated users pick alone: every claim of the report that applies to this study holds.",
    ]


def about_analysis(rule: StoppingRule) -> str:
    """The analysis in words."""
    if rule.raters:
        interval = f"once {rule.raters:,} raters have finished, for this number of raters"
    else:
        interval = "valid at every look"
    return (
        f"The verdicts of a report (schema {VERSION}): all of them share an error of {LEVEL:.0%}. Win rates in "
        f"audit pairs and gains of fitted utilities, each rater a cluster, with intervals that are {interval}; claims "
        "on E[w] with the exact operator's predictions. Withdrawn sessions count nowhere."
    )


def stored(study: Study) -> RegistrationEvidence | None:
    """The registration of a study with every departure from it; None for a study that was begun without."""
    status = study.store.status(STATUS)
    if not status:
        return None
    registration = Registration.model_validate_json(status["text"])
    departures = list(_departures(study, registration, status["sha256"]))
    return RegistrationEvidence(
        **registration.model_dump(exclude={"settings"}),
        sha256=status["sha256"],
        stopping_words=stopping_words(registration),
        exclusion_words=exclusion_words(registration.exclusions),
        departures=departures,
    )


def standing_words(study: Study) -> str:
    """Since when the study is registered, and how many departures there are so far; empty for one that isn't.

    Numbers of the stopping rule that aren't reached yet count as none, unless a researcher has ended the study.
    """
    registration = stored(study)
    if registration is None:
        return ""
    over = control_state(study.store).finished
    n = sum(over or not departure.unreached for departure in registration.departures)
    moment = registration.registered_at[:16].replace("T", " ")
    return f"Registered on {moment} UTC, before the first pick; departures so far: {n}."


def stopping_words(registration: Registration) -> str:
    """The stopping rule in words."""
    rule, parts = registration.stopping_rule, []
    simulated = f"With simulated users alone the study ends at generation {rule.simulated_generations}."
    if registration.settings["data"]["dataset"] in POINT_SETS and not rule.picks:
        return simulated  # people can't be shown points
    if rule.raters:
        parts.append(f"{rule.raters:,} raters have finished")
    if rule.picks:
        parts.append(f"{count_of(rule.picks, 'pick')} {'is' if rule.picks == 1 else 'are'} in")
    if rule.generations:
        parts.append(f"generation {rule.generations} is published")
    each = f" Each rater answers {count_of(rule.picks_per_rater, 'slate')}." if rule.picks_per_rater else ""
    if not parts:
        return f"People may come for any length of time; intervals are valid at every look.{each} {simulated}"
    return f"The study ends when {' and '.join(parts)}.{each} {simulated}"


def exclusion_words(exclusions: dict[str, Any]) -> str:
    """The registered exclusions in words."""
    picks, raters = (", ".join(exclusions.get(key) or ()) for key in ("exclude_picks", "exclude_raters"))
    parts = [f"picks flagged {picks}"] if picks else []
    parts += [f"all picks of raters flagged {raters}"] if raters else []
    return f"Left out of training: {', and '.join(parts)}." if parts else "No flag keeps a pick out."


def _departures(study: Study, registration: Registration, sha256: str) -> Iterator[Departure]:
    if registration.sha256 != sha256:
        yield _departure("registration", "The registration isn't what was registered: its hash differs.")
    if (study.path / FILE).exists():
        try:
            copy = json.loads((study.path / FILE).read_text(encoding="utf-8"))
        except ValueError:
            copy = None
        if copy != json.loads(text_of(registration)):
            yield _departure("registration", f"{FILE} in the study's folder isn't the copy that was left there.")
    yield from settings_departures(study, registration)
    yield from stopping_departures(study, registration.stopping_rule)
    declared = {*registration.exclusions["exclude_picks"], *registration.exclusions["exclude_raters"]}
    for generation in study.store.generations():
        turn = generation.measurements.turn
        for flag, n in (turn.excluded if turn else {}).items():
            if n and flag not in declared:
                words = f"{count_of(n, 'pick')} flagged {flag} {'was' if n == 1 else 'were'} kept out"
                yield _departure("exclusions", f"{words} of generation {generation.t}, unregistered.")
    if registration.analysis_sha256 != analysis_sha256():
        yield _departure(
            "analysis",
            f"The analysis isn't the registered one: its code has the hash {analysis_sha256()[:12]}, registered was "
            f"{registration.analysis_sha256[:12]} ({registration.software}; now curate {own_version()}).",
        )


def settings_departures(study: Study, registration: Registration) -> Iterator[Departure]:
    """The settings that aren't the registered ones, now or when a generation was published."""
    before = flat(registration.settings)
    places: dict[tuple[str, str], list[str]] = {}
    states = [(f"generation {row.t}", row.config) for row in study.store.generations()]
    for place, config in [*states, ("study.toml", settings_of(study.config))]:
        if not config or (place.startswith("generation") and study.sources):  # an audit's come from elsewhere
            continue
        for key, value in flat(config).items():
            if key.split(".")[0] not in FREE and key in before and value != before[key]:
                places.setdefault((key, value), []).append(place)
    for (key, value), where in places.items():
        kind: DepartureKind = "settings"
        if key.startswith("quality."):
            kind = "exclusions"
        elif key.startswith("stop.") or key == "journey.picks":
            kind = "stopping rule"
        more = f" and {len(where) - MOST_NAMED} more" if len(where) > MOST_NAMED else ""
        at = f"{', '.join(where[:MOST_NAMED])}{more}"
        yield _departure(kind, f"{key} is {value} ({at}); registered was {before[key]}.")


def stopping_departures(study: Study, rule: StoppingRule) -> Iterator[Departure]:
    """The numbers of raters, picks and generations that are more or fewer than the stopping rule says."""
    store, latest = study.store, study.store.latest_cut()
    by_kind: dict[str, int] = {}
    for row in queries.tally(store):
        if row["outcome"] in ("pick", "tie") and row["purpose"] in ("curation", "audit"):
            by_kind[row["kind"]] = by_kind.get(row["kind"], 0) + row["n"]
    people = by_kind.get("human", 0)
    counts = [("pick", people or by_kind.get("sim", 0), rule.picks)]
    last = latest[0] if latest else 0
    if people or not by_kind:
        counts += [
            ("rater", raters_of(store, study.config).finished, rule.raters),
            ("generation", last, rule.generations),
        ]
    else:
        counts.append(("generation", last, rule.simulated_generations))
    for noun, n, registered in counts:
        if registered and n != registered:
            word = "more" if n > registered else "fewer"
            sentence = f"{count_of(n, noun)}, {word} than the {registered:,} registered."
            yield Departure(kind="stopping rule", sentence=sentence, unreached=n < registered)


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings as a.b: the value as text."""
    pairs: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            pairs |= flat(value, f"{prefix}{key}.")
        else:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            pairs[f"{prefix}{key}"] = f"{value:.15g}" if number else json.dumps(plain(value), ensure_ascii=False)
    return pairs


def _departure(kind: DepartureKind, sentence: str) -> Departure:
    return Departure(kind=kind, sentence=sentence)

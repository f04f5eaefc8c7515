"""`curate audit`: a study in which people compare, blind, the generators that came out of several other studies.

Its generations are copies of theirs, and all its slates are pairs of two of these. Nothing is ever trained in it.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data.datasets import sample_shape
from data.records import Generation
from loop.config import JourneyConfig, PanelConfig, StopConfig, StudyConfig, build, override, put
from loop.evaluation import Evaluator
from loop.evidence.study import store_quick_evidence
from loop.generators import load_generator
from loop.setup import copy_checkpoint, prepare_evaluator
from loop.study import AuditSource, Study, StudyExistsError
from model.checkpoint import load as load_checkpoint
from model.compute import describe
from model.config import LearnerConfig
from model.interfaces import OnStep, Report

PICKS = 30  # slates of a rater, where the first study sets no end
LEAST_POOL = 48
AT = "@"  # between a study's folder and the generation that is wanted of it


@dataclass(frozen=True)
class Entry:
    """One of the generators that are compared.

    Attributes:
        study: that it comes from.
        name: of that study, different from those of the others.
        generation: of that study.
    """

    study: Study
    name: str
    generation: Generation

    @property
    def words(self) -> str:
        """The entry as people read it."""
        return f"{self.name}, generation {self.generation.t}"


def open_entries(sources: Sequence[str], generation: int | None = None) -> list[Entry]:
    """The generators to compare.

    Args:
        sources: folders of studies, each with @T behind it for a generation of its own.
        generation: of the studies that name none; None for the last of each.

    Raises:
        ValueError: fewer than two, the same twice, no such generation, or samples that can't be compared.
    """
    if len(sources) < 2:
        raise ValueError("An audit compares two or more studies; name another, or curate serve the study itself.")
    named = [split(source, generation) for source in sources]
    names, entries = distinct_names([path for path, _ in named]), []
    for (path, t), name in zip(named, names, strict=True):
        study = Study.open(path)
        check_auditable(study)
        generations = study.store.generations()
        last = len(generations) - 1
        if not generations:
            raise ValueError(f"{path} has no generation yet, so there is nothing to compare.")
        if t is not None and t > last:
            raise ValueError(f"{path} has generations 0 to {last}, and generation {t} was asked for.")
        entries.append(Entry(study, name, generations[last if t is None else t]))
    for place, entry in enumerate(entries):
        for other in entries[:place]:
            check_comparable(other, entry)
    return entries


def split(source: str, generation: int | None) -> tuple[Path, int | None]:
    """The folder of a study, and the generation that is wanted of it; None for the last."""
    folder, at, t = source.rpartition(AT)
    if at and t.isdecimal() and not Path(source).exists():
        return Path(folder), int(t)
    return Path(source), generation


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Names of studies: their folder's name, or as much of the path as tells different ones apart."""
    resolved, names = [path.resolve() for path in paths], []
    for parts in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-parts:]) for path in resolved]
        if len(set(names)) == len(set(resolved)):
            break
    return names


def check_auditable(study: Study) -> None:
    """Refuses a study without generators of its own.

    Raises:
        ValueError: it is an imported log, or an audit.
    """
    if study.sources:
        raise ValueError(f"{study.path} is an audit itself; name the studies that it compares.")
    if study.is_log:
        raise ValueError(
            f"{study.path} is an imported log without generators; name the study that it came from, or one that "
            "`curate replay` made from it."
        )
    shape = sample_shape(study.config.data)
    if len(shape) != 3 and study.config.data.family is None and not study.config.data.is_text:
        raise ValueError(f"{study.config.data.dataset} are points, which people can't be shown, in {study.path}.")


def check_comparable(entry: Entry, other: Entry) -> None:
    """Refuses two generators that are the same, or whose samples people couldn't compare blind.

    Raises:
        ValueError: the same generation, or other data or conditions.
    """
    if entry.study.path.resolve() == other.study.path.resolve() and entry.generation.t == other.generation.t:
        raise ValueError(
            f"{entry.study.path} stands there twice with generation {entry.generation.t}; "
            f"name another study, or another generation as {entry.study.path}{AT}T."
        )
    configs = entry.study.config, other.study.config
    data = configs[0].data, configs[1].data
    if data[0].dataset != data[1].dataset or sample_shape(data[0]) != sample_shape(data[1]):
        (a, shape_a), (b, shape_b) = ((table.dataset, sample_shape(table)) for table in data)
        raise ValueError(
            f"{entry.study.path} makes {a} of shape {shape_a}, and {other.study.path} {b} of shape {shape_b}: people "
            "could tell them apart; compare studies of the same data."
        )
    if data[0].is_text and len({table.model_dump_json(exclude={"n"}) for table in data}) > 1:
        raise ValueError(
            f"{entry.study.path} and {other.study.path} write texts of other vocabularies; compare studies of one text."
        )
    if data[0].conditions != data[1].conditions or configs[0].conditions != configs[1].conditions:
        raise ValueError(
            f"{entry.study.path} and {other.study.path} have other conditions, and the samples of a slate share one: "
            "compare studies of the same conditions."
        )


def audit_config(entries: Sequence[Entry], settings: Sequence[str] = (), seed: int | None = None) -> StudyConfig:
    """The settings of an audit: those of the first study's data, reward and pages, without those of training.

    Args:
        entries: that are compared.
        settings: as for --set.
        seed: of everything random in it; None for the first study's.

    Raises:
        ValueError: an unknown setting or value, or one that an audit can't have.
    """
    source = entries[0].study.config
    last = len(entries) - 1
    fixed = {"curation.k": 2, "pool.audit_k": 2, "slates.kind": "best", "stop.generations": last, "app.reveal": False}
    picks = source.journey.picks or PICKS
    values = {
        **source.model_dump(),
        "generations": last,
        "seed": source.seed if seed is None else seed,
        "learner": LearnerConfig().model_dump(),
        "panel": PanelConfig().model_dump(),
        "stop": StopConfig().model_dump(),
    }
    given = {
        **fixed,
        "curation.position_bias": (),
        "slates.ties": False,
        "slates.repeat": 0.0,
        "journey.picks": picks,
        "pool.audit": max(source.pool.audit, source.pool.size, LEAST_POOL),
    }
    config = build(override(put(values, given, "audit"), settings), "audit")
    for key, value in fixed.items():
        table, _, name = key.partition(".")
        if getattr(getattr(config, table), name) != value:
            raise ValueError(f"{key} is {str(value).lower()} in an audit, whose slates are pairs; leave it out.")
    if not config.journey.picks or not config.pool.audit:
        missing = "journey.picks" if not config.journey.picks else "pool.audit"
        raise ValueError(f"{missing} must be 1 or more in an audit, where raters answer so many slates of pairs.")
    return config


def make_audit(entries: Sequence[Entry], out: Path, config: StudyConfig, report: Report) -> Study:
    """Makes the audit; it appears whole or not at all.

    Args:
        entries: that are compared.
        out: the folder of the new study.
        config: from `audit_config`.
        report: called with the phase and how far it is.

    Raises:
        StudyExistsError: there is something at `out`.
        ValueError: a checkpoint or the classifier doesn't go with the study.
    """
    if out.exists():
        raise StudyExistsError(f"There is something at {out} already; choose another name or remove it first.")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        study = Study.create(draft / "study", config)
        try:
            fill(study, entries, report)
        finally:
            study.store.close()
        study.path.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Study.open(out)


def fill(study: Study, entries: Sequence[Entry], report: Report) -> None:
    """Gives a new study the generators, the first one's classifiers and texts, and measures all of them alike."""
    first = entries[0].study
    for name in ("classifier", "judge"):
        if first.weights_path(name).exists():
            copy_checkpoint(first.weights_path(name), study.weights_path(name))
    for field in JourneyConfig.model_fields:
        text = getattr(study.config.journey, field)
        if isinstance(text, str) and text.endswith(".md") and (first.path / text).is_file():
            shutil.copyfile(first.path / text, study.path / text)
    for t, entry in enumerate(entries):
        copy_checkpoint(entry.study.checkpoint_path(entry.generation.t), study.checkpoint_path(t))
    sources = [AuditSource(entry.name, entry.generation.t, entry.study.config.as_json()).as_json() for entry in entries]
    study.store.set_status("audit", sources=sources)
    evaluator = prepare_evaluator(study, report)
    evaluator.score_real(partial(report, "scoring real data"))
    with study.store.write():
        study.store.set_status("real", **evaluator.of_real().as_json())
        study.store.add_evaluation(evaluator.real_samples())
    for t, entry in enumerate(entries):
        publish(study, evaluator, t, entry, lambda n, of, t=t: report("evaluating", t * of + n, len(entries) * of))
    report("evaluating", 1, 1)
    study.store.log("curate", "audit_made", sources=[entry.words for entry in entries])
    store_quick_evidence(study)


def publish(study: Study, evaluator: Evaluator, t: int, entry: Entry, on_step: OnStep) -> None:
    """Measures one of the generators, with a word on how far it is, and stores it as generation t."""
    evaluation = evaluator.of(load_generator(study, t), t, None, on_step)
    with study.store.write():
        study.store.add_images([evaluation.picture])
        study.store.publish(
            Generation(
                t=t,
                parent_t=None,
                checkpoint=study.checkpoint_path(t).name,
                checkpoint_sha256=load_checkpoint(study.checkpoint_path(t)).sha256,
                n_real=entry.generation.n_real,
                n_curated=entry.generation.n_curated,
                policy=f"from {entry.words}",
                config=study.config.as_json(),
                measurements=evaluation.measurements.extended(device=describe()),
            )
        )
        study.store.add_evaluation(evaluation.samples)

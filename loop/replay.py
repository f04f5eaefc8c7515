"""`curate replay`: other generators trained on the picks of a study that there is, turn by turn, for counterfactuals.

Generation t + 1 learns from the picks that generation t + 1 of the old study learned from. From generation 2 on they
were made from samples of the old study's generators; the table `drawn_by` says which. An imported log has no
generators: there the new study makes its generation 0, all picks train generation 1, and it goes on like any other.
"""

import math
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import getitem
from pathlib import Path
from typing import Any, Self

from data.datasets import sample_shape
from data.measurements import ProxyFit, Turn
from data.records import Generation
from data.store import queries
from data.store.transfer import missing_images
from loop.config import StudyConfig, build, known_keys, override, plain, put
from loop.generators import load_generator
from loop.raters.journey import finish
from loop.raters.quality import refresh
from loop.round import latest_t, next_generation
from loop.setup import copy_checkpoint, prepare_evaluator, prepare_first_generation
from loop.study import Study, StudyExistsError, first_difference, only_worker
from loop.training_data import stored_samples, turn_picks
from loop.users import People
from model.compute import from_main, is_main
from model.config import PREFERENCE_LEARNERS
from model.interfaces import Report


@dataclass(frozen=True, slots=True)
class ImportedLog:
    """The curation picks of an imported log.

    Attributes:
        name: of its study.
        sizes: samples of their slates, every number that occurs; None for K = inf.
        shape: of a picked image, or of a point.
    """

    name: str
    sizes: tuple[int | None, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, source: Study) -> Self | None:
        """The picks of a study that is an imported log; None of any other.

        Raises:
            ValueError: nothing was picked, or an image isn't there.
        """
        if not source.is_log:
            return None
        picks = list(queries.curation_picks(source.store))
        if not picks:
            raise ValueError(f"Nothing is picked in {source.path}, so there is nothing to train on.")
        if missing := missing_images(source.store):
            raise ValueError(
                f"{len(missing):,} images of {source.path} are known by their hash alone: import the log again with "
                "images/ beside its table."
            )
        sizes = sorted({pick["k"] for pick in picks}, key=lambda k: k or math.inf)
        return cls(study_name(source), tuple(sizes), tuple(stored_samples(source, picks[:1]).shape[1:]))

    @property
    def k(self) -> int | None:
        """Samples of every slate; None where they differ, or there is nothing to choose from."""
        return self.sizes[0] if len(self.sizes) == 1 and (self.sizes[0] or 1) > 1 else None

    def check(self, config: StudyConfig) -> None:
        """Refuses settings that the log doesn't go with.

        Raises:
            ValueError: which, and what to set.
        """
        wanted = sample_shape(config.data)
        if self.shape != wanted:
            raise ValueError(
                f"The samples of {self.name} are of shape {self.shape}, and those of the new study of {wanted}: import "
                "the log again with the data and the size that the study is to have."
            )
        needs = ""
        if config.learner.kind != "curate":
            needs = f"learner.kind '{config.learner.kind}' learns from whole slates"
        elif config.curation.extend == "proxy":
            needs = "curation.extend = 'proxy' learns from whole slates"
        if needs and self.k is None:
            held = " and ".join("infinity" if k is None else str(k) for k in self.sizes)
            raise ValueError(
                f"{needs} of one size, 2 or more; in {self.name} they are of {held}. Use the learner curate, with "
                'curation.extend = "none".'
            )
        if needs and config.curation.k != self.k:
            raise ValueError(f"{needs}, and those of {self.name} hold {self.k} samples: set curation.k to {self.k}.")


MAY_CHANGE = ("mix.", "quality.", "train.", "learner.", "curation.extend")
MAY_NOT = ("train.pretrain_", "train.augment")


def replayed_config(
    source: StudyConfig, settings: Sequence[str], given: dict[str, Any], log: ImportedLog | None = None
) -> StudyConfig:
    """The old study's settings with others put in.

    Args:
        source: the old study's.
        settings: as for --set.
        given: values by the setting's full name; None leaves it.
        log: of an imported log the picks; any setting may change then, since nothing was made by one.

    Raises:
        ValueError: an unknown setting or value, one that says how the log, generation 0 or the figures were made, or
            one that an imported log doesn't go with.
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    learner = chosen.get("learner.kind", "curate")
    if learner != "curate":  # it learns from the slates that there are, and DPO from nothing else
        pure = {"mix.policy": "mix", "mix.lam": math.inf} if learner in PREFERENCE_LEARNERS else {}
        chosen = {"curation.extend": "none", **pure, **chosen}
    values = source.model_dump()
    if log:
        values = put(values, {"curation.extend": "none", **({"curation.k": log.k} if log.k else {})}, "replay")
    config = build(put(override(values, settings), chosen, "replay"), "replay")
    if log:
        log.check(config)
        return config
    for key in changes(source, config):
        if not key.startswith(MAY_CHANGE) or key.startswith(MAY_NOT):
            raise ValueError(
                f"{key} can't be changed in a replay: it says how generation 0, the log or the figures were made. "
                "What trains may change: learner.*, mix.*, quality.*, curation.extend, and train.* but for pretraining."
            )
    return config


def changes(source: StudyConfig, config: StudyConfig) -> dict[str, dict[str, Any]]:
    """The settings that differ, by full name: {was, now}, as plain values."""
    was, now = plain(source.model_dump()), plain(config.model_dump())
    differing = {}
    for key in known_keys():
        before, after = (reduce(getitem, key.split("."), values) for values in (was, now))
        if before != after:
            differing[key] = {"was": before, "now": after}
    return differing


def begin(source: Study, out: Path, config: StudyConfig) -> Study:
    """The replay in the making, with log and generation 0, in a hidden folder beside `out`; or one to go on with.

    Raises:
        StudyExistsError: there is something at `out`, or an unfinished replay with other settings.
        ValueError: the study can't be replayed so; nothing is left behind.
    """
    if out.exists():
        raise StudyExistsError(f"There is something at {out} already; choose another name or remove it first.")
    unfinished = out.parent / f".{out.name}.replay"
    if unfinished.exists():
        return reopen(source, unfinished, config)
    generations, log = source.store.generations(), ImportedLog.of(source)
    if log is None:
        check_replayable(source, generations)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        study = Study.create(draft / "study", config)
        try:
            (fill if log is None else start_from)(study, source)
        finally:
            study.store.close()
        study.path.rename(unfinished)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Study.open(unfinished)


def turns(study: Study) -> list[Turn]:
    """The turns that train the generations of a replay, in order."""
    return [Turn.model_validate(turn) for turn in study.store.status("replay")["turns"]]


def progress(study: Study) -> tuple[int, int]:
    """The last generation that a replay trains, and the latest that there is."""
    latest = study.store.latest_cut()
    return 1 if study.starts_from_log else len(turns(study)), latest[0] if latest else 0


def run(study: Study, out: Path, report: Report) -> None:
    """Trains the generations that are still to come, then puts the study at `out`; killed, it goes on from `begin`.

    Args:
        study: from `begin`; it is closed at the end.
        out: where it is to be.
        report: called with the phase and how far it is.

    Raises:
        WorkerRunningError: another process works on it.
    """
    try:
        with only_worker(study.path) if is_main() else nullcontext():
            starts = from_main(lambda: study.starts_from_log)
            evaluator = prepare_evaluator(study, report)
            if starts:
                prepare_first_generation(study, evaluator, report)
            latest, planned = from_main(lambda: (latest_t(study), turns(study)))
            generator = load_generator(study, latest)
            if starts and not latest:
                people = People(study, evaluator.scorer)
                turn = people.curate(generator, 0, lambda done, total: report("curating", done, total))
                if not turn.n_proxy:  # all the picks that there are, however many the settings would ask for
                    picked = from_main(lambda: len(turn_picks(study, turn)))
                    turn = turn.model_copy(update={"asked": picked})
                next_generation(study, evaluator, generator, turn, report)
            for turn in planned[latest:]:
                report("curating", 1, 1)
                generator = next_generation(study, evaluator, generator, turn, report)
            if is_main():
                study.store.close()
                study.path.rename(out)
    finally:
        if is_main():
            study.store.close()


def reopen(source: Study, unfinished: Path, config: StudyConfig) -> Study:
    """An unfinished replay, to go on with.

    Raises:
        StudyExistsError: it is of another study, or has other settings.
    """
    study = Study.open(unfinished)
    difference = first_difference(study.config.model_dump(), config.model_dump())
    if study.replay_of != study_name(source):
        difference = f"it replays {study.replay_of}"
    if difference:
        study.store.close()
        raise StudyExistsError(f"An unfinished replay lies at {unfinished}: {difference}. Go on with it, or remove it.")
    return study


def check_replayable(source: Study, generations: Sequence[Generation]) -> None:
    """Refuses a study that can't be replayed.

    Raises:
        ValueError: it is an audit, has no generation that picks trained, or doesn't say which picks.
    """
    if source.sources:
        raise ValueError(f"{source.path} is an audit, whose picks train nothing; replay a study that it compares.")
    if len(generations) < 2:
        raise ValueError(f"{source.path} has no generation that picks trained, so there is nothing to replay yet.")
    old = next((generation.t for generation in generations[1:] if generation.measurements.turn is None), None)
    if old is not None:
        raise ValueError(f"Generation {old} of {source.path} doesn't say which picks trained it (an older version).")


def start_from(study: Study, source: Study) -> None:
    """Gives a new study an imported log's curation slates and picks, as those of its generation 0.

    Raises:
        ValueError: a slate's condition is none of the study's.
    """
    store = study.store
    if study.conditions is not None:
        study.conditions.of_names([pick["condition"] for pick in queries.curation_picks(source.store)])
    store.copy_log(source.store.path, as_first=True)
    with store.write():
        name = source.store.status("origin").get("study", study_name(source))
        store.set_status("origin", study=name)
        store.set_status("replay", of=study_name(source), turns=[], imported=True)
        store.log(
            "curate", "replayed", of=study_name(source), generations=1, changed=changes(source.config, study.config)
        )


def fill(study: Study, source: Study) -> None:
    """Gives a new study the old one's log, classifier and generation 0, and settles all turns."""
    copy_checkpoint(source.checkpoint_path(0), study.checkpoint_path(0))
    for name in ("classifier", "judge"):
        if source.weights_path(name).exists():
            copy_checkpoint(source.weights_path(name), study.weights_path(name))
    store, last = study.store, study.store.copy_log(source.store.path)
    settled = settle(study, source, [old for old in source.store.generations() if old.t <= last])
    with store.write():
        finish(store)
        log = source.store.status("origin").get("study", study_name(source))
        store.set_status("origin", study=log)
        store.set_status("replay", of=study_name(source), turns=[turn.as_json() for turn in settled])
        store.log(
            "curate", "replayed", of=study_name(source), generations=last, changed=changes(source.config, study.config)
        )


def settle(study: Study, source: Study, generations: Sequence[Generation]) -> list[Turn]:
    """The old study's turns under the new one's rule on flags and `curation.extend`.

    The rule is applied to the flags of today; an unchanged rule leaves out the same picks as then.

    Raises:
        ValueError: the log doesn't hold what a turn would train on.
    """
    store, config, settled = study.store, study.config, []
    extend, other_rule = config.curation.extend, config.quality != source.config.quality
    other_extend = extend != source.config.curation.extend
    if other_rule:
        refresh(store, config.quality)
        store.clear_exclusions()
    for before, generation in pairwise(generations):
        turn = generation.measurements.turn
        assert turn is not None  # see `check_replayable`
        if other_extend:
            after = 0 if extend == "accumulate" else before.pick_cut
            turn = turn.model_copy(update={"after": after, "n_proxy": 0, "fit": ProxyFit(), "proxy_session": None})
        if other_rule:
            since = turn.after if extend == "none" else 0
            excluded = store.exclude(turn.t, since, turn.cut, config.quality.rule)
            turn = turn.model_copy(update={"excluded": excluded})
        picks = queries.count_curation_picks(store, after=turn.after, until=turn.cut, without=turn.t)
        if other_extend and extend == "proxy":
            raise ValueError("curation.extend=proxy needs a proxy's picks, and the log holds none; leave it as it was.")
        if turn.n_proxy and other_rule:
            raise ValueError(
                "The proxy learned from picks that another rule on flags would leave out; "
                "add --set curation.extend=none (or accumulate) to train on people's picks alone."
            )
        if not picks and not turn.n_proxy:
            raise ValueError(
                f"No pick is left to train generation {turn.t} on: all are withdrawn or left out by a flag."
            )
        settled.append(turn.model_copy(update={"asked": picks}) if other_extend else turn)
    return settled


def study_name(study: Study) -> str:
    """The name of the study's folder."""
    return study.path.resolve().name

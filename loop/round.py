"""A round of Algorithm 1: the turn that is settled, the training of the next generation, its publication.

A turn is settled and stored before anything is trained, so that a killed worker goes on from it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from data.measurements import CuratedCounts, Measurements, Seconds, Turn
from data.records import Generation
from data.store import queries
from loop.evaluation import Evaluation, Evaluator
from loop.evidence.proxy import fit_gain
from loop.evidence.study import store_quick_evidence
from loop.generators import load_generator
from loop.learners import Utilities, curated_set
from loop.scoring import needed_features
from loop.study import Study
from loop.training_data import CuratedSet, read_curated, training_seed, training_set
from model.compute import describe, from_main, processes
from model.config import PREFERENCE_LEARNERS, REWARD_LEARNERS, LearnerConfig
from model.flow import Flow
from model.interfaces import Generator, Report, scaled
from model.training import Snapshotter


def store_turn(study: Study, turn: Turn) -> None:
    """Stores the turn until its generation is published."""
    study.store.set_status("turn", **turn.as_json())


def stored_turn(study: Study, t: int) -> Turn | None:
    """The turn to generation t that a stopped worker had settled, unless all its raters have withdrawn since."""
    status = study.store.status("turn")
    if status.get("t") != t:
        return None
    turn = Turn.model_validate(status)
    left = queries.count_curation_picks(study.store, after=turn.after, until=turn.cut, without=turn.t)
    return turn if left else None


def open_requests(study: Study) -> list[dict]:
    """The researcher's requests to retrain that no turn answers yet."""
    return study.store.events(kinds=("retrain_requested",), after=study.store.status("turn").get("request", 0))


def latest_t(study: Study) -> int:
    """The number of the latest generation, of which there is at least one."""
    latest = study.store.latest_cut()
    assert latest is not None
    return latest[0]


def latest_cut(study: Study) -> int:
    """The highest pick id that has been used."""
    latest = study.store.latest_cut()
    return latest[1] if latest else 0


def next_generation(
    study: Study,
    evaluator: Evaluator,
    parent: Generator,
    turn: Turn,
    report: Report,
    joined: Callable[[CuratedSet], CuratedSet] = lambda own: own,
) -> Generator:
    """Trains generation `turn.t` from its parent and publishes it; raters get its slates from that commit on.

    Killed before the commit, nothing of it counts: the same turn trains the same weights again.

    Args:
        study: the study.
        evaluator: its measurements.
        parent: generation `turn.t - 1`.
        turn: the picks to train on.
        report: called with the phase and how far it is.
        joined: gives what trains, from the turn's curated set: the same, but for a study in a market.

    Raises:
        ValueError: there are no picks in the turn.
    """
    config, t = study.config, turn.t

    by_rewards = config.learner.kind in REWARD_LEARNERS

    def read(of: Turn) -> CuratedSet:
        curated = curated_set(study, of, evaluator.scorer) if by_rewards else read_curated(study, of)
        if not np.isnan(curated.rewards).any():
            return curated
        scores = evaluator.scorer.score(scaled(curated.x), None, curated.conditions)  # an imported log's have none
        return replace(curated, rewards=scores.reward)

    curated = joined(from_main(lambda: read(turn)))
    training = training_set(study, curated, t, *evaluator.real_rows, turn, read)
    started = time.monotonic()
    seed, path = training_seed(config, t, 0xF17), study.checkpoint_path(t)
    other = [] if config.learner == LearnerConfig() else [config.learner]
    training_name = repr((config.pretraining, config.train, *other, turn, seed))
    snapshotter = Snapshotter(path.with_suffix(".partial"), training_name)
    resumed = from_main(snapshotter.path.exists)
    on_step = partial(report, "training")
    learner = config.learner if config.learner.kind in PREFERENCE_LEARNERS else None
    if isinstance(parent, Flow):
        child = parent.fit(training, None if config.train.restart else parent, seed, on_step, snapshotter, learner)
    elif learner is not None:  # settings allow it to diffusers' generators alone
        child = parent.fit(training, parent, seed, on_step, learner=learner)  # type: ignore[call-arg]
    else:
        child = parent.fit(training, None if config.train.restart else parent, seed, on_step)
    trained = time.monotonic()
    report("publishing", 0, 1)
    sha256 = child.save(path)
    snapshotter.remove()
    child = load_generator(study, t)
    fitted = Utilities.read(turn.fit)
    before = None if fitted is None else fitted(evaluator.features(parent, t - 1))
    evaluation = evaluator.of(child, t, curated.x, lambda done, total: report("publishing", done, total + 1))
    proxy = turn.fit.model_copy()
    if fitted is not None and before is not None:
        real = fitted(needed_features(evaluator.real_scores.features))
        gain = fit_gain(before, fitted(evaluator.features(child, t)), real, config, len(curated.x))
        proxy = fitted.named(gain)
    measurements = evaluation.measurements.extended(
        curated=CuratedCounts(asked=turn.asked, **curated.counts),
        training=training.figures(resumed=resumed),
        turn=turn,
        **evaluator.condition_figures(curated.conditions),
        proxy=proxy,
        seconds=Seconds(train=round(trained - started, 2), evaluate=round(time.monotonic() - trained, 2)),
        device=describe(),
        processes=processes(),
    )
    from_main(lambda: publish(study, turn, len(training.parts[0]), evaluation, measurements, sha256))
    report("publishing", 1, 1)
    return child


def publish(
    study: Study, turn: Turn, n_real: int, evaluation: Evaluation, measurements: Measurements, sha256: str
) -> None:
    """Stores the generation and all that belongs to it in one transaction.

    Args:
        study: the study.
        turn: that trained it.
        n_real: real data in its training set.
        evaluation: its picture and samples.
        measurements: the evaluation's, and how it was trained.
        sha256: of its weights.
    """
    store, config, t = study.store, study.config, turn.t
    counts = measurements.curated or CuratedCounts()
    with store.write():
        store.add_images([evaluation.picture])
        store.publish(
            Generation(
                t=t,
                parent_t=t - 1,
                checkpoint=study.checkpoint_path(t).name,
                checkpoint_sha256=sha256,
                n_real=n_real,
                n_curated=counts.total,
                policy=f"{config.policy}, extend={config.curation.extend}",
                pick_cut=turn.cut,
                config=config.as_json(),
                measurements=measurements,
            )
        )
        store.add_evaluation(evaluation.samples)
        store.retire_slates(t)
        store.log("worker", "generation_published", t=t, **counts.as_json())
    store_quick_evidence(study)

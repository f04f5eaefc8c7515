"""A round of Algorithm 1: which picks train the next generation, its training on the mix, its publication.

A round is settled before anything is trained and kept on disk. What trains is read back from the store, so that it is
what was stored; a killed worker goes on from the kept round.
"""

import json
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from data.images import decode_png
from data.measurements import CuratedCounts, Measurements, Seconds, TrainingFigures, Turn
from data.records import Generation
from loop.config import StudyConfig
from loop.evaluation import Evaluation, Evaluator
from loop.evidence.study import store_quick_evidence
from loop.generators import load_generator
from loop.pictures import to_bytes
from loop.policies import Composition
from loop.study import Study
from loop.training_data import Mixture, mixture_of
from model.devices import describe
from model.distributed import from_main, processes
from model.flow import Flow
from model.interfaces import Generator, Report
from model.noise import derive_seed
from model.training_state import Snapshotter


@dataclass(frozen=True, slots=True)
class Curated:
    """The curated set: (n, *shape) samples, images as uint8 pixels, their (n,) rewards, and picks by kind of rater."""

    x: torch.Tensor
    rewards: np.ndarray
    counts: dict[str, int]


def read_curated(study: Study, turn: Turn) -> Curated:
    """The curated set of a turn, from the store.

    Raises:
        ValueError: there are no picks in it, or the proxy's are not as many as the turn says.
    """
    picks = list(study.store.curation_picks(after=turn.after, until=turn.cut, without=turn.t))
    if turn.n_proxy:
        picks += study.store.curation_picks(session_id=turn.proxy_session, kinds=("proxy",))
    counts = {kind: sum(pick["kind"] == kind for pick in picks) for kind in ("human", "sim", "proxy")}
    if not picks:
        raise ValueError("There are no picks to train on yet.")
    if counts["proxy"] != turn.n_proxy:
        raise ValueError(f"The turn to generation {turn.t} asked for {turn.n_proxy} proxy picks; {counts} are stored.")
    rewards = np.array([pick["reward"] for pick in picks])
    if study.real.is_images:
        x = to_bytes(np.stack([stored_pixels(study, pick["image_sha256"]) for pick in picks]))
    else:
        x = torch.tensor([json.loads(pick["point_json"]) for pick in picks], dtype=torch.float32)
    return Curated(x, rewards, counts)


def earlier_sets(study: Study, t: int) -> list[Curated]:
    """The curated sets that trained the generations before t, oldest first, read back as they were.

    Raises:
        ValueError: a generation made by an older version of curate doesn't say what trained it.
    """
    found = []
    for generation in study.store.generations():
        if 0 < generation.t < t:
            if generation.measurements.turn is None:
                raise ValueError(
                    f"Generation {generation.t} doesn't say which picks trained it (an older version made it), so a "
                    "policy that accumulates can't go on from here; make a new study."
                )
            found.append(read_curated(study, generation.measurements.turn))
    return found


def stored_pixels(study: Study, sha256: str) -> np.ndarray:
    """The pixels of a stored image.

    Raises:
        ValueError: it is missing.
    """
    png = study.store.image(sha256)
    if png is None:
        raise ValueError(f"image {sha256} is missing from {study.store.path}; run `curate check`")
    return decode_png(png)


def keep_turn(study: Study, turn: Turn) -> None:
    """Remembers the turn until its generation is published."""
    study.store.set_status("turn", **turn.as_json())


def kept_turn(study: Study, t: int) -> Turn | None:
    """The turn to generation t that a stopped worker had settled, unless all its raters have withdrawn since."""
    status = study.store.status("turn")
    if status.get("t") != t:
        return None
    turn = Turn.model_validate(status)
    left = study.store.count_curation_picks(after=turn.after, until=turn.cut, without=turn.t)
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


def next_generation(study: Study, evaluator: Evaluator, parent: Generator, turn: Turn, report: Report) -> Generator:
    """Trains generation `turn.t` from its parent and publishes it; raters get its slates from that commit on.

    Killed before the commit, nothing of it counts: the same turn trains the same weights again.

    Args:
        study: the study.
        evaluator: its measurements.
        parent: generation `turn.t - 1`.
        turn: the picks to train on.
        report: called with the phase and how far it is.

    Raises:
        ValueError: there are no picks in the turn.
    """
    config, t = study.config, turn.t
    curated = from_main(lambda: read_curated(study, turn))
    training = training_set(study, evaluator, curated, t)
    started = time.monotonic()
    seed, path = _training_seed(config, t, 0xF17), study.checkpoint_path(t)
    snapshotter = Snapshotter(path.with_suffix(".partial"), repr((config.pretraining, config.train, turn, seed)))
    resumed = from_main(snapshotter.path.exists)
    on_step = partial(report, "training")
    if isinstance(parent, Flow):
        child = parent.fit(training.mixture, parent, seed, on_step, snapshotter)
    else:
        child = parent.fit(training.mixture, parent, seed, on_step)
    trained = time.monotonic()
    report("publishing", 0, 1)
    sha256 = child.save(path)
    snapshotter.done()
    child = load_generator(study, t)
    evaluation = evaluator.of(child, t, curated.x)
    seconds = Seconds(train=round(trained - started, 2), evaluate=round(time.monotonic() - trained, 2))
    measurements = evaluation.measurements.extended(
        curated=CuratedCounts(asked=turn.asked, **curated.counts),
        training=training.figures(resumed=resumed),
        turn=turn,
        proxy=turn.fit,
        seconds=seconds,
        device=describe(),
        processes=processes(),
    )
    from_main(lambda: _publish(study, turn, training, evaluation, measurements, sha256))
    report("publishing", 1, 1)
    return child


def _publish(
    study: Study, turn: Turn, training: "TrainingSet", evaluation: Evaluation, measurements: Measurements, sha256: str
) -> None:
    """Stores the generation and all that belongs to it in one transaction."""
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
                n_real=training.composition.real,
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


@dataclass(frozen=True)
class TrainingSet:
    """The training set of one generation.

    Attributes:
        mixture: to draw from.
        composition: rows and shares asked for; the sets are those of turns 1, 2, ... or the latest alone.
        rewards: of each part (the real data, then the sets), its samples' rewards.
    """

    mixture: Mixture
    composition: Composition
    rewards: tuple[np.ndarray, ...]

    def figures(self, *, resumed: bool) -> TrainingFigures:
        """Shares asked for and achieved, and the means of r and w over the training set.

        Args:
            resumed: training went on from a kept state, so that what was drawn before it isn't counted any more.
        """
        shares = self.mixture.shares
        used = [(share, rewards) for share, rewards in zip(shares, self.rewards, strict=True) if share]
        return TrainingFigures(
            rows=(self.composition.real, *self.composition.sets),
            shares_asked=tuple(shares),
            shares_achieved=tuple(shares if resumed else self.mixture.achieved()),
            mean_reward=float(sum(share * rewards.mean() for share, rewards in used)),
            mean_w=float(sum(share * np.exp(rewards).mean() for share, rewards in used)),
        )


def training_set(study: Study, evaluator: Evaluator, curated: Curated, t: int) -> TrainingSet:
    """The training set of generation t under the study's data policy."""
    policy = study.config.policy
    sets = [*(from_main(lambda: earlier_sets(study, t)) if policy.accumulates else []), curated]
    rng = np.random.default_rng(_training_seed(study.config, t, 0x5E75))
    composition = policy.compose(len(evaluator.real_kept), [len(set_.x) for set_ in sets], rng)
    mixture = mixture_of(evaluator.real_kept, [set_.x for set_ in sets], composition, rng)
    rewards = (evaluator.real_scores.reward, *(set_.rewards for set_ in sets))
    return TrainingSet(mixture, composition, rewards)


def _training_seed(config: StudyConfig, t: int, purpose: int) -> int:
    other = config.train.finetune_seed
    return derive_seed(config.seed, t, purpose, *([other] if other else []))

"""One turn of Algorithm 1: train the next generation on the mix, measure it, publish it in one transaction."""

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from data.records import Generation
from loop.config import StudyConfig
from loop.evaluation import Evaluation, Evaluator
from loop.evidence import study as evidence
from loop.generators import load_generator
from loop.mixing import Mixture, mixture_of
from loop.policies import Composition
from loop.study import Study
from loop.turn import Curated, Turn, earlier_sets, read_curated
from model.devices import describe
from model.distributed import from_main, processes
from model.flow import Flow
from model.interfaces import Generator, Report
from model.keeping import Keeper
from model.noise import derive_seed


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
    keeper = Keeper(path.with_suffix(".partial"), repr((config.pretraining, config.train, turn, seed)))
    resumed = from_main(keeper.path.exists)
    on_step = partial(report, "training")
    if isinstance(parent, Flow):
        child = parent.fit(training.mixture, parent, seed, on_step, keeper)
    else:
        child = parent.fit(training.mixture, parent, seed, on_step)
    trained = time.monotonic()
    report("publishing", 0, 1)
    sha256 = child.save(path)
    keeper.done()
    child = load_generator(study, t)
    evaluation = evaluator.of(child, t, curated.x)
    seconds = {"train": round(trained - started, 2), "evaluate": round(time.monotonic() - trained, 2)}
    metrics = {
        **evaluation.metrics,
        "curated": {"asked": turn.asked, **curated.counts},
        "training": training.figures(resumed=resumed),
        "turn": asdict(turn),
        "proxy": turn.fit,
        "seconds": seconds,
        "device": describe(),
        "processes": processes(),
    }
    from_main(lambda: _publish(study, turn, training, evaluation, metrics, sha256))
    report("publishing", 1, 1)
    return child


def _publish(
    study: Study, turn: Turn, training: "TrainingSet", evaluation: Evaluation, metrics: dict[str, Any], sha256: str
) -> None:
    """Stores the generation and all that belongs to it in one transaction."""
    store, config, t = study.store, study.config, turn.t
    with store.write():
        store.add_images([evaluation.picture])
        store.publish(
            Generation(
                t=t,
                parent_t=t - 1,
                checkpoint=study.checkpoint_path(t).name,
                checkpoint_sha256=sha256,
                n_real=training.composition.real,
                n_curated=sum(metrics["curated"][kind] for kind in ("human", "sim", "proxy")),
                policy=f"{config.policy}, extend={config.curation.extend}",
                pick_cut=turn.cut,
                config=config.as_json(),
                metrics=metrics,
            )
        )
        store.add_evaluation(evaluation.samples)
        store.retire_slates(t)
        store.log("worker", "generation_published", t=t, **metrics["curated"])
    evidence.keep(study)


@dataclass(frozen=True)
class TrainingSet:
    """What one generation is trained on.

    Attributes:
        mixture: to draw from.
        composition: rows and shares asked for; the sets are those of turns 1, 2, ... or the latest alone.
        rewards: of each part (the real data, then the sets), its samples' rewards.
    """

    mixture: Mixture
    composition: Composition
    rewards: tuple[np.ndarray, ...]

    def figures(self, *, resumed: bool) -> dict[str, Any]:
        """For the generation's metrics: shares asked and achieved, and the mean of r and w over what was trained on.

        Args:
            resumed: training went on from a kept state, so that what was drawn before it isn't counted any more.
        """
        shares = self.mixture.shares
        used = [(share, rewards) for share, rewards in zip(shares, self.rewards, strict=True) if share]
        return {
            "rows": [self.composition.real, *self.composition.sets],
            "shares_asked": list(shares),
            "shares_achieved": list(shares if resumed else self.mixture.achieved()),
            "mean_reward": float(sum(share * rewards.mean() for share, rewards in used)),
            "mean_w": float(sum(share * np.exp(rewards).mean() for share, rewards in used)),
        }


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

"""One turn of Algorithm 1: train the next generation on the mix, measure it, publish it in one transaction."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data.records import Generation
from loop.config import StudyConfig
from loop.evaluation import Evaluator
from loop.evidence import study as evidence
from loop.generators import load_generator
from loop.mixing import Mixture, mixture_of
from loop.policies import Composition
from loop.study import Study
from loop.turn import Curated, Turn, earlier_sets, read_curated
from model.interfaces import Generator, Report
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
    store, config, t = study.store, study.config, turn.t
    curated = read_curated(study, turn)
    training = training_set(study, evaluator, curated, t)
    started = time.monotonic()
    seed = _training_seed(config, t, 0xF17)
    child = parent.fit(training.mixture, parent, seed, lambda done, total: report("training", done, total))
    trained = time.monotonic()
    report("publishing", 0, 1)
    path = study.checkpoint_path(t)
    sha256 = child.save(path)
    child = load_generator(study, t)
    evaluation = evaluator.of(child, t, curated.x)
    seconds = {"train": round(trained - started, 2), "evaluate": round(time.monotonic() - trained, 2)}
    metrics = {
        **evaluation.metrics,
        "curated": {"asked": turn.asked, **curated.counts},
        "training": training.figures(),
        "turn": asdict(turn),
        "proxy": turn.fit,
        "seconds": seconds,
    }
    with store.write():
        store.add_images([evaluation.picture])
        store.publish(
            Generation(
                t=t,
                parent_t=t - 1,
                checkpoint=path.name,
                checkpoint_sha256=sha256,
                n_real=training.composition.real,
                n_curated=len(curated.x),
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
    report("publishing", 1, 1)
    return child


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

    def figures(self) -> dict[str, Any]:
        """For the generation's metrics: shares asked and achieved, and the mean of r and w over what was trained on."""
        shares = self.mixture.shares
        used = [(share, rewards) for share, rewards in zip(shares, self.rewards, strict=True) if share]
        return {
            "rows": [self.composition.real, *self.composition.sets],
            "shares_asked": list(shares),
            "shares_achieved": list(self.mixture.achieved()),
            "mean_reward": float(sum(share * rewards.mean() for share, rewards in used)),
            "mean_w": float(sum(share * np.exp(rewards).mean() for share, rewards in used)),
        }


def training_set(study: Study, evaluator: Evaluator, curated: Curated, t: int) -> TrainingSet:
    """The training set of generation t under the study's data policy."""
    policy = study.config.policy
    sets = [*(earlier_sets(study, t) if policy.accumulates else []), curated]
    rng = np.random.default_rng(_training_seed(study.config, t, 0x5E75))
    composition = policy.compose(len(evaluator.real_kept), [len(set_.x) for set_ in sets], rng)
    mixture = mixture_of(evaluator.real_kept, [set_.x for set_ in sets], composition, rng)
    rewards = (evaluator.real_scores.reward, *(set_.rewards for set_ in sets))
    return TrainingSet(mixture, composition, rewards)


def _training_seed(config: StudyConfig, t: int, purpose: int) -> int:
    other = config.train.finetune_seed
    return derive_seed(config.seed, t, purpose, *([other] if other else []))

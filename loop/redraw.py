"""The last generation's evaluation, drawn again in part from its checkpoint: nothing else in a study vouches for it.

Earlier generations' rewards are held against those of the slates that people saw; the last one has no slates yet.
"""

import math

import numpy as np
from scipy.special import betaincinv

from data.records import Evaluated, Generation
from loop.config import StudyConfig, build
from loop.generators import generator_class
from loop.integrity import IMPORTED
from loop.scoring import Scorer
from loop.selfcheck.verdicts import POWER, Check, Finding, judge
from loop.slates import STREAMS, Drawn, draw_scored
from loop.study import Study
from model.classifier import Classifier
from model.noise import derive_seeds

NAME, FIGURES = "redrawn evaluation", "evaluation figures"
POINTS, IMAGES = 500, 32  # samples that are drawn again; images take far longer
CLOSE = {"points": 1e-3, "images": 0.05}  # standard deviations by which another device or batch may move a reward
STRAY = 0.1  # share of images that may come out otherwise: a flipped pixel can tip a classifier that wavers
ROUNDING = 1e-9  # relative, of means


def redrawn_evaluation(study: Study, rng: np.random.Generator) -> list[Check]:
    """Draws some samples of the last generation's evaluation again, and compares rewards, classes and points.

    Args:
        study: the study; its checkpoints are read.
        rng: chooses the samples.

    Returns:
        A check of the samples, and one that the figures of all generations are those of their stored samples.
    """
    generations = [generation for generation in study.store.generations() if generation.policy != IMPORTED]
    if not generations:
        return []
    last = generations[-1]
    stored = study.store.evaluation(last.t)
    compared = f"Samples of generation {last.t}'s evaluation drawn again from its checkpoint"
    if stored is None:
        return judge([Finding(NAME, None, 0, compared, "this study's version kept no evaluation")])
    figures = _figures(study, generations)
    try:
        drawn, chosen = _drawn(study, last, stored, rng)
    except (OSError, RuntimeError, ValueError) as error:
        return judge([Finding(NAME, None, 0, compared, f"it can't be done: {error}".rstrip(".")), figures])
    return judge([_compared(drawn, stored, chosen, last.t), figures])


def _drawn(study: Study, last: Generation, stored: Evaluated, rng: np.random.Generator) -> tuple[Drawn, np.ndarray]:
    """Samples drawn again under the settings of their generation, and which of the stored ones they are."""
    config = _settings(study.config, last)
    classifier = None
    if stored.points is None:
        classifier = Classifier.load(study.weights_path("classifier"))
    names = tuple(last.metrics["class_names"]) if classifier is None else classifier.label_names
    generator = generator_class(config).load(study.checkpoint_path(last.t), config.train, config.sampling)
    n = len(stored.labels)
    seeds = derive_seeds(n, config.seed, STREAMS["evaluation"])
    chosen = np.sort(rng.choice(n, size=min(n, IMAGES if classifier else POINTS), replace=False))
    return draw_scored(generator, Scorer(config, classifier, names), last.t, seeds[chosen]), chosen


def _settings(config: StudyConfig, generation: Generation) -> StudyConfig:
    """The settings under which a generation was measured; study.toml may have been changed since."""
    try:
        return build({**config.model_dump(), **generation.config})
    except ValueError:  # a version whose settings were others
        return config


def _compared(drawn: Drawn, stored: Evaluated, chosen: np.ndarray, t: int) -> Finding:
    n, images = len(chosen), stored.points is None
    close = CLOSE["images" if images else "points"]
    rewards = drawn.scores.reward[None]
    if len(stored.rewards) > 1:
        rewards = np.concatenate([rewards, drawn.scores.operative])
    held = stored.rewards[:, chosen]
    spread = np.maximum(stored.rewards.std(axis=1, keepdims=True), 1e-6)
    apart = (np.abs(rewards - held) / spread).max(axis=0) if rewards.shape == held.shape else np.full(n, math.inf)
    other = ~(apart <= close) | (drawn.scores.labels != stored.labels[chosen])
    if stored.points is not None:
        size = max(float(stored.points.std()), 1e-6)
        other |= ~(np.abs(drawn.x.numpy() - stored.points[chosen]).max(axis=1) <= close * size)
    differing, allowed = int(other.sum()), math.floor(STRAY * n) if images else max(1, n // 100)
    kinds = "rewards and classes" if images else "rewards, classes and points"
    share = _smallest_share(n, allowed)
    return Finding(
        NAME,
        None,
        n,
        f"{n:,} of the {len(stored.labels):,} samples of generation {t}'s evaluation drawn again from its checkpoint, "
        f"{kinds} compared",
        f"{differing:,} differ by more than {close:g} standard deviations ({allowed} may, on another device); in "
        f"{POWER:.0%} of studies a share of {share:.1%} changed by more than that would have been found",
        "The stored evaluation isn't what the checkpoint draws: it was changed, or it is another generator's.",
        broken=differing > allowed,
        figures={"differing": differing, "allowed": allowed, "detectable_share": share},
    )


def _smallest_share(n: int, allowed: int) -> float:
    """The share of changed samples of which more than `allowed` are among n in 80 % of draws."""
    return float(betaincinv(allowed + 1, n - allowed, POWER)) if n > allowed else 1.0


def _figures(study: Study, generations: list[Generation]) -> Finding:
    """That the mean rewards and class shares of every generation are those of its stored samples."""
    wrong, n = [], 0
    for generation in generations:
        stored = study.store.evaluation(generation.t)
        if stored is None or not generation.metrics.get("mean_reward"):
            continue
        n += len(stored.labels)
        shares = generation.metrics["class_shares"]
        counted = np.bincount(np.maximum(stored.labels, 0), minlength=len(shares)) / len(stored.labels)
        mean = generation.metrics["mean_reward"]["value"]
        same = math.isclose(mean, float(stored.rewards[0].mean()), rel_tol=ROUNDING, abs_tol=ROUNDING)
        if not same or len(counted) != len(shares) or not np.allclose(counted, shares, atol=ROUNDING):
            wrong.append(str(generation.t))
    return Finding(
        FIGURES,
        None,
        n,
        f"Mean rewards and class shares of all generations against their {n:,} stored samples",
        f"they differ in generation {', '.join(wrong)}" if wrong else "they agree",
        "Figures or samples were changed after they were measured.",
        broken=bool(wrong) if n else None,
        figures={"differing": len(wrong)},
    )

"""What is measured on fresh samples of every generation; the same seeds each time, so only the loop changes them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from data.densities import has_density
from data.records import Evaluated
from loop.distances import DistancesToReal
from loop.divergence import (
    DENSITY_SAMPLES,
    Cells,
    LogRatios,
    by_density,
    cells,
    divergence,
    log_ratios,
    total_variation,
)
from loop.generators import load_generator
from loop.pictures import COLUMNS, picture
from loop.scoring import Scorer, Scores
from loop.slates import STREAMS, draw_scored
from loop.study import DISTANCES, Study
from loop.tensors import to_bytes
from loop.theory.stability import estimate_kl_ceiling
from model.density import PointDensity
from model.flow import Flow
from model.interfaces import Generator, OnStep
from model.metrics import nearest_ratio, typical_spacing
from model.noise import derive_seeds
from model.pixels import scaled

NEAREST_SAMPLES = 2_000  # enough for a median


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one generation: the figures, a picture (sha256, png), and the samples behind them."""

    metrics: dict[str, Any]
    picture: tuple[str, bytes]
    samples: Evaluated


class Evaluator:
    """Measures the generations of one study against its real data.

    Args:
        study: the study.
        scorer: goes by the classifier behind the reward.
        judge: goes by the second classifier, which no loop selects by; None without one.
    """

    def __init__(self, study: Study, scorer: Scorer, judge: Scorer | None = None):
        self.study, self.scorer, self.judge = study, scorer, judge
        self.distances = DistancesToReal(study.config, scorer, study.path / DISTANCES) if study.real.is_images else None

    @cached_property
    def real_kept(self) -> torch.Tensor:
        """(n, *shape) the real data, images as uint8 pixels."""
        return to_bytes(self.study.real.x)

    @property
    def real(self) -> torch.Tensor:
        """(n, *shape) the real data as the model sees them; made anew each time, since images take four times more."""
        return scaled(self.real_kept)

    @cached_property
    def real_scores(self) -> Scores:
        """Rewards and labels of the real data."""
        return self.scorer.score(self.real)

    def score_real(self, on_step: OnStep) -> None:
        """Scores the real data, telling how far it is."""
        self.__dict__["real_scores"] = self.scorer.score(self.real, on_step)

    @cached_property
    def cells(self) -> Cells:
        """The partition on which generations are compared with the real data."""
        config = self.study.config
        copied = config.network.kind == "resample"
        return cells(config.data, self.real_samples(), len(self.scorer.label_names), copied=copied)

    @cached_property
    def spacing(self) -> float:
        """Median distance between nearest real data."""
        return typical_spacing(self.real_kept)

    def of_real(self) -> dict[str, Any]:
        """The same figures for the real data: what generation 0 should resemble."""
        scores = self.real_scores
        return {
            **reward_figures(scores.reward),
            **self._shares(scores.labels),
            "n": len(self.real_kept),
            "judge": self._second_opinion(self.real, scores),
        }

    def real_samples(self) -> Evaluated:
        """The real data as they are kept for predictions."""
        return _kept(None, self.real, self.real_scores)

    def of(self, generator: Generator, t: int, picks: torch.Tensor | None) -> Evaluation:
        """Figures of a generation on `evaluation.samples` fresh samples.

        Args:
            generator: to measure.
            t: its number.
            picks: (m, *shape), images as uint8 pixels, the curated samples it was trained on; None for generation 0.
        """
        config = self.study.config
        seeds = derive_seeds(config.evaluation.samples, config.seed, STREAMS["evaluation"])
        drawn = draw_scored(generator, self.scorer, t, seeds)
        some = drawn.x[:NEAREST_SAMPLES]
        sheet = picture(drawn.x, self.study.real.x)
        shares = self._shares(drawn.scores.labels)
        real_shares = np.array(self._shares(self._real_labels)["class_shares"])
        kept = _kept(t, drawn.x, drawn.scores)
        metrics = {
            "n": len(drawn),
            **reward_figures(drawn.scores.reward),
            **shares,
            "tv_real": total_variation(drawn.scores.labels, real_shares),
            "judge": self._second_opinion(drawn.x, drawn.scores),
            "divergence": {**divergence(self.cells, kept), **self._by_density(generator, t, seeds)},
            "distances": self._distances(drawn.x, drawn.scores),
            "nn_ratio": nearest_ratio(some, self.real_kept, self.spacing),
            "nn_picks_ratio": None if picks is None else nearest_ratio(some, picks, self.spacing),
            "grid_sha256": sheet[0],
            "grid_columns": COLUMNS if drawn.x.ndim == 4 else None,
        }
        return Evaluation(metrics, sheet, kept)

    @property
    def _real_labels(self) -> np.ndarray:
        """What the real data are; what they are taken for, where they have other classes than the classifier knows."""
        real = self.study.real
        return real.labels if real.label_names == self.scorer.label_names else self.real_scores.labels

    def _second_opinion(self, x: torch.Tensor, scores: Scores) -> dict[str, Any] | None:
        """Class shares and mean reward by the judge, and the share of images on whose class both agree."""
        if self.judge is None:
            return None
        found = self.judge.score(x)
        return {
            "class_shares": self._shares(found.labels)["class_shares"],
            "mean_reward": _mean(found.reward),
            "agreement": float((found.labels == scores.labels).mean()),
        }

    def _distances(self, x: torch.Tensor, scores: Scores) -> dict[str, Any] | None:
        return self.distances.of(x, scores, self.real_kept, self.real_scores) if self.distances else None

    def _by_density(self, generator: Generator, t: int, seeds: np.ndarray) -> dict[str, Any]:
        """`density` (see `by_density`) where the generator's and the real law's are known, or `no_density`, why not."""
        config = self.study.config
        found = self._log_ratios(generator, seeds)
        if isinstance(found, str):
            return {"no_density": found}
        if t == 0:
            self.__dict__["first_log_ratios"] = found
        k, policy, ceiling = config.curation.k, config.policy, None
        if t and k != "inf" and policy.is_mixed and (first := self.first_log_ratios):
            ceiling = estimate_kl_ceiling(first.own, first.real, k, policy.lam, t)
        return {"density": by_density(found, ceiling)}

    @cached_property
    def first_log_ratios(self) -> LogRatios | None:
        """Those of generation 0, on the same seeds as every other one's; None where they aren't known."""
        config = self.study.config
        seeds = derive_seeds(config.evaluation.samples, config.seed, STREAMS["evaluation"])
        found = self._log_ratios(load_generator(self.study, 0), seeds)
        return None if isinstance(found, str) else found

    def _log_ratios(self, generator: Generator, seeds: np.ndarray) -> LogRatios | str:
        data = self.study.config.data
        if not (isinstance(generator, Flow) and has_density(data)):
            return "the densities of the generator and of the real data aren't both known"
        density = PointDensity(generator.network, generator.sampling)
        return log_ratios(density, data, seeds[:DENSITY_SAMPLES])

    def _shares(self, labels: np.ndarray) -> dict[str, Any]:
        names = list(self.scorer.label_names)
        return {
            "class_shares": (np.bincount(labels, minlength=len(names)) / len(labels)).tolist(),
            "class_names": names,
        }


def _kept(t: int | None, x: torch.Tensor, scores: Scores) -> Evaluated:
    rewards = scores.reward[None]
    if len(scores.operative) > 1 or not np.array_equal(scores.operative[0], scores.reward):
        rewards = np.concatenate([rewards, scores.operative])
    points = x.numpy().astype(np.float32) if x.ndim == 2 else None
    return Evaluated(t, rewards, scores.labels.astype(np.int32), points)


def reward_figures(reward: np.ndarray) -> dict[str, Any]:
    """Means with standard errors of r and of w = exp(r), and the variance of w, from (n,) rewards."""
    w = np.exp(reward)
    return {"mean_reward": _mean(reward), "mean_w": _mean(w), "var_w": float(w.var(ddof=1))}


def _mean(values: np.ndarray) -> dict[str, float]:
    return {"value": float(values.mean()), "se": float(values.std(ddof=1) / np.sqrt(len(values)))}

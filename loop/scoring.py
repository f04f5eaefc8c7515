"""What the study thinks of samples: the reward, the label (class or mode), and for images the classifier's view."""

from dataclasses import dataclass

import numpy as np
import torch

from data.real import nearest_mode
from loop.config import StudyConfig
from model import reward
from model.classifier import Classifier


@dataclass(frozen=True, slots=True)
class Scores:
    """Of n samples.

    Attributes:
        reward: (n,) float64, r(x).
        labels: (n,) int64.
        probs: (n, classes) class probabilities; None for points.
        features: (n, d) what the proxy's utilities are fitted on; None for points.
    """

    reward: np.ndarray
    labels: np.ndarray
    probs: np.ndarray | None = None
    features: np.ndarray | None = None


class Scorer:
    """Scores samples of one study.

    Args:
        config: the study's.
        classifier: the study's; None for points.
        label_names: of classes or modes.

    Raises:
        ValueError: the reward doesn't go with the data.
    """

    def __init__(self, config: StudyConfig, classifier: Classifier | None, label_names: tuple[str, ...]):
        self.config, self.classifier, self.label_names = config, classifier, label_names
        kind = config.reward.kind
        if kind in ("class_prob", "confidence") and classifier is None:
            raise ValueError(
                f"reward.kind '{kind}' is for images; for points use 'ball' or your own 'module:function'."
            )
        if kind == "ball" and classifier is not None:
            raise ValueError("reward.kind 'ball' is for points; for images use class_prob, confidence or your own.")
        if kind == "class_prob" and config.reward.target >= len(label_names):
            raise ValueError(
                f"reward.target is {config.reward.target}; the classes go from 0 to {len(label_names) - 1}."
            )
        built_in = ("ball", "class_prob", "confidence")
        self._own = None if kind in built_in else reward.import_named(kind, "reward.kind")

    def score(self, x: torch.Tensor) -> Scores:
        """Rewards and labels of (n, *shape) samples."""
        if self.classifier is None:
            return Scores(self._reward(x, np.empty((0, 0))), nearest_mode(self.config.data, x.numpy()))
        judged = self.classifier.judge(x)
        features = np.concatenate([judged.probs, judged.features], axis=1)
        return Scores(self._reward(x, judged.probs), judged.probs.argmax(1), judged.probs, features)

    def _reward(self, x: torch.Tensor, probs: np.ndarray) -> np.ndarray:
        config = self.config.reward
        if self._own is not None:
            values = np.asarray(self._own(x), dtype=np.float64)
        elif config.kind == "ball":
            values = reward.ball(x, config)
        else:
            values = {"class_prob": reward.class_prob, "confidence": reward.confidence}[config.kind](probs, config)
        if values.shape != (len(x),) or not np.isfinite(values).all():
            raise ValueError(f"reward '{config.kind}' must give one finite number per sample")
        return values


def needed_features(features: np.ndarray | None) -> np.ndarray:
    """The features, where the data have any.

    Raises:
        ValueError: points have none.
    """
    if features is None:
        raise ValueError("curation.extend = 'proxy' is for images; points have no classifier features")
    return features

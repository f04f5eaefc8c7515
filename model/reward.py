"""Rewards r(x): what a simulated user likes. The scale gamma is in them, and nothing else divides them later."""

import importlib
from typing import Any

import numpy as np
import torch

from model.config import RewardConfig


def ball(points: torch.Tensor, config: RewardConfig) -> np.ndarray:
    """(n,) `r(x) = -gamma max(0, |x - center| - r_min)` of (n, 2) points; at most 0.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), Section 4, two-dimensional experiments.
    """
    distance = (points.double() - torch.tensor(config.center, dtype=torch.float64)).norm(dim=1)
    return (-config.gamma * (distance - config.r_min).clamp(min=0)).numpy()


def class_prob(probs: np.ndarray, config: RewardConfig) -> np.ndarray:
    """(n,) `r(x) = gamma q_target(x)` from (n, classes) probabilities q.

    Raises:
        ValueError: no such class.

    Source: Ferbach et al. 2024, Section 4, CIFAR-10.
    """
    if config.target >= probs.shape[1]:
        raise ValueError(f"reward.target is {config.target}, but the classes go from 0 to {probs.shape[1] - 1}")
    return config.gamma * probs[:, config.target].astype(np.float64)


def confidence(probs: np.ndarray, config: RewardConfig) -> np.ndarray:
    """(n,) `r(x) = gamma max_i q_i(x)` from (n, classes) probabilities q. Source: as `class_prob`."""
    return config.gamma * probs.max(axis=1).astype(np.float64)


def import_named(name: str, setting: str) -> Any:
    """The object that 'module:name' stands for.

    Raises:
        ValueError: it isn't such a name, or can't be imported; `setting` is named.
    """
    module, colon, attribute = name.partition(":")
    try:
        if not colon:
            raise ValueError
        return getattr(importlib.import_module(module), attribute)
    except (ValueError, ImportError, AttributeError) as error:
        raise ValueError(f"{setting} is '{name}', which is neither built in nor importable as 'module:name'") from error

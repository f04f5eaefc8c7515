"""How the learning rate and the running average of the weights go in training."""

import numpy as np

HELD = 0.4


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """The factor on the learning rate: rises over `warmup` steps (a tenth of all at the most), then a cosine to 0."""
    warmup = min(warmup, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup)))


def held_rate(step: int, steps: int) -> float:
    """The factor on the learning rate: 1 for two fifths of the steps, then a straight line to 0.

    Source: the constant rate with a cooldown of Hägele et al. 2024 (arXiv 2405.18392).
    """
    return min(1.0, (steps - step) / max(1, steps - HELD * steps))


def ema_decay(step: int, decay: float) -> float:
    """The running average's decay after a step; it grows gradually, so that a short fine-tune forgets its parent."""
    return min(decay, (1 + step) / (10 + step))

"""Flowers of the starter's generation 0 beside real ones: neither boosted trees nor a small CNN tells them apart.

Two in three would be 67% right. Fresh real flowers against others are the control.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn

import model
from data.designs import load_designs, paint_points, to_designs
from model.config import SamplingConfig, TrainConfig
from model.flow import Flow
from model.sampling import derive_seeds

N, HELD_OUT = 4_000, 1_000  # of each kind
SIDE, EPOCHS = 64, 8
MOST_RIGHT = 0.60


@pytest.fixture(scope="module")
def flowers() -> tuple[np.ndarray, np.ndarray]:
    """(generated, real), each (4,000, d)."""
    starter = Path(model.__file__).parent / "starters" / "flowers" / "generator.safetensors"
    flow = Flow.load(starter, TrainConfig(), SamplingConfig(steps=12, batch_size=1_000))
    real = load_designs("flowers").draw(N, np.random.default_rng(20_261))
    return flow.sample(derive_seeds(N, 99)).numpy(), np.asarray(real, dtype=np.float32)


def halves(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training x, training y, held-out x, held-out y)."""
    x, y = np.concatenate([a[HELD_OUT:], b[HELD_OUT:]]), np.repeat([0, 1], N - HELD_OUT)
    return x, y, np.concatenate([a[:HELD_OUT], b[:HELD_OUT]]), np.repeat([0, 1], HELD_OUT)


@pytest.mark.slow
def test_boosted_trees_on_the_numbers(flowers: tuple[np.ndarray, np.ndarray]):
    factors = load_designs("flowers").factors
    x, y, unseen, answers = halves(*(to_designs(factors, points) for points in flowers))
    share = HistGradientBoostingClassifier(random_state=0).fit(x, y).score(unseen, answers)
    assert share <= MOST_RIGHT, f"right {share:.1%} of the time"


@pytest.mark.slow
def test_a_small_network_on_pictures_of_64_pixels(flowers: tuple[np.ndarray, np.ndarray]):
    painted = [paint_points(load_designs("flowers"), points, SIDE) for points in flowers]
    x, y, unseen, answers = (torch.from_numpy(part) for part in halves(*painted))
    share = share_right(x, y, unseen, answers)
    assert share <= MOST_RIGHT, f"right {share:.1%} of the time"


def share_right(x: torch.Tensor, y: torch.Tensor, unseen: torch.Tensor, answers: torch.Tensor) -> float:
    """The share of unseen pictures that a CNN of three layers, trained on (n, side, side, 3) pixels, puts right."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 24), (24, 48), (48, 96)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * (SIDE // 8) ** 2, 2))
    steps = EPOCHS * -(-len(x) // 64)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(network(x[rows].permute(0, 3, 1, 2).float() / 127.5 - 1), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.inference_mode():
        parts = [network(part.permute(0, 3, 1, 2).float() / 127.5 - 1).argmax(1) for part in unseen.split(500)]
    return float((torch.cat(parts) == answers).float().mean())

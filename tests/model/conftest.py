"""One thread for torch, and flows small enough to train in a second."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.interfaces import Samples


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks are fastest so, and two test runs don't fight over the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Gaussian:
    """Training data `centre + std * noise` of any shape."""

    centre: torch.Tensor
    std: float

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        """N samples."""
        noise = rng.standard_normal((n, *self.centre.shape), dtype=np.float32)
        return Samples(self.centre + self.std * torch.from_numpy(noise))


@pytest.fixture
def gaussian() -> Callable[..., Gaussian]:
    """A factory: a Gaussian about a centre."""
    return lambda centre, std=0.5: Gaussian(torch.tensor(centre, dtype=torch.float32), std)


@pytest.fixture
def build() -> Callable[..., Flow]:
    """A factory of untrained flows: of points, or of 8x8 images; keywords change [train] and [sampling]."""

    def make(images: bool = False, *, width: int = 32, batch: int = 16, dropout: float = 0.0, **train: object) -> Flow:
        kind, shape = ("digits", (1, 8, 8)) if images else ("mlp", (2,))
        small = {"pretrain_steps": 30, "finetune_steps": 20, "batch_size": 64, "pair_size": 32}
        return Flow.build(
            shape,
            NetworkConfig(kind=kind, width=width, depth=2, dropout=dropout),
            TrainConfig.model_validate(small | train),
            SamplingConfig(steps=4, batch_size=batch),
        )

    return make

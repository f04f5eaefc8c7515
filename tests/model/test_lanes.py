"""Two parts side by side train the weights that one after the other does, on half the cores each."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from loop.mixing import real_only
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.training import NonFiniteLossError

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trained(threads: int, dropout: float = 0.0, lr: float = 1e-3) -> list[torch.Tensor]:
    torch.set_num_threads(threads)
    train = TrainConfig(pretrain_steps=6, pretrain_lr=lr, batch_size=8, pair_size=8, warmup_steps=2)
    network = NetworkConfig(kind="unet", width=32, depth=1, dropout=dropout)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = Flow.build(SHAPE, network, train, SamplingConfig())
    pixels = np.random.default_rng(0).integers(0, 256, (32, *SHAPE), dtype=np.uint8)
    found = flow.fit(real_only(torch.from_numpy(pixels)), None, 1)
    assert torch.get_num_threads() == threads
    return list(found.network.state_dict().values())


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_two_threads_train_what_one_does(dropout: float):
    one, two, again = trained(1, dropout), trained(2, dropout), trained(2, dropout)
    for a, b, c in zip(one, two, again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3)
        assert torch.equal(b, c)


def test_without_dropout_they_are_the_same_bits():
    assert all(torch.equal(a, b) for a, b in zip(trained(1), trained(2), strict=True))


def test_a_training_that_fails_gives_the_cores_back():
    with pytest.raises(NonFiniteLossError):
        trained(2, lr=1e30)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lanes")]

"""Two parts side by side train the weights, and draw the samples, that one after the other does."""

import copy
import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from loop.mixing import real_only
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.flat import Flat
from model.flow import Flow
from model.lanes import Lanes, side_by_side
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


@pytest.mark.parametrize("bf16", [False, True])
def test_lanes_work_with_the_latest_weights_and_add_their_gradients_up(bf16: bool):
    torch.set_num_threads(2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        parts = list(torch.randn(2, 5, 3, 2, 2))
    alone = copy.deepcopy(network)
    flat = Flat(network)
    grad = flat.gradients(network)
    lanes = Lanes(network, flat, grad, bf16)

    def work(part: torch.Tensor, of: nn.Module) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = of(part).float().square().mean() + of(part).float()[0].sum()
        loss.backward()
        return loss.detach()

    for _ in range(2):
        grad.zero_()
        alone.zero_grad()
        found = lanes.run(work, parts)
        torch.testing.assert_close(found, work(parts[0], alone) + work(parts[1], alone))
        for p, own in zip(network.parameters(), alone.parameters(), strict=True):
            assert p.grad.abs().sum() > 0
            torch.testing.assert_close(p.grad, own.grad)
        for of in (network, alone):
            with torch.no_grad():
                for p in of.parameters():
                    p *= 1.5
    lanes.close()


def test_a_training_that_fails_gives_the_cores_back():
    with pytest.raises(NonFiniteLossError):
        trained(2, lr=1e30)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lanes")]


@pytest.mark.parametrize("n", [3, 8, 9, 16, 19])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_samples_are_the_same_bits_in_lanes(precision: str, n: int):
    found = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = NetworkConfig(kind="unet", width=32, depth=1, precision=precision)
            flow = Flow.build(SHAPE, network, TrainConfig(), SamplingConfig(steps=2, batch_size=4))
        for tensor in flow.network.parameters():  # the last layer begins with zeros
            torch.nn.init.normal_(tensor, 0, 0.05, generator=torch.Generator().manual_seed(1))
        found.append(flow.sample(np.arange(n)))
        assert torch.get_num_threads() == threads
    assert found[0].std() > 0.1
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("n", range(6))
def test_each_item_is_worked_on_once_on_half_the_cores(n: int):
    torch.set_num_threads(2)
    done = []

    def work(item: int) -> None:
        time.sleep(0.05 * (item == 0))
        done.append((item, torch.get_num_threads()))

    side_by_side(work, range(n), threading.Event())
    assert sorted(done) == [(item, 1) for item in range(n)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_exception_nothing_more_is_begun(error: type[BaseException]):
    torch.set_num_threads(2)
    begun, stopping = [], threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.02)
        if item == 3:
            raise error

    with pytest.raises(error):
        side_by_side(work, range(100), stopping)
    assert len(begun) < 10 and stopping.is_set()
    assert torch.get_num_threads() == 2
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lanes")]


def test_sampling_that_is_interrupted_gives_up_within_the_batch(monkeypatch: pytest.MonkeyPatch):
    torch.set_num_threads(2)
    flow = Flow.build(
        SHAPE, NetworkConfig(kind="unet", width=32, depth=1), TrainConfig(), SamplingConfig(steps=1000, batch_size=2)
    )
    seen, forward = [], flow.network.forward

    def slowly(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(t, x)

    monkeypatch.setattr(flow.network, "forward", slowly)
    with pytest.raises(KeyboardInterrupt):
        flow.sample(np.arange(8))
    assert len(seen) < 200

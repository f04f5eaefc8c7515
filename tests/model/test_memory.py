"""A device with too little memory: batches are divided, it is said, and the result is the same."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from model.config import ClassifierConfig
from model.flow import Flow
from model.judging.classifier import Classifier, vgg11

Build = Callable[..., Flow]


class Cramped(nn.Module):
    """A network on a device that holds `most` images at once: torch's own error beyond."""

    def __init__(self, inner: nn.Module, most: int):
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.inner(t, x)


def cramped(flow: Flow, most: int) -> Flow:
    return replace(flow, network=Cramped(flow.network, most))


def test_sampling_goes_on_in_halves_and_says_so(build: Build):
    flow = build(True, batch=16)
    seeds = np.arange(20)
    with pytest.warns(UserWarning, match="too little memory for 16 samples at once"):
        found = cramped(flow, 4).sample(seeds)
    torch.testing.assert_close(found, flow.sample(seeds), rtol=1e-5, atol=1e-5)


def test_one_image_that_is_too_much_is_an_error(build: Build):
    with pytest.warns(UserWarning), pytest.raises(torch.OutOfMemoryError):
        cramped(build(True, batch=4), 0).sample(np.arange(2))


def test_training_goes_on_in_parts_to_the_same_weights(build: Build, gaussian, monkeypatch: pytest.MonkeyPatch):
    data = gaussian([[[0.2] * 8] * 8])
    flow = build(True, pretrain_steps=10, batch_size=32)
    plain = flow.fit(data, None, seed=1)
    forward = type(flow.network).forward

    def short(self: nn.Module, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, t, x)

    monkeypatch.setattr(type(flow.network), "forward", short)
    with pytest.warns(UserWarning, match="too little memory"):
        found = flow.fit(data, None, seed=1)
    for a, b in zip(found.network.state_dict().values(), plain.network.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


class CrampedBody(nn.Module):
    """The convolutions of a classifier on such a device."""

    def __init__(self, inner: nn.Module, most: int):
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.inner(x)


def test_judging_goes_on_in_halves_and_says_so():
    config, x = ClassifierConfig(width=4), torch.rand(20, 1, 8, 8) * 2 - 1
    network = vgg11((1, 8, 8), config, 3)
    classifier = Classifier((1, 8, 8), network, config, ("a", "b", "c"), None, 0)
    wanted, told = classifier.judge(x), []
    network[0] = CrampedBody(network[0], 6)
    with pytest.warns(UserWarning, match="too little memory to judge 20 images at once: going on with 10"):
        found = classifier.judge(x, lambda done, total: told.append((done, total)))
    np.testing.assert_allclose(found.probs, wanted.probs, rtol=1e-4, atol=1e-6)
    assert told == [(20, 20)]


@pytest.mark.parametrize(("side", "batch"), [(8, 512), (64, 512), (128, 128), (512, 8)])
def test_large_images_are_judged_fewer_at_once(side: int, batch: int):
    classifier = Classifier((3, side, side), nn.Sequential(), ClassifierConfig(), (), None, 0)
    assert classifier.batch == batch

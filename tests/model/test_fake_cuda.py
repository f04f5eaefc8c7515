"""The work of a GPU on tensors that have a device and a shape but no data: a device mismatch shows without a GPU.

Autograd's backward pass asks for a CUDA driver even so; it is left out.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from model import flow, training
from model.config import ClassifierConfig, NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.judging import classifier_training, fidelity
from model.judging.classifier import Classifier, prepared, vgg11
from model.networks import build_network

CUDA = torch.device("cuda")
SHAPE = (3, 16, 16)
UNET = NetworkConfig(kind="unet", width=32, depth=1, dropout=0.1, precision="bf16", compile="never")


@pytest.fixture(autouse=True)
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake tensors for the test, which may be on a GPU that isn't there."""
    for module in (classifier_training, flow, fidelity, training):
        monkeypatch.setattr(module, "device", lambda: CUDA)
    monkeypatch.setattr("model.compute.device", lambda: CUDA)
    monkeypatch.setattr(torch.Tensor, "backward", lambda _self: None)
    monkeypatch.setattr(nn.Module, "to", lambda self, **_layout: self)  # fake parameters can't be replaced
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def on_cuda(make: Callable[..., nn.Module], *args: object) -> nn.Module:
    """A network whose parameters are made on the GPU; fake ones can't be moved there afterwards."""
    with CUDA:
        return make(*args)


def test_a_training_step_of_the_unet():
    network = on_cuda(build_network, SHAPE, UNET)
    average = [weight.detach().clone() for weight in network.parameters()]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    batch = training.Batch(torch.rand(4), torch.randn(4, *SHAPE), torch.randn(4, *SHAPE), {})
    loss, pieces = training.backward(network, batch, "bf16", optimiser, 2)
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    with torch.no_grad():
        torch._foreach_lerp_(average, list(network.parameters()), 0.1)
    assert loss.device.type == "cuda" and pieces == 2 and loss.dtype == torch.float32
    assert all(weight.device.type == "cuda" for weight in average)


def test_sampling_from_noise_that_comes_from_the_cpu():
    made = Flow(SHAPE, on_cuda(build_network, SHAPE, UNET), UNET, TrainConfig(), SamplingConfig(steps=2))
    x0 = torch.randn(4, *SHAPE).to(CUDA)
    x1 = made.integrate_batch(made.network, x0)
    assert x1.device.type == "cuda" and x1.shape == (4, *SHAPE)


def test_a_training_step_of_the_classifier():
    config = ClassifierConfig(width=4, precision="bf16", flip=True, cutout=4, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    network = on_cuda(vgg11, SHAPE, config, 3)
    optimiser = classifier_training.build_optimiser(network, config)
    pixels = torch.zeros(8, *SHAPE, dtype=torch.uint8, device=CUDA)
    images = prepared(classifier_training.augment(pixels, config), config)
    targets = torch.zeros(8, dtype=torch.int64, device=CUDA)
    classifier_training.take_step(network, optimiser, images, targets, config)
    assert images.device.type == "cuda"


def test_judging():
    config = ClassifierConfig(width=4, mirror=True, jitter=1)
    judge = Classifier(SHAPE, on_cuda(vgg11, SHAPE, config, 3).eval(), config, ("a", "b", "c"), None, 0)
    found = judge.mean_over_views(torch.randn(8, *SHAPE).to(CUDA))
    assert found.device.type == "cuda" and found.shape == (8, 3 + 32)


def test_distances_of_images():
    pixels = torch.zeros(20, *SHAPE, dtype=torch.uint8)
    nearest = fidelity.nearest_distances(torch.randn(6, *SHAPE), pixels, own=None, chunk=8)
    assert nearest.shape == (6,) and nearest.device.type == "cpu"

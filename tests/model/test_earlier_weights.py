"""Weights and samples of earlier versions: what they gave then, in float32, they give now."""

from pathlib import Path

import numpy as np
import torch

import model
from model.checkpoint import Checkpoint, save
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.networks import build_network

UNET = NetworkConfig(kind="unet", width=32, depth=1, precision="fp32")
SHAPE = (3, 16, 16)
# of the version with kernels of its own, commit a119459
UNET_SAMPLES = [0.0441, 0.3684, -0.00911, -0.25784, -0.59617, 0.03554, -0.45327, -0.851, 0.73465, 0.61009, 0.10855,
                -1.0, 0.53109]  # fmt: skip
DIGITS_SAMPLES = [-1.0, -1.0, -0.73929, 0.84088, -0.61606, -0.95605, -0.1468, -0.93701, -0.89911, -0.92432, -0.49318,
                  0.30443]  # fmt: skip


def test_a_unets_checkpoint_gives_the_samples_that_it_gave(tmp_path: Path):
    generator, tensors = torch.Generator().manual_seed(7), {}
    for name, tensor in sorted(build_network(SHAPE, UNET).state_dict().items()):
        tensors[name] = 0.04 * torch.randn(tensor.shape, generator=generator)
    path = tmp_path / "generator.safetensors"
    save(path, Checkpoint("flow", tensors, {"shape": list(SHAPE), "network": UNET.model_dump()}, seed=0))
    flow = Flow.load(path, TrainConfig(), SamplingConfig(solver="midpoint", steps=3, batch_size=4))
    np.testing.assert_allclose(flow.sample(np.arange(3)).flatten()[::181], UNET_SAMPLES, atol=2e-5)


def test_the_digits_that_ship_are_those_that_shipped():
    path = Path(model.__file__).parent / "starters" / "digits" / "generator.safetensors"
    flow = Flow.load(path, TrainConfig(), SamplingConfig(steps=6))
    np.testing.assert_allclose(flow.sample(np.arange(3)).flatten()[::17], DIGITS_SAMPLES, atol=2e-5)

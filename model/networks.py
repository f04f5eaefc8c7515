"""The velocity fields v(t, x): an MLP for points, a small network for 8x8 digits, torchcfm's UNet for larger images."""

import math

import torch
from torch import nn

from model.config import NetworkConfig


def build_network(shape: tuple[int, ...], config: NetworkConfig) -> nn.Module:
    """A network that takes t (n,) and x (n, *shape) and gives (n, *shape).

    Raises:
        ValueError: an unknown kind, or one that doesn't fit the shape.
    """
    if config.kind == "mlp" and len(shape) == 1:
        return PointNetwork(shape[0], config.width, config.depth)
    if config.kind == "digits" and shape == (1, 8, 8):
        return PointNetwork(64, config.width, config.depth)
    if config.kind == "unet" and len(shape) == 3:
        return _unet(shape, config)
    raise ValueError(
        f"network.kind '{config.kind}' doesn't go with samples of shape {shape}; see network.kind in study.toml"
    )


class TimeFeatures(nn.Module):
    """t in [0, 1] as (n, 2 * frequencies) sines and cosines of growing frequency."""

    def __init__(self, frequencies: int = 16):
        super().__init__()
        self.register_buffer("angular", math.pi * torch.logspace(0, math.log10(32), frequencies), persistent=False)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """(n, 2 * frequencies) from (n,)."""
        angle = t[:, None] * self.angular
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class PointNetwork(nn.Module):
    """An MLP over a point and the features of t."""

    def __init__(self, dimensions: int, width: int, depth: int):
        super().__init__()
        self.time = TimeFeatures()
        layers: list[nn.Module] = [nn.Linear(dimensions + 32, width), nn.SiLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, dimensions))

    def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Velocity (n, dimensions) at t (n,) and x (n, dimensions)."""
        return self.layers(torch.cat([x, self.time(t)], dim=1))


def _unet(shape: tuple[int, ...], config: NetworkConfig) -> nn.Module:
    """Torchcfm's UNet with the hyper-parameters of its CIFAR-10 example, at the study's width."""
    from torchcfm.models.unet.unet import UNetModelWrapper

    return UNetModelWrapper(
        dim=shape,
        num_res_blocks=config.depth,
        num_channels=config.width,
        channel_mult=[1, 2, 2, 2],
        num_heads=4,
        num_head_channels=64,
        attention_resolutions="16",
        dropout=config.dropout,
    )

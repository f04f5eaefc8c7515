"""The velocity fields v(t, x): MLPs for points and for 8x8 digits, torchcfm's UNet at any width for larger images."""

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import group_norm, linear, pixel_shuffle, pixel_unshuffle, scaled_dot_product_attention

from model.config import NetworkConfig

if TYPE_CHECKING:
    from torchcfm.models.unet.unet import AttentionBlock

TIME_FREQUENCIES = 32
FAR = 4.0  # standard deviations; noise beyond it is too rare to learn from (1 in 8,000 points)
POINT_SCALE = 16.0  # on a point's two numbers, so that 64 features of t don't drown them; docs/transmission.md
VARIANCE_FLOOR = 0.01  # pixels that never change would make the field infinitely steep


def build_unet(shape: tuple[int, ...], config: NetworkConfig, conditions: int = 0) -> nn.Module:
    """A UNet that takes t (n,) and x (n, *shape), and of several conditions y (n,), and gives (n, *shape).

    Raises:
        ValueError: sides that don't halve three times, or channels that the attention doesn't divide.
    """
    if config.patch > 1:
        return Patched(shape, config, conditions)
    # torchcfm imports POT, and with it much of SciPy, which the smaller networks do without
    from torchcfm.models.unet.nn import GroupNorm32
    from torchcfm.models.unet.unet import AttentionBlock, UNetModelWrapper

    if any(side % 8 for side in shape[1:]):
        raise ValueError(f"network.kind 'unet' needs image sides that are multiples of 8, not {shape[1:]}")
    # 64 as in torchcfm's example, or 32 where 64 doesn't divide the channels: attention works at 16 x 16 and below
    attending = config.width if shape[-1] == 16 else 2 * config.width
    try:
        network = UNetModelWrapper(
            dim=shape,
            num_res_blocks=config.depth,
            num_channels=config.width,
            channel_mult=[1, 2, 2, 2],
            num_heads=4,
            num_head_channels=32 if attending % 64 else 64,
            attention_resolutions="16",
            class_cond=conditions > 0,
            num_classes=conditions,
            dropout=config.dropout,  # pyright: ignore[reportArgumentType] - annotated as int there, used as a float
        )
    except AssertionError as error:  # torchcfm's word for channels that its attention heads don't divide
        raise ValueError(f"network.width = {config.width} doesn't fit the attention; use a multiple of 32") from error
    for part in network.modules():
        for name, child in list(part.named_children()):
            if isinstance(child, GroupNorm32):
                setattr(part, name, Norm(child))
            elif isinstance(child, AttentionBlock):
                setattr(part, name, Attention(child))
    return network


class Patched(nn.Module):
    """A UNet over squares of pixels, each square one place with the pixels as its channels.

    With squares of 2 x 2 the first level, where most of the time goes, has a quarter of the places.

    Source: Hoogeboom et al. 2023 (arXiv 2301.11093), Section 3.3.

    Raises:
        ValueError: sides of the images that these squares don't divide into a multiple of 8.
    """

    def __init__(self, shape: tuple[int, ...], config: NetworkConfig, conditions: int = 0):
        super().__init__()
        self.patch = config.patch
        if any(side % (8 * self.patch) for side in shape[1:]):
            raise ValueError(
                f"network.patch = {self.patch} needs image sides that are multiples of {8 * self.patch}, not "
                f"{shape[1]}; set data.size to such a number, or network.patch=1."
            )
        places = shape[0] * self.patch**2, *(side // self.patch for side in shape[1:])
        self.unet = build_unet(places, config.model_copy(update={"patch": 1}), conditions)

    def forward(self, t: torch.Tensor, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Velocity (n, channels, height, width) at t (n,) or () and x of the same shape."""
        return pixel_shuffle(self.unet(t, pixel_unshuffle(x, self.patch), y), self.patch)


class Norm(nn.GroupNorm):
    """torchcfm's group norm without its copies: torch takes bfloat16 with float32 weights, and sums in float32."""

    def __init__(self, like: nn.GroupNorm):
        super().__init__(like.num_groups, like.num_channels, like.eps)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """Of the shape and the type of the input (n, channels, *places)."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps).to(input.dtype)


class Attention(nn.Module):
    """torchcfm's attention block, with its parameters."""

    def __init__(self, like: "AttentionBlock"):
        super().__init__()
        self.norm, self.qkv, self.proj_out, self.heads = like.norm, like.qkv, like.proj_out, like.num_heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the shape of x (n, channels, height, width)."""
        n, channels, height, width = x.shape
        places = self.norm(x).flatten(2).transpose(1, 2)
        qkv = linear(places, self.qkv.weight[:, :, 0], self.qkv.bias)
        query, key, value = qkv.unflatten(2, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        attended = linear(attended, self.proj_out.weight[:, :, 0], self.proj_out.bias)
        return x + attended.transpose(1, 2).reshape(n, channels, height, width)


def build_network(shape: tuple[int, ...], config: NetworkConfig, conditions: int = 0) -> nn.Module:
    """A network that takes t (n,) and x (n, *shape), and of several conditions y (n,) int64, and gives (n, *shape).

    Raises:
        ValueError: an unknown kind, or one that doesn't fit the shape.
    """
    if config.kind == "mlp" and len(shape) == 1:
        return Preconditioned(shape, PlainMLP(shape[0], config.width, config.depth, conditions))
    if config.kind == "digits" and shape == (1, 8, 8):
        return Preconditioned(shape, ResidualMLP(64, config.width, config.depth, config.dropout, conditions))
    if config.kind == "unet" and len(shape) == 3:
        return build_unet(shape, config, conditions)
    raise ValueError(f"network.kind '{config.kind}' doesn't go with samples of shape {shape}; see study.toml")


class Preconditioned(nn.Module):
    """A velocity field that starts as the exact one of a Gaussian fit to the data; the inner field learns the rest.

    With the data's means m and variances s2 by coordinate, `y = x - t m` has variance `V = t^2 s2 + (1 - t)^2` along
    the path, and `v = m + (t s2 - (1 - t)) / V * y + sqrt(s2 / V) * F(t, y / sqrt(V))`: F sees unit scale and gives
    unit scale at every t, whatever the units of the data.

    Source: Karras et al. 2022 (arXiv 2206.00364), Section 5, carried over to the linear path of flow matching.
    """

    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(self, shape: tuple[int, ...], field: nn.Module):
        super().__init__()
        dimensions = math.prod(shape)
        self.field = field
        self.register_buffer("mean", torch.zeros(dimensions))
        self.register_buffer("variance", torch.ones(dimensions))

    def standardise(self, x: torch.Tensor) -> None:
        """Takes means and variances from (n, *shape) data, once, before pretraining; they stay from then on."""
        flat = x.flatten(1)
        self.mean.copy_(flat.mean(0))
        self.variance.copy_(flat.var(0).clamp_min(VARIANCE_FLOOR))

    def forward(self, t: torch.Tensor, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Velocity (n, *shape) at t (n,) and x (n, *shape), under conditions y (n,) where there are any."""
        moment = t[:, None]
        spread = moment**2 * self.variance + (1 - moment) ** 2
        centred = x.flatten(1) - moment * self.mean
        gaussian = self.mean + (moment * self.variance - (1 - moment)) / spread * centred
        learned = self.field(t, centred * spread.rsqrt(), y)
        return (gaussian + (self.variance / spread).sqrt() * learned).reshape(x.shape)


class TimeFeatures(nn.Module):
    """t in [0, 1] as (n, 64) sines and cosines of growing frequency."""

    frequencies: torch.Tensor

    def __init__(self, highest: float):
        super().__init__()
        exponents = torch.linspace(0, math.log(highest), TIME_FREQUENCIES)
        self.register_buffer("frequencies", math.pi * exponents.exp(), persistent=False)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """(n, 64) from (n,)."""
        angles = t[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class PlainMLP(nn.Module):
    """An MLP over a point and the features of t.

    It sees a point no farther out than `FAR`: where training showed it nothing it would extrapolate, and over a few
    generations of collapse a single far sample in ten thousand can then run away to infinity.
    """

    def __init__(self, dimensions: int, width: int, depth: int, conditions: int = 0):
        super().__init__()
        self.time = TimeFeatures(highest=32)
        self.condition = nn.Embedding(conditions, 2 * TIME_FREQUENCIES) if conditions else None
        layers: list[nn.Module] = [nn.Linear(dimensions + 2 * TIME_FREQUENCIES, width), nn.SiLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.layers = nn.Sequential(*layers, zeroed(nn.Linear(width, dimensions)))

    def forward(self, t: torch.Tensor, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """(n, dimensions) from t (n,), x (n, dimensions), and conditions y (n,)."""
        time = with_condition(self.time(t), self.condition, y)
        return self.layers(torch.cat([POINT_SCALE * x.clamp(-FAR, FAR), time], dim=1))


def with_condition(time: torch.Tensor, embedding: nn.Embedding | None, y: torch.Tensor | None) -> torch.Tensor:
    """(n, d) features of the time, and those of the conditions (n,) added where the network has any."""
    return time if embedding is None else time + embedding(y)


class ResidualMLP(nn.Module):
    """Pre-normalised residual blocks over all pixels at once; t scales and shifts each block's hidden layer."""

    def __init__(self, dimensions: int, width: int, depth: int, dropout: float, conditions: int = 0):
        super().__init__()
        features = 2 * TIME_FREQUENCIES
        self.time = nn.Sequential(TimeFeatures(highest=100), nn.Linear(features, features), nn.SiLU())
        self.start = nn.Linear(dimensions, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, 2 * width, features, dropout) for _ in range(depth))
        self.end = nn.Sequential(nn.LayerNorm(width), zeroed(nn.Linear(width, dimensions)))
        self.condition = nn.Embedding(conditions, features) if conditions else None

    def forward(self, t: torch.Tensor, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """(n, dimensions) from t (n,), x (n, dimensions), and conditions y (n,)."""
        time, hidden = with_condition(self.time(t), self.condition, y), self.start(x)
        for block in self.blocks:
            hidden = block(hidden, time)
        return self.end(hidden)


class ResidualBlock(nn.Module):
    """One block; it starts as the identity."""

    def __init__(self, width: int, hidden: int, time_features: int, dropout: float):
        super().__init__()
        self.norm_up = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden))
        self.film = zeroed(nn.Linear(time_features, 2 * hidden))
        self.down = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), zeroed(nn.Linear(hidden, width)))

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """(n, width) from x (n, width) and time (n, time_features)."""
        scale, shift = self.film(time).chunk(2, dim=1)
        return x + self.down(self.norm_up(x) * (1 + scale) + shift)


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with weights and biases of 0, so that the block it ends starts as the identity."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer

"""torchcfm's UNet with the hyper-parameters of its CIFAR-10 example, at any width; the same weights, quicker parts."""

import torch
from torch import nn
from torch.nn.functional import group_norm, linear, scaled_dot_product_attention, silu
from torchcfm.models.unet.nn import GroupNorm32
from torchcfm.models.unet.unet import AttentionBlock, ResBlock, TimestepBlock, UNetModelWrapper

from model import fused
from model.config import NetworkConfig
from model.convolution import convolve


def build_unet(shape: tuple[int, ...], config: NetworkConfig) -> nn.Module:
    """A UNet that takes t (n,) and x (n, *shape) and gives (n, *shape).

    Its state dict is that of torchcfm's UNetModelWrapper.

    Raises:
        ValueError: sides that don't halve three times, or channels that the attention doesn't divide.
    """
    if any(side % 8 for side in shape[1:]):
        raise ValueError(f"network.kind 'unet' needs image sides that are multiples of 8, not {shape[1:]}")
    try:
        network = UNetModelWrapper(
            dim=shape,
            num_res_blocks=config.depth,
            num_channels=config.width,
            channel_mult=[1, 2, 2, 2],
            num_heads=4,
            num_head_channels=_head_channels(shape, config),
            attention_resolutions="16",
            dropout=config.dropout,  # pyright: ignore[reportArgumentType] - annotated as int there, used as a float
        )
    except AssertionError as error:  # torchcfm's word for channels that its attention heads don't divide
        raise ValueError(f"network.width = {config.width} doesn't fit the attention; use a multiple of 32") from error
    _replace(network)
    network.time_embed = TimeEmbedding(network.time_embed, [m for m in network.modules() if isinstance(m, Residual)])
    return network


def _head_channels(shape: tuple[int, ...], config: NetworkConfig) -> int:
    """64 as in torchcfm's example, or 32 where 64 doesn't divide the channels: attention works at 16 x 16 and below."""
    channels = config.width if shape[-1] == 16 else 2 * config.width
    return 32 if channels % 64 else 64


def _replace(module: nn.Module) -> None:
    """Puts the quicker parts in the place of torchcfm's, all the way down."""
    for name, part in list(module.named_children()):
        _replace(part)
        if isinstance(part, GroupNorm32):
            setattr(module, name, Norm(part))
        elif isinstance(part, AttentionBlock):
            setattr(module, name, Attention(part))
        elif isinstance(part, ResBlock):
            setattr(module, name, Residual(part))
        elif isinstance(part, nn.Conv2d):
            setattr(module, name, Convolution(part))
        elif isinstance(part, nn.Dropout) and part.p == 0:
            setattr(module, name, nn.Identity())
    if isinstance(module, nn.Sequential) and isinstance(norm := module[0], Norm):  # then SiLU is next
        norm.silu, module[1] = True, nn.Identity()


class Norm(nn.GroupNorm):
    """torchcfm's group norm without its copies in float32: the kernels sum in float32 anyway.

    Attributes:
        silu: whether SiLU follows.
    """

    silu = False

    def __init__(self, like: nn.GroupNorm):
        super().__init__(like.num_groups, like.num_channels, like.eps)

    def forward(self, input: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:  # noqa: A002
        """Of the same shape as the input, to which a shift (n, channels) is added first."""
        stored = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        x = fused.cast(input, stored)
        if fused.serves(x) and self.weight.dtype == torch.float32:
            return fused.group_norm(x, shift, self.weight, self.bias, self.num_groups, self.eps, self.silu)
        if shift is not None:
            x = x + shift[:, :, None, None].to(x.dtype)
        x = group_norm(x, self.num_groups, self.weight, self.bias, self.eps).to(x.dtype)
        return silu(x) if self.silu else x


class Convolution(nn.Module):
    """torchcfm's convolution, with its parameters."""

    def __init__(self, like: nn.Conv2d):
        super().__init__()
        assert like.bias is not None and not isinstance(like.padding, str)
        self.weight, self.bias = like.weight, like.bias
        self._stride, self._padding = like.stride[0], like.padding[0]

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """(n, channels out, h out, w out) from (n, channels, h, w)."""
        return convolve(input, self.weight, self.bias, self._stride, self._padding)


class TimeEmbedding(nn.Sequential):
    """torchcfm's embedding of the time, and what each residual block makes of it, all in one product.

    Args:
        like: the embedding.
        blocks: with an `emb_layers` each; they stay parts of the network that they are in.
    """

    def __init__(self, like: nn.Module, blocks: list["Residual"]):
        super().__init__(*like.children())
        for place, block in enumerate(blocks):
            block.place = place
        # in a list, so that their parameters don't become parts of this one too
        self._last = [m for block in blocks for m in block.emb_layers.children() if isinstance(m, nn.Linear)]

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:  # noqa: A002
        """For each block (n, its channels out), from the time's sines and cosines (n, features)."""
        weight, bias = torch.cat([last.weight for last in self._last]), torch.cat([last.bias for last in self._last])
        found = linear(silu(super().forward(input)), weight, bias)
        return found.split([last.out_features for last in self._last], dim=1)


class Residual(TimestepBlock):
    """torchcfm's residual block, with its parameters.

    Attributes:
        place: among the blocks of the network.
    """

    place: int

    def __init__(self, like: ResBlock):
        super().__init__()
        self.in_layers, self.emb_layers, self.out_layers = like.in_layers, like.emb_layers, like.out_layers
        self.skip_connection = like.skip_connection

    def forward(self, x: torch.Tensor, emb: tuple[torch.Tensor, ...]) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(n, channels out, h, w) from x (n, channels, h, w) and what `TimeEmbedding` gives."""
        hidden = self.in_layers(x)
        norm, _, dropout, conv = self.out_layers
        hidden = norm(hidden, emb[self.place])
        return self.skip_connection(x) + conv(dropout(hidden))


class Attention(nn.Module):
    """torchcfm's attention block, with its parameters, one place after the other in memory."""

    def __init__(self, like: AttentionBlock):
        super().__init__()
        self.norm, self.qkv, self.proj_out, self.heads = like.norm, like.qkv, like.proj_out, like.num_heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the shape of x (n, channels, h, w)."""
        n, channels, h, w = x.shape
        places = self.norm(x).permute(0, 2, 3, 1).reshape(n, h * w, channels)
        attended = self._attend(linear(places, self.qkv.weight[:, :, 0], self.qkv.bias))
        found = linear(attended, self.proj_out.weight[:, :, 0], self.proj_out.bias)
        return x + found.reshape(n, h, w, channels).permute(0, 3, 1, 2)

    def _attend(self, qkv: torch.Tensor) -> torch.Tensor:
        """(n, places, channels) from each head's queries, keys and values (n, places, 3 * channels)."""
        if fused.serves(qkv):
            return fused.attention(qkv, self.heads)
        n, places, _ = qkv.shape
        query, key, value = qkv.reshape(n, places, self.heads, 3, -1).permute(3, 0, 2, 1, 4)
        return scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, places, -1)

"""torchcfm's UNet with the hyper-parameters of its CIFAR-10 example, at any width.

Two of its parts are replaced by torch's own operations on the same parameters, so that the state dict stays torchcfm's:
the group norm, which casts to float32 and back where torch sums in float32 anyway, and the attention, which writes out
all its weights.
"""

import torch
from torch import nn
from torch.nn.functional import group_norm, linear, scaled_dot_product_attention
from torchcfm.models.unet.nn import GroupNorm32
from torchcfm.models.unet.unet import AttentionBlock, UNetModelWrapper

from model.config import NetworkConfig


def build_unet(shape: tuple[int, ...], config: NetworkConfig) -> nn.Module:
    """A UNet that takes t (n,) and x (n, *shape) and gives (n, *shape).

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
    for part in network.modules():
        for name, child in list(part.named_children()):
            if isinstance(child, GroupNorm32):
                setattr(part, name, Norm(child))
            elif isinstance(child, AttentionBlock):
                setattr(part, name, Attention(child))
    return network


def _head_channels(shape: tuple[int, ...], config: NetworkConfig) -> int:
    """64 as in torchcfm's example, or 32 where 64 doesn't divide the channels: attention works at 16 x 16 and below."""
    channels = config.width if shape[-1] == 16 else 2 * config.width
    return 32 if channels % 64 else 64


class Norm(nn.GroupNorm):
    """torchcfm's group norm without its copies: torch takes bfloat16 with float32 weights, and sums in float32."""

    def __init__(self, like: nn.GroupNorm):
        super().__init__(like.num_groups, like.num_channels, like.eps)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """Of the shape and the type of the input (n, channels, *places)."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps).to(input.dtype)


class Attention(nn.Module):
    """torchcfm's attention block, with its parameters."""

    def __init__(self, like: AttentionBlock):
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

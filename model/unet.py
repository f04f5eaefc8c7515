"""torchcfm's UNet with the hyper-parameters of its CIFAR-10 example, at any width; the same weights, quicker parts."""

import torch
from torch import nn
from torch.nn.functional import group_norm, scaled_dot_product_attention

from model.config import NetworkConfig


def build_unet(shape: tuple[int, ...], config: NetworkConfig) -> nn.Module:
    """A UNet that takes t (n,) and x (n, *shape) and gives (n, *shape).

    Its state dict is that of torchcfm's UNetModelWrapper.

    Raises:
        ValueError: sides that don't halve three times, or channels that the attention doesn't divide.
    """
    from torchcfm.models.unet.nn import GroupNorm32
    from torchcfm.models.unet.unet import QKVAttentionLegacy, UNetModelWrapper

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
    for module in list(network.modules()):
        for name, part in list(module.named_children()):
            if type(part) is QKVAttentionLegacy:
                setattr(module, name, Attention(part.n_heads))
            elif type(part) is GroupNorm32:
                setattr(module, name, Norm(part))
    return network


def _head_channels(shape: tuple[int, ...], config: NetworkConfig) -> int:
    """64 as in torchcfm's example, or 32 where 64 doesn't divide the channels: attention works at 16 x 16 and below."""
    channels = config.width if shape[-1] == 16 else 2 * config.width
    return 32 if channels % 64 else 64


class Attention(nn.Module):
    """torchcfm's attention by quicker kernels.

    Torch's fused one, which never holds the square of weights; in bfloat16 on a CPU two batched products, which take
    two thirds of its time, forwards and backwards, at the 256 places that the UNet's attention has.
    """

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads

    def forward(self, qkv: torch.Tensor) -> torch.Tensor:
        """(n, heads * channels, places) from queries, keys and values (n, heads * 3 * channels, places)."""
        n, _, places = qkv.shape
        if qkv.device.type != "cpu" or qkv.dtype != torch.bfloat16:
            query, key, value = qkv.reshape(n, self.heads, 3, -1, places).transpose(3, 4).contiguous().unbind(2)
            return scaled_dot_product_attention(query, key, value).transpose(2, 3).reshape(n, -1, places)
        query, key, value = qkv.reshape(n * self.heads, 3, -1, places).unbind(1)
        weights = torch.bmm((query * query.shape[1] ** -0.5).transpose(1, 2), key).softmax(2, value.dtype)
        return torch.bmm(weights, value.transpose(1, 2)).transpose(1, 2).reshape(n, -1, places)


class Norm(nn.GroupNorm):
    """torchcfm's group norm without its copies in float32: the kernels sum in float32 anyway."""

    def __init__(self, like: nn.GroupNorm):
        super().__init__(like.num_groups, like.num_channels, like.eps)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """Of the same shape and type as the input."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps).to(input.dtype)

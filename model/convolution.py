"""Convolution; on a CPU with the gradient by its weights from our own kernel, where that is quicker than torch's."""

from functools import cache
from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

from model import fused

gradient_by_input = torch.ops.aten.convolution_backward.default


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
    """What torch's conv2d gives, (n, channels out, h out, w out).

    Args:
        x: (n, channels, h, w).
        weight: (channels out, channels, side, side).
        bias: (channels out,).
        stride: from one place to the next, in both directions.
        padding: zeros at each border.
    """
    if torch.is_autocast_enabled("cpu"):
        stored = torch.get_autocast_dtype("cpu")
        x, weight, bias = (fused.cast(each, stored) for each in (x, weight, bias))
    if torch.is_grad_enabled() and weight.requires_grad and serves(x, weight):
        return _Convolution.apply(x, weight, bias, stride, padding)
    return conv2d(x, weight, bias, stride, padding)


def serves(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the kernel takes these, and is quicker; with 1 x 1 weights there is too little to multiply."""
    if not (fused.serves(x) and x.dtype == weight.dtype == torch.bfloat16 and weight.shape[2] > 1):
        return False
    wide, high = block()
    return wide > 0 and weight.shape[1] % wide == 0 and weight.shape[0] % high == 0


@cache
def block() -> tuple[int, int]:
    """Channels in and out that the kernel takes at a time; zeros where it is of no use."""
    fused.kernels()
    from model import convolution_kernels

    return (convolution_kernels.WIDE, convolution_kernels.HIGH) if convolution_kernels.pays() else (0, 0)


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, stride: int, padding: int):
        ctx.save_for_backward(x, weight, bias)
        ctx.stride, ctx.padding = stride, padding
        return conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, bias = ctx.saved_tensors
        (n, channels, h, w), (out_channels, _, side, _) = x.shape, weight.shape
        x, dy = (each.contiguous(memory_format=torch.channels_last) for each in (x, grad_outputs[0]))
        dweight, dbias = torch.empty_like(weight, memory_format=torch.channels_last), torch.empty_like(bias)
        addresses = [each.data_ptr() for each in (x, dy, dweight, dbias)]
        sizes = n, h, w, channels, out_channels, side, ctx.stride, ctx.padding
        fused.run("weight_gradient", out_channels // block()[1], x, *addresses, *sizes)
        dx = None
        if ctx.needs_input_grad[0]:
            stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
            wanted = [True, False, False]
            dx, _, _ = gradient_by_input(dy, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, wanted)
        return dx, dweight, dbias, None, None

"""Group norm with SiLU, and attention, with their gradients, on a CPU: torch's operations around our own kernels."""

import atexit
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

STORED = {torch.bfloat16: np.empty(0, np.uint16), torch.float32: np.empty(0, np.float32)}
PIECE = 1 << 16  # numbers that are worth a thread


def serves(x: torch.Tensor) -> bool:
    """Whether there are kernels for such a tensor; a network that is being compiled has torch's compiler's."""
    return x.device.type == "cpu" and x.dtype in STORED and not torch.compiler.is_compiling()


def cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in this type; where it is already, without a call, which would let go of the interpreter's lock."""
    return x if x.dtype == dtype else x.to(dtype)


def group_norm(
    x: torch.Tensor, shift: torch.Tensor | None, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float,
    silu: bool,
) -> torch.Tensor:  # fmt: skip
    """SiLU(group_norm(x + shift)), or without SiLU, with the channels last in memory.

    Args:
        x: (n, channels, h, w) that `serves`.
        shift: (n, channels) added at each place, or none.
        weight: (channels,) float32.
        bias: (channels,) float32.
        groups: of channels, each normed by itself.
        eps: added to the variance.
        silu: whether SiLU follows.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    shift = None if shift is None else cast(shift, x.dtype).contiguous()
    return _GroupNorm.apply(x, shift, weight, bias, groups, eps, silu)


def attention(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """What each place makes of all places: softmax(q k^T / sqrt(channels)) v.

    Args:
        qkv: (n, places, heads * 3 * channels) that `serves`: for each head queries, keys and values.
        heads: that attend by themselves.

    Returns:
        (n, places, heads * channels).
    """
    return _Attention.apply(qkv, heads)


class _GroupNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, shift: torch.Tensor | None, weight, bias, groups, eps, silu):
        n, channels, h, w = x.shape
        y, moments = torch.empty_like(x), torch.empty(n, 2, groups)
        ctx.save_for_backward(x, shift, weight, bias, moments)
        ctx.sizes, ctx.silu = (h * w, channels, groups), silu
        tensors = (x, shift, y, weight, bias, moments)
        run("norm", n, x, *map(_address, tensors), *ctx.sizes, eps, silu)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (dy,) = grad_outputs
        x, shift, weight, bias, moments = ctx.saved_tensors
        n, channels = x.shape[:2]
        dy, dx = dy.contiguous(memory_format=torch.channels_last), torch.empty_like(x)
        dshift = None if shift is None else torch.empty_like(shift)
        by_sample = torch.empty(2, n, channels)
        tensors = (x, shift, dy, dx, dshift, weight, bias, moments, by_sample)
        second = by_sample.data_ptr() + n * channels * by_sample.itemsize
        run("norm_backward", n, x, *map(_address, tensors), second, *ctx.sizes, ctx.silu)
        return dx, dshift, *by_sample.sum(1), None, None, None


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, heads: int):
        n, places, _ = qkv.shape
        split = qkv.reshape(n, places, heads, 3, -1).permute(3, 0, 2, 1, 4).flatten(1, 2)  # a copy: quicker products
        query, key, value = split.contiguous()
        weights = torch.bmm(query, key.transpose(1, 2))
        ctx.scale = query.shape[2] ** -0.5
        run("softmax", n * heads * places, weights, _address(weights), places, ctx.scale)
        ctx.save_for_backward(query, key, value, weights)
        ctx.heads = heads
        return _joined(torch.bmm(weights, value), heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value, weights = ctx.saved_tensors
        n_heads, places, channels = query.shape
        dy = grad_outputs[0].reshape(-1, places, ctx.heads, channels).transpose(1, 2).reshape(query.shape)
        dqkv = weights.new_empty(n_heads, places, 3, channels)
        dqkv[:, :, 2] = torch.bmm(dy.transpose(1, 2), weights).transpose(1, 2)  # so, the large one isn't turned
        dweights = torch.bmm(dy, value.transpose(1, 2))
        run("softmax_backward", n_heads * places, weights, _address(weights), _address(dweights), places, ctx.scale)
        dqkv[:, :, 1] = torch.bmm(query.transpose(1, 2), dweights).transpose(1, 2)
        dqkv[:, :, 0] = torch.bmm(dweights, key)
        return _joined(dqkv.flatten(2), ctx.heads), None


def _joined(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(n, places, heads * c) from (n * heads, places, c)."""
    _, places, c = x.shape
    return x.reshape(-1, heads, places, c).transpose(1, 2).reshape(-1, places, heads * c)


def _address(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def run(kernel: str, n: int, like: torch.Tensor, *rest: float) -> None:
    """Calls a kernel for n samples, rows or blocks, divided among as many threads as torch may take.

    Args:
        kernel: its name.
        n: samples, rows or blocks of channels.
        like: a tensor of the type that is stored, as large as the work.
        rest: of its arguments.
    """
    function, stored = kernels()[kernel], STORED[like.dtype]
    threads = min(torch.get_num_threads(), n, like.numel() // PIECE)
    if threads <= 1:
        function(0, n, stored, *rest)
        return
    edges = [n * i // threads for i in range(threads + 1)]
    done = _pool().map(lambda first, last: function(first, last, stored, *rest), edges, edges[1:])
    deque(done, maxlen=0)


@cache
def kernels() -> dict[str, Callable[..., None]]:
    """Our kernels by their names; to import them takes half a second.

    Where neither their folder nor the user's cache can be written, they are kept for this process alone.
    """
    try:
        from model import convolution_kernels, kernels
    except RuntimeError:
        import numba

        folder = TemporaryDirectory(prefix="curate-kernels-")
        atexit.register(folder.cleanup)
        numba.config.CACHE_DIR = folder.name  # pyright: ignore
        from model import convolution_kernels, kernels
    found = (kernels.norm, kernels.norm_backward, kernels.softmax, kernels.softmax_backward)
    return {each.__name__: each for each in (*found, convolution_kernels.weight_gradient)}


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "kernels")

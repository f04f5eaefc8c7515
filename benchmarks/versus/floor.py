"""The floor under each stage: the arithmetic it can't do without, over what this machine's matrix product reaches."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SIZE = 2_048
LEAST_S = 0.5
IMAGES = 2  # whose arithmetic is counted; batch norm and the like want more than one


def matmul_rates(device: torch.device) -> dict[str, float]:
    """Floating-point operations per second of a product of two square matrices, at this process's number of threads.

    On a GPU fp32 is measured as TF32, which cuDNN's convolutions use unless told otherwise.
    """
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return {"fp32": _rate(torch.float32, device), "bf16": _rate(torch.bfloat16, device)}
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def count_flops(
    network: nn.Module, judge: Callable[[torch.Tensor], object], side: int, device: torch.device
) -> dict[str, float]:
    """Floating-point operations per image: of the generator forwards, of its training step, of the classifier."""
    x = torch.randn(IMAGES, 3, side, side, device=device)
    t = torch.rand(IMAGES, device=device)
    with torch.no_grad():
        forward = _count(lambda: network(t, x))
    step = _count(lambda: network(t, x).square().mean().backward())
    return {"forward": forward, "step": step, "judge": _count(lambda: judge(x))}


def floor_seconds(
    flops: dict[str, float], rate: float, *, samples: int, evaluations: float, steps: int, batch: int
) -> dict[str, float]:
    """Seconds below which no stage can go at this rate, with this many evaluations of the network per image."""
    return {
        "sample": flops["forward"] * evaluations * samples / rate,
        "score": flops["judge"] * samples / rate,
        "fine-tune": flops["step"] * batch * steps / rate,
    }


def _count(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / IMAGES


def _rate(dtype: torch.dtype, device: torch.device) -> float:
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.standard_normal((SIZE, SIZE), dtype=np.float32)).to(device, dtype) for _ in range(2))
    _products(a, b, 2)
    n, took = 1, 0.0
    while took < LEAST_S:
        n *= 2
        took = _products(a, b, n)
    return 2 * SIZE**3 * n / took


def _products(a: torch.Tensor, b: torch.Tensor, n: int) -> float:
    began = time.perf_counter()
    for _ in range(n):
        c = a @ b
    float(c[0, 0])  # waits for the last one
    return time.perf_counter() - began

"""Convolution with our own gradient by the weights against torch's in float64."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch.nn.functional import conv2d

from model import convolution, fused
from model.convolution import convolve
from model.convolution_kernels import HIGH, WIDE, compiled_for

PRECISION = 4e-3  # of bfloat16
# n, channels in and out, rows, columns, side, stride, padding
SIZES = [
    (32, 32, 32, 16, 16, 3, 1, 1),
    (5, 64, 8, 7, 3, 3, 1, 1),
    (1, 32, 64, 1, 1, 3, 1, 1),
    (4, 64, 64, 8, 8, 3, 2, 1),
    (3, 96, 16, 7, 5, 3, 2, 1),
    (2, 32, 16, 9, 9, 5, 3, 2),
    (2, 32, 24, 9, 4, 3, 1, 0),
    (3, 32, 8, 6, 6, 2, 2, 1),
    (40, 128, 64, 4, 4, 3, 1, 1),
]
Sizes = tuple[int, int, int, int, int, int, int, int]
Found = tuple[torch.Tensor, tuple[torch.Tensor, ...]]


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernel, on processors with a matrix unit too."""
    if not compiled_for("avx512bf16"):
        pytest.skip("this processor doesn't multiply bfloat16")
    monkeypatch.setattr(convolution, "block", lambda: (WIDE, HIGH))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def inputs(sizes: Sizes, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, weight and bias in bfloat16, the channels last, all wanting gradients."""
    n, channels, out_channels, h, w, side, _, _ = sizes
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(n, channels, h, w, generator=made)
    weight = torch.randn(out_channels, channels, side, side, generator=made)
    last = (each.bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_() for each in (x, weight))
    return *last, torch.randn(out_channels, generator=made).bfloat16().requires_grad_()  # type: ignore[return-value]


def convolved(sizes: Sizes, *given: torch.Tensor) -> Found:
    """What `convolve` gives, and its gradients for some slope."""
    y = convolve(*given, *sizes[-2:])  # type: ignore[arg-type]
    assert "_Convolution" in type(y.grad_fn).__name__
    return y, torch.autograd.grad(y, [each for each in given if each.requires_grad], slope_of(y))


def slope_of(y: torch.Tensor) -> torch.Tensor:
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(9)).bfloat16()


@pytest.mark.parametrize("sizes", SIZES)
def test_values_and_gradients_are_torchs(sizes: Sizes):
    given = inputs(sizes)
    y, gradients = convolved(sizes, *given)
    doubles = [each.detach().double().requires_grad_() for each in given]
    exact = conv2d(*doubles, *sizes[-2:])  # type: ignore[arg-type]
    rights = torch.autograd.grad(exact, doubles, slope_of(y).double())
    for found, right in zip((y, *gradients), (exact, *rights), strict=True):
        assert found.dtype == torch.bfloat16 and found.shape == right.shape
        assert (found.double() - right).norm() <= PRECISION * right.norm()
    assert gradients[1].stride() == given[1].stride()


@pytest.mark.parametrize("sizes", SIZES)
def test_threads_change_no_bit(sizes: Sizes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fused, "PIECE", 100)  # so that small ones are divided, too
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(convolved(sizes, *inputs(sizes))[1][1:])
    assert all(torch.equal(a, b) for others in found[1:] for a, b in zip(found[0], others, strict=True))


def test_the_layout_of_what_goes_in_is_no_matter():
    sizes = SIZES[0]
    x, weight, bias = inputs(sizes)
    first = [each.detach().contiguous().requires_grad_() for each in (x, weight, bias)]
    for found, other in zip(convolved(sizes, x, weight, bias)[1], convolved(sizes, *first)[1], strict=True):
        assert torch.equal(found, other)


def test_an_input_without_gradient_gets_none():
    sizes = SIZES[0]
    x, weight, bias = inputs(sizes)
    assert torch.equal(convolved(sizes, x.detach(), weight, bias)[1][0], convolved(sizes, x, weight, bias)[1][1])


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_not_hidden(broken: float):
    sizes = SIZES[1]
    x, weight, bias = inputs(sizes)
    with torch.no_grad():
        x[4, 5, 2, 1] = broken
    gradient = convolved(sizes, x, weight, bias)[1][1]
    assert not torch.isfinite(gradient[:, 5]).any() and torch.isfinite(gradient[:, 6]).all()


def test_autocast_casts_and_gives_gradients_of_the_weights_own_type():
    sizes = SIZES[0]
    x, weight, bias = inputs(sizes)
    wide = [each.detach().float().requires_grad_() for each in (x, weight, bias)]
    with torch.autocast("cpu", torch.bfloat16):
        y, gradients = convolved(sizes, *wide)
    assert y.dtype == torch.bfloat16 and all(each.dtype == torch.float32 for each in gradients)
    for found, right in zip(gradients, convolved(sizes, x, weight, bias)[1], strict=True):
        assert torch.equal(found, right.float())


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (torch.zeros(1, 32, 4, 4), torch.zeros(8, 32, 3, 3)),
        (torch.zeros(1, 3, 4, 4).bfloat16(), torch.zeros(8, 3, 3, 3).bfloat16()),
        (torch.zeros(1, 32, 4, 4).bfloat16(), torch.zeros(3, 32, 3, 3).bfloat16()),
        (torch.zeros(1, 32, 4, 4).bfloat16(), torch.zeros(8, 32, 1, 1).bfloat16()),
    ],
)
def test_the_rest_is_torchs(x: torch.Tensor, weight: torch.Tensor):
    assert not convolution.serves(x, weight)
    y = convolve(x, weight.requires_grad_(), torch.zeros(len(weight), dtype=x.dtype), 1, 1)
    assert type(y.grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.parametrize("setting", ["NUMBA_CPU_NAME=generic", "NUMBA_ENABLE_AVX=0"])
def test_where_numba_compiles_for_less_it_is_torchs(setting: str):
    name, value = setting.split("=")
    code = "from model.convolution_kernels import pays; print(pays())"
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, name: value}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"


def test_without_gradients_it_is_torchs():
    x, weight, bias = inputs(SIZES[0])
    with torch.no_grad():
        assert torch.equal(convolve(x, weight, bias, 1, 1), conv2d(x, weight, bias, 1, 1))

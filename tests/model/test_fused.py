"""The kernels against torch's own operations in float64: values, gradients, threads, extremes.

Run as a script, this file prints what they give, for processes to be compared.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from model import fused, kernels
from model.convolution import convolve

ROOT = Path(__file__).parents[2]
PRECISION = {torch.bfloat16: 4e-3, torch.float32: 2e-6}  # of what is stored, as a part of it
TYPES = list(PRECISION)
SHAPES = [(3, 32, 16, 16), (2, 96, 8, 8), (5, 64, 3, 5), (1, 160, 1, 1), (4, 33, 7, 2)]
Norm = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def norm_input(shape: tuple[int, ...], stored: torch.dtype, shifted: bool = True, mean: float = 0.0) -> Norm:
    """x, a shift or none, weight and bias, all wanting gradients."""
    made = torch.Generator().manual_seed(sum(shape))
    x = (mean + torch.randn(shape, generator=made)).to(stored)
    shift = torch.randn(shape[:2], generator=made).to(stored) if shifted else None
    weight, bias = 1 + torch.randn(shape[1], generator=made) / 4, torch.randn(shape[1], generator=made)
    for tensor in (x, shift, weight, bias):
        if tensor is not None:
            tensor.requires_grad_()
    return x, shift, weight, bias


def exact_norm(found: Norm, groups: int, silu: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What torch gives in float64, and the double copies of what went in."""
    doubles = [tensor.detach().double().requires_grad_() for tensor in found if tensor is not None]
    x, *shift, weight, bias = doubles
    for each in shift:
        x = x + each[:, :, None, None]
    y = functional.group_norm(x, groups, weight, bias)
    return functional.silu(y) if silu else y, doubles


def assert_near(found: torch.Tensor, exact: torch.Tensor, within: float) -> None:
    assert found.shape == exact.shape
    assert (found.double() - exact).norm() <= within * exact.norm() + 1e-12


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stored", TYPES)
def test_group_norm_is_torchs(stored: torch.dtype, shape: tuple[int, ...], shifted: bool, silu: bool):
    given = norm_input(shape, stored, shifted)
    groups = 11 if shape[1] == 33 else 32 if shape[2:] != (1, 1) else 5
    y = fused.group_norm(*given, groups, 1e-5, silu)
    exact, doubles = exact_norm(given, groups, silu)
    assert y.dtype == stored
    assert_near(y, exact, PRECISION[stored])
    slope = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(stored)
    wanted = [tensor for tensor in given if tensor is not None]
    for found, right in zip(
        torch.autograd.grad(y, wanted, slope), torch.autograd.grad(exact, doubles, slope.double()), strict=True
    ):
        # a shift's gradient is next to nothing where the norm takes each channel's mean away again
        assert (found.double() - right).norm() <= 2 * PRECISION[stored] * max(right.norm(), slope.double().norm() / 4)


@pytest.mark.parametrize("stored", TYPES)
def test_a_mean_far_from_zero_costs_no_digits(stored: torch.dtype):
    given = norm_input((2, 64, 8, 8), stored, shifted=False, mean=200.0)
    assert_near(fused.group_norm(*given, 32, 1e-5, True), exact_norm(given, 32, True)[0], 20 * PRECISION[stored])


@pytest.mark.parametrize("stored", TYPES)
def test_the_layout_of_what_goes_in_is_no_matter(stored: torch.dtype):
    x, shift, weight, bias = norm_input((3, 32, 8, 8), stored)
    last = x.detach().contiguous(memory_format=torch.channels_last)
    wide = torch.cat([x.detach(), x.detach()], dim=3)[:, :, :, :8]
    found = [fused.group_norm(each, shift, weight, bias, 32, 1e-5, True) for each in (x, last, wide)]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    slope = torch.ones(()).to(stored).expand_as(found[0])
    assert torch.autograd.grad(found[0], x, slope)[0].shape == x.shape


@pytest.mark.parametrize("stored", TYPES)
def test_samples_are_the_same_bits_in_any_company_on_any_number_of_threads(
    stored: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fused, "PIECE", 100)  # so that small ones are divided, too
    x, shift, weight, bias = norm_input((7, 64, 4, 4), stored)
    qkv = torch.randn(7, 16, 2 * 3 * 8, generator=torch.Generator().manual_seed(2)).to(stored).requires_grad_()
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        y = fused.group_norm(x, shift, weight, bias, 32, 1e-5, True)
        attended = fused.attention(qkv, 2)
        slopes = torch.autograd.grad([y, attended], [x, shift, weight, bias, qkv], [y.detach(), attended.detach()])
        found.append([y, attended, *slopes])
    torch.set_num_threads(1)
    alone = [fused.group_norm(x[3:4], shift[3:4], weight, bias, 32, 1e-5, True), fused.attention(qkv[3:4], 2)]  # type: ignore[index]
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))
    assert torch.equal(alone[0], found[0][0][3:4])
    torch.testing.assert_close(alone[1], found[0][1][3:4], rtol=2 * PRECISION[stored], atol=2 * PRECISION[stored])


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize(("n", "places", "channels"), [(3, 256, 32), (2, 4, 16), (1, 1, 8), (2, 21, 5)])
@pytest.mark.parametrize("stored", TYPES)
def test_attention_is_torchs(stored: torch.dtype, n: int, places: int, channels: int, heads: int):
    made = torch.Generator().manual_seed(places)
    qkv = torch.randn(n, places, heads * 3 * channels, generator=made).to(stored).requires_grad_()
    found, double = fused.attention(qkv, heads), qkv.detach().double().requires_grad_()
    query, key, value = double.reshape(n, places, heads, 3, channels).permute(3, 0, 2, 1, 4)
    exact = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, places, -1)
    assert_near(found, exact, 3 * PRECISION[stored])
    slope = torch.randn(exact.shape, generator=made).to(stored)
    (gradient,), (right,) = torch.autograd.grad(found, qkv, slope), torch.autograd.grad(exact, double, slope.double())
    assert_near(gradient, right, 3 * PRECISION[stored])


@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4, 1e30])
def test_softmax_of_any_size(stored: torch.dtype, size: float):
    x = (size * torch.randn(40, 37, generator=torch.Generator().manual_seed(0))).to(stored)
    exact = torch.softmax(0.5 * x.double(), dim=1)
    fused.run("softmax", 40, x, x.data_ptr(), 37, 0.5)
    assert (x.double() - exact).abs().max() < 2 * PRECISION[stored]


def test_exp_and_sigmoid_are_exact_to_float32():
    x = np.linspace(-87, 87, 100_001, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    assert np.max(np.abs(np.array([kernels.exp(v) for v in x[::10]]) / exact[::10] - 1)) < 8e-6  # x itself is rounded
    assert kernels.exp(np.float32(0)) == 1
    assert 0 < kernels.exp(np.float32(-1e30)) < 2e-38 and np.isfinite(kernels.exp(np.float32(1e30)))
    assert kernels.sigmoid(np.float32(-1e30)) < 1e-37 and kernels.sigmoid(np.float32(1e30)) == 1


@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_not_hidden(stored: torch.dtype, broken: float):
    x, shift, weight, bias = norm_input((2, 32, 4, 4), stored)
    with torch.no_grad():
        x[1, 5, 2, 2] = broken
    y = fused.group_norm(x, shift, weight, bias, 32, 1e-5, True)
    assert torch.isfinite(y[0]).all() and not torch.isfinite(y[1]).all()
    (slope,) = torch.autograd.grad(y.float().sum(), weight)
    assert not torch.isfinite(slope).all()
    qkv = torch.randn(1, 4, 24).to(stored)
    qkv[0, 2, 3] = broken
    assert not torch.isfinite(fused.attention(qkv, 1)).all()


def test_a_gradient_of_a_gradient_is_refused():
    x, shift, weight, bias = norm_input((2, 32, 4, 4), torch.float32)
    y = fused.group_norm(x, shift, weight, bias, 32, 1e-5, True)
    (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_there_are_none_for_other_types():
    assert fused.serves(torch.zeros(1)) and fused.serves(torch.zeros(1, dtype=torch.bfloat16))
    assert not fused.serves(torch.zeros(1, dtype=torch.float64))
    assert not fused.serves(torch.zeros(1, dtype=torch.float16))


def test_kernels_are_compiled_where_nothing_can_be_kept():
    code = (
        "import torch; from model import fused; fused.attention(torch.zeros(1, 4, 24), 1);"
        "import numba; print(numba.config.CACHE_DIR)"
    )
    env = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}  # no folder beside it, no user's
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    folder = found.stdout.strip()
    assert "curate-kernels-" in folder and not Path(folder).exists()


def digest(stored: torch.dtype) -> str:
    """Of what the kernels give for input whose sums aren't exact."""
    found, made = hashlib.sha256(), torch.Generator().manual_seed(3)
    for shape in [(30, 32, 16, 16), (8, 64, 8, 8), (8, 96, 4, 4), (8, 256, 2, 2)]:
        given = norm_input(shape, stored, mean=0.3)
        y = fused.group_norm(*given, 32, 1e-5, True)
        qkv = torch.randn(4, shape[2] * shape[3], 96, generator=made).to(stored).requires_grad_()
        attended = fused.attention(qkv, 1)
        wanted = [tensor for tensor in (*given, qkv) if tensor is not None]
        slopes = torch.autograd.grad([y, attended], wanted, [y.detach(), attended.detach()])
        weight = torch.randn(16, shape[1], 3, 3, generator=made).to(stored).requires_grad_()
        convolved = convolve(given[0].detach(), weight, torch.zeros(16).to(stored), 1, 1)
        (by_weight,) = torch.autograd.grad(convolved, weight, convolved.detach())
        for tensor in (y, attended, *slopes, by_weight):
            found.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def test_compiled_anew_and_read_from_disk_they_give_the_same_bits(tmp_path: Path):
    """Unless every helper is inlined, a process that compiles calls other copies of them than one that reads."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def digests(first: str) -> list[str]:
        done = subprocess.run([sys.executable, __file__, first], env=env, capture_output=True, text=True, check=True)
        return sorted(done.stdout.splitlines())

    anew = digests("bfloat16")
    assert len(anew) == len(TYPES) and any(tmp_path.rglob("*.nbc"))
    assert digests("bfloat16") == digests("float32") == anew


if __name__ == "__main__":
    for each in sorted(TYPES, key=lambda stored: sys.argv[1] not in str(stored)):
        sys.stdout.write(f"{each} {digest(each)}\n")

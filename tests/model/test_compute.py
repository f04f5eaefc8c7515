"""The choice of a device, of its precision, and of compiling, which nothing may need."""

import pytest
import torch
from torch import nn

from model import compute
from model.compute import Compiled, describe, device, use, uses_bf16, velocity_field
from model.config import NetworkConfig, TrainConfig

UNET = NetworkConfig(kind="unet")
LONG, SHORT = TrainConfig(finetune_steps=5_000, batch_size=128), TrainConfig(finetune_steps=10, batch_size=2)


class Twice(nn.Module):
    """A network without parameters."""

    def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """2 x."""
        return 2 * x


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="There is no cuda device that torch can use here"):
        use("cuda")
    assert use("auto") == use("cpu") == device() and describe() == "cpu"


def test_a_compiler_that_fails_leaves_the_network_as_it_is(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nin /usr/bin")

    monkeypatch.setattr(torch, "compile", lambda network, **_: broken)
    field, x = Compiled(Twice()), torch.ones(2, 3)
    with pytest.warns(UserWarning, match=r"torch.compile failed here \(InvalidCxxCompiler.*going on without it"):
        assert torch.equal(field(x[:, 0], x), 2 * x)
    assert torch.equal(field(x[:, 0], x), 2 * x)  # no second warning, which would be an error


@pytest.mark.filterwarnings("error")
def test_too_little_memory_and_errors_of_the_network_are_not_the_compilers(monkeypatch: pytest.MonkeyPatch):
    def cramped(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "compile", lambda network, **_: cramped)
    with pytest.raises(torch.OutOfMemoryError):
        Compiled(Twice())(torch.ones(2), torch.ones(2, 3))


@pytest.mark.parametrize(
    ("kind", "compile_", "train", "compiled"),
    [
        ("cuda", "auto", LONG, True), ("cuda", "auto", SHORT, False), ("cuda", "never", LONG, False),
        ("cpu", "auto", LONG, False), ("cpu", "always", SHORT, True),
    ],
)  # fmt: skip
def test_the_study_alone_decides_on_compiling(
    monkeypatch: pytest.MonkeyPatch, kind: str, compile_: str, train: TrainConfig, compiled: bool
):
    monkeypatch.setattr(compute, "device", lambda: torch.device(kind))
    field = velocity_field(Twice(), UNET.model_copy(update={"compile": compile_}), train)
    assert isinstance(field, Compiled) == compiled


def test_emulated_bfloat16_is_used_only_if_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compute, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert [uses_bf16(precision) for precision in ("auto", "bf16", "fp32")] == [False, True, False]
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert [uses_bf16(precision) for precision in ("auto", "bf16", "fp32")] == [True, True, False]

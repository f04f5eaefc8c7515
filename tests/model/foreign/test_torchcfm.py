"""Checkpoints in the layout of torchcfm's CIFAR-10 example, made with its own classes, sampled in its own way."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchcfm.models.unet.unet import UNetModelWrapper
from torchdiffeq import odeint

from model.config import SamplingConfig, TrainConfig
from model.flow import Flow
from model.sampling import noise
from model.weights_import import ForeignWeightsError, read_torchcfm

STEPS = 2
EXAMPLE: dict[str, Any] = {
    "dim": (3, 32, 32), "num_res_blocks": 1, "num_channels": 32, "channel_mult": [1, 2, 2, 2], "num_heads": 4,
    "num_head_channels": 64, "attention_resolutions": "16", "dropout": 0.1,
}  # fmt: skip


def unet(seed: int = 0, **changes: Any) -> UNetModelWrapper:
    """torchcfm's UNet with random weights everywhere, those that it starts at zero too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = UNetModelWrapper(**(EXAMPLE | changes))
        for parameter in network.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
    return network.eval()


def save(path: Path, net: nn.Module, ema: nn.Module, prefix: str = "", **how: Any) -> Path:
    """Writes what the example writes."""
    optim = torch.optim.Adam(net.parameters(), lr=2e-4)
    net(torch.zeros(1), torch.zeros(1, 3, 32, 32)).sum().backward()
    optim.step()
    optim.zero_grad()
    sched = torch.optim.lr_scheduler.LambdaLR(optim, lr_lambda=lambda step: min(step, 5_000) / 5_000)
    content = {
        "net_model": {prefix + name: tensor for name, tensor in net.state_dict().items()},
        "ema_model": {prefix + name: tensor for name, tensor in ema.state_dict().items()},
        "sched": sched.state_dict(),
        "optim": optim.state_dict(),
        "step": 400_000,
    }
    torch.save(content, path, **how)
    return path


def opened(path: Path, **more: Any) -> Flow:
    """The flow of a checkpoint, to be sampled in single precision as torchcfm's."""
    flow = read_torchcfm(path, TrainConfig(), SamplingConfig(solver="euler", steps=STEPS, batch_size=2), **more)
    return replace(flow, network_config=flow.network_config.model_copy(update={"precision": "fp32"}))


@torch.no_grad()
def sampled_their_way(network: nn.Module, seeds: np.ndarray) -> torch.Tensor:
    """Euler's method of torchdiffeq over the example's time grid, from the same noise."""
    grid = torch.linspace(0, 1, STEPS + 1)
    return odeint(network, noise(seeds, (3, 32, 32)), grid, method="euler")[-1].clip(-1, 1)  # pyright: ignore


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_samples_as_torchcfm_does(tmp_path: Path, prefix: str):
    net, ema, seeds = unet(0), unet(1), np.arange(2)
    path = save(tmp_path / "weights.pt", net, ema, prefix)
    flow = opened(path)
    assert (flow.shape, flow.network_config.kind) == ((3, 32, 32), "unet")
    assert (flow.network_config.width, flow.network_config.depth, flow.network_config.dropout) == (32, 1, 0.1)
    wanted = sampled_their_way(ema, seeds)
    torch.testing.assert_close(flow.sample(seeds), wanted, rtol=0, atol=1e-6)
    assert wanted.std() > 0.1 and (wanted - sampled_their_way(net, seeds)).abs().max() > 1e-2
    trained = opened(path, weights="net_model")
    torch.testing.assert_close(trained.sample(seeds), sampled_their_way(net, seeds), rtol=0, atol=1e-6)


def test_it_samples_as_the_examples_own_script_does(tmp_path: Path):
    from torchdyn.core import NeuralODE

    network, seeds = unet(2), np.array([5, 7])
    flow = opened(save(tmp_path / "weights.pt", network, network))
    with torch.no_grad():
        node = NeuralODE(network, solver="euler")
        path = node.trajectory(noise(seeds, (3, 32, 32)), t_span=torch.linspace(0, 1, STEPS + 1))
    torch.testing.assert_close(flow.sample(seeds), path[-1].clip(-1, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("width", "blocks", "side"), [(32, 2, 32), (64, 1, 16)])
def test_sizes_are_read_off_the_tensors(tmp_path: Path, width: int, blocks: int, side: int):
    network = unet(num_channels=width, num_res_blocks=blocks, dim=(1, side, side))
    torch.save({"ema_model": network.state_dict()}, tmp_path / "weights.pt")
    flow = opened(tmp_path / "weights.pt")
    assert (flow.shape, flow.network_config.width, flow.network_config.depth) == ((1, side, side), width, blocks)
    for name, tensor in flow.network.state_dict().items():
        assert torch.equal(tensor.cpu(), network.state_dict()[name]), name


def test_the_older_format_of_torch_save_is_read_too(tmp_path: Path):
    network = unet()
    flow = opened(save(tmp_path / "old.pt", network, network, _use_new_zipfile_serialization=False))
    assert torch.equal(flow.network.state_dict()["out.2.weight"].cpu(), network.state_dict()["out.2.weight"])


def test_the_flow_is_saved_and_loaded_as_our_own(tmp_path: Path):
    network = unet()
    flow = opened(save(tmp_path / "weights.pt", network, network))
    sha256 = flow.save(tmp_path / "ours.safetensors")
    again = Flow.load(tmp_path / "ours.safetensors", flow.train, flow.sampling)
    assert again.sha256 == sha256 and again.network_config == flow.network_config
    assert torch.equal(again.sample(np.arange(2)), flow.sample(np.arange(2)))


OTHERS: dict[str, tuple[Callable[[], Any], str]] = {
    "other levels": (lambda: unet(channel_mult=[1, 2, 2]), "another architecture"),
    "classes": (lambda: unet(class_cond=True, num_classes=10), "label_emb.weight too"),
    "no attention": (lambda: unet(attention_resolutions="64"), "no level of it attends"),
    "attention twice": (lambda: unet(attention_resolutions="16,8"), "another architecture"),
    "scale and shift": (lambda: unet(use_scale_shift_norm=True), "emb_layers"),
    "other sizes in between": (lambda: unet(resblock_updown=True), "another architecture"),
    "a linear layer": (lambda: nn.Linear(3, 3), "input_blocks.0.0.weight"),
}


@pytest.mark.parametrize(("build", "part"), OTHERS.values(), ids=OTHERS)
def test_another_architecture_is_told_in_one_sentence(tmp_path: Path, build: Callable[[], nn.Module], part: str):
    torch.save({"ema_model": build().state_dict()}, tmp_path / "weights.pt")
    with pytest.raises(ForeignWeightsError, match="another architecture") as told:
        opened(tmp_path / "weights.pt")
    assert part in str(told.value) and "\n" not in str(told.value)


class Anything:
    """An object that a checkpoint may not hold."""


BAD: dict[str, tuple[Any, str]] = {
    "no average": ({"net_model": {"a": torch.zeros(1)}}, "no 'ema_model'"),
    "a bare state dict": ({"a": torch.zeros(1)}, "no 'ema_model'"),
    "a list": ([torch.zeros(1)], "no 'ema_model'"),
    "a tensor": (torch.zeros(1), "no 'ema_model'"),
    "an average that is none": ({"ema_model": 3}, "no state dict"),
    "an empty average": ({"ema_model": {}}, "no state dict"),
    "numbers for tensors": ({"ema_model": {"a": 3}}, "no state dict"),
    "an object": ({"ema_model": Anything()}, "could run any code"),
    "a whole module": ({"ema_model": nn.Linear(1, 1)}, "could run any code"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("content", "part"), BAD.values(), ids=BAD)
def test_what_is_no_such_checkpoint_is_told(tmp_path: Path, content: Any, part: str, zipped: bool):
    torch.save(content, tmp_path / "weights.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ForeignWeightsError, match=part):
        opened(tmp_path / "weights.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_told(tmp_path: Path, zipped: bool):
    path = tmp_path / "weights.pt"
    tensors = {str(i): torch.zeros(100) for i in range(20)}
    torch.save({"ema_model": tensors}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for cut in np.linspace(20, len(whole) - 1, 40, dtype=int):
        path.write_bytes(whole[:cut])
        with pytest.raises(ForeignWeightsError, match="truncated or damaged"):
            opened(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"<!DOCTYPE html>", b"\x93NUMPY", bytes(1000)])
def test_what_torch_save_did_not_write_is_told(tmp_path: Path, content: bytes):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(ForeignWeightsError, match="not a PyTorch checkpoint"):
        opened(tmp_path / "weights.pt")


def test_a_missing_file_is_told(tmp_path: Path):
    for path in (tmp_path, tmp_path / "no.pt"):
        with pytest.raises(ForeignWeightsError, match="no file of weights"):
            opened(path)

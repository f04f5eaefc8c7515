"""The checkpoints of torchcfm's CIFAR-10 example, read into a flow.

The example (examples/images/cifar10 of atong01/conditional-flow-matching) saves a dict of net_model, ema_model, sched,
optim and step. Sizes are read off the tensors; what leaves no trace in them (heads of 64 channels, no scale-and-shift)
is taken to be the example's.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.foreign.pickled import ForeignWeightsError, first_misfit, read_pickled, state_dict

DROPOUT = 0.1  # of the example
ATTENTION = 16  # side, in pixels, of the level that attends
FIRST = "input_blocks.0.0.weight"  # (width, channels, 3, 3)


def read(path: Path, train: TrainConfig, sampling: SamplingConfig, weights: str = "ema_model") -> Flow:
    """A flow with the weights of such a checkpoint.

    Args:
        path: the .pt file.
        train: of the flow.
        sampling: of the flow.
        weights: 'ema_model' (the averaged ones, which the example samples from) or 'net_model'.

    Raises:
        ForeignWeightsError: the file can't be read, or holds something else.
    """
    found = read_pickled(path)
    if not isinstance(found, Mapping) or weights not in found:
        raise ForeignWeightsError(f"{path} isn't a checkpoint of torchcfm's CIFAR-10 example: it has no '{weights}'.")
    tensors = state_dict(found[weights], path)
    shape, network = _sizes(tensors, path)
    try:
        flow = Flow.build(shape, network, train, sampling)
    except ValueError as error:
        raise _other(path, str(error)) from error
    misfit = first_misfit(tensors, flow.network.state_dict())
    if misfit:
        raise _other(path, misfit)
    flow.network.load_state_dict(tensors)
    return flow


def _sizes(tensors: Mapping[str, torch.Tensor], path: Path) -> tuple[tuple[int, ...], NetworkConfig]:
    """The shape of one sample and the settings of the network."""
    first = tensors.get(FIRST)
    if first is None or first.ndim != 4:
        raise _other(path, f"it has no {FIRST} of four dimensions")
    halvings = _blocks(tensors, r"input_blocks\.(\d+)\.0\.op\.weight")
    attending = _blocks(tensors, r"input_blocks\.(\d+)\.1\.qkv\.weight")
    if not halvings or not attending or halvings[0] < 2:
        raise _other(path, "no level of it attends, or none follows another")
    level = sum(block < attending[0] for block in halvings)
    side = ATTENTION * 2**level
    network = NetworkConfig(kind="unet", width=first.shape[0], depth=halvings[0] - 1, dropout=DROPOUT)
    return (first.shape[1], side, side), network


def _blocks(tensors: Mapping[str, torch.Tensor], pattern: str) -> list[int]:
    """The numbers of the blocks with a tensor of that name, in order."""
    return sorted(int(match[1]) for match in map(re.compile(pattern).fullmatch, tensors) if match)


def _other(path: Path, why: str) -> ForeignWeightsError:
    return ForeignWeightsError(f"{path} holds another architecture than torchcfm's CIFAR-10 UNet: {why}.")

"""Other projects' weights, read into this one's networks: torchcfm's flows and huyvnphan's VGG11."""

import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model.compute import device
from model.config import ClassifierConfig, NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.judging.classifier import Classifier, vgg11

HEADS = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # of torch.save's zip and of its older format
# what torch.load raises on damaged bytes, by trying: there is no class of its own for it
DAMAGE = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, AssertionError, TypeError,
    AttributeError, struct.error,
)  # fmt: skip
DROPOUT = 0.1  # of the example
ATTENTION = 16  # side, in pixels, of the level that attends
FIRST = "input_blocks.0.0.weight"  # (width, channels, 3, 3)
SHAPE = (3, 32, 32)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CONFIG = ClassifierConfig(
    width=64, head="vgg", dropout=0.5, mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616)
)  # mean and std are of that repository's own transform
POOLED_7X7 = 512 * 7 * 7
PREFIXES = {"0.0.": "features.", "1.": "classifier."}  # of tensors here, and in that repository


class ForeignWeightsError(ValueError):
    """A file doesn't hold the weights that it should."""


def read_pickled(path: Path) -> Any:
    """The content of a file that torch.save wrote, on the CPU: tensors and plain containers only.

    Raises:
        ForeignWeightsError: no such file, not one of torch.save's, a damaged one, or one that holds other objects.
    """
    if not path.is_file():
        raise ForeignWeightsError(f"There is no file of weights at {path}.")
    with path.open("rb") as file:
        start = file.read(max(map(len, HEADS)))
    if not start.startswith(HEADS):
        raise ForeignWeightsError(f"{path} is not a PyTorch checkpoint (a file that torch.save writes).")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise ForeignWeightsError(
                f"{path} holds Python objects beside tensors, which could run any code when read; "
                "save its state_dict() alone and give that."
            ) from error
        raise ForeignWeightsError(f"{path} is truncated or damaged; get the file again.") from error


def state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a state dict by name, without the "module." that data-parallel training puts before each.

    Raises:
        ForeignWeightsError: it isn't a state dict.
    """
    tensors = content.values() if isinstance(content, Mapping) else ()
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise ForeignWeightsError(f"{path} holds no state dict (a tensor for each name) where one should be.")
    parallel = all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if parallel else name: tensor for name, tensor in content.items()}


def first_misfit(tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str | None:
    """The first tensor that is missing, superfluous or of another shape, in words; None if all fit."""
    for name, tensor in expected.items():
        if name not in tensors:
            return f"it has no {name}"
        if tensors[name].shape != tensor.shape:
            return f"its {name} has shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
    more = [name for name in tensors if name not in expected]
    return f"it has {more[0]} too" if more else None


def read_torchcfm(path: Path, train: TrainConfig, sampling: SamplingConfig, weights: str = "ema_model") -> Flow:
    """A flow with the weights of such a checkpoint.

    Args:
        path: the .pt file.
        train: of the flow.
        sampling: of the flow.
        weights: 'ema_model' (the averaged ones, which the example samples from) or 'net_model'.

    Raises:
        ForeignWeightsError: the file can't be read, or holds something else.
    """
    content = read_pickled(path)
    if not isinstance(content, Mapping) or weights not in content:
        raise ForeignWeightsError(f"{path} isn't a checkpoint of torchcfm's CIFAR-10 example: it has no '{weights}'.")
    tensors = state_dict(content[weights], path)
    try:
        flow = Flow.build(*torchcfm_sizes(tensors), train, sampling)
        misfit = first_misfit(tensors, flow.network.state_dict())
        if misfit:
            raise ValueError(misfit)
    except ValueError as error:
        raise ForeignWeightsError(
            f"{path} holds another architecture than torchcfm's CIFAR-10 UNet: {error}."
        ) from error
    flow.network.load_state_dict(tensors)
    return flow


def torchcfm_sizes(tensors: Mapping[str, torch.Tensor]) -> tuple[tuple[int, ...], NetworkConfig]:
    """The shape of one sample and the settings of the network, from the shapes of torchcfm's tensors.

    Raises:
        ValueError: they aren't those of such a UNet.
    """

    def blocks(pattern: str) -> list[int]:
        return sorted(int(match[1]) for match in map(re.compile(pattern).fullmatch, tensors) if match)

    first = tensors.get(FIRST)
    if first is None or first.ndim != 4:
        raise ValueError(f"it has no {FIRST} of four dimensions")
    halvings = blocks(r"input_blocks\.(\d+)\.0\.op\.weight")
    attending = blocks(r"input_blocks\.(\d+)\.1\.qkv\.weight")
    if not halvings or not attending or halvings[0] < 2:
        raise ValueError("no level of it attends, or none follows another")
    level = sum(block < attending[0] for block in halvings)
    side = ATTENTION * 2**level
    network = NetworkConfig(kind="unet", width=first.shape[0], depth=halvings[0] - 1, dropout=DROPOUT)
    return (first.shape[1], side, side), network


def read_huyvnphan(path: Path) -> Classifier:
    """A classifier of CIFAR-10's classes with those weights; its accuracy isn't known yet.

    Raises:
        ForeignWeightsError: the file can't be read, or holds another network's weights.
    """
    tensors = state_dict(read_pickled(path), path)
    first = tensors.get("classifier.0.weight")
    if first is not None and first.shape[-1] == POOLED_7X7:
        raise ForeignWeightsError(
            f"{path} is of the older VGG11 with a 7 x 7 pooled head (25,088 inputs); use the weights of that "
            "repository's later version, whose head has 512."
        )
    network = vgg11(SHAPE, CONFIG, len(CLASSES))
    foreign_names = {}
    for name in network.state_dict():
        prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
        foreign_names[name] = PREFIXES[prefix] + name.removeprefix(prefix)
    misfit = first_misfit(tensors, {foreign_names[name]: tensor for name, tensor in network.state_dict().items()})
    if misfit:
        raise ForeignWeightsError(f"{path} doesn't hold huyvnphan's vgg11_bn for CIFAR-10: {misfit}.")
    network.load_state_dict({name: tensors[foreign] for name, foreign in foreign_names.items()})
    return Classifier(SHAPE, network.to(device()).eval(), CONFIG, CLASSES, None, seed=0)

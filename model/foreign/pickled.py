"""Reading what torch.save wrote, without running anything that a stranger put into the file."""

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

HEADS = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # of torch.save's zip and of its older format
# what torch.load raises on damaged bytes, by trying: there is no class of its own for it
DAMAGE = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, AssertionError, TypeError,
    AttributeError, struct.error,
)  # fmt: skip


class ForeignWeightsError(ValueError):
    """A file doesn't hold the weights that it should."""


def read_pickled(path: Path) -> Any:
    """What torch.save wrote to a file, on the CPU: tensors and plain containers only.

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


def state_dict(found: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a state dict by name, without the "module." that data-parallel training puts before each.

    Raises:
        ForeignWeightsError: it isn't a state dict.
    """
    if not isinstance(found, Mapping) or not found or not all(isinstance(t, torch.Tensor) for t in found.values()):
        raise ForeignWeightsError(f"{path} holds no state dict (a tensor for each name) where one should be.")
    parallel = all(name.startswith("module.") for name in found)
    return {name.removeprefix("module.") if parallel else name: tensor for name, tensor in found.items()}


def first_misfit(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str | None:
    """The first tensor that is missing, too many or of another shape, in words; None if all fit."""
    for name, tensor in wanted.items():
        if name not in found:
            return f"it has no {name}"
        if found[name].shape != tensor.shape:
            return f"its {name} has shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
    more = [name for name in found if name not in wanted]
    return f"it has {more[0]} too" if more else None

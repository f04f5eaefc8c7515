"""Weights on disk: safetensors, with a JSON sidecar of their kind, settings and sha256.

A checkpoint exists once its sidecar does: the weights are written and synced first, then the sidecar, each under
another name that is renamed at the end. Half of one is never read.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors

from model.compute import from_main

FORMAT = "curate-checkpoint/1"


class MissingCheckpointError(ValueError):
    """There are no weights at the path, or no sidecar beside them."""


class CorruptCheckpointError(RuntimeError):
    """The weights are not those that were written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights and what they are.

    Attributes:
        kind: 'flow', 'resampler', 'classifier', or the name that a user's generator gives itself.
        config: the settings from which the network is built again.
        seed: that trained it.
        parent: sha256 of the checkpoint it was warm-started from; None for none.
        sha256: of the weights' file.
    """

    kind: str
    tensors: dict[str, torch.Tensor] = field(repr=False)
    config: dict[str, Any]
    seed: int
    parent: str | None = None
    sha256: str = ""


def save(path: Path, checkpoint: Checkpoint) -> str:
    """Writes weights and sidecar atomically and returns the sha256 of the weights; of several processes rank 0 writes.

    The same tensors always give the same bytes.
    """

    def write() -> str:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        weights = dump_tensors(tensors)
        sha256 = hashlib.sha256(weights).hexdigest()
        facts = {name: getattr(checkpoint, name) for name in ("kind", "config", "seed", "parent")}
        sidecar = {"format": FORMAT, **facts, "sha256": sha256}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(weights))
        write_whole(sidecar_path(path), lambda file: file.write(json.dumps(sidecar, indent=2).encode()))
        return sha256

    return from_main(write)


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint and verifies it; several processes get what rank 0 reads.

    Half-precision weights come back as float32.

    Raises:
        MissingCheckpointError: no such checkpoint.
        CorruptCheckpointError: the weights don't have the sidecar's sha256, or the sidecar can't be read.
    """
    return from_main(lambda: read(path))


def load_kind(path: Path, kind: str) -> Checkpoint:
    """A checkpoint of this kind; errors as in `load`."""
    stored = load(path)
    if stored.kind != kind:
        raise MissingCheckpointError(f"{path} holds a {stored.kind}, not a {kind}.")
    return stored


def read(path: Path) -> Checkpoint:
    """The same on this process alone."""
    if not path.is_file() or not sidecar_path(path).is_file():
        raise MissingCheckpointError(f"There is no checkpoint at {path} (weights and .json); restore or retrain it.")
    try:
        sidecar = json.loads(sidecar_path(path).read_text())
        if sidecar["format"] != FORMAT:
            raise MissingCheckpointError(f"{sidecar_path(path)} is of format {sidecar['format']}, not {FORMAT}.")
        fields = {name: sidecar[name] for name in ("kind", "config", "seed", "parent", "sha256")}
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(f"{sidecar_path(path)} is damaged; restore it from a backup.") from error
    weights = path.read_bytes()
    if hashlib.sha256(weights).hexdigest() != fields["sha256"]:
        raise CorruptCheckpointError(f"{path} is damaged (its sha256 is not the recorded one); restore or retrain it.")
    tensors = {name: t.float() if t.dtype == torch.float16 else t for name, t in load_tensors(weights).items()}
    return Checkpoint(tensors=tensors, **fields)


def sidecar_path(path: Path) -> Path:
    """The JSON file beside the weights."""
    return path.with_suffix(".json")


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Has a file written under another name, and renames it once it is whole and on the disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

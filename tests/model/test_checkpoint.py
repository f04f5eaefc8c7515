"""Weights on disk: what is read is what was written, or nothing is read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model import checkpoint
from model.checkpoint import Checkpoint, CorruptCheckpointError, MissingCheckpointError, sidecar_path


def example(seed: int = 0, dtype: torch.dtype = torch.float32) -> Checkpoint:
    generator = torch.Generator().manual_seed(seed)
    tensors = {"b": torch.randn(3, 4, generator=generator).to(dtype), "a": torch.arange(5)}
    return Checkpoint("flow", tensors, {"width": 4, "names": ["x"]}, seed=7, parent="cd" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A saved example."""
    checkpoint.save(tmp_path / "g.safetensors", example())
    return tmp_path / "g.safetensors"


def test_what_was_saved_comes_back(tmp_path: Path):
    path, saved = tmp_path / "deep" / "er" / "g.safetensors", example()
    sha256 = checkpoint.save(path, saved)
    found = checkpoint.load(path)
    assert (found.kind, found.config, found.seed, found.parent) == ("flow", saved.config, 7, "cd" * 32)
    assert found.sha256 == sha256
    assert found.tensors.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():
        assert torch.equal(found.tensors[name], tensor)


def test_the_same_tensors_give_the_same_bytes_whatever_their_order_and_layout(tmp_path: Path):
    tensors = example().tensors
    turned = {"a": tensors["a"], "b": tensors["b"].T.contiguous().T}
    sha256 = [
        checkpoint.save(tmp_path / f"{i}.safetensors", Checkpoint("flow", given, {}, seed=i))
        for i, given in enumerate((tensors, turned))
    ]
    assert sha256[0] == sha256[1]
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()
    assert sha256[0] != checkpoint.save(tmp_path / "2.safetensors", example(seed=1))


def test_saving_again_replaces_weights_and_sidecar(path: Path):
    sha256 = checkpoint.save(path, example(seed=1))
    found = checkpoint.load(path)
    assert found.sha256 == sha256 and torch.equal(found.tensors["b"], example(seed=1).tensors["b"])


def test_half_precision_comes_back_as_float32(tmp_path: Path):
    checkpoint.save(tmp_path / "h.safetensors", example(dtype=torch.float16))
    found = checkpoint.load(tmp_path / "h.safetensors").tensors
    assert found["b"].dtype == torch.float32 and found["a"].dtype == torch.int64
    torch.testing.assert_close(found["b"], example().tensors["b"].half().float(), rtol=0, atol=0)


@pytest.mark.parametrize("gone", [["g.safetensors"], ["g.json"], ["g.safetensors", "g.json"]])
def test_a_missing_part_is_a_missing_checkpoint(path: Path, gone: list[str]):
    for name in gone:
        (path.parent / name).unlink()
    with pytest.raises(MissingCheckpointError, match=r"g\.safetensors"):
        checkpoint.load(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_in_the_weights_is_found(path: Path, place: float, bit: int):
    whole = path.read_bytes()
    content = bytearray(whole)
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match="damaged"):
        checkpoint.load(path)
    path.write_bytes(whole)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_truncated_weights_are_found(path: Path, keep: float):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CorruptCheckpointError, match=r"g\.safetensors"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"sha256"', '"sha255"'),
        lambda text: text.replace('"kind"', '"find"'),
    ],
    ids=["half", "empty", "a list", "no hash", "no kind"],
)
def test_a_damaged_sidecar_is_found(path: Path, damage: Callable[[str], str]):
    sidecar = sidecar_path(path)
    sidecar.write_text(damage(sidecar.read_text()))
    with pytest.raises(CorruptCheckpointError, match=r"g\.json"):
        checkpoint.load(path)


def test_a_sidecar_that_is_no_text_is_found(path: Path):
    sidecar_path(path).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorruptCheckpointError):
        checkpoint.load(path)


def test_another_format_is_named(path: Path):
    sidecar = json.loads(sidecar_path(path).read_text()) | {"format": "curate-checkpoint/9"}
    sidecar_path(path).write_text(json.dumps(sidecar))
    with pytest.raises(MissingCheckpointError, match="curate-checkpoint/9"):
        checkpoint.load(path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
):
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(*((checkpoint.os, "fsync") if failing == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="full"):
        checkpoint.save(path, example(seed=1))
    assert sorted(file.name for file in path.parent.iterdir()) == ["g.json", "g.safetensors"]
    assert torch.equal(checkpoint.load(path).tensors["b"], example().tensors["b"])


def test_weights_without_a_sidecar_yet_are_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = checkpoint.write_whole

    def killed_after_the_weights(path: Path, content) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_whole", killed_after_the_weights)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "g.safetensors", example())
    with pytest.raises(MissingCheckpointError):
        checkpoint.load(tmp_path / "g.safetensors")

"""Features are those of the network itself, whatever the batch; a wrong file is told in words."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from model.judging.features import ExtractorName, load_extractor

CPU = torch.device("cpu")
Weights = dict[str, torch.Tensor]


def pixels(n: int, channels: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, channels, 16, 16), dtype=np.uint8))


def images(n: int, channels: int = 3) -> torch.Tensor:
    return pixels(n, channels).float() / 127.5 - 1


def randomised(weights: Weights) -> Weights:
    """Weights that matter everywhere: none is 0, and the scale survives the depth."""
    random = torch.Generator().manual_seed(0)
    return {
        name: (1.0 if one.ndim < 2 and name.endswith(("weight", "gamma")) else 0.0)
        + (0.05 if one.ndim < 2 else (2.0 / one[0].numel()) ** 0.5) * torch.randn(one.shape, generator=random)
        for name, one in weights.items()
    }


class Untrained(FeatureExtractorInceptionV3):
    """torch-fidelity's own network as it is before it reads its weights."""

    def load_state_dict(self, *_args: object, **_keywords: object):
        return None


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> tuple[Untrained, Path]:
    """The network, and a file of its weights in the layout of the published one."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save({}, path)
    torch.manual_seed(0)
    network = Untrained("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    torch.save(network.state_dict(), path)
    return network, path


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Path]:
    """Random weights of a small DINOv2, under the names that its published file has."""
    path = tmp_path_factory.mktemp("weights") / "dinov2.pth"
    network = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
    weights = randomised({**network.state_dict(), "mask_token": torch.zeros(1, 384)})
    torch.save(weights, path)
    return weights, path


def test_inception_gives_just_what_torch_fidelity_gives(inception: tuple[Untrained, Path]):
    network, path = inception
    extractor = load_extractor("inception", path, CPU)
    found = extractor.features(images(2))
    assert extractor.name == "inception" and found.shape == (2, 2048) and float(found.std()) > 0
    torch.testing.assert_close(found, network(pixels(2))[0], rtol=0, atol=0)
    grey = extractor.features(images(1, channels=1))
    torch.testing.assert_close(grey, network(pixels(1, channels=1).expand(-1, 3, -1, -1))[0], rtol=0, atol=0)


def by_hand(weights: Weights, images: torch.Tensor) -> torch.Tensor:
    """The class token of DINOv2, formula by formula."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return nn.functional.layer_norm(x, (384,), weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-6)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    grid = weights["pos_embed"][:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic")
    x = nn.functional.conv2d(images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=14)
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x.flatten(2).mT], dim=1)
    x = x + torch.cat([weights["pos_embed"][:, :1], grid.flatten(2).mT], dim=1)
    for block in (f"blocks.{index}" for index in range(12)):
        parts = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").unflatten(2, (3, 6, 64))
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.mT / 8).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + weights[f"{block}.ls1.gamma"] * linear(mixed, f"{block}.attn.proj")
        hidden = nn.functional.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1"))
        x = x + weights[f"{block}.ls2.gamma"] * linear(hidden, f"{block}.mlp.fc2")
    return norm(x, "norm")[:, 0]


def test_dinov2_gives_what_its_formulas_give(dinov2: tuple[Weights, Path]):
    weights, path = dinov2
    extractor = load_extractor("dinov2", path, CPU)
    found = extractor.features(images(2))
    large = interpolate_bilinear_2d_like_tensorflow1x(pixels(2).float(), size=(224, 224), align_corners=False)
    mean, deviation = (torch.tensor(one)[:, None, None] for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    wanted = by_hand(weights, (large / 255 - mean) / deviation)
    assert extractor.name == "dinov2" and found.shape == (2, 384) and float(found.std()) > 0.1
    assert float((wanted[0] - wanted[1]).abs().max()) > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_features_dont_depend_on_the_batch(dinov2: tuple[Weights, Path]):
    extractor = load_extractor("dinov2", dinov2[1], CPU)
    calls = []
    extractor.network.register_forward_hook(lambda _network, inputs, _output: calls.append(len(inputs[0])))
    found = replace(extractor, batch=2).features(images(3))
    torch.testing.assert_close(found, extractor.features(images(3)), rtol=1e-4, atol=1e-5)
    assert calls == [2, 1, 3]


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_a_file_that_is_missing_or_something_else_is_told(
    name: ExtractorName, tmp_path: Path, inception: tuple[Untrained, Path], dinov2: tuple[Weights, Path]
):
    path = tmp_path / "weights.pth"

    def refused(says: str) -> None:
        with pytest.raises(ValueError, match=says):
            load_extractor(name, path, CPU)

    refused("There is no weights file at")
    path.write_bytes(b"")
    refused("can't be read as weights")
    path.write_text("<html>not found</html>")
    refused("can't be read as weights")
    good = {"inception": inception, "dinov2": dinov2}[name][1].read_bytes()
    path.write_bytes(good[: len(good) // 2])
    refused("can't be read as weights")
    torch.save({"epoch": 3}, path)
    refused("holds no plain weights")
    torch.save({"fc.weight": torch.zeros(2, 2)}, path)
    refused(f"doesn't hold the weights of {name}; it must be")
    torch.save({"pos_embed": torch.zeros(1, 5, 384)}, path)
    refused(f"doesn't hold the weights of {name}")


def test_a_file_is_never_run(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"a": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="can't be read as weights"):
        load_extractor("inception", tmp_path / "trap.pth", CPU)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_without_torch_fidelity_it_says_what_to_install(
    name: ExtractorName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    torch.save({}, tmp_path / "weights.pth")
    for module in [module for module in sys.modules if module.split(".")[0] == "torch_fidelity"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"pip install 'curate\[fidelity\]'"):
        load_extractor(name, tmp_path / "weights.pth", CPU)

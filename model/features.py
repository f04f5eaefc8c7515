"""Feature extractors by which images are compared: the study's classifier, or a network whose weights lie in a file.

Inception and DINOv2 are run as torch-fidelity runs them, its resizing included, so that their figures can be held
against published ones. It is optional (`pip install 'curate[fidelity]'`), and imported only where it is asked for.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from model.classifier import Classifier

BATCH = 64
ExtractorName = Literal["inception", "dinov2"]
FILES = {
    "inception": "torch-fidelity's weights-inception-2015-12-05-6726825d.pth",
    "dinov2": "DINOv2's own dinov2_vits14_pretrain.pth (or vitb14, vitl14, vitg14)",
}


class FeatureExtractor(Protocol):
    """Anything that gives features of images, under a name to be shown with every figure that rests on them."""

    @property
    def name(self) -> str:
        """Such as 'vgg11': a Fréchet distance by it is shown as FD(vgg11)."""
        ...

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, d) float32 features of (n, channels, height, width) images in [-1, 1]."""
        ...


@dataclass(frozen=True)
class ClassifierFeatures:
    """The activations before the last layer of a classifier."""

    classifier: Classifier
    name: str = "vgg11"

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, d) float32 features of (n, channels, height, width) images in [-1, 1]."""
        return torch.from_numpy(self.classifier.judge(images).features)


@dataclass(frozen=True)
class NetworkFeatures:
    """The features of one of torch-fidelity's extractors, which take (n, 3, height, width) uint8."""

    name: str
    network: nn.Module
    device: torch.device
    batch: int = BATCH

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, d) float32 features of (n, channels, height, width) images in [-1, 1], one or three channels."""
        found = []
        for batch in images.split(self.batch):
            pixels = ((batch.to(self.device) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            found.append(self.network(pixels.expand(-1, 3, -1, -1))[0].float())
        return torch.cat(found)


def load_extractor(name: ExtractorName, file: Path, device: torch.device) -> NetworkFeatures:
    """An extractor whose weights lie in a file.

    Args:
        name: of the network.
        file: its weights, a state dict in the layout of its published file (`FILES`).
        device: where it is to run.

    Raises:
        ValueError: torch-fidelity is missing, or the file is, or it holds something else.
    """
    make = {"inception": _inception, "dinov2": _dinov2}[name]
    weights = _read_weights(name, file)
    try:
        network = make(file, weights)
    except ImportError as error:
        raise ValueError(
            f"Features by {name} need torch-fidelity, which is not installed ({error}): pip install 'curate[fidelity]'"
        ) from error
    except RuntimeError as error:  # a missing, unexpected or misshapen tensor
        raise ValueError(f"{file} doesn't hold the weights of {name}; it must be {FILES[name]}.") from error
    return NetworkFeatures(name, network.to(device), device)


def _read_weights(name: str, file: Path) -> dict[str, torch.Tensor]:
    """The file's tensors; nothing in it is executed."""
    if not file.is_file():
        raise ValueError(f"There is no weights file at {file}; features by {name} need {FILES[name]}.")
    try:
        weights: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{file} can't be read as weights saved by torch; features by {name} need {FILES[name]}."
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(one, torch.Tensor) for one in weights.values()):
        raise ValueError(f"{file} holds no plain weights; features by {name} need {FILES[name]}.")
    return weights


def _inception(file: Path, _weights: dict[str, torch.Tensor]) -> nn.Module:
    """The network of Heusel et al. 2017; it reads the file once more, by then known to hold tensors alone."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(file))


def _dinov2(_file: Path, weights: dict[str, torch.Tensor]) -> nn.Module:
    from model.dinov2 import extractor

    return extractor(weights)

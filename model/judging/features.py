"""Features by which images are compared, from Inception or DINOv2, whose weights lie in a file.

Both are run as torch-fidelity runs them, its resizing included, so that their figures can be compared with published
ones. torch-fidelity is optional (`pip install 'curate[fidelity]'`), and imported only where it is needed.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

BATCH = 64
DINOV2_SIZES = {384: "small", 768: "base", 1024: "large", 1536: "giant"}  # by the length of a position
PATCH = 14
GATED_LAYER = {".mlp.w12.": ".mlp.fc1.", ".mlp.w3.": ".mlp.fc2."}  # of the giant, renamed as timm has it
OFFSET = 0.1  # DINOv2 scales its positions by (patches + 0.1) / (patches it was trained with)
ExtractorName = Literal["inception", "dinov2"]
FILES = {
    "inception": "torch-fidelity's weights-inception-2015-12-05-6726825d.pth",
    "dinov2": "DINOv2's own dinov2_vits14_pretrain.pth (or vitb14, vitl14, vitg14)",
}


@dataclass(frozen=True)
class NetworkFeatures:
    """The features of one of torch-fidelity's extractors, which take (n, 3, height, width) uint8.

    Attributes:
        name: such as 'inception': a Fréchet distance by it is shown as FD(inception).
        network: the extractor.
        device: that it runs on.
        batch: images that it takes together.
    """

    name: str
    network: nn.Module
    device: torch.device
    batch: int = BATCH

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, d) float32 features of (n, channels, height, width) images in [-1, 1], one or three channels."""
        parts = []
        for batch in images.split(self.batch):
            pixels = ((batch.to(self.device) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            parts.append(self.network(pixels.expand(-1, 3, -1, -1))[0].float())
        return torch.cat(parts)


def load_extractor(name: ExtractorName, file: Path, device: torch.device) -> NetworkFeatures:
    """An extractor whose weights lie in a file.

    Args:
        name: of the network.
        file: its weights, a state dict in the layout of its published file (`FILES`).
        device: where it is to run.

    Raises:
        ValueError: torch-fidelity is missing, or the file is, or it holds something else.
    """
    weights = read_weights(name, file)
    try:
        network = inception(file) if name == "inception" else dinov2(weights)
    except ImportError as error:
        raise ValueError(
            f"Features by {name} need torch-fidelity, which is not installed ({error}): pip install 'curate[fidelity]'"
        ) from error
    except RuntimeError as error:  # a missing, unexpected or misshapen tensor
        raise ValueError(f"{file} doesn't hold the weights of {name}; it must be {FILES[name]}.") from error
    return NetworkFeatures(name, network.to(device), device)


def read_weights(name: ExtractorName, file: Path) -> dict[str, torch.Tensor]:
    """The file's tensors by name; nothing in it is executed.

    Raises:
        ValueError: no such file, or it holds anything but tensors.
    """
    if not file.is_file():
        raise ValueError(f"There is no weights file at {file}; features by {name} need {FILES[name]}.")
    try:
        weights: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{file} can't be read as weights saved by torch; features by {name} need {FILES[name]}."
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in weights.values()):
        raise ValueError(f"{file} holds no plain weights; features by {name} need {FILES[name]}.")
    return weights


def inception(file: Path) -> nn.Module:
    """torch-fidelity's Inception of Heusel et al. 2017, which reads the file itself: see that it holds only tensors."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(file))


def dinov2(weights: dict[str, torch.Tensor]) -> nn.Module:
    """torch-fidelity's DINOv2 with these weights: the normalised class token of images resized to 224 x 224.

    By itself it can only download the network. The transformer is timm's, which has the same arithmetic and, but for
    one layer of the largest, the same names of tensors.

    Source: Oquab et al. 2023 (arXiv 2304.07193).

    Raises:
        RuntimeError: they aren't those of a DINOv2 without registers.
    """
    import timm
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    class LocalDinoV2(FeatureExtractorDinoV2):
        def __init__(self, network: nn.Module):
            FeatureExtractorBase.__init__(self, "dinov2-vit-s-14", ["dinov2"])  # the parent's would download
            self.feature_extractor_internal_dtype = torch.float32
            self.model = network
            self.requires_grad_(False)
            self.eval()

    positions = weights.get("pos_embed")
    if positions is None or positions.ndim != 3 or positions.shape[-1] not in DINOV2_SIZES:
        raise RuntimeError("no positions of a DINOv2 of a known size")
    side = FeatureExtractorDinoV2.INPUT_IMAGE_SIZE
    network = timm.create_model(
        f"vit_{DINOV2_SIZES[positions.shape[-1]]}_patch14_dinov2", pretrained=False, img_size=side, num_classes=0
    )
    renamed = {}
    for name, tensor in weights.items():
        for layer, timm_layer in GATED_LAYER.items():
            name = name.replace(layer, timm_layer)
        if name != "mask_token":
            renamed[name] = tensor
    network.load_state_dict({**renamed, "pos_embed": resized_positions(positions, side // PATCH)})
    return LocalDinoV2(network)


def resized_positions(positions: torch.Tensor, patches: int) -> torch.Tensor:
    """(1, 1 + patches², d) positions from those of another number of patches, as DINOv2 itself resizes them."""
    first, grid = positions[:, :1].float(), positions[:, 1:].float()
    trained = round(grid.shape[1] ** 0.5)
    if trained == patches:
        return positions
    square = grid.reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    scale = (patches + OFFSET) / trained
    small = nn.functional.interpolate(square, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([first, small.flatten(2).transpose(1, 2)], dim=1)

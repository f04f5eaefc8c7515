"""DINOv2 from a state dict: torch-fidelity's extractor, which by itself can only download the network.

Needs `curate[fidelity]`: importing this module raises ImportError without. The transformer is timm's, which has the
same arithmetic and, but for one layer of the largest, the same names of tensors.
"""

import timm
import torch
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

SIZES = {384: "small", 768: "base", 1024: "large", 1536: "giant"}
PATCH = 14
RENAMED = {".mlp.w12.": ".mlp.fc1.", ".mlp.w3.": ".mlp.fc2."}  # the giant's gated layer
OFFSET = 0.1  # DINOv2 scales its positions by (patches + 0.1) / (patches it was trained with)


class _LocalDinoV2(FeatureExtractorDinoV2):
    def __init__(self, network: nn.Module):
        FeatureExtractorBase.__init__(self, "dinov2-vit-s-14", ["dinov2"])  # the parent's would download
        self.feature_extractor_internal_dtype = torch.float32
        self.model = network
        self.requires_grad_(False)
        self.eval()


def extractor(weights: dict[str, torch.Tensor]) -> FeatureExtractorDinoV2:
    """The extractor with these weights: the normalised class token of images resized to 224 x 224.

    Source: Oquab et al. 2023 (arXiv 2304.07193).

    Raises:
        RuntimeError: they aren't those of a DINOv2 without registers.
    """
    positions = weights.get("pos_embed")
    if positions is None or positions.ndim != 3 or positions.shape[-1] not in SIZES:
        raise RuntimeError("no positions of a DINOv2 of a known size")
    side = FeatureExtractorDinoV2.INPUT_IMAGE_SIZE
    network = timm.create_model(
        f"vit_{SIZES[positions.shape[-1]]}_patch14_dinov2", pretrained=False, img_size=side, num_classes=0
    )
    known = {_timm_name(name): tensor for name, tensor in weights.items() if name != "mask_token"}
    network.load_state_dict({**known, "pos_embed": resized(positions, side // PATCH)})
    return _LocalDinoV2(network)


def resized(positions: torch.Tensor, patches: int) -> torch.Tensor:
    """(1, 1 + patches², d) positions from those of another number of patches, as DINOv2 itself resizes them."""
    first, grid = positions[:, :1].float(), positions[:, 1:].float()
    trained = round(grid.shape[1] ** 0.5)
    if trained == patches:
        return positions
    square = grid.reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    scale = (patches + OFFSET) / trained
    small = nn.functional.interpolate(square, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([first, small.flatten(2).transpose(1, 2)], dim=1)


def _timm_name(name: str) -> str:
    for theirs, ours in RENAMED.items():
        name = name.replace(theirs, ours)
    return name

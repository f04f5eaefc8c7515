"""The networks that judge images: VGG11 fitted to small images."""

import numpy as np
import torch
from torch import nn

from model.config import ClassifierConfig

VGG11 = (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M")  # torchvision's configuration "A", in units of the width
WIDE = 4_096  # of torchvision's head, at width 64


def vgg11(shape: tuple[int, ...], config: ClassifierConfig, classes: int) -> nn.Sequential:
    """VGG11 with batch norm, fitted to the image size: as many of its five poolings as the size allows.

    Returns:
        Two parts: images (n, 3, height, width) to features (n, 8 * width), features to (n, classes) logits.

    Source: Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration A; `config.head` says what ends it.
    """
    from torchvision.models.vgg import make_layers  # takes a second, and studies of points do without

    poolings = int(np.log2(min(shape[1:])))
    plan: list[str | int] = []
    for part in VGG11:
        if part != "M":
            plan.append(int(part) * config.width)
        elif plan.count("M") < poolings:
            plan.append("M")
    features = nn.Sequential(
        make_layers(plan, batch_norm=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout)
    )
    network = nn.Sequential(features, _head(config, classes))
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stub lacks it


def _head(config: ClassifierConfig, classes: int) -> nn.Module:
    inside, wide = 8 * config.width, WIDE * config.width // 64
    if config.head == "linear":
        return nn.Linear(inside, classes)
    between = [nn.ReLU(inplace=True), nn.Dropout(config.dropout)]
    return nn.Sequential(nn.Linear(inside, wide), *between, nn.Linear(wide, wide), *between, nn.Linear(wide, classes))


def prepared(images: torch.Tensor, config: ClassifierConfig) -> torch.Tensor:
    """(n, 3, height, width) as the network wants them, from images in [-1, 1] of one or three channels."""
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    if config.mean != (0.5,) or config.std != (0.5,):
        mean, std = (torch.tensor(part, device=images.device)[:, None, None] for part in (config.mean, config.std))
        images = (images / 2 + 0.5 - mean) / std
    return images.contiguous(memory_format=torch.channels_last)

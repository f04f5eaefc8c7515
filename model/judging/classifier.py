"""The classifier that judges images: the reward, the class shares and the features come from it."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from model import checkpoint
from model.compute import device, gathered, share
from model.config import ClassifierConfig
from model.interfaces import OnStep

VGG11 = (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M")  # torchvision's configuration "A", in units of the width
WIDE = 4_096  # of torchvision's head, at width 64
BATCH = 512  # images judged together ...
PIXELS = BATCH * 64 * 64  # ... where they have no more than these


def vgg11(shape: tuple[int, ...], config: ClassifierConfig, classes: int) -> nn.Sequential:
    """VGG11 with batch norm, fitted to the image size: as many of its five poolings as the size allows.

    Returns:
        Two parts: images (n, 3, height, width) to features (n, 8 * width), features to (n, classes) logits.

    Source: Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration A; the last layers are as `config.head`.
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
    network = nn.Sequential(features, head(config, classes))
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stub lacks it


def head(config: ClassifierConfig, classes: int) -> nn.Module:
    """The layers from (n, 8 * width) features to (n, classes) logits: one, or torchvision's three, as `config.head`."""
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


@dataclass(frozen=True, slots=True)
class Judgement:
    """The classifier's view of n images.

    Attributes:
        probs: (n, classes) class probabilities.
        features: (n, features) the activations after the last pooling.
    """

    probs: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Classifier:
    """A trained VGG11.

    Attributes:
        shape: (channels, height, width) of the images.
        accuracy: on the test set, or the held-out part of its data, in [0, 1]; None: never measured.
    """

    shape: tuple[int, ...]
    network: nn.Sequential
    config: ClassifierConfig
    label_names: tuple[str, ...]
    accuracy: float | None
    seed: int
    sha256: str | None = None

    @property
    def batch(self) -> int:
        """The number of images that are judged together."""
        return max(1, min(BATCH, PIXELS // (self.shape[1] * self.shape[2])))

    def judge(self, x: torch.Tensor, on_step: OnStep | None = None) -> Judgement:
        """Probabilities and features of (n, channels, height, width) images in [-1, 1].

        Several processes judge a part each, and all of them get the whole judgement.
        """
        is_divided = len(x) > self.batch
        own = x[share(len(x))] if is_divided else x
        self.network.eval()
        with torch.inference_mode():
            parts = []
            for done, batch in enumerate(own.split(self.batch)):
                parts.append(self.mean_over_views(batch.to(device())))
                if on_step:
                    on_step(min((done + 1) * self.batch, len(own)), len(own))
            judged = torch.cat(parts).cpu()  # once: a copy for each batch would have the device wait for it
        if is_divided:
            judged = gathered(judged, len(x))
        probs, features = judged.split([len(self.label_names), judged.shape[1] - len(self.label_names)], dim=1)
        return Judgement(probs.contiguous().numpy(), features.contiguous().numpy())

    def mean_over_views(self, images: torch.Tensor) -> torch.Tensor:
        """(n, classes + features) probabilities and features, means over the views of each image.

        It works in halves where the device's memory is too small for all images.
        """
        try:
            judged = []
            for view in self.views(images):
                features = self.network[0](prepared(view, self.config))
                judged.append(torch.cat([self.network[1](features).softmax(1), features], dim=1))
            return torch.stack(judged).mean(0)
        except torch.OutOfMemoryError:
            if len(images) == 1:
                raise
        half = -(-len(images) // 2)
        warnings.warn(
            f"The device has too little memory to judge {len(images)} images at once: going on with {half}.",
            stacklevel=3,
        )
        return torch.cat([self.mean_over_views(part) for part in images.split(half)])

    def views(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        """The images, moved copies of them with the border repeated (`jitter`), and mirror images of all (`mirror`).

        Source: test-time augmentation of Jordan 2024 (arXiv 2404.00498).
        """
        moved = [images]
        if self.config.jitter:
            twice = 2 * self.config.jitter
            padded = nn.functional.pad(images, [self.config.jitter] * 4, mode="replicate")
            moved += [padded[:, :, twice:, twice:], padded[:, :, :-twice, :-twice]]
        for view in moved:
            yield view
            if self.config.mirror:
                yield view.flip(3)

    def save(self, path: Path) -> str:
        """Writes the checkpoint and returns its sha256."""
        config = {
            "shape": list(self.shape),
            "classifier": self.config.model_dump(),
            "label_names": list(self.label_names),
            "accuracy": self.accuracy,
        }
        content = checkpoint.Checkpoint("classifier", self.network.state_dict(), config, self.seed)
        return checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        stored = checkpoint.load(path)
        if stored.kind != "classifier":
            raise checkpoint.MissingCheckpointError(f"{path} holds a {stored.kind}, not a classifier.")
        shape, config = tuple(stored.config["shape"]), ClassifierConfig(**stored.config["classifier"])
        names, accuracy = tuple(stored.config["label_names"]), stored.config["accuracy"]
        network = vgg11(shape, config, len(names))
        try:
            network.load_state_dict(stored.tensors)
        except RuntimeError as error:
            raise checkpoint.CorruptCheckpointError(
                f"{path} doesn't hold the weights its sidecar describes."
            ) from error
        return cls(shape, network.to(device()), config, names, accuracy, stored.seed, stored.sha256)

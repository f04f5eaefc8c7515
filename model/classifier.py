"""The classifier that judges images: the reward, the class shares and the features come from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from model import checkpoint
from model.config import ClassifierConfig
from model.devices import device
from model.vgg import prepared, vgg11

BATCH = 512


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the classifier says of n images.

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

    @torch.inference_mode()
    def judge(self, x: torch.Tensor) -> Judgement:
        """Probabilities and features of (n, channels, height, width) images in [-1, 1]."""
        self.network.eval()
        probs, features = [], []
        for batch in x.split(BATCH):
            parts = [self._once(images) for images in self._views(batch.to(device()))]
            probs.append(torch.stack([part[0] for part in parts]).mean(0).cpu())
            features.append(torch.stack([part[1] for part in parts]).mean(0).cpu())
        return Judgement(torch.cat(probs).numpy(), torch.cat(features).numpy())

    def _views(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        yield images
        if self.config.mirror:
            yield images.flip(3)

    def _once(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.network[0](prepared(images, self.config))
        return self.network[1](features).softmax(1), features

    def save(self, path: Path) -> str:
        """Writes the checkpoint and returns its sha256."""
        config = {
            "shape": list(self.shape),
            "classifier": self.config.model_dump(),
            "label_names": list(self.label_names),
            "accuracy": self.accuracy,
        }
        found = checkpoint.Checkpoint("classifier", self.network.state_dict(), config, self.seed)
        return checkpoint.save(path, found)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        found = checkpoint.load(path)
        if found.kind != "classifier":
            raise checkpoint.MissingCheckpointError(f"{path} holds a {found.kind}, not a classifier.")
        config, shape = ClassifierConfig(**found.config["classifier"]), tuple(found.config["shape"])
        names = tuple(found.config["label_names"])
        network = vgg11(shape, config, len(names))
        try:
            network.load_state_dict(found.tensors)
        except RuntimeError as error:
            raise checkpoint.CorruptCheckpointError(
                f"{path} doesn't hold the weights its sidecar describes."
            ) from error
        return cls(shape, network.to(device()), config, names, found.config["accuracy"], found.seed, found.sha256)

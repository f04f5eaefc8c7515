"""VGG11 for small images: the judge behind class rewards, class shares and the features of the proxy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn
from torchvision.models.vgg import make_layers

from model import checkpoint
from model.config import ClassifierConfig
from model.flow import device, learning_rate
from model.interfaces import OnStep

VGG11 = (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M")  # torchvision's configuration "A", in units of the width
BATCH = 512


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the classifier says of n images.

    Attributes:
        probs: (n, classes) class probabilities.
        features: (n, features) the activations before the last layer.
    """

    probs: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Classifier:
    """A trained VGG11.

    Attributes:
        shape: (channels, height, width) of the images.
        accuracy: on the held-out part of its data, in [0, 1].
    """

    shape: tuple[int, ...]
    network: nn.Sequential
    config: ClassifierConfig
    label_names: tuple[str, ...]
    accuracy: float
    seed: int
    sha256: str | None = None

    @torch.inference_mode()
    def judge(self, x: torch.Tensor) -> Judgement:
        """Probabilities and features of (n, channels, height, width) images in [-1, 1]."""
        self.network.eval()
        probs, features = [], []
        for batch in x.split(BATCH):
            hidden = self.network[0](_three_channels(batch.to(device())))
            features.append(hidden.cpu())
            probs.append(self.network[1](hidden).softmax(1).cpu())
        return Judgement(torch.cat(probs).numpy(), torch.cat(features).numpy())

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


def vgg11(shape: tuple[int, ...], config: ClassifierConfig, classes: int) -> nn.Sequential:
    """VGG11 with batch norm, fitted to the image size: as many of its five poolings as the size allows.

    Returns:
        Two parts: images (n, 3, height, width) to features (n, 8 * width), features to (n, classes) logits.

    Source: Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration A; a single linear layer ends it, as is usual
    for small images.
    """
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
    return nn.Sequential(features, nn.Linear(8 * config.width, classes))


def train_classifier(
    x: torch.Tensor,
    labels: np.ndarray,
    label_names: tuple[str, ...],
    config: ClassifierConfig,
    seed: int,
    on_step: OnStep | None = None,
) -> Classifier:
    """A classifier trained on a part of the images; its accuracy is measured on the rest.

    Args:
        x: (n, channels, height, width) in [-1, 1].
        labels: (n,) int64.
        label_names: of the classes.
        config: sizes and the recipe.
        seed: of everything random in it; the same seed gives the same weights on one machine.
        on_step: called after every epoch with (done, total).

    Raises:
        ValueError: fewer than two classes.
    """
    if len(label_names) < 2:
        raise ValueError("A classifier needs at least two classes: put the images in one sub-folder per class.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        kept, held_out = split(labels, config.holdout, seed)
        network = vgg11(tuple(x.shape[1:]), config, len(label_names)).to(device())
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        targets = torch.from_numpy(labels)
        steps = config.epochs * -(-len(kept) // config.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate(step, steps, steps // 10))
        for epoch in range(config.epochs):
            network.train()
            for batch in np.array_split(rng.permutation(kept), -(-len(kept) // config.batch_size)):
                images = augment(x[batch], config, rng).to(device())
                loss = nn.functional.cross_entropy(
                    network(_three_channels(images)), targets[batch].to(device()), label_smoothing=0.02
                )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
            if on_step:
                on_step(epoch + 1, config.epochs)
        done = Classifier(tuple(x.shape[1:]), network.eval(), config, label_names, 0.0, seed)
        hits = done.judge(x[held_out]).probs.argmax(1) == labels[held_out]
        return Classifier(done.shape, done.network, config, label_names, float(hits.mean()), seed)


def split(labels: np.ndarray, holdout: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on and to hold out, the classes in the same shares in both."""
    rng = np.random.default_rng([seed, 0x5917])
    held_out = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out.append(members[: max(1, round(holdout * len(members)))])
    held = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), held), held


def augment(images: torch.Tensor, config: ClassifierConfig, rng: np.random.Generator) -> torch.Tensor:
    """Each image shifted at random (the border is repeated), and mirrored half the time if `config.flip`."""
    n, _, height, width = images.shape
    if config.flip:
        images = torch.where(torch.from_numpy(rng.random(n) < 0.5)[:, None, None, None], images.flip(3), images)
    if config.shift == 0:
        return images
    padded = nn.functional.pad(images, [config.shift] * 4, mode="replicate")
    top, left = (torch.from_numpy(rng.integers(0, 2 * config.shift + 1, n)) for _ in range(2))
    rows = top[:, None] + torch.arange(height)
    columns = left[:, None] + torch.arange(width)
    picked = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()


def _three_channels(images: torch.Tensor) -> torch.Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images

"""The recipe that trains the classifier, and measures it on images that it hasn't seen."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from model.compute import accelerator, autocast, device, from_main, processes, rank
from model.config import ClassifierConfig
from model.interfaces import OnStep, scaled
from model.judging.classifier import Classifier, prepared, vgg11
from model.sampling import derive_seed
from model.training import (
    Snapshotter,
    TrainingState,
    held_rate,
    holding_interrupts,
    learning_rate,
    typical_seconds,
)

REPORT_STEPS = 20  # between two times that several processes agree on whether to stop
MEASURED = 2_048  # test images scaled at a time
Labelled = tuple[torch.Tensor, np.ndarray]


def train_classifier(
    x: torch.Tensor, labels: np.ndarray, label_names: tuple[str, ...], config: ClassifierConfig, seed: int,
    on_step: OnStep | None = None, test: Labelled | None = None, snapshotter: Snapshotter | None = None,
    on_measured: OnStep | None = None,
) -> Classifier:  # fmt: skip
    """A trained classifier, with its accuracy on the test set, or on a part of the images held out from training.

    Args:
        x: (n, channels, height, width), uint8 or in [-1, 1].
        labels: (n,) int64.
        label_names: of the classes.
        config: sizes and the recipe.
        seed: of everything random in it; the same seed gives the same weights on one machine.
        on_step: called now and then with (done, total) steps.
        test: images and labels as above to measure the accuracy on; None: `config.holdout` of the images.
        snapshotter: writes snapshots of the training now and then, and on Ctrl-C; training continues from the last.
        on_measured: called with (done, total) images that the accuracy is measured on.

    Raises:
        ValueError: fewer than two classes, or a damaged snapshot.
    """
    if config.batch_size < processes():
        raise ValueError(f"batch_size = {config.batch_size} of a classifier can't be divided among {processes()}.")
    if len(label_names) < 2:
        raise ValueError("A classifier needs at least two classes; these images have one.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        members = np.arange(len(labels))
        if test is None:
            members, held_out = split(labels, config.holdout, seed)
            test = x[torch.from_numpy(held_out)], labels[held_out]
        shape = tuple(x.shape[1:])
        network = vgg11(shape, config, len(label_names)).to(device())
        fit_in_place(network, x, labels, members, config, seed, on_step, snapshotter)
        classifier = Classifier(shape, network.eval(), config, label_names, 0.0, seed)
        return replace(classifier, accuracy=accuracy(classifier, *test, on_measured))


def accuracy(classifier: Classifier, x: torch.Tensor, labels: np.ndarray, on_step: OnStep | None = None) -> float:
    """The share of (n, channels, height, width) images, uint8 or in [-1, 1], that it puts in their class."""
    predicted = np.empty(len(x), dtype=np.int64)
    for start in range(0, len(x), MEASURED):
        part = x[start : start + MEASURED]
        predicted[start : start + MEASURED] = classifier.judge(scaled(part)).probs.argmax(1)
        if on_step:
            on_step(start + len(part), len(x))
    return float((predicted == labels).mean())


def classifier_step_seconds(shape: tuple[int, ...], config: ClassifierConfig, steps: int) -> float:
    """Seconds that a step of the training takes on this device, measured on grey images; `steps` are to be done."""
    network = vgg11(shape, config, 2).to(device()).train()
    optimiser, x = build_optimiser(network, config), torch.zeros(config.batch_size, *shape, device=device())
    targets = torch.zeros(len(x), dtype=torch.int64, device=device())

    def work() -> None:
        take_step(network, optimiser, prepared(augment(x, config), config), targets, config)
        next(network.parameters()).sum().item()  # waits for the device

    return typical_seconds(work, steps)


def fit_in_place(
    network: nn.Sequential, x: torch.Tensor, labels: np.ndarray, members: np.ndarray, config: ClassifierConfig,
    seed: int, on_step: OnStep | None, snapshotter: Snapshotter | None,
) -> None:  # fmt: skip
    """Trains a network on those of the images that are members, from its last snapshot if there is one.

    Several processes learn from a part of every batch each. Augmentation and dropout of a step come from the seed, the
    step and the process alone, and are drawn on the device. Arguments are those of `train_classifier`.

    The rate rises and falls once, and may start again; the momentum stays.

    Source: warm restarts, Loshchilov and Hutter 2017 (arXiv 1608.03983).
    """
    x, targets = x.to(device()), torch.from_numpy(labels).to(device())
    optimiser, rng = build_optimiser(network, config), np.random.default_rng(seed)
    state = snapshotter.read() if snapshotter else None
    if state:
        state.restore(network, optimiser, rng)
    step, order = (state.step, state.order.to(device())) if state else (0, torch.empty(0))
    epoch_steps = -(-len(members) // config.batch_size)
    steps = epoch_steps * (config.epochs + config.restart_epochs)
    several = processes() > 1
    parallel = accelerator().prepare(network) if several else network

    network.train()
    with holding_interrupts() if snapshotter else nullcontext(lambda: False) as interrupted:
        while step < steps:
            if step % epoch_steps == 0:
                order = torch.from_numpy(rng.permutation(members)).to(device())
            torch.manual_seed(derive_seed(seed, step, rank()))
            batch = order.tensor_split(epoch_steps)[step % epoch_steps].tensor_split(processes())[rank()]
            for group in optimiser.param_groups:
                group["lr"] = rate_of_step(step, epoch_steps, config)
            images = prepared(augment(x[batch], config), config)
            take_step(parallel, optimiser, images, targets[batch], config)
            step += 1
            if on_step:
                on_step(step, steps)
            reporting = not several or step % REPORT_STEPS == 0 or step == steps
            stopping = from_main(interrupted) if reporting else False
            if snapshotter and reporting and (stopping or step == steps or snapshotter.is_due()):
                states = network.state_dict(), {}, optimiser.state_dict(), dict(rng.bit_generator.state)
                snapshotter.write(TrainingState(step, *states, order), network)
            if stopping:
                raise KeyboardInterrupt


def rate_of_step(step: int, epoch_steps: int, config: ClassifierConfig) -> float:
    """The learning rate of a step, of which an epoch has `epoch_steps`."""
    first = config.epochs * epoch_steps
    if step < first:
        return config.lr * learning_rate(step, first, first // 10)
    return config.restart_lr * held_rate(step - first, config.restart_epochs * epoch_steps)


def take_step(
    network: nn.Module, optimiser: torch.optim.Optimizer, images: torch.Tensor, targets: torch.Tensor,
    config: ClassifierConfig,
) -> None:  # fmt: skip
    """One step of the optimiser on the mean cross entropy of a batch, as `prepared` gives it, with smoothed labels."""
    with autocast(config.precision):
        logits = network(images)
    loss = nn.functional.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def build_optimiser(network: nn.Module, config: ClassifierConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov's momentum whose weight decay leaves biases and norms alone."""
    if config.optimiser == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others}]
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True, fused=True)


def split(labels: np.ndarray, holdout: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on and to hold out, the classes in the same shares in both."""
    rng = np.random.default_rng([seed, 0x5917])
    held_out = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out.append(members[: max(1, round(holdout * len(members)))])
    held = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), held), held


def augment(images: torch.Tensor, config: ClassifierConfig) -> torch.Tensor:
    """Images in [-1, 1], each shifted at random (the border is repeated), and mirrored or blanked in part if asked.

    The random numbers are torch's own, drawn where the images are.
    """
    images = scaled(images)
    n, _, height, width = images.shape
    where = images.device
    if config.flip:
        turned = torch.rand(n, device=where) < 0.5
        images = torch.where(turned[:, None, None, None], images.flip(3), images)
    if config.shift:
        padded = nn.functional.pad(images, [config.shift] * 4, mode="replicate")
        top, left = torch.randint(2 * config.shift + 1, (2, n, 1), device=where)
        rows, columns = top + torch.arange(height, device=where), left + torch.arange(width, device=where)
        shifted = padded[torch.arange(n, device=where)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        images = shifted.permute(0, 3, 1, 2)
    if config.cutout:
        rows, columns = (random_band(size, config.cutout, n, where) for size in (height, width))
        images = images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
    return images


def random_band(size: int, width: int, n: int, where: torch.device) -> torch.Tensor:
    """(n, size) bool: for each of n images, `width` neighbouring rows (or columns) about a random one."""
    first = torch.randint(size, (n, 1), device=where) - width // 2
    place = torch.arange(size, device=where)
    return (place >= first) & (place < first + width)

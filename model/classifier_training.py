"""The recipe that trains the classifier, and measures it on images that it hasn't seen."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from model.classifier import Classifier, prepared, vgg11
from model.config import ClassifierConfig
from model.devices import autocast, device
from model.distributed import accelerator, from_main, processes, rank
from model.images import scaled
from model.interfaces import OnStep
from model.noise import derive_seed
from model.training import held_rate, learning_rate
from model.training_state import Snapshotter, TrainingState, holding_interrupts

REPORT_STEPS = 20  # between two times that several processes agree on whether to stop
MEASURED = 2_048  # test images scaled at a time
Labelled = tuple[torch.Tensor, np.ndarray]


def train_classifier(
    x: torch.Tensor,
    labels: np.ndarray,
    label_names: tuple[str, ...],
    config: ClassifierConfig,
    seed: int,
    on_step: OnStep | None = None,
    test: Labelled | None = None,
    snapshotter: Snapshotter | None = None,
    on_measured: OnStep | None = None,
) -> Classifier:
    """A trained classifier, with its accuracy on the test set, or on a part of the images kept from training.

    Args:
        x: (n, channels, height, width), uint8 or in [-1, 1].
        labels: (n,) int64.
        label_names: of the classes.
        config: sizes and the recipe.
        seed: of everything random in it; the same seed gives the same weights on one machine.
        on_step: called now and then with (done, total) steps.
        test: images and labels as above to measure the accuracy on; None: `config.holdout` of the images.
        snapshotter: keeps the training now and then, and on Ctrl-C; where it has kept one, that one goes on.
        on_measured: called with (done, total) images that the accuracy is measured on.

    Raises:
        ValueError: fewer than two classes, or what was kept is damaged.
    """
    if config.batch_size < processes():
        raise ValueError(f"batch_size = {config.batch_size} of a classifier can't be divided among {processes()}.")
    if len(label_names) < 2:
        raise ValueError("A classifier needs at least two classes; these images have one.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kept = np.arange(len(labels))
        if test is None:
            kept, held_out = split(labels, config.holdout, seed)
            test = x[torch.from_numpy(held_out)], labels[held_out]
        shape = tuple(x.shape[1:])
        network = vgg11(shape, config, len(label_names)).to(device())
        _train(network, x, labels, kept, config, seed, on_step, snapshotter)
        found = Classifier(shape, network.eval(), config, label_names, 0.0, seed)
        return replace(found, accuracy=accuracy(found, *test, on_measured))


def accuracy(classifier: Classifier, x: torch.Tensor, labels: np.ndarray, on_step: OnStep | None = None) -> float:
    """The share of (n, channels, height, width) images, uint8 or in [-1, 1], that it puts in their class."""
    found = np.empty(len(x), dtype=np.int64)
    for start in range(0, len(x), MEASURED):
        part = x[start : start + MEASURED]
        found[start : start + MEASURED] = classifier.judge(scaled(part)).probs.argmax(1)
        if on_step:
            on_step(start + len(part), len(x))
    return float((found == labels).mean())


def _train(
    network: nn.Sequential,
    x: torch.Tensor,
    labels: np.ndarray,
    members: np.ndarray,
    config: ClassifierConfig,
    seed: int,
    on_step: OnStep | None,
    snapshotter: Snapshotter | None,
) -> None:
    """Trains in place on those of the images that are members, from where the keeper left off.

    Several processes learn from a part of every batch each. Augmentation and dropout of a step come from the seed, the
    step and the process alone, and are drawn on the device.

    The rate rises and falls once, and may start again; the momentum stays.

    Source: warm restarts, Loshchilov and Hutter 2017 (arXiv 1608.03983).
    """
    x, targets = x.to(device()), torch.from_numpy(labels).to(device())
    optimiser, rng = _optimiser(network, config), np.random.default_rng(seed)
    step, order = _resume(network, optimiser, rng, snapshotter)
    each = -(-len(members) // config.batch_size)
    steps = each * (config.epochs + config.restart_epochs)
    several = processes() > 1
    parallel = accelerator().prepare(network) if several else network

    network.train()
    order = order.to(device())
    with holding_interrupts() if snapshotter else nullcontext(lambda: False) as interrupted:
        while step < steps:
            if step % each == 0:
                order = torch.from_numpy(rng.permutation(members)).to(device())
            torch.manual_seed(derive_seed(seed, step, rank()))
            chosen = order.tensor_split(each)[step % each].tensor_split(processes())[rank()]
            images = prepared(augment(x[chosen], config), config)
            _step(parallel, optimiser, _rate(step, each, config), images, targets[chosen], config)
            step += 1
            if on_step:
                on_step(step, steps)
            reporting = not several or step % REPORT_STEPS == 0 or step == steps
            stopping = from_main(interrupted) if reporting else False
            if snapshotter and reporting and (stopping or step == steps or snapshotter.is_due()):
                states = network.state_dict(), {}, optimiser.state_dict(), dict(rng.bit_generator.state)
                snapshotter.keep(TrainingState(step, *states, order), network)
            if stopping:
                raise KeyboardInterrupt


def _rate(step: int, each: int, config: ClassifierConfig) -> float:
    """The learning rate of a step, of which there are `each` in an epoch."""
    first = config.epochs * each
    if step < first:
        return config.lr * learning_rate(step, first, first // 10)
    return config.restart_lr * held_rate(step - first, config.restart_epochs * each)


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    rate: float,
    images: torch.Tensor,
    targets: torch.Tensor,
    config: ClassifierConfig,
) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    with autocast(config.precision):
        logits = network(images)
    loss = nn.functional.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _resume(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    snapshotter: Snapshotter | None,
) -> tuple[int, torch.Tensor]:
    """Goes on from what was kept, if anything was; gives the steps that are done and the order of the epoch at hand."""
    kept = snapshotter.kept() if snapshotter else None
    if kept is None:
        return 0, torch.empty(0)
    network.load_state_dict(kept.network)
    optimiser.load_state_dict(kept.optimiser)
    rng.bit_generator.state = kept.rng_state
    return kept.step, kept.order


def _optimiser(network: nn.Module, config: ClassifierConfig) -> torch.optim.Optimizer:
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
    if config.flip:
        turned = torch.rand(n, device=images.device) < 0.5
        images = torch.where(turned[:, None, None, None], images.flip(3), images)
    if config.shift:
        images = _shifted(images, config.shift)
    if config.cutout:
        rows, columns = (_near(size, config.cutout, n, images.device) for size in (height, width))
        images = images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
    return images


def _shifted(images: torch.Tensor, shift: int) -> torch.Tensor:
    n, _, height, width = images.shape
    padded, where = nn.functional.pad(images, [shift] * 4, mode="replicate"), images.device
    top, left = torch.randint(2 * shift + 1, (2, n, 1), device=where)
    rows, columns = top + torch.arange(height, device=where), left + torch.arange(width, device=where)
    chosen = padded[torch.arange(n, device=where)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return chosen.permute(0, 3, 1, 2)


def _near(size: int, side: int, n: int, where: torch.device) -> torch.Tensor:
    """(n, size) whether a row (or column) is in a band of `side` about a random one."""
    first = torch.randint(size, (n, 1), device=where) - side // 2
    place = torch.arange(size, device=where)
    return (place >= first) & (place < first + side)

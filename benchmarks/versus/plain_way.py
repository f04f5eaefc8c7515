"""One generation the plain way: torchcfm, torchdiffeq, torchvision and scipy as their documentation shows them.

Written to be read and doubted. It imports nothing of this project; the recipe is torchcfm's CIFAR-10 example: fp32,
Adam, gradient clipping, warm-up, a minibatch OT matcher, an EMA over the state dict; the learning rate falls to 0, as
it does in curate. Images lie on disk as PNGs, and a DataLoader reads them. Torch's threads are as many as it finds.
"""

import copy
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, WeightedRandomSampler
from torchcfm.conditional_flow_matching import ExactOptimalTransportConditionalFlowMatcher
from torchcfm.models.unet.unet import UNetModelWrapper
from torchdiffeq import odeint
from torchvision.datasets import ImageFolder
from torchvision.io import write_png
from torchvision.transforms import Compose, InterpolationMode, Normalize, RandomHorizontalFlip, Resize, ToTensor

TOLERANCE = 1e-5
WORKERS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Of every DataLoader: torchcfm's example has 4; no more than there are cores."""
SCORE_BATCH = 512
TO_TENSOR = (ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))

Judge = Callable[[torch.Tensor], tuple[np.ndarray, np.ndarray]]
"""The classifier: (n, classes) probabilities and (n, d) features of (n, 3, height, width) images in [-1, 1]."""
OnStep = Callable[[int], None]
"""Called after every training step with how many are done."""


def build_unet(side: int, channels: int, blocks: int, dropout: float) -> UNetModelWrapper:
    """The UNet of torchcfm's CIFAR-10 example, which has 128 channels, 2 blocks and dropout 0.1, for square images."""
    return UNetModelWrapper(
        dim=(3, side, side),
        num_res_blocks=blocks,
        num_channels=channels,
        channel_mult=[1, 2, 2, 2],
        num_heads=4,
        num_head_channels=32 if side == 16 and channels % 64 else 64,
        attention_resolutions="16",
        dropout=dropout,
    )


@torch.no_grad()
def sample(network: nn.Module, noise: torch.Tensor, batch: int, device: torch.device) -> tuple[torch.Tensor, float]:
    """Integrates dx/dt = v(t, x) from t = 0 to 1 with torchdiffeq's adaptive dopri5, batch by batch.

    Args:
        network: v; takes a scalar t.
        noise: (n, 3, height, width), the state at t = 0.
        batch: images that are integrated together; the solver adapts its steps to them all.
        device: where the network is.

    Returns:
        (n, 3, height, width) uint8 images, and the mean number of evaluations of the network per image.
    """
    network.eval()
    evaluations = 0

    def velocity(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        nonlocal evaluations
        evaluations += len(x)
        return network(t, x)

    times = torch.tensor([0.0, 1.0], device=device)
    images = []
    for x0 in noise.split(batch):
        x1 = odeint(velocity, x0.to(device), times, atol=TOLERANCE, rtol=TOLERANCE, method="dopri5")[-1]
        images.append(((x1.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu())
    return torch.cat(images), evaluations / len(noise)


def save_pngs(images: torch.Tensor, folder: Path) -> None:
    """Writes (n, 3, height, width) uint8 images as PNGs; ImageFolder wants them in a folder of their class."""
    (folder / "all").mkdir(parents=True)
    for i, image in enumerate(images):
        write_png(image, str(folder / "all" / f"{i:06d}.png"))


def score(folder: Path, judge: Judge) -> tuple[np.ndarray, np.ndarray]:
    """Reads the PNGs of a folder and gives their class probabilities and features, in the order of their names."""
    loader = DataLoader(ImageFolder(str(folder), Compose(TO_TENSOR)), batch_size=SCORE_BATCH, num_workers=WORKERS)
    probs, features = zip(*(judge(images) for images, _ in loader), strict=True)
    return np.concatenate(probs), np.concatenate(features)


def pick(rewards: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of the picks: K consecutive samples are a slate, and exp(reward) is the chance to be picked from it."""
    slates = rewards.reshape(-1, k)
    chances = np.exp(slates - slates.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    return np.array([i * k + rng.choice(k, p=chance) for i, chance in enumerate(chances)])


def copy_picked(folder: Path, picked: np.ndarray, to: Path) -> None:
    """Copies the picked PNGs to a folder of their own."""
    (to / "all").mkdir(parents=True)
    for i in picked:
        shutil.copyfile(folder / "all" / f"{i:06d}.png", to / "all" / f"{i:06d}.png")


def fine_tune(
    parent: nn.Module,
    real: Path,
    picked: Path,
    shares: tuple[float, float],
    *,
    side: int,
    steps: int,
    batch: int,
    lr: float,
    warmup: int,
    grad_clip: float,
    ema_decay: float,
    device: torch.device,
    on_step: OnStep,
) -> nn.Module:
    """Trains on from the parent's weights and returns the running average.

    Args:
        parent: the network to start from; it stays as it is.
        real: folder of real images, a folder for each class.
        picked: folder of picked images.
        shares: of real and of picked images in what is drawn; they add up to 1.
        side: of the network's images, to which larger real ones are reduced as they are read.
        steps: of the optimiser.
        batch: images in a step.
        lr: after the warm-up.
        warmup: steps over which the learning rate rises; then it falls to 0 along a cosine.
        grad_clip: largest norm of the gradient.
        ema_decay: of the running average; reached gradually, or a short fine-tune would hardly move it.
        device: where to train.
        on_step: told of every step.
    """
    network = copy.deepcopy(parent).to(device).train()
    average = copy.deepcopy(network)
    matcher = ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps, warmup))
    loader = _training_loader(real, picked, shares, side, batch, steps)
    for step, (x1, _) in enumerate(loader, start=1):
        optimiser.zero_grad()
        x1 = x1.to(device)
        x0 = torch.randn_like(x1)
        t, xt, ut = matcher.sample_location_and_conditional_flow(x0, x1)
        loss = torch.mean((network(t, xt) - ut) ** 2)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), grad_clip)
        optimiser.step()
        schedule.step()
        _update(average, network, min(ema_decay, (1 + step) / (10 + step)))
        on_step(step)
    return average.eval()


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between the Gaussians with the means and covariances of (n, d) and (m, d) features, by scipy's matrix root."""
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(covariance_a @ covariance_b)
    return float(mean + np.trace(covariance_a + covariance_b - 2 * np.real(root)))


def _training_loader(
    real: Path, picked: Path, shares: tuple[float, float], side: int, batch: int, steps: int
) -> DataLoader:
    """Real and picked images in their shares; one pass is the whole training, so that the workers start once."""
    transform = Compose([Resize(side, InterpolationMode.LANCZOS), RandomHorizontalFlip(), *TO_TENSOR])
    parts = [ImageFolder(str(folder), transform) for folder in (real, picked)]
    weights = [share / len(part) for part, share in zip(parts, shares, strict=True) for _ in range(len(part))]
    sampler = WeightedRandomSampler(weights, num_samples=batch * steps)
    return DataLoader(ConcatDataset(parts), batch_size=batch, sampler=sampler, num_workers=WORKERS)


def _rate(step: int, steps: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, steps - warmup))


@torch.no_grad()
def _update(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves the running average; buffers too, as torchcfm's example does."""
    latest, running = network.state_dict(), average.state_dict()
    for key in latest:
        running[key].copy_(running[key] * decay + latest[key] * (1 - decay))

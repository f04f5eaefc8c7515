"""A convolutional variational autoencoder: an image from a latent normal, trained by the evidence lower bound.

Pixels are normal about the decoder's image, with one variance for all, which is the mean squared error of the training
so far: beta = 1 is then the bound itself, and no weight between its two terms has to be chosen. A sample is the
decoder's image, without the pixels' noise.

Source: Kingma and Welling 2014 (arXiv 1312.6114); the variance, Rybkin et al. 2021 (arXiv 2006.13202); beta, Higgins et
al. 2017.
"""

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from model import checkpoint
from model.compute import device
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.interfaces import OnStep, TrainingData
from model.sampling import noise
from model.training import NonFiniteLossError, ahead, augment, ema_decay, is_reported, learning_rate, mirrored

LEAST_SIDE = 4  # feature maps are halved while they have even sides above it
MOST_GROUPS = 8
VARIANCE_RATE = 0.1  # of the running mean of the squared error's logarithm
LEAST_LOG_VARIANCE = math.log(1e-4)  # of pixels in [-1, 1]: about their steps of 1/127.5


@dataclass(frozen=True, slots=True)
class Bound:
    """The evidence lower bound of n images, and its parts, in nats.

    Attributes:
        elbo: (n,) `log_likelihood - kl`; with beta, `log_likelihood - beta kl`.
        log_likelihood: (n,) of the pixels, given the latent drawn.
        kl: (n,) of the latent's posterior from the standard normal.
    """

    elbo: torch.Tensor
    log_likelihood: torch.Tensor
    kl: torch.Tensor


class Autoencoder(nn.Module):
    """Encoder and decoder for images of any size; powers of two are halved down to 4 pixels a side.

    Args:
        shape: (channels, height, width) of an image.
        config: width is the channels of the first level (they double with each), depth the convolutions of a level.
    """

    def __init__(self, shape: tuple[int, ...], config: NetworkConfig):
        super().__init__()
        channels, height, width = shape
        levels = 0
        while min(height, width) > LEAST_SIDE and height % 2 == width % 2 == 0:
            height, width, levels = height // 2, width // 2, levels + 1
        widths = [config.width * 2**i for i in range(levels + 1)]
        self.small = (widths[-1], height, width)

        encoder: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1)]
        for here, deeper in zip(widths, [*widths[1:], None], strict=True):
            encoder += level(here, config)
            if deeper:
                encoder += [nn.Conv2d(here, deeper, 4, stride=2, padding=1)]
        self.encoder = nn.Sequential(*encoder, nn.Flatten(), nn.Linear(math.prod(self.small), 2 * config.latent))

        decoder: list[nn.Module] = [nn.Linear(config.latent, math.prod(self.small)), nn.Unflatten(1, self.small)]
        for here, shallower in zip(widths[::-1], [*widths[-2::-1], None], strict=True):
            decoder += level(here, config)
            if shallower:
                decoder += [nn.ConvTranspose2d(here, shallower, 4, stride=2, padding=1)]
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(widths[0], channels, 3, padding=1), nn.Tanh())
        self.log_variance: torch.Tensor
        self.register_buffer("log_variance", torch.zeros(()))

    def bound(self, x: torch.Tensor, z_noise: torch.Tensor, beta: float = 1.0) -> Bound:
        """The evidence lower bound of (n, *shape) images in [-1, 1], by one latent each, from (n, latent) noise.

        In training it also follows the pixels' variance.
        """
        mean, log_scale = self.encoder(x).chunk(2, dim=1)
        scale = torch.exp(log_scale.clamp(-8, 8))
        error = (self.decoder(mean + scale * z_noise) - x).square().flatten(1)
        if self.training:
            self.log_variance.lerp_(error.detach().mean().log().clamp(min=LEAST_LOG_VARIANCE), VARIANCE_RATE)
        constant = self.log_variance + math.log(2 * math.pi)
        log_likelihood = -0.5 * (error * torch.exp(-self.log_variance) + constant).sum(1)
        kl = 0.5 * (mean.square() + scale.square() - 1 - 2 * scale.log()).sum(1)
        return Bound(log_likelihood - beta * kl, log_likelihood, kl)


def level(width: int, config: NetworkConfig) -> list[nn.Module]:
    """The layers between two changes of size, of so many channels."""
    norm = nn.GroupNorm(math.gcd(width, MOST_GROUPS), width)
    block = [norm, nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.Dropout2d(config.dropout)]
    return [layer for _ in range(config.depth) for layer in copy.deepcopy(block)] + [nn.SiLU()]


@dataclass(frozen=True)
class Vae:
    """A trained (or, from `build`, untrained) autoencoder. Immutable: `fit` gives a new one.

    Attributes:
        shape: (channels, height, width) of a sample.
        network: with the averaged weights.
        seed: that trained it.
        parent: sha256 of the parent's checkpoint.
        sha256: of its own checkpoint, once saved or loaded.
    """

    shape: tuple[int, ...]
    network: Autoencoder
    network_config: NetworkConfig
    train: TrainConfig
    sampling: SamplingConfig
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    @classmethod
    def build(
        cls, shape: tuple[int, ...], network: NetworkConfig, train: TrainConfig, sampling: SamplingConfig
    ) -> Self:
        """An untrained autoencoder.

        Raises:
            ValueError: the samples aren't images.
        """
        if len(shape) != 3:
            raise ValueError("network.kind 'vae' is for images; for points use mlp, kde or gaussian")
        return cls(shape, Autoencoder(shape, network).to(device()), network, train, sampling)

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, *shape) float32 in [-1, 1] on the CPU from (n,) int64 seeds, each of which gives its latent."""
        size = self.sampling.batch_size
        samples = torch.empty(len(seeds), *self.shape)
        decoder = self.network.eval().decoder
        with torch.inference_mode():
            for start in range(0, len(seeds), size):
                part = seeds[start : start + size]
                # whole batches: a sample's arithmetic is the same however many are drawn
                z = noise(np.pad(part, (0, size - len(part)), mode="edge"), (self.network_config.latent,))
                samples[start : start + size] = decoder(z.to(device()))[: len(part)].cpu()
        return samples

    def fit(self, training_set: TrainingData, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """A new one: from fresh weights when parent is None, else from the parent's.

        Args:
            training_set: what to learn.
            parent: whose weights it starts from.
            seed: of everything random in it.
            on_step: called now and then with (done, total).

        Raises:
            NonFiniteLossError: training diverged.
        """
        config, train = self.network_config, self.train
        with torch.random.fork_rng([device()] if device().type == "cuda" else []):
            torch.manual_seed(seed)  # weights and dropout
            rng = np.random.default_rng(seed)
            network = Autoencoder(self.shape, config).to(device())
            steps, lr = train.pretrain_steps, train.pretrain_lr
            if parent is not None:
                network.load_state_dict(parent.network.state_dict())
                steps, lr = train.finetune_steps, train.finetune_lr
            average = copy.deepcopy(network).requires_grad_(False)
            weights, averaged = list(network.parameters()), list(average.parameters())
            optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=train.weight_decay, fused=True)

            def batch() -> tuple[torch.Tensor, torch.Tensor]:
                x = training_set.draw(train.batch_size, rng).x
                x = augment(x, train.augment, rng) if parent is None and train.augment > 0 else x
                x = mirrored(x, rng) if train.flip else x
                return x, torch.from_numpy(rng.standard_normal((len(x), config.latent), dtype=np.float32))

            for step, (x, z_noise) in enumerate(ahead(batch() for _ in range(steps)), start=1):
                for group in optimiser.param_groups:
                    group["lr"] = lr * learning_rate(step - 1, steps, train.warmup_steps)
                bound = network.train().bound(x.to(device()), z_noise.to(device()), config.beta)
                loss = -bound.elbo.mean() / math.prod(self.shape)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(weights, train.grad_clip)
                optimiser.step()
                with torch.no_grad():
                    torch._foreach_lerp_(averaged, weights, 1 - ema_decay(step, train.ema_decay))  # pyright: ignore
                if is_reported(step, steps):
                    if not torch.isfinite(loss):
                        raise NonFiniteLossError(
                            f"The loss is {loss:g} at step {step}; lower the learning rate in [train]."
                        )
                    if on_step:
                        on_step(step, steps)
        average.log_variance.copy_(network.log_variance)
        return replace(self, network=average.eval(), seed=seed, parent=parent and parent.sha256, sha256=None)

    def save(self, path: Path) -> str:
        """Writes the checkpoint and returns its sha256."""
        config = {"shape": list(self.shape), "network": self.network_config.model_dump()}
        content = checkpoint.Checkpoint("vae", self.network.state_dict(), config, self.seed, self.parent)
        return checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        stored = checkpoint.load(path)
        if stored.kind != "vae":
            raise checkpoint.MissingCheckpointError(f"{path} holds a {stored.kind}, not a vae.")
        shape, network = tuple(stored.config["shape"]), NetworkConfig(**stored.config["network"])
        try:
            vae = cls.build(shape, network, train, sampling)
            vae.network.load_state_dict(stored.tensors)
        except RuntimeError as error:
            raise checkpoint.CorruptCheckpointError(
                f"{path} doesn't hold the weights its sidecar describes."
            ) from error
        return replace(vae, seed=stored.seed, parent=stored.parent, sha256=stored.sha256)

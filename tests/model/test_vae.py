"""The autoencoder: its bound in closed form, sizes of images, samples of a seed, and what training does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from model import checkpoint
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.generators.vae import Autoencoder, Vae
from model.interfaces import Samples
from model.training import NonFiniteLossError

SEEDS = np.arange(500, 537)
SMALL = NetworkConfig(kind="vae", width=8, depth=1, latent=2)


def build(shape: tuple[int, ...] = (1, 8, 8), network: NetworkConfig = SMALL, **train: object) -> Vae:
    recipe = {"pretrain_steps": 150, "finetune_steps": 20, "batch_size": 64, "pretrain_lr": 5e-3, "ema_decay": 0.9}
    return Vae.build(shape, network, TrainConfig.model_validate(recipe | train), SamplingConfig(batch_size=16))


class TwoImages:
    """A bright left half and a bright right half, three to one, with noise."""

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        x = np.full((n, 1, 8, 8), -0.8)
        right = rng.random(n) < 0.25
        x[~right, :, :, :4] = x[right, :, :, 4:] = 0.8
        return Samples(torch.from_numpy((x + 0.1 * rng.standard_normal(x.shape)).astype(np.float32)))


@pytest.fixture(scope="module")
def trained() -> Vae:
    return build(pretrain_steps=400).fit(TwoImages(), None, 1)


def test_the_bound_is_the_closed_form():
    torch.manual_seed(0)
    network = Autoencoder((1, 8, 8), SMALL).eval()
    network.log_variance.fill_(-1.3)
    x, z = torch.rand(5, 1, 8, 8) * 2 - 1, torch.randn(5, 2)
    with torch.no_grad():
        mean, log_scale = network.encoder(x).chunk(2, dim=1)
        posterior = Normal(mean, log_scale.exp())
        image = network.decoder(mean + log_scale.exp() * z)
        found, weighed = network.bound(x, z), network.bound(x, z, beta=0.5)
    kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    log_likelihood = Normal(image, np.exp(-1.3 / 2)).log_prob(x).sum((1, 2, 3))
    assert torch.allclose(found.kl, kl, atol=1e-5) and torch.allclose(found.log_likelihood, log_likelihood, atol=1e-3)
    assert torch.allclose(found.elbo, log_likelihood - kl, atol=1e-3)
    assert torch.allclose(weighed.elbo, log_likelihood - 0.5 * kl, atol=1e-3)
    assert network.log_variance == pytest.approx(-1.3)  # training alone changes it


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32), (1, 9, 12), (1, 2, 2)], ids=str)
def test_images_of_any_size_come_back_in_that_size(shape: tuple[int, ...]):
    vae = build(shape)
    x = vae.sample(SEEDS[:3])
    assert x.shape == (3, *shape) and float(x.abs().max()) <= 1
    with torch.no_grad():
        assert vae.network.eval().bound(x, torch.zeros(3, 2)).elbo.shape == (3,)
    assert vae.network.small[1:] == {8: (4, 4), 16: (4, 4), 28: (7, 7), 32: (4, 4), 9: (9, 12), 2: (2, 2)}[shape[1]]


def test_it_learns_both_images_in_their_shares_and_the_noise(trained: Vae):
    x = trained.sample(np.arange(2_000)).mean((1, 2))  # by column
    left, right = x[:, :4].mean(1), x[:, 4:].mean(1)
    sure = (left - right).abs() > 0.8
    assert sure.float().mean() > 0.85
    assert float((right > left)[sure].float().mean()) == pytest.approx(0.25, abs=0.08)
    assert float(trained.network.log_variance) == pytest.approx(np.log(0.1**2), abs=0.8)
    held_out = TwoImages().draw(300, np.random.default_rng(9)).x
    with torch.no_grad():
        known = trained.network.bound(held_out, torch.zeros(300, 2)).elbo
        strange = trained.network.bound(torch.full_like(held_out, 0.8), torch.zeros(300, 2)).elbo
    assert known.mean() > strange.mean() + 100


def test_a_sample_depends_on_its_own_seed_alone(trained: Vae):
    together = trained.sample(SEEDS)  # two whole batches of 16 and a part
    for n in (1, 5, 17):
        assert torch.equal(trained.sample(SEEDS[-n:]), together[-n:])
    assert trained.sample(SEEDS[:0]).shape == (0, 1, 8, 8) and len(torch.unique(together, dim=0)) == len(SEEDS)


def test_the_same_seed_gives_the_same_weights_and_a_child_begins_at_its_parent(trained: Vae, tmp_path: Path):
    quick = build(pretrain_steps=5, augment=0.5, flip=True)
    first, again, other = (quick.fit(TwoImages(), None, seed).network.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    path = tmp_path / "generation.safetensors"
    sha256 = trained.save(path)
    parent = Vae.load(path, trained.train, trained.sampling)
    assert parent.sha256 == sha256 and torch.equal(parent.sample(SEEDS), trained.sample(SEEDS))
    still = replace(parent, train=trained.train.model_copy(update={"finetune_lr": 1e-9}))
    child = still.fit(TwoImages(), parent, 2)
    assert child.parent == sha256 and torch.allclose(child.sample(SEEDS), parent.sample(SEEDS), atol=1e-4)


def test_training_that_diverges_stops():
    class Broken:
        def draw(self, n: int, rng: np.random.Generator) -> Samples:
            return Samples(torch.full((n, 1, 8, 8), np.nan))

    with pytest.raises(NonFiniteLossError, match="lower the learning rate"):
        build(pretrain_steps=1).fit(Broken(), None, 0)


def test_points_and_other_weights_are_refused(trained: Vae, tmp_path: Path):
    with pytest.raises(ValueError, match="is for images"):
        build((2,))
    path, tables = tmp_path / "other.safetensors", (trained.train, trained.sampling)
    tensors, config = trained.network.state_dict(), {"shape": [1, 8, 8], "network": {"kind": "vae", "width": 16}}
    broken: list[tuple[checkpoint.Checkpoint, type[Exception], str]] = [
        (checkpoint.Checkpoint("flow", {}, {}, 0), checkpoint.MissingCheckpointError, "holds a flow"),
        (checkpoint.Checkpoint("vae", tensors, config, 0), checkpoint.CorruptCheckpointError, "sidecar"),
    ]
    for content, error, message in broken:
        checkpoint.save(path, content)
        with pytest.raises(error, match=message):
            Vae.load(path, *tables)

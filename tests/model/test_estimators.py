"""The kernel density and the Gaussian: their moments, samples of a seed, and checkpoints."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model import checkpoint
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.generators.estimators import Gaussian, KernelDensity
from model.interfaces import Samples

TABLES = NetworkConfig(bandwidth=0.5), TrainConfig(), SamplingConfig()
CORRELATED = torch.tensor([[2.0, 0.6], [0.0, 0.5]])
SEEDS = np.arange(40_000)


class Rows:
    """Training data that are drawn from some rows."""

    def __init__(self, x: torch.Tensor):
        self.x = x

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        return Samples(self.x[torch.from_numpy(rng.integers(len(self.x), size=n))])


@pytest.fixture
def rows() -> Rows:
    return Rows(torch.randn(500, 2, generator=torch.Generator().manual_seed(0)) @ CORRELATED + torch.tensor([3.0, -1]))


def test_a_gaussian_has_the_mean_and_the_biased_covariance_of_its_data(rows: Rows):
    fitted = Gaussian.build((2,), *TABLES).fit(rows, None, 1)
    expected = np.cov(rows.x.double().numpy().T, bias=True)
    assert fitted.mean.numpy() == pytest.approx(rows.x.mean(0).numpy(), abs=0.02)
    assert fitted.covariance.numpy() == pytest.approx(expected, rel=0.02)
    x = fitted.sample(SEEDS).double()
    assert x.mean(0).numpy() == pytest.approx(fitted.mean.numpy(), abs=0.04)
    assert np.cov(x.numpy().T) == pytest.approx(fitted.covariance.numpy(), rel=0.04)
    distance = torch.einsum("ni,ij,nj->n", x - fitted.mean, torch.linalg.inv(fitted.covariance), x - fitted.mean)
    assert float((distance < 2 * np.log(2)).double().mean()) == pytest.approx(0.5, abs=0.012)  # chi squared


def test_a_gaussian_of_a_single_point_is_that_point():
    fitted = Gaussian.build((3,), *TABLES).fit(Rows(torch.tensor([[1.0, 2.0, 3.0]])), None, 0)
    assert torch.allclose(fitted.sample(SEEDS[:5]), torch.tensor([[1.0, 2.0, 3.0]]), atol=1e-4)


def test_a_kernel_density_is_its_rows_with_noise(rows: Rows):
    fitted = KernelDensity.build((2,), *TABLES).fit(rows, None, 1)
    x = fitted.sample(SEEDS).double().numpy()
    expected = np.cov(rows.x.numpy().T, bias=True) + 0.25 * np.eye(2)
    assert np.cov(x.T) == pytest.approx(expected, rel=0.04)
    exact = KernelDensity((2,), rows.x[:3], 0.0).sample(SEEDS[:3_000])
    assert torch.unique(exact, dim=0).shape == (3, 2)
    counts = torch.unique(exact, dim=0, return_counts=True)[1] / 3_000
    assert counts.tolist() == pytest.approx([1 / 3] * 3, abs=0.04)


@pytest.mark.parametrize("kind", [Gaussian, KernelDensity])
def test_a_sample_depends_on_its_own_seed_alone_and_a_checkpoint_draws_the_same(kind, rows: Rows, tmp_path: Path):
    fitted = kind.build((2,), *TABLES).fit(rows, None, 4)
    x = fitted.sample(SEEDS[:50])
    assert torch.equal(fitted.sample(SEEDS[[7, 3]]), x[[7, 3]]) and len(torch.unique(x, dim=0)) == 50
    path = tmp_path / "generation.safetensors"
    sha256 = fitted.save(path)
    again = kind.load(path, *TABLES[1:])
    assert again.sha256 == sha256 and again.seed == 4 and torch.equal(again.sample(SEEDS[:50]), x)
    child = again.fit(rows, again, 5)
    assert child.parent == sha256 and child.sha256 is None
    checkpoint.save(path, checkpoint.Checkpoint("flow", {}, {}, 0))
    with pytest.raises(checkpoint.MissingCheckpointError, match="holds a flow"):
        kind.load(path, *TABLES[1:])


@pytest.mark.parametrize("kind", [Gaussian, KernelDensity])
def test_images_are_not_for_them(kind: Callable[..., object]):
    with pytest.raises(ValueError, match="is for points"):
        kind.build((1, 8, 8), *TABLES)  # pyright: ignore[reportFunctionMemberAccess]

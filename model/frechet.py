"""The Fréchet distance between two sets of features: as far apart as the Gaussians with their means and covariances.

Everything is in float64, on the device of the features, and no more than a chunk of them is converted at a time.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch

CHUNK = 8_192
NEGATIVE = 1e-8  # of the largest eigenvalue: below minus this one is no rounding error
FLAT = 1e-10  # of the largest eigenvalue: directions in which the features don't vary


@dataclass(frozen=True)
class Moments:
    """Of n features.

    Attributes:
        n: how many.
        mean: (d,) float64.
        covariance: (d, d) float64, with n - 1 in the denominator.
    """

    n: int
    mean: torch.Tensor
    covariance: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor, chunk: int = CHUNK) -> Self:
        """Moments of (n, d) features.

        Args:
            features: at least d + 1, or the covariance would be singular whatever they are.
            chunk: features that are converted to float64 at a time.

        Raises:
            ValueError: too few features, or one isn't finite.
        """
        n, d = checked(features).shape
        if n < d + 1:
            raise ValueError(
                f"{n} samples are too few for the covariance of {d} features: a Fréchet distance needs {d + 1} or more."
            )
        mean = torch.stack([part.double().sum(0) for part in features.split(chunk)]).sum(0) / n
        covariance = torch.zeros(d, d, dtype=torch.float64, device=features.device)
        for part in features.split(chunk):
            centred = part.double() - mean
            covariance += centred.T @ centred
        return cls(n, mean, covariance / (n - 1))

    @cached_property
    def root(self) -> torch.Tensor:
        """(d, d) the covariance's symmetric root; found once, since real data are compared with every generation.

        Raises:
            ValueError: the matrix is no covariance.
        """
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * _non_negative(values).sqrt()) @ vectors.T


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), the squared 2-Wasserstein distance of two Gaussians.

    The trace of the root is the sum of the roots of the eigenvalues of S C_b S, where S is the root of C_a: these are
    the eigenvalues of C_a C_b, found as those of a symmetric matrix, so that nothing imaginary can arise.

    Source: Heusel et al. 2017 (arXiv 1706.08500), equation 6 (Dowson and Landau 1982).

    Raises:
        ValueError: features of different sizes, or a matrix that is no covariance.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"Features of {len(a.mean)} and of {len(b.mean)} numbers can't be compared.")
    product = a.root @ b.covariance @ a.root
    trace = _non_negative(torch.linalg.eigvalsh((product + product.T) / 2)).sqrt().sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * trace
    return max(0.0, float((a.mean - b.mean).square().sum() + spread))


def frechet_error(real: Moments, own: Moments, x: torch.Tensor, chunk: int = CHUNK) -> float:
    """Standard error of the distance over other samples as many, the real moments as they are, by the delta method.

    A sample x adds `2 (m - m_r) (x - m) + (x - m)^T (I - T) (x - m)` over n, where T = S (S C S)^(-1/2) S, S the root
    of C_r, is the optimal map between the Gaussians: the derivative of twice the trace of the root.

    Args:
        real: moments of the real features.
        own: of the samples'.
        x: (n, d) those features.
        chunk: features that are converted to float64 at a time.
    """
    root = real.root
    product = root @ own.covariance @ root
    values, vectors = torch.linalg.eigh((product + product.T) / 2)
    inverse = torch.where(values > FLAT * values.max(), values, torch.inf).rsqrt()
    away = -root @ (vectors * inverse) @ vectors.T @ root
    away.diagonal().add_(1)
    parts = []
    for part in x.split(chunk):
        centred = part.double() - own.mean
        parts.append(2 * centred @ (own.mean - real.mean) + (centred @ away * centred).sum(1))
    return float(torch.cat(parts).std() / own.n**0.5)


def checked(features: torch.Tensor) -> torch.Tensor:
    """The features.

    Raises:
        ValueError: they aren't (n, d) numbers, all finite.
    """
    if features.ndim != 2 or not len(features):
        raise ValueError(f"Features must be (n, d) numbers, not of shape {tuple(features.shape)}.")
    bad = int((~features.isfinite()).any(1).sum())
    if bad:
        raise ValueError(f"{bad} of {len(features)} samples have features that aren't finite numbers.")
    return features


def _non_negative(values: torch.Tensor) -> torch.Tensor:
    """Eigenvalues without their rounding errors below 0."""
    if float(values.min()) < -NEGATIVE * max(1e-300, float(values.max())):
        raise ValueError(
            f"A covariance has the eigenvalue {float(values.min()):.3g} beside {float(values.max()):.3g}: it is none."
        )
    return values.clamp(min=0)

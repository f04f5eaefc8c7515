"""The exact density of a flow of points: that of the map its fixed-step solver computes, not of the continuous flow.

A sample is x1 = F(x0) with x0 ~ N(0, I), so log p(x1) = log N(x0) - log |det dF/dx0|. The Jacobian is F's own, by
differentiation through all its steps; for points that weren't drawn, F is inverted by the solver run backwards, and by
Newton's method where that isn't enough.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from model.config import SamplingConfig
from model.sampling import integrate, noise

BATCH = 512  # points whose Jacobians are found at a time: about 100 MB for the usual network
# of a point from the image of its inverse, in the data's units or relative to its norm
CLOSE = {torch.float64: 1e-7, torch.float32: 2e-6}
CORRECTIONS = 2  # of the solver run backwards; they leave rounding for all but a few points in a hundred
MOST_STEPS = {torch.float64: 60, torch.float32: 2}  # of Newton, halved ones among them
LEAST_STEP = 2.0**-12
REVERSED = {"uniform": "uniform", "late": "early", "early": "late"}


@dataclass(frozen=True, slots=True)
class Mapped:
    """Noise and where the solver takes it, in float64 whatever they were computed in.

    Attributes:
        x0: (n, 2) noise.
        x1: (n, 2) F(x0).
        jacobian: (n, 2, 2) dF/dx0.
    """

    x0: torch.Tensor
    x1: torch.Tensor
    jacobian: torch.Tensor

    @property
    def determinant(self) -> torch.Tensor:
        """(n,) of the Jacobian; where it changes sign, F folds the plane."""
        return torch.linalg.det(self.jacobian)

    @property
    def log_density(self) -> torch.Tensor:
        """(n,) log p(x1), if no other noise is taken to x1."""
        normal = -0.5 * self.x0.square().sum(1) - math.log(2 * math.pi)
        return normal - self.determinant.abs().log()


class PointDensity:
    """The density of samples that a solver draws along a network's field in the plane.

    Works on the CPU: in float64, the same map as the samples' but for their rounding; in float32, at less than half the
    time, log-densities carry errors of 1e-5, which no mean of many shows.

    Args:
        network: v(t, x) for x of shape (n, 2).
        sampling: solver, steps and grid.
        dtype: of the arithmetic, float64 or float32.
    """

    def __init__(self, network: nn.Module, sampling: SamplingConfig, dtype: torch.dtype = torch.float64):
        self._field = copy.deepcopy(network).to("cpu", dtype).eval().requires_grad_(False)
        self._sampling, self._dtype = sampling, dtype

    def of_seeds(self, seeds: np.ndarray) -> Mapped:
        """The samples of (n,) int64 seeds."""
        return self.of_noise(noise(seeds, (2,)))

    def of_noise(self, x0: torch.Tensor) -> Mapped:
        """The points that (n, 2) noise becomes."""
        sampling, images, jacobians = self._sampling, [], []
        for part in x0.to(self._dtype).split(BATCH):
            start = part.detach().requires_grad_()
            with torch.enable_grad():
                x1 = integrate(self._field, start, sampling.solver, sampling.steps, sampling.grid)
                rows = [torch.autograd.grad(x1[:, i].sum(), start, retain_graph=i == 0)[0] for i in (0, 1)]
            images.append(x1.detach())
            jacobians.append(torch.stack(rows, dim=1))
        return Mapped(x0.double(), torch.cat(images).double(), torch.cat(jacobians).double())

    def at(self, x1: torch.Tensor) -> tuple[Mapped, torch.Tensor]:
        """The noise that is taken to (n, 2) points, with (n,) bool: True where the search came close enough.

        Newton's method on the whole map, from about where the solver takes the points backwards; a step that doesn't
        bring a point nearer is halved. Points that it fails for start again: in float64, and where that fails too, from
        the noise of the nearest sample.
        """
        x1 = x1.double()
        solution, close = self.newton(self.inverse(x1), x1)
        if not bool(close.all()):
            if self._dtype == torch.float32:  # too coarse for some maps, mostly those of collapsed generations
                again, better = PointDensity(self._field, self._sampling).at(x1[~close])
            else:
                samples = self.of_noise(noise(np.arange(4 * BATCH), (2,)))
                nearest = torch.cdist(x1[~close], samples.x1).argmin(1)
                again, better = self.newton(samples.x0[nearest], x1[~close])
            for name in ("x0", "x1", "jacobian"):
                getattr(solution, name)[~close] = getattr(again, name)
            close[~close] = better
        return solution, close

    def inverse(self, x1: torch.Tensor) -> torch.Tensor:
        """(n, 2): about where F(x0) = x1, by the same solver run from t = 1 to 0: B(x1), which misses by its error.

        x0 + B(x1) - B(F(x0)) misses by far less than x0, where B is nearly the inverse of F.
        """
        sampling, goal = self._sampling, x1.to(self._dtype)

        def forwards(x0: torch.Tensor) -> torch.Tensor:
            return integrate(self._field, x0, sampling.solver, sampling.steps, sampling.grid)

        def backwards(x: torch.Tensor) -> torch.Tensor:
            grid = REVERSED[sampling.grid]
            return integrate(lambda s, x: -self._field(1 - s, x), x, sampling.solver, sampling.steps, grid)

        with torch.no_grad():
            start = x0 = backwards(goal)
            size = torch.full((len(x0),), torch.inf)
            for _ in range(CORRECTIONS):
                correction = start - backwards(forwards(x0))
                before, size = size, correction.norm(dim=1)
                x0 = torch.where((size < before)[:, None], x0 + correction, x0)  # unless they grow, or aren't finite
        return x0.double()

    def newton(self, x0: torch.Tensor, x1: torch.Tensor) -> tuple[Mapped, torch.Tensor]:
        """Solves F(x0) = x1 from (n, 2) starts; (n,) bool says where it came close enough."""
        best = self.of_noise(x0)
        limit = CLOSE[self._dtype] * (1 + x1.norm(dim=1))
        distance = (best.x1 - x1).norm(dim=1).nan_to_num(torch.inf)
        factor = torch.ones_like(distance)
        for _ in range(MOST_STEPS[self._dtype]):
            open_ = ((distance > limit) & (factor >= LEAST_STEP) & (best.determinant != 0)).nonzero().squeeze(1)
            if not len(open_):
                break
            step = torch.linalg.solve(best.jacobian[open_], x1[open_] - best.x1[open_])
            tried = self.of_noise(best.x0[open_] + factor[open_, None] * step)
            left = (tried.x1 - x1[open_]).norm(dim=1).nan_to_num(torch.inf)
            nearer = left < distance[open_]
            moved = open_[nearer]
            best.x0[moved], best.x1[moved], best.jacobian[moved] = (
                tried.x0[nearer], tried.x1[nearer], tried.jacobian[nearer]
            )  # fmt: skip
            distance[moved] = left[nearer]
            factor[open_] = torch.where(nearer, 1.0, factor[open_] / 2)
        return best, distance <= limit

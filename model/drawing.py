"""Samples from seeds: batches of noise, carried along a network's field one after the other or two side by side."""

import warnings
from concurrent.futures import CancelledError
from threading import Event

import numpy as np
import torch
from torch import nn

from model.compiled import LARGE, Compute
from model.config import NetworkConfig, SamplingConfig
from model.devices import device
from model.lanes import LANES, pays, side_by_side
from model.noise import noise
from model.prefetch import ahead
from model.solvers import evaluations, integrate


class Drawing:
    """How one network's samples are drawn on this process.

    A large network draws half a batch at a time on a CPU, and with cores enough two halves side by side.

    Args:
        network: v(t, x), on the device.
        config: what it is.
        sampling: the solver and the size of a batch.
        shape: of one sample.
        wanted: samples on all processes together; many are worth compiling the network for.
    """

    def __init__(
        self, network: nn.Module, config: NetworkConfig, sampling: SamplingConfig, shape: tuple[int, ...], wanted: int
    ):
        self._sampling, self._shape, self._compute = sampling, shape, Compute.of(config)
        self._field = self._compute.field(network.eval(), wanted * evaluations(sampling.solver, sampling.steps))
        in_halves = config.kind in LARGE and self._field is network and device().type == "cpu"
        self._size = -(-sampling.batch_size // LANES) if in_halves else sampling.batch_size
        self._in_lanes = in_halves and pays(0.0, device())
        self._stopping = Event()

    def samples(self, seeds: np.ndarray) -> torch.Tensor:
        """(n, *shape) float32 on the CPU, from (n,) int64 seeds."""
        out = torch.empty(len(seeds), *self._shape)
        batches = [(seeds[i : i + self._size], out[i : i + self._size]) for i in range(0, len(seeds), self._size)]
        if self._in_lanes:
            side_by_side(lambda batch: self._draw(self._noise(batch[0]), batch[1]), batches, self._stopping)
        else:
            for x0, rows in ahead((self._noise(some), rows) for some, rows in batches):
                self._draw(x0, rows)
        return out

    def _noise(self, seeds: np.ndarray) -> torch.Tensor:
        """That of a whole batch, however few the seeds: so the arithmetic of a sample is the same in any company."""
        return noise(np.pad(seeds, (0, self._size - len(seeds)), mode="edge"), self._shape)

    @torch.inference_mode()
    def _draw(self, x0: torch.Tensor, rows: torch.Tensor) -> None:
        """Fills rows of the samples from a batch of noise."""
        with self._compute.autocast():
            rows.copy_(self._solve(x0.to(device()))[: len(rows)])

    def _solve(self, x0: torch.Tensor) -> torch.Tensor:
        """Integrates a batch, in halves where the device's memory is too small for all of it."""
        sampling = self._sampling
        try:
            return integrate(self._velocity, x0, sampling.solver, sampling.steps, sampling.grid)
        except torch.OutOfMemoryError:
            if len(x0) == 1:
                raise
        half = -(-len(x0) // 2)
        warnings.warn(
            f"The device has too little memory for {len(x0)} samples at once: going on with {half}; set "
            f"sampling.batch_size = {half}.",
            stacklevel=3,
        )
        return torch.cat([self._solve(part) for part in x0.split(half)])

    def _velocity(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if self._stopping.is_set():
            raise CancelledError
        return self._field(t, x)

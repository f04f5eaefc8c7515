"""Figures that compare samples with data: nearest neighbours (copies), class shares, total variation."""

import torch

from model.devices import device
from model.pixels import scaled


@torch.inference_mode()
def nearest_distances(
    x: torch.Tensor, reference: torch.Tensor, *, own: torch.Tensor | None = None, chunk: int = 4_096
) -> torch.Tensor:
    """(n,) Euclidean distance from each x to the nearest reference, found on the device.

    Args:
        x: (n, *shape), as the references.
        reference: (m, *shape), images in [-1, 1] or as uint8 pixels, which are scaled a chunk at a time.
        own: (n,) int64, which reference each x is itself, where x are some of them: the nearest other one counts.
        chunk: references compared at a time.
    """
    rows = scaled(x.to(device())).flatten(1)
    nearest = torch.full((len(rows),), torch.inf, device=rows.device)
    for start in range(0, len(reference), chunk):
        columns = scaled(reference[start : start + chunk].to(device())).flatten(1)
        distances = torch.cdist(rows, columns)
        if own is not None:
            itself = (own >= start) & (own < start + chunk)
            distances[itself.nonzero().squeeze(1), own[itself] - start] = torch.inf
        nearest = torch.minimum(nearest, distances.min(dim=1).values)
    return nearest.cpu()


def nearest_ratio(samples: torch.Tensor, reference: torch.Tensor, spacing: float) -> float:
    """Median distance from samples to their nearest reference, over `spacing` (see `typical_spacing`).

    Near 1 the samples lie as far from the data as data from each other; near 0 they are copies.
    """
    return float(nearest_distances(samples, reference).median()) / spacing


def typical_spacing(real: torch.Tensor, limit: int = 2_000) -> float:
    """Median distance from a real datum to the nearest other one, over about `limit` of them, evenly spread."""
    some = torch.arange(0, len(real), max(1, round(len(real) / limit)))
    return float(nearest_distances(real[some], real, own=some).median())

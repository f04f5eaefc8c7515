"""Figures that compare samples with data: nearest neighbours (copies), class shares, total variation."""

import torch


def nearest_distances(
    x: torch.Tensor, reference: torch.Tensor, *, same: bool = False, chunk: int = 1_024
) -> torch.Tensor:
    """(n,) Euclidean distance from each x to the nearest reference.

    Args:
        x: (n, *shape).
        reference: (m, *shape).
        same: x is the reference: the nearest other one counts.
        chunk: rows of the distance matrix held at a time.
    """
    rows, columns = x.flatten(1), reference.flatten(1)
    nearest = []
    for start in range(0, len(rows), chunk):
        distances = torch.cdist(rows[start : start + chunk], columns)
        if same:
            index = torch.arange(len(distances))
            distances[index, index + start] = torch.inf
        nearest.append(distances.min(dim=1).values)
    return torch.cat(nearest)


def nearest_ratio(samples: torch.Tensor, reference: torch.Tensor, spacing: float) -> float:
    """Median distance from samples to their nearest reference, over `spacing` (see `typical_spacing`).

    Near 1 the samples lie as far from the data as data from each other; near 0 they are copies.
    """
    return float(nearest_distances(samples, reference).median()) / spacing


def typical_spacing(real: torch.Tensor, limit: int = 5_000) -> float:
    """Median distance from a real datum to the nearest other one, over the first `limit` of them."""
    part = real[:limit]
    return float(nearest_distances(part, part, same=True).median())

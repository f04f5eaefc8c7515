"""Figures that compare samples with data: nearest neighbours (copies), class shares, total variation."""

import torch


def nearest_distances(
    x: torch.Tensor, reference: torch.Tensor, *, own: torch.Tensor | None = None, chunk: int = 1_024
) -> torch.Tensor:
    """(n,) Euclidean distance from each x to the nearest reference.

    Args:
        x: (n, *shape).
        reference: (m, *shape).
        own: (n,) int64, which reference each x is itself, where x are some of them: the nearest other one counts.
        chunk: rows of the distance matrix held at a time.
    """
    rows, columns = x.flatten(1), reference.flatten(1)
    nearest = []
    for start in range(0, len(rows), chunk):
        distances = torch.cdist(rows[start : start + chunk], columns)
        if own is not None:
            distances[torch.arange(len(distances)), own[start : start + chunk]] = torch.inf
        nearest.append(distances.min(dim=1).values)
    return torch.cat(nearest)


def nearest_ratio(samples: torch.Tensor, reference: torch.Tensor, spacing: float) -> float:
    """Median distance from samples to their nearest reference, over `spacing` (see `typical_spacing`).

    Near 1 the samples lie as far from the data as data from each other; near 0 they are copies.
    """
    return float(nearest_distances(samples, reference).median()) / spacing


def typical_spacing(real: torch.Tensor, limit: int = 2_000) -> float:
    """Median distance from a real datum to the nearest other one, over about `limit` of them, evenly spread."""
    some = torch.arange(0, len(real), max(1, round(len(real) / limit)))
    return float(nearest_distances(real[some], real, own=some).median())

"""Batches of training: exact optimal-transport pairing, drawn one ahead by a thread."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from scipy.optimize import linear_sum_assignment

T = TypeVar("T")
_END = object()


def pair(x0: torch.Tensor, x1: torch.Tensor, group: int) -> torch.Tensor:
    """x1 in the order that makes the sum of squared distances to x0 the least there is, in each group of the batch.

    With equal weights the optimal plan between two batches of equal size is a permutation, so the assignment is the
    exact coupling and needs no random numbers, unlike sampling from the plan. Its time grows with the cube of the
    group, so that a large batch is better paired in several.

    Args:
        x0: (n, *shape) noise.
        x1: (n, *shape) data.
        group: how many are paired with each other; the last group may be smaller.

    Source: Tong et al. 2024 (arXiv 2302.00482), OT-CFM.
    """
    return torch.cat([_pair(*parts) for parts in zip(x0.split(group), x1.split(group), strict=True)])


def _pair(x0: torch.Tensor, x1: torch.Tensor) -> torch.Tensor:
    noise_rows, data_rows = x0.flatten(1), x1.flatten(1)
    # |a-b|^2 = |a|^2 - 2ab + |b|^2, and |a|^2 is the same along a row: it can't change the assignment
    cost = torch.addmm(data_rows.square().sum(1), noise_rows, data_rows.T, alpha=-2)
    _, order = linear_sum_assignment(cost.cpu().numpy())
    return x1[torch.from_numpy(order).to(x1.device)]


def ahead(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """The same items in the same order, up to `depth` of them made ahead in another thread.

    An exception while an item is made is raised where the item would have come.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(1, "batches", lambda: torch.set_num_threads(1)) as maker:
            pending = deque(maker.submit(next, items, _END) for _ in range(depth))
            while (item := pending.popleft().result()) is not _END:
                pending.append(maker.submit(next, items, _END))
                yield item  # type: ignore[misc]
    finally:
        torch.set_num_threads(threads)  # new threads begin with the number that was set last

"""Makes the next batch while this one trains, on one core: the pairing frees the interpreter's lock, so both run."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
_END = object()


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

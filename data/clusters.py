"""Classes for images that come without: clusters of look-alikes."""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2

SIDE = 8  # images are compared at so many pixels a side


def look_alikes(x: np.ndarray, k: int) -> np.ndarray:
    """(n,) int64 the clusters of images by k-means on small versions of them, the largest cluster first.

    An image and its mirror image look alike: a classifier may be shown either. There are fewer than k clusters where
    images are few or the same. The same images always give the same clusters.

    Args:
        x: (n, height, width, channels) uint8, at least 8 x 8.
        k: how many clusters.

    Source: k-means++, Arthur and Vassilvitskii 2007.
    """
    small = (_small(x) + _small(x[:, :, ::-1])).reshape(len(x), -1)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # images that are all the same
        warnings.simplefilter("ignore", UserWarning)  # clusters that get no image
        found = kmeans2(small, min(k, len(x)), iter=30, minit="++", rng=np.random.default_rng(0))[1]
    _, labels, counts = np.unique(found, return_inverse=True, return_counts=True)
    return np.argsort(np.argsort(-counts, kind="stable"))[labels].astype(np.int64)


def _small(x: np.ndarray) -> np.ndarray:
    """(n, 8, 8, channels) float32 sums over blocks."""
    rows, columns = (np.linspace(0, size, SIDE, endpoint=False).astype(int) for size in x.shape[1:3])
    return np.add.reduceat(np.add.reduceat(x, rows, axis=1, dtype=np.float32), columns, axis=2)

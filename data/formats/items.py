"""Samples as items numbered from 0, for formats that compare items."""

import numpy as np

from data.formats.source import Source


class Items:
    """The samples of a study's answers, 8 bytes each."""

    def __init__(self, source: Source):
        self._source = source
        self._ids = np.fromiter((row[0] for row in source.store.shown_samples(source.where)), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def number(self, sample_id: int) -> int:
        """The item of a sample."""
        return int(np.searchsorted(self._ids, sample_id))

    def described(self):
        """(sample id, generation, label, image_sha256) of each item, in order."""
        return self._source.store.shown_samples(self._source.where)

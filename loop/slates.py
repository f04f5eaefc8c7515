"""Making slates: K fresh samples each, scored, ready for the store; the pool; templates of check slates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from data.images import encode_png
from data.records import NewSlate, Purpose, Sample
from data.store import Store
from loop.config import StudyConfig
from loop.pictures import draw, to_pixels
from loop.scoring import Scorer, Scores
from model.interfaces import Generator
from model.noise import derive_seed, derive_seeds

Stream = Literal["sim", "pool", "audit", "proxy", "evaluation", "request", "practice", "attention"]
STREAMS: dict[Stream, int] = {
    "sim": 1, "pool": 2, "audit": 3, "proxy": 4, "evaluation": 5, "request": 6, "practice": 7, "attention": 8,
}  # fmt: skip
ATTENTION = 24  # templates a generation; a rater gets each once at the most
CANDIDATES = 16  # samples of which the surest is the clear one


@dataclass(frozen=True)
class Drawn:
    """n samples of one generation with their seeds and scores."""

    t: int
    seeds: np.ndarray
    x: torch.Tensor
    scores: Scores

    def __len__(self) -> int:
        return len(self.seeds)


def draw_scored(generator: Generator, scorer: Scorer, t: int, seeds: np.ndarray) -> Drawn:
    """Samples of generation t, scored."""
    x = draw(generator, seeds)
    return Drawn(t, seeds, x, scorer.score(x))


def records(
    drawn: Drawn, operative: np.ndarray | None = None, seen: Sequence[int] | None = None
) -> tuple[list[Sample], list[tuple[str, bytes]]]:
    """The samples' rows, and the images of those that people see or that train.

    Args:
        drawn: n samples.
        operative: (n,) rewards by which they are judged, where that isn't the study's reward.
        seen: indices of the samples whose images are kept; all by default.
    """
    images: dict[int, tuple[str, bytes]] = {}
    if drawn.x.ndim == 4:
        wanted = range(len(drawn)) if seen is None else seen
        pixels = to_pixels(drawn.x)
        images = {int(i): encode_png(pixels[i]) for i in wanted}
    rows = [
        Sample(
            t=drawn.t,
            seed=int(drawn.seeds[i]),
            reward=float(drawn.scores.reward[i]),
            label=int(drawn.scores.labels[i]),
            image_sha256=images[i][0] if i in images else None,
            point=tuple(drawn.x[i].tolist()) if drawn.x.ndim == 2 else None,
            operative_reward=None if operative is None else float(operative[i]),
            reward_json=None if drawn.scores.probs is None else {"probs": drawn.scores.probs[i].round(4).tolist()},
        )
        for i in range(len(drawn))
    ]
    return rows, list(images.values())


def slates_of(rows: Sequence[Sample], k: int, t: int, purpose: Purpose, seeds: Sequence[int]) -> Iterator[NewSlate]:
    """Disjoint slates of K consecutive samples each; independent draws need no shuffling."""
    for i, seed in enumerate(seeds):
        yield NewSlate(t=t, purpose=purpose, k=k, seed=int(seed), samples=rows[i * k : (i + 1) * k])


class Pool:
    """Keeps free slates in the store, made ahead of the raters.

    Args:
        store: the study's.
        scorer: the study's.
        seed: the study's.
        k: samples in a curation slate.
        batch: samples that the generator makes at once; slates are made in such lots.
        audit_k: samples in an audit slate.
    """

    def __init__(self, store: Store, scorer: Scorer, seed: int, k: int, batch: int, audit_k: int = 2):
        self.store, self.scorer, self.seed, self.k, self.audit_k = store, scorer, seed, k, audit_k
        self.batch = batch

    def top_up(self, purpose: Literal["curation", "audit"], size: int, generators: dict[int, Generator], t: int) -> int:
        """Fills the pool to at least `size` free slates of generation t once it is down to three quarters.

        Args:
            purpose: 'curation' slates come from generation t alone; 'audit' slates mix all generations given.
            size: free slates wanted.
            generators: by generation; t must be among them.
            t: the generation that is served.

        Returns:
            How many slates were made.
        """
        free = self.store.pool_size(purpose, t)
        if free > 0.75 * size or size == 0:
            return 0
        lot = max(1, self.batch // (self.k if purpose == "curation" else self.audit_k))
        missing = -(-(size - free) // lot) * lot
        first = self.store.count_slates(purpose, t)
        if purpose == "curation":
            self._add(generators[t], t, first, missing)
        else:
            self._add_audit(generators, t, first, missing)
        return missing

    def _add(self, generator: Generator, t: int, first: int, n: int) -> None:
        seeds = self._seeds("pool", t, first, n, self.k)
        drawn = draw_scored(generator, self.scorer, t, seeds.ravel())
        rows, images = records(drawn)
        slate_seeds = [derive_seed(self.seed, t, STREAMS["pool"], first + i) for i in range(n)]
        with self.store.write():
            self.store.add_images(images)
            self.store.add_slates(slates_of(rows, self.k, t, "curation", slate_seeds), random_ids=True)

    def _add_audit(self, generators: dict[int, Generator], t: int, first: int, n: int) -> None:
        """Half of an audit slate is generation t's, the rest goes round the others; its seed permutes the positions."""
        k, seeds = self.audit_k, self._seeds("audit", t, first, n, self.audit_k)
        others = [other for other in sorted(generators) if other != t] or [t]
        made_by = np.empty((n, k), dtype=np.int64)
        slate_seeds = [derive_seed(self.seed, t, STREAMS["audit"], first + i) for i in range(n)]
        for i, slate_seed in enumerate(slate_seeds):
            plan = [t if j % 2 == 0 else others[(i + j // 2) % len(others)] for j in range(k)]
            made_by[i] = np.random.default_rng(slate_seed).permutation(plan)
        rows: list[Sample | None] = [None] * (n * k)
        images: list[tuple[str, bytes]] = []
        for source in np.unique(made_by):
            places = np.flatnonzero(made_by.ravel() == source)
            drawn = draw_scored(generators[int(source)], self.scorer, int(source), seeds.ravel()[places])
            some, pngs = records(drawn)
            images += pngs
            for place, row in zip(places, some, strict=True):
                rows[place] = row
        done = [row for row in rows if row is not None]
        with self.store.write():
            self.store.add_images(images)
            self.store.add_slates(slates_of(done, k, t, "audit", slate_seeds), random_ids=True)

    def _seeds(self, stream: Stream, t: int, first: int, n: int, k: int) -> np.ndarray:
        return np.stack([derive_seeds(k, self.seed, t, STREAMS[stream], first + i, 1) for i in range(n)])


def make_templates(config: StudyConfig, pool: Pool, generator: Generator, t: int) -> int:
    """Makes the templates of generation t that are missing and that the study needs; how many were made.

    Attention templates come in both sizes, of curation and of audit slates, so that they look like either.
    """
    made = 0
    if config.journey.practice:
        made += _missing(pool, "practice", max(8, config.journey.practice), pool.k, generator, t)
    if config.slates.attention:
        for k in {pool.k, pool.audit_k} if config.pool.audit else {pool.k}:
            made += _missing(pool, "attention", ATTENTION, k, generator, t)
    return made


def _missing(
    pool: Pool, purpose: Literal["attention", "practice"], wanted: int, k: int, generator: Generator, t: int
) -> int:
    """All templates of a purpose and size, in one transaction, unless they are there."""
    if pool.store.template_count(purpose, t, k):
        return 0
    slates, images = (
        _practice(pool, wanted, generator, t) if purpose == "practice" else _attention(pool, wanted, k, generator, t)
    )
    with pool.store.write():
        pool.store.add_images(images)
        pool.store.add_slates(slates)
    return wanted


def _practice(pool: Pool, n: int, generator: Generator, t: int) -> tuple[list[NewSlate], list[tuple[str, bytes]]]:
    seeds = derive_seeds(n * pool.k, pool.seed, t, STREAMS["practice"])
    rows, images = records(draw_scored(generator, pool.scorer, t, seeds))
    slate_seeds = [derive_seed(pool.seed, t, STREAMS["practice"], i) for i in range(n)]
    return list(slates_of(rows, pool.k, t, "practice", slate_seeds)), images


def _attention(
    pool: Pool, n: int, k: int, generator: Generator, t: int
) -> tuple[list[NewSlate], list[tuple[str, bytes]]]:
    of_size = () if k == pool.k else (k,)
    size = max(CANDIDATES, k)
    seeds = derive_seeds(n * size, pool.seed, t, STREAMS["attention"], *of_size)
    drawn = draw_scored(generator, pool.scorer, t, seeds)
    sure = np.zeros(len(drawn)) if drawn.scores.probs is None else drawn.scores.probs.max(axis=1)
    pixels, slates, kept = to_pixels(drawn.x), [], {}
    for i in range(n):
        start = i * size
        clear = start + int(sure[start : start + size].argmax())
        others = [j for j in range(start, start + size) if j != clear][: k - 1]
        rows, images = records(drawn, seen=[clear])
        kept.update(images)
        noise = []
        for j in others:
            sha256, png = encode_png(shuffled(pixels[j], rows[j].seed))
            kept[sha256] = png
            noise.append(_noise(rows[j], sha256))
        slate_seed = derive_seed(pool.seed, t, STREAMS["attention"], *of_size, i)
        order = np.random.default_rng(slate_seed).permutation(k)
        samples = [[rows[clear], *noise][place] for place in order]
        slates.append(NewSlate(t, "attention", k, slate_seed, samples, answer=int(np.flatnonzero(order == 0)[0])))
    return slates, list(kept.items())


def shuffled(pixels: np.ndarray, seed: int) -> np.ndarray:
    """The same pixels (height, width, channels) in an order that follows from the sample's seed."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    return np.random.default_rng(seed).permutation(flat).reshape(pixels.shape)


def _noise(row: Sample, sha256: str) -> Sample:
    """A sample that was shuffled has no reward and no class."""
    return replace(row, image_sha256=sha256, reward=None, label=None, reward_json={"shuffled": True})

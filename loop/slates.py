"""Samples for people to see, and slates of them.

Samples are drawn by seed, scored, and written as rows and PNGs; K of them are a slate. `Pool` keeps free slates in the
store, ahead of the raters; templates are copied into check slates.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, Self

import numpy as np
import torch

from data.config import DataConfig
from data.designs import paint_points
from data.images import contact_sheet, encode_png, text_sheet
from data.records import NewSlate, Purpose, Sample
from data.store import Store, queries
from loop.conditions import StudyConditions
from loop.config import StudyConfig
from loop.scoring import Scorer, Scores
from loop.training_data import to_tensor
from model.flow import Flow
from model.interfaces import Generator, OnStep
from model.sampling import derive_seed, derive_seeds

Stream = Literal["sim", "pool", "audit", "proxy", "evaluation", "request", "practice", "attention"]
STREAMS: dict[Stream, int] = {
    "sim": 1, "pool": 2, "audit": 3, "proxy": 4, "evaluation": 5, "request": 6, "practice": 7, "attention": 8,
}  # fmt: skip
ATTENTION = 24  # templates a generation; a rater gets each once at the most
CANDIDATES = 16  # samples of which the surest is the clear one
COLUMNS = 8  # of a picture of many images
SHEET_SIZE = 96  # pixels a side of a design in it
SHOWN_POINTS = 2_000
SHOWN_TEXTS = 6


def to_pixels(x: torch.Tensor) -> np.ndarray:
    """(n, height, width, channels) uint8 from (n, channels, height, width) in [-1, 1]."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def draw(
    generator: Generator, seeds: np.ndarray, conditions: np.ndarray | None = None, on_step: OnStep | None = None
) -> torch.Tensor:
    """The samples of these seeds, under (n,) conditions if any, as people get to see them: images rounded to 8 bits.

    A flow calls `on_step` between its batches.
    """
    reported = (on_step,) if isinstance(generator, Flow) else ()
    x = generator.sample(seeds, conditions, *reported)
    fits = len(x) == len(seeds) and x.dtype in (torch.float32, torch.int64) and x.device.type == "cpu"
    if not fits or not x.isfinite().all():
        raise ValueError(
            f"The generator's `sample` has to give ({len(seeds)}, *shape) finite float32 on the CPU for {len(seeds)} "
            f"seeds; it gave {tuple(x.shape)} {x.dtype} on {x.device}, {int((~x.isfinite()).sum())} not finite."
        )
    return to_tensor(to_pixels(x)) if x.ndim == 4 else x


@dataclass(frozen=True)
class Drawn:
    """n samples of one generation with their seeds and scores, the settings of their data, and (n,) conditions."""

    t: int
    seeds: np.ndarray
    x: torch.Tensor
    scores: Scores
    data: DataConfig
    conditions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.seeds)

    def pixels(self, chosen: Sequence[int]) -> np.ndarray | None:
        """(m, height, width, channels) uint8 of the chosen samples as people see them; None where there is no image."""
        if self.x.ndim == 4:
            return to_pixels(self.x[list(chosen)])
        family = self.data.family
        return None if family is None else paint_points(family, self.x[list(chosen)].numpy(), self.data.picture_size)


def draw_scored(
    generator: Generator,
    scorer: Scorer,
    t: int,
    seeds: np.ndarray,
    conditions: np.ndarray | None = None,
    on_step: OnStep | None = None,
) -> Drawn:
    """Samples of generation t, scored; under (n,) conditions where the study has any; `on_step` as of `draw`."""
    x = draw(generator, seeds, conditions, on_step)
    return Drawn(t, seeds, x, scorer.score(x, None, conditions), scorer.config.data, conditions)


def records(
    drawn: Drawn, operative: np.ndarray | None = None, seen: Sequence[int] | None = None
) -> tuple[list[Sample], list[tuple[str, bytes]]]:
    """The samples' rows, with their texts if they are any, and the images of those that people see or that train.

    Args:
        drawn: n samples.
        operative: (n,) rewards by which they are judged, where that isn't the study's reward.
        seen: indices of the samples whose images are kept; all by default.
    """
    wanted = range(len(drawn)) if seen is None else seen
    pixels = drawn.pixels(wanted) if len(wanted) else None
    images = {} if pixels is None else {int(i): encode_png(some) for i, some in zip(wanted, pixels, strict=True)}
    probs, texts = drawn.scores.probs, drawn.scores.texts
    if probs is not None:
        probs = probs.astype(np.float64).round(7)  # as many digits as float32 has
    rows = [
        Sample(
            t=drawn.t,
            seed=int(drawn.seeds[i]),
            reward=float(drawn.scores.reward[i]),
            label=int(drawn.scores.labels[i]),
            image_sha256=images[i][0] if i in images else None,
            point=tuple(drawn.x[i].tolist()) if drawn.x.ndim == 2 else None,
            operative_reward=None if operative is None else float(operative[i]),
            reward_json=None if probs is None else {"probs": probs[i].tolist()},
            text=None if texts is None else texts[i],
        )
        for i in range(len(drawn))
    ]
    return rows, list(images.values())


def picture(
    x: torch.Tensor, real: np.ndarray, data: DataConfig, texts: Sequence[str] | None = None
) -> tuple[str, bytes]:
    """(sha256, png) of the first 64 images or designs, of points over the real ones, or of the first few texts.

    Args:
        x: (n, *shape) samples; generations drawn from the same seeds put the same noise at the same place.
        real: the real data, which set the range of the plot of points.
        data: the [data] table.
        texts: of the samples, if they are texts.
    """
    if texts is not None:
        return encode_png(text_sheet(texts[:SHOWN_TEXTS]))
    if data.family is not None:
        some = paint_points(data.family, x[: COLUMNS * COLUMNS].numpy(), SHEET_SIZE)
        return encode_png(contact_sheet(some, COLUMNS))
    if x.ndim == 4:
        return encode_png(contact_sheet(to_pixels(x[: COLUMNS * COLUMNS]), COLUMNS))
    return encode_png(scatter(x[:SHOWN_POINTS].numpy(), real[:SHOWN_POINTS]))


def scatter(points: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8: a plot of (n, 2) points over real ones, whose range it has."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(3.2, 3.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*real.T, s=2, color="#c9ccd3", linewidths=0, label="real")
    axes.scatter(*points.T, s=2, color="#4f46e5", linewidths=0, label="generated")
    low, high = real.min(axis=0), real.max(axis=0)
    margin = 0.15 * (high - low).max()
    axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin), aspect="equal")
    axes.tick_params(labelsize=6)
    axes.legend(loc="upper right", fontsize=6, markerscale=3, framealpha=0.8)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return np.asarray(Image.open(buffer).convert("RGB"))


@dataclass(frozen=True, slots=True)
class Asked:
    """The conditions of n slates: (n,) numbers and names; in a study without conditions None, and n times None."""

    numbers: np.ndarray | None
    names: Sequence[str | None]

    @classmethod
    def of(cls, conditions: StudyConditions | None, seeds: Sequence[int]) -> Self:
        """The conditions of slates with these seeds."""
        if conditions is None:
            return cls(None, [None] * len(seeds))
        numbers = conditions.of_seeds(seeds)
        return cls(numbers, [conditions.asked.names[number] for number in numbers])

    def of_samples(self, k: int) -> np.ndarray | None:
        """(n k,) the condition of each of the k samples of each slate."""
        return None if self.numbers is None else np.repeat(self.numbers, k)


def slates_of(
    rows: Sequence[Sample], k: int, t: int, purpose: Purpose, seeds: Sequence[int], names: Sequence[str | None] = ()
) -> Iterator[NewSlate]:
    """Disjoint slates of K consecutive samples each; independent draws need no shuffling.

    Args:
        rows: K samples for each seed.
        k: samples in a slate.
        t: the generation that they are served in.
        purpose: of the slates.
        seeds: of the slates.
        names: of their conditions.
    """
    for i, seed in enumerate(seeds):
        samples, condition = rows[i * k : (i + 1) * k], names[i] if names else None
        yield NewSlate(t=t, purpose=purpose, k=k, seed=int(seed), samples=samples, condition=condition)


class Pool:
    """Keeps free slates in the store, made ahead of the raters.

    Args:
        store: the study's.
        scorer: the study's.
        seed: the study's.
        k: samples in a curation slate.
        batch: samples that the generator makes at once; slates are made in such lots.
        audit_k: samples in an audit slate.
        at_once: slates that one call makes at the most; None for as many as are missing.
        conditions: the study's; None for none.
    """

    def __init__(
        self, store: Store, scorer: Scorer, seed: int, k: int, batch: int, audit_k: int = 2, at_once: int | None = None,
        conditions: StudyConditions | None = None,
    ):  # fmt: skip
        self.store, self.scorer, self.seed, self.k, self.audit_k = store, scorer, seed, k, audit_k
        self.batch, self.at_once, self.conditions = batch, at_once, conditions

    def top_up(
        self,
        purpose: Literal["curation", "audit"],
        size: int,
        generators: dict[int, Generator],
        t: int,
        *,
        all_pairs: bool = False,
    ) -> int:
        """Fills the pool to at least `size` free slates of generation t once it is down to three quarters.

        Args:
            purpose: 'curation' slates come from generation t alone; 'audit' slates mix all generations given.
            size: free slates wanted.
            generators: by generation; t must be among them.
            t: the generation that is served.
            all_pairs: audit slates are pairs, of any two generations equally often.

        Returns:
            How many slates were made.
        """
        free = self.store.pool_size(purpose, t)
        if free > 0.75 * size or size == 0:
            return 0
        lot = max(1, self.batch // (self.k if purpose == "curation" else self.audit_k))
        if self.at_once is None:
            missing = -(-(size - free) // lot) * lot
        else:  # somebody may wait for the very first one
            missing = min(size - free, self.at_once if free else 1)
        first = queries.count_slates(self.store, purpose, t)
        if purpose == "curation":
            self.add_curation(generators[t], t, first, missing)
        else:
            self.add_audit(generators, t, first, missing, all_pairs=all_pairs)
        return missing

    def add_curation(self, generator: Generator, t: int, first: int, n: int) -> None:
        """Adds n curation slates of generation t, numbered from `first`, in one transaction."""
        slate_seeds = [derive_seed(self.seed, t, STREAMS["pool"], first + i) for i in range(n)]
        asked, seeds = Asked.of(self.conditions, slate_seeds), self._seeds("pool", t, first, n, self.k).ravel()
        rows, images = records(draw_scored(generator, self.scorer, t, seeds, asked.of_samples(self.k)))
        with self.store.write():
            self.store.add_images(images)
            slates = slates_of(rows, self.k, t, "curation", slate_seeds, asked.names)
            self.store.add_slates(slates, random_ids=True)

    def add_audit(
        self, generators: dict[int, Generator], t: int, first: int, n: int, *, all_pairs: bool = False
    ) -> None:
        """Adds n audit slates, numbered from `first`, in one transaction.

        Half of a slate is generation t's, the rest goes round the others; or slates go round all pairs of generations.
        A slate's seed permutes the positions.
        """
        k, seeds = self.audit_k, self._seeds("audit", t, first, n, self.audit_k)
        others = [other for other in sorted(generators) if other != t] or [t]
        pairs = list(combinations(sorted(generators), 2)) if all_pairs else []
        sources = np.empty((n, k), dtype=np.int64)
        slate_seeds = [derive_seed(self.seed, t, STREAMS["audit"], first + i) for i in range(n)]
        for i, slate_seed in enumerate(slate_seeds):
            plan = [t if j % 2 == 0 else others[(i + j // 2) % len(others)] for j in range(k)]
            if pairs:
                plan = pairs[(first + i) % len(pairs)]
            sources[i] = np.random.default_rng(slate_seed).permutation(plan)
        asked = Asked.of(self.conditions, slate_seeds)
        under = asked.of_samples(k)
        rows: dict[int, Sample] = {}
        images: list[tuple[str, bytes]] = []
        for source in np.unique(sources):
            places = np.flatnonzero(sources.ravel() == source)
            own = None if under is None else under[places]
            drawn = draw_scored(generators[int(source)], self.scorer, int(source), seeds.ravel()[places], own)
            source_rows, pngs = records(drawn)
            images += pngs
            rows.update(zip(places.tolist(), source_rows, strict=True))
        ordered = [rows[place] for place in range(n * k)]
        with self.store.write():
            self.store.add_images(images)
            self.store.add_slates(slates_of(ordered, k, t, "audit", slate_seeds, asked.names), random_ids=True)

    def add(self, slates: Sequence[NewSlate], images: Sequence[tuple[str, bytes]]) -> int:
        """Stores templates and their images in one transaction, and returns their number."""
        with self.store.write():
            self.store.add_images(images)
            self.store.add_slates(slates)
        return len(slates)

    def _seeds(self, stream: Stream, t: int, first: int, n: int, k: int) -> np.ndarray:
        return np.stack([derive_seeds(k, self.seed, t, STREAMS[stream], first + i, 1) for i in range(n)])


def make_templates(config: StudyConfig, pool: Pool, generator: Generator, t: int) -> int:
    """Makes the templates of generation t that are missing and that the study needs, and returns their number.

    Each purpose and size is one transaction. Attention templates come in both sizes, of curation and of audit slates,
    so that they look like either.
    """
    store, n = pool.store, 0
    if config.journey.practice and not queries.count_templates(store, "practice", t, pool.k):
        n += pool.add(*practice_templates(pool, max(8, config.journey.practice), generator, t))
    if config.slates.attention:
        for k in {pool.k, pool.audit_k} if config.pool.audit else {pool.k}:
            if not queries.count_templates(store, "attention", t, k):
                n += pool.add(*attention_templates(pool, ATTENTION, k, generator, t))
    return n


def practice_templates(
    pool: Pool, n: int, generator: Generator, t: int
) -> tuple[list[NewSlate], list[tuple[str, bytes]]]:
    """N slates of generation t to practise on, and their images."""
    seeds = derive_seeds(n * pool.k, pool.seed, t, STREAMS["practice"])
    slate_seeds = [derive_seed(pool.seed, t, STREAMS["practice"], i) for i in range(n)]
    asked = Asked.of(pool.conditions, slate_seeds)
    rows, images = records(draw_scored(generator, pool.scorer, t, seeds, asked.of_samples(pool.k)))
    return list(slates_of(rows, pool.k, t, "practice", slate_seeds, asked.names)), images


def attention_templates(
    pool: Pool, n: int, k: int, generator: Generator, t: int
) -> tuple[list[NewSlate], list[tuple[str, bytes]]]:
    """N slates of K with a clear answer, and their images: one sample of generation t beside K - 1 shuffled ones.

    The clear one is the sample of which the classifier is surest; of texts it is the one with its letters in order. A
    shuffled sample has no reward and no class.
    """
    of_size = () if k == pool.k else (k,)
    size = max(CANDIDATES, k)
    seeds = derive_seeds(n * size, pool.seed, t, STREAMS["attention"], *of_size)
    slate_seeds = [derive_seed(pool.seed, t, STREAMS["attention"], *of_size, i) for i in range(n)]
    asked = Asked.of(pool.conditions, slate_seeds)
    drawn = draw_scored(generator, pool.scorer, t, seeds, asked.of_samples(size))
    sure = np.zeros(len(drawn)) if drawn.scores.probs is None else drawn.scores.probs.max(axis=1)
    slates, pngs = [], {}
    for i in range(n):
        start = i * size
        clear = start + int(sure[start : start + size].argmax())
        others = [j for j in range(start, start + size) if j != clear][: k - 1]
        rows, images = records(drawn, seen=[clear])
        pngs.update(images)
        samples, pixels = [rows[clear]], drawn.pixels(others)
        unscored = {"reward": None, "label": None, "reward_json": {"shuffled": True}}
        for place, j in enumerate(others):
            if pixels is None:
                letters = np.random.default_rng(rows[j].seed).permutation(list(rows[j].text or ""))
                facts = {"text": "".join(letters), "point": None}
            else:
                sha256, png = encode_png(shuffled(pixels[place], rows[j].seed))
                pngs[sha256] = png
                facts = {"image_sha256": sha256}
            samples.append(replace(rows[j], **facts, **unscored))
        order = np.random.default_rng(slate_seeds[i]).permutation(k)
        answer, placed = int(np.flatnonzero(order == 0)[0]), [samples[place] for place in order]
        slates.append(NewSlate(t, "attention", k, slate_seeds[i], placed, answer, asked.names[i]))
    return slates, list(pngs.items())


def shuffled(pixels: np.ndarray, seed: int) -> np.ndarray:
    """The same pixels (height, width, channels) in an order that follows from the sample's seed."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    return np.random.default_rng(seed).permutation(flat).reshape(pixels.shape)

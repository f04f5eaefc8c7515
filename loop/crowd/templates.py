"""Templates of practice and attention slates, made ahead by the worker; raters get copies (see `loop.crowd.checks`).

An attention slate shows one sample of the served generation, the one of several that the classifier is surest of, among
pictures of noise: other samples with their pixels shuffled, so that brightness and colours give nothing away. What is
right doesn't hang on taste, nor on how good the generator is. See docs/decisions/0004-attention-slates.md.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from data.images import encode_png
from data.records import NewSlate, Sample
from loop.config import StudyConfig
from loop.slates import STREAMS, Pool, draw_scored, records, slates_of
from loop.tensors import to_pixels
from model.interfaces import Generator
from model.noise import derive_seed, derive_seeds

ATTENTION = 24  # templates a generation; a rater gets each once at the most
CANDIDATES = 16  # samples of which the surest is the clear one


def make_templates(config: StudyConfig, pool: Pool, generator: Generator, t: int) -> int:
    """Makes the templates of generation t that are missing and that the study needs; how many were made."""
    made = 0
    if config.journey.practice:
        made += _missing(pool, "practice", max(8, config.journey.practice), generator, t)
    if config.slates.attention:
        made += _missing(pool, "attention", ATTENTION, generator, t)
    return made


def _missing(pool: Pool, purpose: Literal["attention", "practice"], wanted: int, generator: Generator, t: int) -> int:
    """All templates of a purpose, in one transaction, unless they are there."""
    if pool.store.template_count(purpose, t):
        return 0
    make = _attention if purpose == "attention" else _practice
    slates, images = make(pool, wanted, generator, t)
    with pool.store.write():
        pool.store.add_images(images)
        pool.store.add_slates(slates)
    return wanted


def _practice(pool: Pool, n: int, generator: Generator, t: int) -> tuple[list[NewSlate], list[tuple[str, bytes]]]:
    seeds = derive_seeds(n * pool.k, pool.seed, t, STREAMS["practice"])
    rows, images = records(draw_scored(generator, pool.scorer, t, seeds))
    slate_seeds = [derive_seed(pool.seed, t, STREAMS["practice"], i) for i in range(n)]
    return list(slates_of(rows, pool.k, t, "practice", slate_seeds)), images


def _attention(pool: Pool, n: int, generator: Generator, t: int) -> tuple[list[NewSlate], list[tuple[str, bytes]]]:
    size = max(CANDIDATES, pool.k)
    seeds = derive_seeds(n * size, pool.seed, t, STREAMS["attention"])
    drawn = draw_scored(generator, pool.scorer, t, seeds)
    sure = np.zeros(len(drawn)) if drawn.scores.probs is None else drawn.scores.probs.max(axis=1)
    pixels, slates, kept = to_pixels(drawn.x), [], {}
    for i in range(n):
        start = i * size
        clear = start + int(sure[start : start + size].argmax())
        others = [j for j in range(start, start + size) if j != clear][: pool.k - 1]
        rows, images = records(drawn, seen=[clear])
        kept.update(images)
        noise = []
        for j in others:
            sha256, png = encode_png(shuffled(pixels[j], rows[j].seed))
            kept[sha256] = png
            noise.append(_noise(rows[j], sha256))
        slate_seed = derive_seed(pool.seed, t, STREAMS["attention"], i)
        order = np.random.default_rng(slate_seed).permutation(pool.k)
        samples = [[rows[clear], *noise][place] for place in order]
        slates.append(NewSlate(t, "attention", pool.k, slate_seed, samples, answer=int(np.flatnonzero(order == 0)[0])))
    return slates, list(kept.items())


def shuffled(pixels: np.ndarray, seed: int) -> np.ndarray:
    """The same pixels (height, width, channels) in an order that follows from the sample's seed."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    return np.random.default_rng(seed).permutation(flat).reshape(pixels.shape)


def _noise(row: Sample, sha256: str) -> Sample:
    """A sample that was shuffled has no reward and no class."""
    return replace(row, image_sha256=sha256, reward=None, label=None, reward_json={"shuffled": True})

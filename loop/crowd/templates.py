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

"""The pool: curation slates of one generation, disjoint; audit slates that mix generations and never train."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from data.images import decode_png
from data.records import Generation, Pick
from data.store import Store, queries
from loop.config import StudyConfig
from loop.scoring import Scorer
from loop.slates import STREAMS, Pool, draw, slates_of, to_pixels
from loop.study import configure
from loop.training_data import to_tensor
from model.flow import Flow
from model.interfaces import Samples
from model.judging.classifier import Classifier, vgg11
from model.sampling import derive_seed


@pytest.fixture(scope="module")
def config(tiny_digits: tuple[str, ...]) -> StudyConfig:
    """Of a tiny digits study."""
    return configure("digits", [*tiny_digits, "sampling.batch_size=32"], seed=9)


@pytest.fixture(scope="module")
def generators(config: StudyConfig) -> dict[int, Flow]:
    """Four untrained generators that differ in their means."""

    class Level:
        def __init__(self, level: float):
            self.level = level

        def draw(self, n: int, rng: np.random.Generator):
            return Samples(to_tensor(rng.normal(self.level, 30, (n, 8, 8, 1)).clip(0, 255).astype(np.uint8)))

    quick = config.train.model_copy(update={"pretrain_steps": 1})
    untrained = Flow.build((1, 8, 8), config.network, quick, config.sampling)
    return {t: untrained.fit(Level(50 + 50 * t), None, t) for t in range(4)}


@pytest.fixture
def pool(store: Store, config: StudyConfig) -> Pool:
    """Over an untrained classifier and a database with generations 0 to 3 and no one's slates of t = 3."""
    for t in range(1, 4):
        store.publish(Generation(t, t - 1, f"{t}", "ab" * 32, 10, 5, ""))
    names = tuple("0123456789")
    network = vgg11((1, 8, 8), config.classifier, 10).eval()
    scorer = Scorer(config, Classifier((1, 8, 8), network, config.classifier, names, 0.0, 0), names)
    return Pool(store, scorer, seed=9, k=4, batch=32, audit_k=4)


def items(store: Store, purpose: str) -> list[dict]:
    ids = [row["id"] for row in store.rows("SELECT id FROM slate WHERE purpose = ? AND t = 3", [purpose])]
    return list(queries.slate_samples(store, ids))


def test_curation_slates_are_disjoint_fresh_draws_of_the_served_generation(pool: Pool, store: Store, generators):
    assert pool.top_up("curation", 20, generators, 3) == 24  # lots of 32 / 4 slates
    rows = items(store, "curation")
    assert len(rows) == 24 * 4 == len({row["sample_id"] for row in rows}) == len({row["seed"] for row in rows})
    assert {row["t"] for row in rows} == {3} and queries.count_shared_samples(store) == 0
    assert queries.uneven_slates(store) == []


@pytest.mark.parametrize("purpose", ["curation", "audit"])
def test_what_is_shown_is_what_the_recorded_generation_and_seed_give(pool: Pool, store: Store, generators, purpose):
    pool.top_up(purpose, 8, generators, 3)
    for row in items(store, purpose)[::5]:
        (pixels,) = to_pixels(draw(generators[row["t"]], np.array([row["seed"]])))
        png = store.image(row["image_sha256"])
        assert png is not None
        np.testing.assert_array_equal(decode_png(png), pixels)


def test_half_of_an_audit_slate_is_the_served_generations_and_the_rest_goes_round(pool: Pool, store: Store, generators):
    chosen = {t: generators[t] for t in (0, 2, 3)}
    pool.top_up("audit", 16, chosen, 3)
    rows = items(store, "audit")
    for start in range(0, len(rows), 4):
        assert Counter(row["t"] for row in rows[start : start + 4]) == {3: 2, 0: 1, 2: 1}
    assert len({row["seed"] for row in rows}) == len(rows)


def test_audit_slates_are_pairs_of_the_served_generation_and_another_by_default(pool: Pool, store: Store, generators):
    pairs = Pool(store, pool.scorer, seed=9, k=4, batch=32)
    assert pairs.top_up("audit", 16, {t: generators[t] for t in (0, 2, 3)}, 3) == 16
    rows = items(store, "audit")
    shown = Counter(tuple(sorted(row["t"] for row in rows[i : i + 2])) for i in range(0, len(rows), 2))
    assert shown == {(0, 3): 8, (2, 3): 8} and queries.uneven_slates(store) == []
    first = Counter(rows[i]["t"] == 3 for i in range(0, len(rows), 2))
    assert 4 <= first[True] <= 12


def test_an_audit_slates_logged_seed_gives_its_order(pool: Pool, store: Store, generators):
    pool.top_up("audit", 24, {t: generators[t] for t in (0, 2, 3)}, 3)
    rows, placed = items(store, "audit"), Counter()
    slates = list(store.rows("SELECT id, seed FROM slate WHERE purpose = 'audit' ORDER BY id"))
    for i, slate in enumerate(slates):
        assert slate["seed"] == derive_seed(9, 3, STREAMS["audit"], i)
        shown = [row["t"] for row in rows[4 * i : 4 * i + 4]]
        others = [0, 2]
        plan = [3, others[i % 2], 3, others[(i + 1) % 2]]
        assert shown == np.random.default_rng(slate["seed"]).permutation(plan).tolist()
        placed.update(position for position, t in enumerate(shown) if t == 3)
    assert min(placed[position] for position in range(4)) > 0.25 * len(slates)  # no position is the generation's own


def test_audit_answers_never_reach_the_curated_set(pool: Pool, store: Store, generators):
    pool.top_up("audit", 8, generators, 3)
    for _ in range(8):
        slate = store.lease("ann", ("audit",), 3, 60)
        assert slate is not None
        store.record_pick("ann", Pick(slate.id, "pick", 1))
    assert list(queries.curation_picks(store, kinds=("human", "sim", "proxy"))) == []
    assert queries.count_curation_picks(store, after=0) == 0


@pytest.mark.parametrize(("free", "made"), [(16, 0), (13, 0), (12, 8), (0, 16)])
def test_the_pool_is_topped_up_once_it_is_down_to_three_quarters(
    pool: Pool, store: Store, generators, free: int, made: int
):
    pool.top_up("curation", 16, generators, 3)
    for _ in range(16 - free):
        assert store.lease("ann", ("curation",), 3, 60)
    assert pool.top_up("curation", 16, generators, 3) == made
    assert store.pool_size("curation", 3) == free + made


def test_no_seed_is_used_again_when_the_pool_is_refilled(pool: Pool, store: Store, generators):
    for _ in range(3):
        pool.top_up("curation", 8, generators, 3)
        while store.lease("ann", ("curation",), 3, 60):
            pass
    seeds = [row["seed"] for row in items(store, "curation")]
    assert len(seeds) == 3 * 8 * 4 == len(set(seeds))


def test_the_same_study_seed_makes_the_same_slates(pool: Pool, store: Store, generators):
    pool.top_up("audit", 8, generators, 3)
    pool.top_up("curation", 8, generators, 2)
    pool.top_up("curation", 8, {3: generators[3]}, 3)
    first = [row["image_sha256"] for row in items(store, "curation")]
    with store.write() as db:  # as in a study where nothing else was made before
        db.conn.execute("UPDATE slate SET t = 1")
    pool.top_up("curation", 8, {3: generators[3]}, 3)
    assert [row["image_sha256"] for row in items(store, "curation")] == first


def test_consecutive_samples_fill_consecutive_slates(store: Store):
    from data.records import Sample

    rows = [Sample(0, seed) for seed in range(6)]
    slates = list(slates_of(rows, 3, 0, "curation", [7, 8]))
    assert [[sample.seed for sample in slate.samples] for slate in slates] == [[0, 1, 2], [3, 4, 5]]
    assert replace(slates[1], samples=()).seed == 8

"""Attention, practice and repeated slates: made once, copied in a logged order, as often as asked, never trained on."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from data.images import decode_png
from data.records import Pick
from data.store import queries
from loop.raters.journey import next_slates
from loop.slates import ATTENTION, draw, shuffled, to_pixels
from loop.study import Study
from loop.worker import Worker


@pytest.fixture
def study(make: Callable[..., Study]) -> Study:
    """A tiny digits study with a generation, a pool and templates; a third of the slates are checks of each kind."""
    made = make(
        "digits", "pool.size=64", "pool.audit=4", "pool.audit_k=4", "schedule.picks=1000", "slates.attention=0.3",
        "slates.repeat=0.3", "journey.practice=2", "journey.picks=40", "curation.extend=none",
    )  # fmt: skip
    Worker(made).run(once=True)
    return made


def admit(study: Study, name: str) -> str:
    return study.store.admit(name, None, user_agent="", consented=False)


def answer_all(study: Study, name: str) -> list[dict]:
    """Has a session answer all its slates, always by the first image's name; the slates' rows."""
    store, seen = study.store, []
    while slates := next_slates(store, study.config, name):
        slate = slates[0]
        best = min(slate.items, key=lambda item: item.image_sha256).position
        store.record_pick(name, Pick(slate.id, "pick", best, rt_ms=900))
        seen.append(slate.id)
    return [store.row("SELECT * FROM slate WHERE id = ?", [id_]) or {} for id_ in seen]


def test_a_rater_gets_as_many_slates_as_asked_with_about_the_asked_share_of_checks(study: Study):
    rows = [row for name in ("ann", "bob", "cy") for row in answer_all(study, admit(study, name))]
    assert len(rows) == 3 * 40
    kinds = Counter((row["purpose"], row["copy_of"] is not None) for row in rows)
    assert set(kinds) == {("curation", False), ("attention", True)}
    assert 0.35 < kinds["attention", True] / len(rows) < 0.75
    repeats = [row for row in rows if row["copy_of"] in {other["id"] for other in rows}]
    assert len(repeats) > 10
    assert queries.count_curation_picks(study.store, after=0) == kinds["curation", False]
    assert queries.count_shared_samples(study.store) == 0 and queries.uneven_slates(study.store) == []


def test_who_answers_a_repeat_by_the_picture_is_right(study: Study):
    rows = {row["id"]: row for row in answer_all(study, admit(study, "ann"))}
    picks = {row["slate_id"]: row["position"] for row in study.store.rows("SELECT * FROM pick")}
    repeats = [row for row in rows.values() if row["copy_of"] in rows]
    assert repeats and all(picks[row["id"]] == row["answer"] for row in repeats)
    assert all(row["served_at"] > rows[row["copy_of"]]["served_at"] for row in repeats)


def test_the_logged_seed_gives_the_order_of_a_copy(study: Study):
    for row in answer_all(study, admit(study, "ann")):
        if row["copy_of"] is not None:
            shown = [item["sample_id"] for item in queries.slate_samples(study.store, [row["id"]])]
            source = [item["sample_id"] for item in queries.slate_samples(study.store, [row["copy_of"]])]
            assert shown == [source[place] for place in np.random.default_rng(row["seed"]).permutation(4)]


def test_an_attention_slate_is_one_clear_sample_among_noise(study: Study):
    from loop.generators import load_generator

    generator, placed = load_generator(study, 0), Counter()
    for row in study.store.rows("SELECT * FROM slate WHERE purpose = 'attention'"):
        items = list(queries.slate_samples(study.store, [row["id"]]))
        placed[row["answer"]] += 1
        for item in items:
            (pixels,) = to_pixels(draw(generator, np.array([item["seed"]])))
            is_right = item["position"] == row["answer"]
            assert (item["reward"] is not None) == is_right
            stored = decode_png(study.store.image(item["image_sha256"]) or b"")
            np.testing.assert_array_equal(stored, pixels if is_right else shuffled(pixels, item["seed"]))
    assert sum(placed.values()) == ATTENTION and len(placed) == 4


def test_practice_comes_first_and_counts_for_nothing(study: Study):
    ann = admit(study, "ann")
    for left in (2, 1):
        slates = next_slates(study.store, study.config, ann, practice_left=left)
        assert [slate.purpose for slate in slates] == ["practice"] * left
        study.store.record_pick(ann, Pick(slates[0].id, "pick", 0))
    assert study.store.journey(ann).practised == 2 and queries.count_answers(study.store, ann) == 0
    assert queries.count_curation_picks(study.store, after=0) == 0


def test_the_same_session_meets_the_same_slates_after_a_restart(study: Study):
    ann = admit(study, "ann")
    first = next_slates(study.store, study.config, ann)
    again = Study.open(study.path)
    assert next_slates(again.store, again.config, ann) == first
    again.store.close()


def test_without_rates_there_are_neither_templates_nor_checks(make: Callable[..., Study]):
    made = make("digits", "pool.size=12", "pool.audit=4")
    Worker(made).run(once=True)
    assert made.store.value("SELECT count(*) FROM slate WHERE purpose NOT IN ('curation', 'audit')") == 0


def test_attention_slates_are_as_large_as_what_is_served(make: Callable[..., Study]):
    study = make(
        "digits", "pool.size=12", "pool.audit=12", "schedule.picks=1000", "slates.attention=0.5", "slates.repeat=0.3",
        "curation.extend=none",
    )  # fmt: skip
    Worker(study).run(once=True)
    counts = "SELECT k, count(*) AS n FROM slate WHERE purpose = 'attention' AND copy_of IS NULL GROUP BY 1"
    assert {row["k"]: row["n"] for row in study.store.rows(counts)} == {2: ATTENTION, 4: ATTENTION}
    seeds = [row["seed"] for row in study.store.rows("SELECT seed FROM sample")]
    assert len(set(seeds)) == len(seeds)
    sizes = {}
    for phase, name in (("idle", "ann"), ("training", "bob")):
        study.store.set_status("worker", phase=phase, done=None, left_s=None)
        admit(study, name)
        for _ in range(6):
            study.store.set_status("worker", phase=phase, done=None, left_s=None)
            slate = next_slates(study.store, study.config, name)[0]
            study.store.record_pick(name, Pick(slate.id, "pick", 0))
            sizes.setdefault(phase, []).append((slate.purpose, slate.k))
    assert {k for _, k in sizes["idle"]} == {4} and {k for _, k in sizes["training"]} == {2}
    assert {purpose for purpose, _ in sizes["training"]} == {"audit", "attention"}

"""What a rater's page could tell of a slate by its id, its order or the shape of the answers: not its purpose."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy import stats

from data.records import NewSlate, Sample
from loop.study import Study
from tests.curate_app.journeys import Rater, with_practice

CHECKS = ("slates.attention=0.3", "slates.repeat=0.3", "schedule.picks=1000")


def with_checks(study: Study) -> Study:
    """Adds attention templates, which a worker would have made."""
    store, k = study.store, study.config.curation.k
    assert isinstance(k, int)
    images = [row["image_sha256"] for row in store.rows("SELECT image_sha256 FROM sample LIMIT ?", [k])]
    samples = [Sample(0, seed, image_sha256=sha256) for seed, sha256 in enumerate(images)]
    store.add_slates(NewSlate(0, "attention", k, n, samples, answer=0) for n in range(40))
    return study


def test_ids_tell_neither_purpose_nor_order(make_study: Callable[..., Study], publish_generation: Callable[..., None]):
    study = with_checks(make_study(*CHECKS))
    publish_generation(study, 1, slates=20, audit=80, random_ids=True)
    rater = Rater(study)
    turn, seen = rater.post("session"), []
    for _ in range(100):
        seen.append(turn["slate_id"])
        turn = rater.pick(turn)["next"]
    purposes = {row["id"]: (row["purpose"], row["copy_of"]) for row in study.store.rows("SELECT * FROM slate")}
    shown: dict[object, list[int]] = {}
    for slate_id in seen:
        purpose, copy_of = purposes[slate_id]
        kind = "repeated" if copy_of and purposes[copy_of][0] == "curation" else purpose
        shown.setdefault(kind, []).append(slate_id)
    assert set(shown) == {"curation", "audit", "attention", "repeated"} and min(map(len, shown.values())) > 5
    assert max(seen) < 2**53  # a number that JavaScript reads exactly
    samples = list(shown.values())
    assert stats.kruskal(*samples).pvalue > 1e-4
    assert abs(stats.spearmanr(np.arange(len(seen)), seen).statistic) < 0.4
    assert sum(later > earlier for earlier, later in pairwise(seen)) < 72


def test_all_slates_are_told_in_the_same_words(make_study: Callable[..., Study]):
    study = with_practice(with_checks(make_study(*CHECKS, "journey.practice=2")))
    rater = Rater(study)
    turn, shapes = rater.post("session"), set()
    while turn["state"] in ("practice", "picking"):
        slates = [turn, *filter(None, [turn["upcoming"]])]
        shapes |= {(slate["k"], *sorted(slate.keys() & {"slate_id", "k", "items", "t", "purpose"})) for slate in slates}
        shapes |= {(4, *sorted(item)) for slate in slates for item in slate["items"]}
        turn = rater.pick(turn)["next"]
    assert shapes == {(4, "items", "k", "slate_id"), (4, "alt", "image", "position")}


def test_the_slate_in_view_stays_first_while_another_is_loaded(study: Study):
    for _ in range(12):
        rater = Rater(study)
        turn = rater.post("session")
        if turn["state"] != "picking" or not turn["upcoming"]:
            break
        shown = (turn["slate_id"], turn["upcoming"]["slate_id"])
        again = rater.turn()
        assert (again["slate_id"], again["upcoming"]["slate_id"]) == shown
        assert rater.pick(turn)["next"]["slate_id"] == shown[1]

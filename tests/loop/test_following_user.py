"""A simulated user whose taste follows what is shown: by its rule in every generation, in check and report."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from curate_app.report.files import read, write_report
from data.designs import factor_utility, parse_weights, to_designs, to_points
from loop.config import build
from loop.evaluation import redrawn
from loop.evidence.study import analyse
from loop.evidence.study import read as read_history
from loop.selfcheck import self_checks
from loop.study import Study, configure
from loop.theory.toy_loops import lock_in_bound
from loop.user_types import FollowingUser

SETTINGS = (
    "network.kind=resample", "data.std=0.002", "data.radius=1", "data.n=2000", "evaluation.samples=4000",
    "curation.picks=3000", "curation.drift=0.3", "reward.kind=linear", "reward.center=[1.0,0.25]", "reward.gamma=1.5",
    "curation.k=3", "mix.lam=inf",
)  # fmt: skip


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, run) -> Iterator[Study]:
    """Eight points on a ring, copied by the generator, and a user who comes to like what is shown."""
    config = configure("gaussians", SETTINGS, seed=1)
    study = run(Study.create(tmp_path_factory.mktemp("followed") / "study", config), 4)
    yield study
    study.store.close()


def test_every_generation_has_the_taste_that_what_it_shows_leads_to(followed: Study):
    user = FollowingUser.of(followed.config)
    assert (
        user is not None
        and user.first @ user.first == pytest.approx(1)
        and user.scale == pytest.approx(1.5 * 17**0.5 / 4)
    )
    tastes = [np.array(row.measurements.taste) for row in followed.store.generations()]
    assert tastes[0] == pytest.approx(np.array([4, 1]) / 17**0.5)
    for t in range(1, 5):
        fresh = followed.store.evaluation(t)
        assert fresh is not None and fresh.points is not None
        mixed = 0.7 * tastes[t - 1] + 0.3 * fresh.points.astype(float).mean(axis=0)
        assert tastes[t] == pytest.approx(mixed / np.linalg.norm(mixed), abs=1e-9)
        assert fresh.rewards[-1] == pytest.approx(user.scale * fresh.points.astype(float) @ tastes[t], abs=1e-6)
        assert fresh.rewards[0] == pytest.approx(1.5 * fresh.points.astype(float) @ [1.0, 0.25], abs=1e-5)
    assert np.degrees(np.arccos(tastes[0] @ tastes[-1])) > 1


def test_the_prediction_of_each_generation_is_by_its_own_taste(followed: Study):
    evidence = read(followed).evidence
    assert all(abs(row.transmission.z) < 4 for row in evidence.generations[1:] if row.transmission)
    assert analyse(read_history(followed.store, followed.config)).from_start is None  # a fixed reward has no say
    assert {claim.verdict for claim in evidence.claims if claim.claim.startswith("C1")} <= {"not applicable"}


def test_the_lock_in_rate_is_in_its_interval_and_under_the_bound(followed: Study, tmp_path: Path):
    evidence = write_report(followed, tmp_path / "report.html")
    coevolution = evidence.coevolution
    assert coevolution and coevolution.rate and coevolution.bound and coevolution.predicted and coevolution.margin
    assert coevolution.item == "mode 0"
    assert coevolution.rate.low < coevolution.predicted < coevolution.rate.high < coevolution.bound
    assert coevolution.verdict == "holds"
    assert coevolution.bound == pytest.approx(lock_in_bound(3, 1.5 * 17**0.5 / 4, coevolution.margin / 2))
    text = (tmp_path / "report.html").read_text()
    assert "A taste that follows what is shown" in text and coevolution.sentence in text


def test_the_check_finds_a_taste_that_did_not_follow_by_its_rule(followed: Study):
    checks = [*self_checks(followed.store, followed.config), *redrawn(followed, np.random.default_rng(0))]
    assert {check.verdict for check in checks} <= {"pass", "not applicable"}
    assert [check.verdict for check in checks if check.name == "taste"] == ["pass"]
    other = followed.config.model_copy(update={"curation": followed.config.curation.model_copy(update={"drift": 0.31})})
    assert [check.verdict for check in self_checks(followed.store, other) if check.name == "taste"] == ["fail"]


def test_a_taste_for_named_numbers_follows_the_designs_that_are_shown():
    weights = ["petals=1", "hue@0.25=-2"]
    settings = {"kind": "factors", "weights": weights, "gamma": 2}
    config = build({"data": {"dataset": "flowers"}, "reward": settings, "curation": {"drift": 0.4}})
    user = FollowingUser.of(config)
    assert user is not None and user.family is not None and user.scale == pytest.approx(2 * 5**0.5)
    points = 1.2 * user.family.draw(200, np.random.default_rng(0))  # some numbers are out of their ranges
    utility = factor_utility(points, user.family.factors, parse_weights(weights))
    assert user.rewards(user.first, points) == pytest.approx(2 * utility, abs=1e-5)
    shown = to_points(user.family.factors, to_designs(user.family.factors, points)).astype(float).mean(axis=0)
    mixed = 0.6 * user.first + 0.4 * shown
    assert user.next_taste(user.first, points) == pytest.approx(mixed / np.linalg.norm(mixed), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"reward": {"kind": "ball"}}, "has none"),
        ({"reward": {"kind": "linear"}}, "first taste"),
        ({"reward": {"kind": "linear", "center": [1, 0]}, "curation": {"adversarial": 0.2}}, "alike"),
        ({"reward": {"kind": "linear", "center": [1, 0]}, "learner": {"kind": "best_of_k"}}, "curate"),
    ],
)
def test_settings_that_a_following_taste_cannot_go_with_are_refused(settings: dict, why: str):
    curation = {"drift": 0.2, **settings.get("curation", {})}
    with pytest.raises(ValueError, match=why):
        build({"data": {"dataset": "moons"}, **settings, "curation": curation})

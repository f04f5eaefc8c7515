"""The self-check passes honest studies and names each planted fault."""

import json
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from loop.selfcheck import Check, self_checks
from loop.selfcheck.rule import DeclaredRule
from loop.study import Study, configure
from model import luce

Plant = Callable[[Study], None]
BIASED = DeclaredRule(lapse=0.2, bias=(1.0, 0.0, -0.5, 0.0))


@pytest.fixture(scope="module")
def moons(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...], run) -> Iterator[Study]:
    """Two generations of 1,500 picks out of four by rewards of a small scale; to be looked at only."""
    settings = [*tiny_moons, "curation.picks=1500", "curation.k=4", "reward.gamma=2", "evaluation.samples=1000"]
    study = run(Study.create(tmp_path_factory.mktemp("moons") / "study", configure("moons", settings, seed=5)))
    yield study
    study.store.close()


def failing(checks: list[Check]) -> dict[str, str]:
    """Sentences of what failed or is suspicious, by check: the first, which is the whole study's if there is one."""
    return {check.name: check.sentence for check in checks[::-1] if check.verdict in ("fail", "suspicious")}


def repick(rule: DeclaredRule, factor: float) -> Plant:
    """All picks made anew from the same slates, by another rule than the declared one."""

    def plant(study: Study) -> None:
        rng, store = np.random.default_rng(6), study.store
        ids = store.db.conn.execute("SELECT slate_id FROM pick ORDER BY slate_id").fetchall()
        items = store.db.conn.execute(
            "SELECT reward FROM slate_item JOIN sample ON sample.id = sample_id ORDER BY slate_id, position"
        )
        picked = luce.pick(factor * np.array(items.fetchall()).reshape(-1, 4) + np.asarray(rule.bias or 0.0), rng)
        lapsed = rng.random(len(picked)) < rule.lapse
        picked[lapsed] = rng.integers(4, size=int(lapsed.sum()))
        rows = [(position, id_) for position, (id_,) in zip(picked.tolist(), ids, strict=True)]
        with store.write() as db:
            db.conn.executemany("UPDATE pick SET position = ? WHERE slate_id = ?", rows)

    return plant


def sql(*statements: str) -> Plant:
    def plant(study: Study) -> None:
        with study.store.write() as db:
            for statement in statements:
                assert db.conn.execute(statement).rowcount > 0

    return plant


def reorder(key: str, within: str) -> Plant:
    """Samples of generation 0 dealt out to the places of their slates in another order."""

    def plant(study: Study) -> None:
        places = list(study.store.rows(
            f"""SELECT slate_id, position FROM slate_item JOIN slate ON slate.id = slate_id
            WHERE t = 0 ORDER BY {within}"""))  # fmt: skip
        samples = list(study.store.rows(
            f"""SELECT sample.id FROM sample JOIN slate_item ON sample_id = sample.id JOIN slate ON slate.id = slate_id
            WHERE slate.t = 0 ORDER BY {key}"""))  # fmt: skip
        rows = [(s["id"], p["slate_id"], p["position"]) for p, s in zip(places, samples, strict=True)]
        with study.store.write() as db:
            db.conn.executemany("UPDATE slate_item SET sample_id = ? WHERE slate_id = ? AND position = ?", rows)

    return plant


BEST = """(SELECT position FROM slate_item JOIN sample ON sample.id = sample_id WHERE slate_id = pick.slate_id
    ORDER BY {} LIMIT 1)"""
FAULTS: dict[str, tuple[Plant, str, str]] = {
    "argmax": (sql(f"UPDATE pick SET position = {BEST.format('reward DESC')}"), "scale", "Every pick is the best"),
    "the worst": (sql(f"UPDATE pick SET position = {BEST.format('reward')}"), "scale", "another reward is at work"),
    "top-k": (reorder("reward DESC", "slate_id, position"), "slates alike", "top-k"),
    "temperature 0.1": (repick(DeclaredRule(), 10.0), "scale", r"hidden temperature of 0\.(09|1 |10)"),
    "temperature 0.8": (repick(DeclaredRule(), 1.25), "scale", r"hidden temperature of 0\.(7[5-9]|8)"),
    "lapses": (repick(DeclaredRule(0.3), 1.0), "scale", "undeclared lapses"),
    "random picks": (repick(DeclaredRule(1.0), 1.0), "pick frequencies", "don't follow the declared rule"),
    "a favoured position": (repick(DeclaredRule(0.0, (0, 0, 0, 0.4)), 1.0), "positions", "Position 4 is favoured"),
    "sorted in slates": (reorder("slate_id, reward", "slate_id, position"), "order in slates", "slates that are sort"),
    "a shared sample": (
        sql("UPDATE slate_item SET sample_id = 1 WHERE slate_id = 2 AND position = 0"),
        "disjoint slates",
        "1 in more than one slate, 0 drawn again",
    ),
    "the same seed twice": (
        sql("UPDATE sample SET seed = (SELECT seed FROM sample WHERE id = 1) WHERE id = 2"),
        "disjoint slates",
        "0 in more than one slate, 1 drawn again",
    ),
    "a sample of another generation": (sql("UPDATE sample SET t = 1 WHERE id = 3"), "disjoint slates", "1 of another"),
    "samples chosen before": (
        sql("UPDATE sample SET reward = reward / 2 WHERE t = 1"), "fresh draws", "judged by another reward",
    ),
    "picks gone": (sql("DELETE FROM pick WHERE id < 10"), "counts", "1,500 sim picks trained it and 1,491 are stored"),
    "fewer than asked": (
        sql("UPDATE generation SET metrics_json = json_set(metrics_json, '$.curated.asked', 1600) WHERE t = 2"),
        "counts",
        "1,600 picks were asked for and 1,500 trained it",
    ),
}  # fmt: skip


def test_an_honest_study_passes(moons: Study, simulated_digits: Study):
    for study in (moons, simulated_digits):
        checks = self_checks(study.store, study.config)
        assert failing(checks) == {}
        assert {check.name for check in checks if check.t is None} >= {"pick frequencies", "scale", "disjoint slates"}
        assert {check.t for check in checks} == {None, 0, 1, 2}
    by_name = {(check.name, check.t): check for check in self_checks(moons.store, moons.config)}
    scale = by_name["scale", None]
    assert scale.n == 3_000 and scale.figures["low"] < 1 < scale.figures["high"]
    assert by_name["fresh draws", 1].n == 6_000 and by_name["counts", 2].verdict == "pass"
    assert scale.p is not None and f"factor {scale.figures['beta']:.3g}" in scale.sentence
    json.loads(json.dumps([check.as_json() for check in by_name.values()], allow_nan=False))


@pytest.mark.parametrize(("plant", "name", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_named(moons: Study, copy_of, plant: Plant, name: str, sentence: str):
    study = copy_of(moons)
    plant(study)
    found = failing(self_checks(study.store, study.config))
    assert name in found, found
    assert re.search(sentence, found[name]), found[name]


def test_top_k_is_seen_in_dozens_of_picks_too(simulated_digits: Study, copy_of):
    study = copy_of(simulated_digits)
    sql(f"UPDATE pick SET position = {BEST.format('reward DESC')}")(study)
    assert "Every pick is the best" in failing(self_checks(study.store, study.config))["scale"]


def test_lapses_and_a_bias_pass_where_they_are_declared(moons: Study, copy_of):
    study = copy_of(moons)
    repick(BIASED, 1.0)(study)
    assert {"scale", "positions", "pick frequencies"} <= failing(self_checks(study.store, study.config)).keys()
    curation = study.config.curation.model_copy(update={"lapse": BIASED.lapse, "position_bias": BIASED.bias})
    declared = study.config.model_copy(update={"curation": curation})
    assert failing(self_checks(study.store, declared)) == {}
    assert {"positions", "pick frequencies"} <= failing(self_checks(moons.store, declared)).keys()


def test_types_of_users_are_held_against_their_own_rewards(make, run, copy_of):
    study = run(make("moons", "curation.picks=800", "curation.adversarial=0.4", "reward.gamma=2"), generations=1)
    checks = self_checks(study.store, study.config)
    assert failing(checks) == {} and "adversary" in next(c.sentence for c in checks if c.name == "rater types")
    hidden = copy_of(study)
    sql("UPDATE sample SET operative_reward = NULL")(hidden)
    assert "scale" in failing(self_checks(hidden.store, hidden.config))
    alone = study.config.model_copy(update={"curation": study.config.curation.model_copy(update={"adversarial": 0.0})})
    assert "adversary is no declared type" in failing(self_checks(study.store, alone))["rater types"]


def test_k_inf_is_held_against_the_weighed_evaluation(make, run, copy_of):
    settings = ("curation.k=inf", "curation.picks=1000", "reward.gamma=1", "evaluation.samples=2000")
    study = run(make("moons", *settings), generations=1)
    checks = self_checks(study.store, study.config)
    assert failing(checks) == {}
    assert {check.name: check.verdict for check in checks} == {
        "disjoint slates": "not applicable", "weighed draws": "pass", "counts": "pass",
    }  # fmt: skip
    best = copy_of(study)
    ids = [row["id"] for row in best.store.rows("SELECT id FROM sample ORDER BY reward DESC, id LIMIT 100")]
    with best.store.write() as db:
        db.conn.executemany(
            "UPDATE slate_item SET sample_id = ? WHERE slate_id % 100 = ?", zip(ids, range(100), strict=True)
        )
    assert "top-k" in failing(self_checks(best.store, best.config))["weighed draws"]


def test_people_and_the_proxy_are_not_held_against_the_rewards(moons: Study, copy_of):
    study = copy_of(moons)
    sql("UPDATE rater SET kind = 'proxy'")(study)
    checks = self_checks(study.store, study.config)
    frequency = [check for check in checks if check.name == "pick frequencies"]
    assert [(check.verdict, check.n) for check in frequency] == [("not applicable", 3_000)]
    assert "scale" not in {check.name for check in checks} and "slates alike" in {check.name for check in checks}


def test_slates_of_one_are_only_looked_through_for_repeats_and_freshness(make, run):
    study = run(make("moons", "curation.k=1"), generations=1)
    checks = self_checks(study.store, study.config)
    assert {check.name for check in checks} == {"disjoint slates", "fresh draws", "counts"} and failing(checks) == {}


def test_a_study_that_has_just_begun_has_nothing_to_check(make):
    study = make("moons")
    assert [check.verdict for check in self_checks(study.store, study.config)] == ["not applicable"]


def test_a_study_of_an_older_version_has_no_evaluation(moons: Study, copy_of):
    study = copy_of(moons)
    sql("DELETE FROM evaluation", "UPDATE generation SET metrics_json = json_remove(metrics_json, '$.turn')")(study)
    checks = self_checks(study.store, study.config)
    assert failing(checks) == {}
    assert {check.verdict for check in checks if check.name == "fresh draws"} == {"not applicable"}

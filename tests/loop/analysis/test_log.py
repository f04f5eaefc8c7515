"""Reading answers from a real database: who counts, what is left out and why, and repeats in another order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.records import Generation, NewSlate, Pick, Sample
from data.store import Store, queries
from loop.analysis.design import Details, NotIdentifiedError, design, table_columns
from loop.analysis.log import AnswerFilter, read_log
from loop.analysis.report import FitOptions, choice_report
from loop.config import StudyConfig

Answer = Callable[..., int]


@pytest.fixture
def answer(store: Store) -> Answer:
    """A function: a session is leased a slate and answers; gives the slate's id."""

    def give(session: str = "ann", outcome: str = "pick", position: int | None = 1, purpose: str = "curation") -> int:
        slate = store.lease(session, (purpose,), 0, 600)  # pyright: ignore[reportArgumentType]
        assert slate is not None, "the pool is empty"
        place = position if outcome == "pick" else None
        store.record_pick(session, Pick(slate.id, outcome, place))  # pyright: ignore[reportArgumentType]
        return slate.id

    return give


def test_picks_come_with_their_slates_in_display_order(store: Store, fill, answer: Answer):
    fill(store, n=3, k=5)
    ids = [answer(who, position=place) for who, place in zip(["ann", "bob"] * 3, [0, 1, 2, 2, 1, 0], strict=True)]
    log = read_log(store, AnswerFilter())
    assert log.answers["slate"].tolist() == sorted(ids)
    order = np.argsort(ids)
    assert log.slates.picked.tolist() == np.array([0, 1, 2, 2, 1, 0])[order].tolist()
    assert set(log.slates.sizes.tolist()) == {3, 5} and len(log.items) == log.slates.sizes.sum()
    for i, row in enumerate(log.slates.rows):
        picked = store.row(
            """SELECT sample_id FROM pick JOIN slate_item USING (slate_id, position) WHERE slate_id = ?""",
            [int(log.answers["slate"][i])],
        )
        assert picked is not None and log.items["sample"][row] == picked["sample_id"]
    assert log.left_out == {}


def test_what_does_not_count_is_counted_by_reason(store: Store, fill, answer: Answer):
    fill(store, n=10)
    flagged = answer("ann")
    answer("ann", "none")
    answer("ann", "timeout")
    answer("ann", "skip")
    answer("ann")
    answer("bob")
    store.withdraw("bob")
    store.set_flags([(row["id"], {"too_fast": True}) for row in store.rows(
        "SELECT id FROM pick WHERE slate_id = ?", [flagged])], [])  # fmt: skip
    log = read_log(store, AnswerFilter(pick_flags=("too_fast",)))
    assert len(log.slates) == 1
    assert log.left_out == {
        "of sessions that withdrew": 1, "flagged": 1, "'none of these'": 1, "skipped": 1, "timed out": 1,
    }  # fmt: skip
    assert len(read_log(store, AnswerFilter()).slates) == 2


def test_a_flagged_session_takes_all_its_raters_answers_along(store: Store, answer: Answer):
    answer("ann")
    answer("bob")
    store.set_flags([], [("ann", {"one_position": True})])
    log = read_log(store, AnswerFilter(rater_flags=("one_position",)))
    assert len(log.slates) == 1 and log.left_out == {"flagged": 1}


def test_kinds_and_purposes_are_chosen(store: Store, fill, answer: Answer):
    answer("ann")
    fill(store, purpose="audit")
    answer("ann", purpose="audit")
    sim = store.bulk_session("sim", "users")
    store.add_picks([(store.add_slates([_slate(2)], picked_by=[sim])[0], sim, 1, {})])
    assert len(read_log(store, AnswerFilter()).slates) == 2
    assert len(read_log(store, AnswerFilter(purposes=("audit",))).slates) == 1
    assert read_log(store, AnswerFilter(kinds=("sim",))).slates.sizes.tolist() == [2]
    assert len(read_log(store, AnswerFilter(kinds=("human", "sim", "proxy"))).slates) == 3


def test_slates_without_a_choice_and_of_infinite_k_are_left_out(store: Store):
    sim = store.bulk_session("sim", "users")
    ids = store.add_slates([_slate(None), _slate(1), _slate(3)], picked_by=[sim] * 3)
    store.add_picks([(id_, sim, 0, {}) for id_ in ids])
    log = read_log(store, AnswerFilter(kinds=("sim",)))
    assert log.slates.sizes.tolist() == [3]
    assert log.left_out == {
        "from slates of infinite K": 1, "from slates of K = 1, where nothing is chosen": 1,
    }  # fmt: skip


def _slate(k: int | None) -> NewSlate:
    return NewSlate(0, "curation", k, 7, [Sample(0, 1_000 + i, 0.5) for i in range(k or 1)])


def test_repeats_are_read_in_the_order_of_the_first_showing(store: Store, answer: Answer):
    first = answer("ann", position=1)
    found = []
    for order, picked, same in (([2, 0, 1], 2, 1), ([1, 2, 0], 2, 0)):
        copy = store.lease_copy("ann", first, order, 5, 600)
        store.record_pick("ann", Pick(copy.id, "pick", picked))
        log = read_log(store, AnswerFilter())
        found.append(same)
        assert sorted(log.repeats.again.tolist()) == sorted(found)  # copies have ids at random
    assert log.repeats.first.tolist() == [0, 0] and len(log.slates) == 1


def test_an_empty_study_says_so(store: Store):
    with pytest.raises(NotIdentifiedError, match="no picks of human raters in curation or audit slates"):
        choice_report(store, StudyConfig(), FitOptions(AnswerFilter()))


def test_features_become_columns_and_useless_ones_are_named(store: Store, fill, answer: Answer):
    fill(store, n=30)
    for i in range(34):
        answer("ann" if i % 2 else "bob", position=i % 3)
    log = read_log(store, AnswerFilter())
    found = design(log, ("class", "generation", "position", "reward"), Details(["zero", "one"]))
    assert {"position 2", "position 3", "class one"} <= {*found.names, found.references["class"]}
    assert found.references["position"] == "position 1"
    assert found.x.shape == (len(log.items), len(found.names))
    place = found.names.index("position 3")
    assert found.x[:, place].reshape(-1, 3).tolist() == [[0, 0, 1]] * 34
    # rewards of this database rise by a tenth from position to position
    assert "reward" not in found.names and "follows from position 2, position 3" in found.left_out["reward"]
    alone = design(log, ("reward",), Details())
    assert alone.x[:, 0].tolist() == log.items["reward"].tolist()
    assert found.left_out["generation"] == "is the same of all samples"


def test_columns_of_a_table_go_by_sample_or_image(store: Store, answer: Answer, tmp_path: Path):
    answer("ann")
    log = read_log(store, AnswerFilter())
    rows = list(queries.sample_details(store, ("human",)))
    by_sample, by_image = tmp_path / "a.csv", tmp_path / "b.csv"
    by_sample.write_text("sample_id,size\n" + "".join(f"{row[0]},{row[0] * 2}\n" for row in rows))
    by_image.write_text("size,image_sha256\n" + "".join(f"{row[0] * 2},{row[1]}\n" for row in rows))
    for path in (by_sample, by_image):
        details = Details(columns=table_columns(path, iter(rows)))
        assert design(log, ("size",), details).x[:, 0].tolist() == [2.0 * i for i in log.items["sample"]]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id,size\n1,2\n", "needs a column sample_id or image_sha256"),
        ("sample_id,size\n1,2\n2,big\n", r"line 3: 'size' must be a number, not 'big'"),
        ("sample_id,size\n1\n", r"line 2: 'size' must be a number"),
    ],
)
def test_a_bad_table_is_one_sentence(store: Store, tmp_path: Path, text: str, match: str):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=match):
        table_columns(path, queries.sample_details(store, ("human",)))


def test_a_feature_that_some_samples_lack_is_refused(store: Store, answer: Answer):
    answer("ann")
    log = read_log(store, AnswerFilter())
    with pytest.raises(ValueError, match="'size' isn't known of every sample"):
        design(log, ("size",), Details(columns={"size": {1: 2.0}}))
    with pytest.raises(ValueError, match="no class probabilities"):
        design(log, ("probs",), Details())
    with pytest.raises(ValueError, match="no feature 'colour'; choose from class, generation"):
        design(log, ("colour",), Details())


def test_audit_slates_give_the_worth_of_generations(store: Store):
    """People who like generation 1 twice as well as generation 0."""
    store.publish(Generation(1, 0, "generation-0001.safetensors", "ab" * 32, 10, 10, ""))
    rng = np.random.default_rng(0)
    with store.write():
        for i in range(40):
            _audit(store, f"rater{i}", rng)
    found = choice_report(store, StudyConfig(), FitOptions(AnswerFilter(), by=("generation",)))
    assert found.features == ("generation",) and found.fit.names == ("generation 1",) and found.fit.by_rater
    low, high = found.fit.intervals()[0]
    assert low < np.log(2) < high
    worth = next(items for items in found.items if items.name == "generation").worths
    assert worth[1].worth == pytest.approx(2 / 3, abs=0.05) and worth[1].utility > 0
    assert [part.name for part in found.parts] == ["generation 1"] and found.parts[0].n == 800
    assert found.scale.fit is None and "no reward" in found.scale.problem
    verdicts = {test.name: test.verdict for test in found.tests}
    assert verdicts["position bias"] == "not found" and verdicts["tastes unlike the others'"] != "can't tell"
    assert found.as_json()["raters"][0]["picks"] == 20


def _audit(store: Store, name: str, rng: np.random.Generator) -> None:
    session = store.add_session(name, store.add_rater("human", panel="p", panel_rater_id=name))
    made_by = rng.permuted(np.tile([0, 1, 0, 1], (20, 1)), axis=1)
    slates = [NewSlate(1, "audit", 4, j, [Sample(int(t), j) for t in row]) for j, row in enumerate(made_by)]
    places = (np.log(2) * made_by + rng.gumbel(size=made_by.shape)).argmax(axis=1).tolist()
    ids = store.add_slates(slates, picked_by=[session] * 20)
    store.add_picks([(id_, session, place, {}) for id_, place in zip(ids, places, strict=True)])

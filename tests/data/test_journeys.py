"""Who came and how far: one session for a panel's rater, ids apart from picks, milestones once, links used once."""

import pytest

from data.errors import PickRefusedError
from data.records import Pick
from data.store import Store, queries
from data.store.sessions import PanelIds

ANN = PanelIds("prolific", "5f0c0ffee", "study-1", "submission-1")


def admit(store: Store, name: str, ids: PanelIds | None = None) -> str:
    return store.admit(name, ids, user_agent="test", consented=True)


def test_a_panels_rater_has_one_session_wherever_and_whenever(store: Store):
    first = admit(store, "one", ANN)
    again = admit(store, "two", PanelIds("prolific", ANN.rater_id, "study-1", "another submission"))
    other = admit(store, "three", PanelIds("mturk", ANN.rater_id))
    assert (first, again, other) == ("one", "one", "three")
    assert store.find_session(ANN) == "one"


def test_the_panels_id_stands_in_the_identity_table_alone(store: Store):
    admit(store, "one", ANN)
    holds = set()
    for table in store.db.table_names():
        for row in store.rows(f"SELECT * FROM {table}"):
            if ANN.rater_id in map(str, row.values()) or ANN.session_id in map(str, row.values()):
                holds.add(table)
    assert holds == {"identity"}


def test_a_milestone_is_reached_once(store: Store):
    admit(store, "one")
    store.reach("one", "finished", code="C1")
    before = store.row("SELECT * FROM session WHERE id = 'one'")
    store.reach("one", "finished", code="C2")
    assert store.row("SELECT * FROM session WHERE id = 'one'") == before
    assert before is not None and before["completion_code"] == "C1"
    assert store.journey("one").reached == {"consented", "finished"}
    with pytest.raises(ValueError, match="milestone"):
        store.reach("one", "bored")  # pyright: ignore[reportArgumentType]


def test_practice_counts_apart_from_the_rest(store: Store, fill):
    fill(store, n=1, purpose="practice")
    store.lease_copy("ann", queries.templates(store, "practice", "ann", 3)[0], [2, 0, 1], 7, 60)
    slate = store.lease("ann", ("curation",), 0, 60)
    for open_ in store.open_slates("ann", 60):
        store.record_pick("ann", Pick(open_.id, "pick", 0))
    journey = store.journey("ann")
    assert (
        slate is not None
        and (journey.practised, journey.answered) == (1, 1)
        and queries.count_answers(store, "ann") == 1
    )


def test_answers_in_words_are_numbered(store: Store):
    store.add_answer("ann", "comprehension", "wrong", False)
    store.add_answer("ann", "comprehension", "right", True)
    store.add_answer("ann", "closing", "Nice.")
    assert store.journey("ann").tries == 2
    rows = [(row["question"], row["attempt"], row["correct"]) for row in store.rows("SELECT * FROM answer ORDER BY id")]
    assert rows == [("comprehension", 1, 0), ("comprehension", 2, 1), ("closing", 1, None)]


def test_a_link_leads_to_its_owner_and_only_its_hash_is_kept(store: Store):
    store.add_invites(["token-1", "token-2"])
    assert store.is_invited("token-1") and not store.is_invited("token-3")
    owner = admit(store, "one", PanelIds("link", "token-1"))
    assert admit(store, "two", PanelIds("link", "token-1")) == owner == "one"
    used = list(store.rows("SELECT used_at IS NOT NULL AS used, token_sha256 FROM invite"))
    assert sorted(row["used"] for row in used) == [0, 1]
    assert not any("token" in row["token_sha256"] for row in used)


def test_a_withdrawn_session_stores_nothing_more_and_keeps_its_picks(store: Store):
    slates = [store.lease("ann", ("curation",), 0, 60) for _ in range(2)]
    assert slates[0] and slates[1]
    first = store.record_pick("ann", Pick(slates[0].id, "pick", 1))
    store.withdraw("ann")
    with pytest.raises(PickRefusedError, match="withdrawn"):
        store.record_pick("ann", Pick(slates[1].id, "pick", 1))
    assert store.record_pick("ann", Pick(slates[0].id, "pick", 1)).id == first.id
    assert store.value("SELECT count(*) FROM pick") == 1


def test_the_funnel_counts_people(store: Store):
    admit(store, "one", ANN)
    store.reach("one", "finished")
    store.log("rater", "declined")
    store.bulk_session("sim", "robots")
    funnel = queries.funnel(store)
    assert (funnel["arrived"], funnel["consented"], funnel["finished"], funnel["declined"]) == (4, 1, 1, 1)

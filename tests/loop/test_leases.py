"""How many slates the sessions of one address may hold, so that it can't keep the pool from everyone else."""

from data.records import Pick
from data.store import Store
from loop.config import StudyConfig
from loop.raters.journey import next_slates
from loop.study import configure

CONFIG = configure("digits", ["curation.k=3", "schedule.picks=100", "pool.size=40", "pool.audit=0"])


def arrive(store: Store, name: str) -> str:
    return store.admit(name, None, user_agent="", consented=False)


def held(store: Store, config: StudyConfig, name: str, neighbours: str) -> int:
    """How many slates a session holds after asking, where the sessions whose names begin so share its address."""
    return len(next_slates(store, config, name, shares=lambda other: other.startswith(neighbours)))


def test_one_address_leaves_half_of_the_pool(store: Store, fill):
    fill(store, n=36)
    crowd = [held(store, CONFIG, arrive(store, f"flood-{n}"), "flood") for n in range(30)]
    assert sum(crowd) == 22 and crowd[:11] == [2] * 11  # until less than half of the pool is free
    assert held(store, CONFIG, arrive(store, "zoe"), "zoe") == 2


def test_those_who_are_in_go_on(store: Store, fill):
    fill(store, n=36)
    ann = arrive(store, "flood-ann")
    assert held(store, CONFIG, ann, "flood") == 2
    for n in range(30):
        held(store, CONFIG, arrive(store, f"flood-{n}"), "flood")
    for _ in range(10):
        slate, upcoming = next_slates(store, CONFIG, ann, shares=lambda other: other.startswith("flood"))
        store.record_pick(ann, Pick(slate.id, "pick", 0))
        assert held(store, CONFIG, ann, "flood") == 2 and upcoming


def test_a_full_pool_takes_a_whole_class_up_to_the_limit(store: Store, fill):
    fill(store, n=200)
    config = configure("digits", ["curation.k=3", "pool.size=40", "pool.audit=0", "app.leases_per_address=60"])
    assert sum(held(store, config, arrive(store, f"class-{n}"), "class") for n in range(50)) == 60
    assert held(store, config, arrive(store, "zoe"), "zoe") == 2

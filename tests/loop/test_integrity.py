"""`curate check` finds each fault that is planted, and none in a sound study."""

from collections.abc import Callable

import pytest

from loop.study import Study, faults


def sql(*statements: str) -> Callable[[Study], None]:
    """Damage by SQL, as another program could do it: without the store's foreign keys."""

    def plant(study: Study) -> None:
        connection = study.store.db.conn
        connection.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            assert connection.execute(statement).rowcount == 1
        connection.commit()

    return plant


def weights(t: int, damage: Callable[[bytes], bytes | None], suffix: str = ".safetensors") -> Callable[[Study], None]:
    """Damage to a checkpoint's file; None removes it."""

    def plant(study: Study) -> None:
        path = study.checkpoint_path(t).with_suffix(suffix)
        content = damage(path.read_bytes())
        path.unlink() if content is None else path.write_bytes(content)

    return plant


FAULTS: dict[str, tuple[Callable[[Study], None], str]] = {
    "weights gone": (weights(1, lambda _: None), r"generation 1: checkpoint .* is missing"),
    "a byte of the weights": (weights(0, lambda c: c[:-1] + bytes([c[-1] ^ 1])), "generation 0: .* is damaged"),
    "half of the weights": (weights(2, lambda c: c[: len(c) // 2]), "generation 2: .* is damaged"),
    "sidecar gone": (weights(1, lambda _: None, ".json"), "generation 1: .* no readable sidecar"),
    "sidecar cut": (weights(1, lambda c: c[:40], ".json"), "generation 1: .* no readable sidecar"),
    "sidecar of others": (weights(1, lambda c: c.replace(b'"sha256": "', b'"sha256": "0'), ".json"), "its sidecar"),
    "another hash recorded": (
        sql("UPDATE generation SET checkpoint_sha256 = 'x' WHERE t = 1"),
        "generation 1: .* is damaged",
    ),
    "an image changed": (
        sql("UPDATE image SET png = CAST(png || x'00' AS BLOB) WHERE sha256 = (SELECT min(sha256) FROM image)"),
        "image [0-9a-f]{64} doesn't hold",
    ),
    "an image gone": (
        sql(
            "DELETE FROM image WHERE sha256 = (SELECT image_sha256 FROM sample WHERE image_sha256 IS NOT NULL LIMIT 1)"
        ),
        "sample: row .* missing row of image",
    ),
    "a sample gone": (sql("DELETE FROM sample WHERE id = 5"), "slate_item: .* missing row of sample"),
    "a sample in two slates": (
        sql("UPDATE slate_item SET sample_id = 1 WHERE slate_id = 2 AND position = 0"),
        r"1 sample\(s\) stand in more than one curation slate",
    ),
    "a slate too short": (
        sql(
            """DELETE FROM slate_item WHERE slate_id = 7
            AND position = (SELECT min(p) FROM (SELECT 0 AS p UNION SELECT 1)
            WHERE p != (SELECT position FROM pick WHERE slate_id = 7))"""
        ),
        "slate 7 holds 3 .* K = 4",
    ),
    "a pick of no sample": (
        sql("UPDATE pick SET position = 9 WHERE slate_id = 7"),
        "pick 7 names position 9, which slate 7 lacks",
    ),
    "a slate too long": (
        sql(
            "INSERT INTO sample(id, t, seed) VALUES (100000, 0, 1)",
            "INSERT INTO slate_item VALUES (7, 4, 100000)",
        ),
        "slate 7 holds 5 .* K = 4",
    ),
    "another count": (sql("UPDATE generation SET n_curated = 61 WHERE t = 2"), "generation 2: the curated counts"),
}


def test_a_sound_study_has_no_faults(simulated_digits: Study):
    assert faults(simulated_digits) == []


@pytest.mark.parametrize(("plant", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found_and_is_the_only_one(
    simulated_digits: Study, copy_of, plant: Callable[[Study], None], sentence: str
):
    import re

    study = copy_of(simulated_digits)
    plant(study)
    found = faults(study)
    assert any(re.search(sentence, fault) for fault in found), found
    assert len(found) == 1


def test_several_faults_are_all_found(simulated_digits: Study, copy_of):
    study = copy_of(simulated_digits)
    for name in ("weights gone", "a slate too short", "an image changed"):
        FAULTS[name][0](study)
    assert len(faults(study)) == 3


def test_looking_changes_nothing(simulated_digits: Study, copy_of, contents):
    study = copy_of(simulated_digits)
    study.store.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = {name: sha256 for name, sha256 in contents(study.path).items() if "-shm" not in name}
    faults(study)
    assert {name: sha256 for name, sha256 in contents(study.path).items() if "-shm" not in name} == before

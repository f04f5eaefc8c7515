"""The slate pool: written in bulk by the worker, leased one by one to sessions, retired when a generation ends.

Check slates (attention, practice, repeated ones) are copies of slates with known samples in another order.
"""

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Literal

from data.records import NewSlate, Purpose, Slate, SlateItem, timestamp
from data.store.sessions import Clock

IDS = 2**52  # JavaScript reads whole numbers up to twice that exactly
_SHOWN = """slate.id, slate.t, k, purpose, served_at, position, image_sha256 FROM slate
    JOIN slate_item ON slate_id = slate.id JOIN sample ON sample.id = sample_id"""


class Slates(Clock):
    """Slates and their samples."""

    def add_slates(
        self, slates: Iterable[NewSlate], *, picked_by: Sequence[str] | None = None, random_ids: bool = False
    ) -> list[int]:
        """Stores slates with their samples, and returns the slates' ids in order.

        Args:
            slates: any number; they are written as they come.
            picked_by: of each slate the simulated or proxy session to which it belongs from the start; without it
                they are free for raters.
            random_ids: their ids tell nobody when they were made; without it they go on from the highest.
        """
        with self.write() as db:
            next_slate = 1 + (self.value("SELECT max(id) FROM slate") or 0)
            next_sample = 1 + (self.value("SELECT max(id) FROM sample") or 0)
            now, ids = timestamp(), list[int]()
            source = iter(slates)
            while chunk := list(islice(source, 5_000)):
                slate_rows, sample_rows, item_rows = [], [], []
                n = len(chunk)
                free = sorted(self._random_ids(n)) if random_ids else range(next_slate, next_slate + n)
                for slate, slate_id in zip(chunk, free, strict=True):
                    owner = picked_by[len(ids)] if picked_by else None
                    served = now if owner else None
                    slate_rows.append(
                        (slate_id, slate.t, slate.purpose, slate.k, slate.seed, now, owner, served, slate.answer)
                    )
                    for position, sample in enumerate(slate.samples):
                        point = None if sample.point is None else json.dumps(sample.point)
                        more = None if sample.reward_json is None else json.dumps(sample.reward_json)
                        sample_rows.append(
                            (
                                next_sample,
                                sample.t,
                                sample.seed,
                                sample.image_sha256,
                                sample.reward,
                                sample.label,
                                point,
                                more,
                                sample.operative_reward,
                            )
                        )
                        item_rows.append((slate_id, position, next_sample))
                        next_sample += 1
                    ids.append(slate_id)
                next_slate += n
                db.conn.executemany(
                    """INSERT INTO slate(id, t, purpose, k, seed, created_at, leased_to, served_at, answer)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                    slate_rows,
                )
                db.conn.executemany(
                    """INSERT INTO sample(id, t, seed, image_sha256, reward, label, point_json, reward_json,
                    operative_reward) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                    sample_rows,
                )
                db.conn.executemany("INSERT INTO slate_item(slate_id, position, sample_id) VALUES (?, ?, ?)", item_rows)
        return ids

    def pool_size(self, purpose: Purpose, t: int) -> int:
        """The number of free slates of a purpose and generation in the pool."""
        self._return_lapsed()
        return self.value(
            "SELECT count(*) FROM slate WHERE purpose = ? AND t = ? AND leased_to IS NULL AND retired_at IS NULL",
            [purpose, t],
        )

    def count_slates(self, purpose: Purpose, t: int) -> int:
        """The number of slates of a purpose and generation that were ever made: the index of the next one's seed."""
        return self.value("SELECT count(*) FROM slate WHERE purpose = ? AND t = ?", [purpose, t])

    def lease(self, session_id: str, purposes: Sequence[Purpose], t: int, lease_s: float) -> Slate | None:
        """Leases one more slate of generation t to a session, trying the purposes in order; None when none is free.

        Those with random ids leave the pool in random order, the others in the order in which they were made.
        """
        with self.write() as db:
            self._return_lapsed()
            served = self._serving_time(session_id)
            for purpose in purposes:
                for least in (secrets.randbelow(IDS), 0):  # the first free one from anywhere on, else the first of all
                    leased = db.conn.execute(
                        """UPDATE slate SET leased_to = ?, served_at = ?, lease_until = ? WHERE id = (
                            SELECT id FROM slate WHERE purpose = ? AND t = ? AND id >= ?
                            AND leased_to IS NULL AND retired_at IS NULL ORDER BY id LIMIT 1) RETURNING id""",
                        [session_id, served, timestamp(lease_s), purpose, t, least],
                    ).fetchall()
                    if leased:
                        return self._slate(leased[0][0])
        return None

    def open_slates(self, session_id: str, lease_s: float) -> list[Slate]:
        """The session's slates without an answer, oldest first; their leases are prolonged."""
        self.follow_clock()
        rows = list(
            self.rows(
                f"""SELECT slate.lease_until, {_SHOWN} WHERE leased_to = ? AND lease_until > ?
                ORDER BY served_at, slate.id, position""",
                [session_id, timestamp()],
            )
        )
        half = timestamp(lease_s / 2)
        ending = {row["id"] for row in rows if row["lease_until"] < half}
        if ending:
            with self.write() as db:
                db.conn.executemany(
                    "UPDATE slate SET lease_until = ? WHERE id = ?", [(timestamp(lease_s), one) for one in ending]
                )
        return _slates(rows)

    def leases(self) -> dict[str, int]:
        """The number of slates that each session has leased and not answered."""
        sql = "SELECT leased_to, count(*) AS n FROM slate WHERE lease_until > ? GROUP BY leased_to"
        return {row["leased_to"]: row["n"] for row in self.rows(sql, [timestamp()])}

    def retire_slates(self, before_t: int) -> int:
        """Takes the free slates of generations under `before_t` out of the pool; leased ones stay valid."""
        with self.write() as db:
            return db.conn.execute(
                "UPDATE slate SET retired_at = ? WHERE t < ? AND leased_to IS NULL AND retired_at IS NULL",
                [timestamp(), before_t],
            ).rowcount

    def slate_samples(self, slate_ids: Sequence[int]) -> Iterator[dict]:
        """The samples of slates, by slate and position: slate_id, position, sample_id, t, seed, reward, label."""
        for start in range(0, len(slate_ids), 500):
            chunk = slate_ids[start : start + 500]
            yield from self.rows(
                f"""SELECT slate_id, position, sample_id, t, seed, reward, label, image_sha256, point_json
                FROM slate_item JOIN sample ON sample.id = sample_id
                WHERE slate_id IN ({",".join("?" * len(chunk))}) ORDER BY slate_id, position""",
                chunk,
            )

    def shared_samples(self) -> int:
        """The number of samples in more than one curation slate of finite K; a disjoint study has none."""
        return self.value(
            """SELECT count(*) FROM (SELECT 1 FROM slate_item JOIN slate ON slate.id = slate_id
            WHERE purpose = 'curation' AND k IS NOT NULL GROUP BY sample_id HAVING count(*) > 1)"""
        )

    def uneven_slates(self) -> list[tuple[int, int, int]]:
        """Slates that don't hold as many samples as they should: (id, K, samples)."""
        return self.db.conn.execute(
            """SELECT slate.id, coalesce(k, 1) AS expected, count(sample_id) AS n FROM slate
            LEFT JOIN slate_item ON slate_id = slate.id GROUP BY slate.id HAVING n != expected"""
        ).fetchall()

    def _random_ids(self, n: int) -> set[int]:
        found: set[int] = set()
        while len(found) < n:
            drawn = 1 + secrets.randbelow(IDS)
            if self.value("SELECT 1 FROM slate WHERE id = ?", [drawn]) is None:
                found.add(drawn)
        return found

    def _serving_time(self, session_id: str) -> str:
        """Now, or just after the session's other open slates: pages show them in the order of these times."""
        now = timestamp()
        last = self.value(
            "SELECT max(served_at) FROM slate WHERE leased_to = ? AND lease_until IS NOT NULL", [session_id]
        )
        if last is None or last < now:
            return now
        ahead = datetime.fromisoformat(last) - datetime.fromisoformat(now)
        return timestamp(ahead.total_seconds() + 0.001)

    def _slate(self, slate_id: int) -> Slate:
        (slate,) = _slates(self.rows(f"SELECT {_SHOWN} WHERE slate.id = ? ORDER BY position", [slate_id]))
        return slate

    def _return_lapsed(self) -> None:
        """Slates whose lease ended without an answer go back to the pool; the event log keeps who had them."""
        self.follow_clock()
        now = timestamp()
        if not self.value("SELECT 1 FROM slate WHERE lease_until < ? LIMIT 1", [now]):
            return
        with self.write() as db:
            db.conn.execute(
                """INSERT INTO event(at, actor, kind, detail_json)
                SELECT ?, leased_to, 'lease_lapsed', json_object('slate_id', id) FROM slate WHERE lease_until < ?""",
                [now, now],
            )
            db.conn.execute(
                """UPDATE slate SET leased_to = NULL, lease_until = NULL, served_at = NULL,
                retired_at = CASE WHEN copy_of IS NULL THEN retired_at ELSE ? END WHERE lease_until < ?""",
                [now, now],  # a copy was one rater's own
            )


def _slates(rows: Iterable[dict]) -> list[Slate]:
    """Slates from a row for each position, which come slate by slate."""
    found = []
    for _, group in groupby(rows, itemgetter("id")):
        items = list(group)
        shown = tuple(SlateItem(row["position"], row["image_sha256"]) for row in items)
        first = items[0]
        found.append(Slate(first["id"], first["t"], first["k"], first["purpose"], first["served_at"], shown))
    return found


class Checks(Slates):
    """Templates are slates that no one is ever leased; raters get copies, each with a seed of its own."""

    def template_count(self, purpose: Literal["attention", "practice"], t: int, k: int) -> int:
        """The number of templates of K samples of generation t."""
        return self.value(
            "SELECT count(*) FROM slate WHERE purpose = ? AND t = ? AND k = ? AND copy_of IS NULL", [purpose, t, k]
        )

    def templates(self, purpose: Literal["attention", "practice"], session_id: str, k: int) -> list[int]:
        """Templates of K samples that a session has had no copy of yet, of the newest generation that has any."""
        return [
            row["id"]
            for row in self.rows(
                """SELECT id FROM slate WHERE purpose = :purpose AND k = :k AND copy_of IS NULL AND t =
                (SELECT max(t) FROM slate WHERE purpose = :purpose AND k = :k AND copy_of IS NULL)
                AND id NOT IN (SELECT copy_of FROM slate WHERE leased_to = :session AND copy_of IS NOT NULL)
                ORDER BY id""",
                {"purpose": purpose, "session": session_id, "k": k},
            )
        ]

    def repeatable(self, session_id: str, lag: int) -> list[int]:
        """Curation slates from which a session picked, at least `lag` answers ago, and that it saw only once."""
        return [
            row["slate_id"]
            for row in self.rows(
                """SELECT slate_id FROM pick JOIN slate ON slate.id = slate_id
                WHERE session_id = :session AND outcome = 'pick' AND purpose = 'curation' AND k IS NOT NULL
                AND pick.id <= (SELECT id FROM pick WHERE session_id = :session ORDER BY id DESC LIMIT 1 OFFSET :lag)
                AND slate_id NOT IN (SELECT copy_of FROM slate WHERE leased_to = :session AND copy_of IS NOT NULL)
                ORDER BY pick.id DESC LIMIT 50""",
                {"session": session_id, "lag": lag},
            )
        ]

    def lease_copy(self, session_id: str, of: int, order: Sequence[int], seed: int, lease_s: float) -> Slate:
        """Leases a session a slate with the samples of another one: position j shows what was at `order[j]`.

        A copy of a curation slate is an attention slate, whose right answer is what the session picked before.
        """
        with self.write() as db:
            source = self.one(
                """SELECT slate.t, purpose, k, answer, pick.position FROM slate
                LEFT JOIN pick ON pick.slate_id = slate.id WHERE slate.id = ?""",
                [of],
            )
            assert source is not None
            was = source["answer"] if source["answer"] is not None else source["position"]
            purpose = "attention" if source["purpose"] == "curation" else source["purpose"]
            (slate_id,) = self._random_ids(1)
            db.conn.execute(
                """INSERT INTO slate(
                    id, t, purpose, k, seed, created_at, leased_to, lease_until, served_at, copy_of, answer)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                [
                    slate_id,
                    source["t"],
                    purpose,
                    source["k"],
                    seed,
                    timestamp(),
                    session_id,
                    timestamp(lease_s),
                    self._serving_time(session_id),
                    of,
                    None if was is None else list(order).index(was),
                ],
            )
            db.conn.executemany(
                """INSERT INTO slate_item(slate_id, position, sample_id)
                SELECT ?, ?, sample_id FROM slate_item WHERE slate_id = ? AND position = ?""",
                [(slate_id, place, of, source_place) for place, source_place in enumerate(order)],
            )
            return self._slate(slate_id)

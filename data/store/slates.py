"""Slates and picks: the pool, written in bulk and leased one by one; recording answers, or taking one back; flags.

Check slates (attention, practice, repeated ones) are copies of slates with known samples in another order.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from data.errors import PickRefusedError
from data.records import ExclusionRule, NewSlate, Pick, Purpose, Slate, SlateItem, StoredPick, timestamp
from data.store.connection import Journal

IDS = 2**52  # JavaScript reads whole numbers up to twice that exactly
FLAGGED_RATER = """EXISTS (SELECT 1 FROM session AS flagged
    WHERE flagged.rater_id = rater.id AND json_extract(flagged.flags_json, ?))"""
_SHOWN = """slate.id, slate.t, k, purpose, served_at, condition, position, image_sha256, text,
    (SELECT count(*) FROM pick WHERE slate_id = slate.id AND session_id = leased_to AND undone_at IS NOT NULL) AS undone
    FROM slate JOIN slate_item ON slate_id = slate.id JOIN sample ON sample.id = sample_id"""


class Slates(Journal):
    """Slates and their samples.

    Templates of check slates are never leased themselves; raters get copies, each in an order of its own.
    """

    def add_slates(
        self, slates: Iterable[NewSlate], *, picked_by: Sequence[str] | None = None, random_ids: bool = False
    ) -> list[int]:
        """Stores slates with their samples, and returns the slates' ids in order.

        Args:
            slates: any number; they are written as they come.
            picked_by: the simulated or proxy session of each slate; without it they are free for raters.
            random_ids: ids that don't give away when slates were made; without it they go on from the highest.
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
                        (
                            slate_id,
                            slate.t,
                            slate.purpose,
                            slate.k,
                            slate.seed,
                            now,
                            owner,
                            served,
                            slate.answer,
                            slate.condition,
                        )
                    )
                    for position, sample in enumerate(slate.samples):
                        point = None if sample.point is None else json.dumps(sample.point)
                        details = None if sample.reward_json is None else json.dumps(sample.reward_json)
                        sample_rows.append(
                            (
                                next_sample,
                                sample.t,
                                sample.seed,
                                sample.image_sha256,
                                sample.reward,
                                sample.label,
                                point,
                                details,
                                sample.operative_reward,
                                sample.text,
                            )
                        )
                        item_rows.append((slate_id, position, next_sample))
                        next_sample += 1
                    ids.append(slate_id)
                next_slate += n
                db.conn.executemany(
                    """INSERT INTO slate(id, t, purpose, k, seed, created_at, leased_to, served_at, answer, condition)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                    slate_rows,
                )
                db.conn.executemany(
                    """INSERT INTO sample(id, t, seed, image_sha256, reward, label, point_json, reward_json,
                    operative_reward, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                    sample_rows,
                )
                db.conn.executemany("INSERT INTO slate_item(slate_id, position, sample_id) VALUES (?, ?, ?)", item_rows)
        return ids

    def pool_size(self, purpose: Purpose, t: int) -> int:
        """The number of free slates of a purpose and generation in the pool."""
        self.return_lapsed()
        return self.value(
            "SELECT count(*) FROM slate WHERE purpose = ? AND t = ? AND leased_to IS NULL AND retired_at IS NULL",
            [purpose, t],
        )

    def lease(self, session_id: str, purposes: Sequence[Purpose], t: int, lease_s: float) -> Slate | None:
        """Leases one more slate of generation t to a session, trying the purposes in order; None when none is free.

        Those with random ids leave the pool in random order, the others in the order in which they were made.
        """
        with self.write() as db:
            self.return_lapsed()
            served = self._serving_time(session_id)
            for purpose in purposes:
                for least in (secrets.randbelow(IDS), 0):  # above a random id, else from the first on
                    leased = db.conn.execute(
                        """UPDATE slate SET leased_to = ?, served_at = ?, lease_until = ? WHERE id = (
                            SELECT id FROM slate WHERE purpose = ? AND t = ? AND id >= ?
                            AND leased_to IS NULL AND retired_at IS NULL ORDER BY id LIMIT 1) RETURNING id""",
                        [session_id, served, timestamp(lease_s), purpose, t, least],
                    ).fetchall()
                    if leased:
                        return self._slate(leased[0][0])
        return None

    def lease_copy(self, session_id: str, of: int, order: Sequence[int], seed: int, lease_s: float) -> Slate:
        """Leases a session a copy of a slate in another order: position j shows what was at `order[j]`.

        A copy of a curation slate is an attention slate, whose right answer is what the session picked before.
        """
        with self.write() as db:
            source = self.row(
                """SELECT slate.t, purpose, k, answer, condition, pick.position FROM slate
                LEFT JOIN pick ON pick.slate_id = slate.id AND undone_at IS NULL WHERE slate.id = ?""",
                [of],
            )
            assert source is not None
            right = source["answer"] if source["answer"] is not None else source["position"]
            purpose = "attention" if source["purpose"] == "curation" else source["purpose"]
            (slate_id,) = self._random_ids(1)
            db.conn.execute(
                """INSERT INTO slate(
                    id, t, purpose, k, seed, created_at, leased_to, lease_until, served_at, copy_of, answer, condition)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
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
                    None if right is None else list(order).index(right),
                    source["condition"],
                ],
            )
            db.conn.executemany(
                """INSERT INTO slate_item(slate_id, position, sample_id)
                SELECT ?, ?, sample_id FROM slate_item WHERE slate_id = ? AND position = ?""",
                [(slate_id, place, of, source_place) for place, source_place in enumerate(order)],
            )
            return self._slate(slate_id)

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
                    "UPDATE slate SET lease_until = ? WHERE id = ?",
                    [(timestamp(lease_s), slate_id) for slate_id in ending],
                )
        return _slates(rows)

    def retire_slates(self, before_t: int) -> int:
        """Takes the free slates of generations under `before_t` out of the pool; leased ones stay valid."""
        with self.write() as db:
            return db.conn.execute(
                "UPDATE slate SET retired_at = ? WHERE t < ? AND leased_to IS NULL AND retired_at IS NULL",
                [timestamp(), before_t],
            ).rowcount

    def return_lapsed(self) -> None:
        """Returns slates whose lease ended without an answer to the pool; the event log says who had them.

        A copy of a slate was one rater's own and is retired instead.
        """
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
                [now, now],
            )

    def _random_ids(self, n: int) -> set[int]:
        ids: set[int] = set()
        while len(ids) < n:
            drawn = 1 + secrets.randbelow(IDS)
            if self.value("SELECT 1 FROM slate WHERE id = ?", [drawn]) is None:
                ids.add(drawn)
        return ids

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


def _slates(rows: Iterable[dict]) -> list[Slate]:
    """Slates from a row per position, in which those of one slate stand together."""
    slates = []
    for _, group in groupby(rows, itemgetter("id")):
        items = list(group)
        shown = tuple(SlateItem(row["position"], row["image_sha256"], row["text"]) for row in items)
        first = items[0]
        identity = first["id"], first["t"], first["k"], first["purpose"], first["served_at"]
        slates.append(Slate(*identity, shown, first["undone"] + 1, first["condition"]))
    return slates


class Picks(Journal):
    """The answers. None is ever changed or deleted, but the last may be marked as taken back.

    Triggers of the schema count each in the table `tally`.
    """

    def record_pick(self, session_id: str, pick: Pick, check: Callable[[Pick, int], None] | None = None) -> StoredPick:
        """Commits an answer and only then returns.

        The same answer again gives the first one's id, also when it was taken back since. `check(pick, K)` raises
        ValueError for one that the study doesn't ask for.

        Raises:
            PickRefusedError: the slate was never this session's, its lease lapsed, another answer is stored, or the
                session has withdrawn.
            ValueError: a position outside the slate.
        """
        with self.write() as db:
            self.follow_clock()
            row = self.row(
                """SELECT slate.leased_to, slate.lease_until, slate.served_at, slate.k, pick.id AS pick_id,
                pick.session_id, pick.outcome, pick.position, pick.worst,
                (SELECT withdrawn_at FROM session WHERE id = :session) AS withdrawn_at,
                (SELECT coalesce(undone_at, picked_at) FROM pick WHERE session_id = :session ORDER BY id DESC LIMIT 1)
                AS answered_at
                FROM slate LEFT JOIN pick ON pick.slate_id = slate.id AND undone_at IS NULL WHERE slate.id = :slate""",
                {"session": session_id, "slate": pick.slate_id},
            )
            undone = self._undone(session_id, pick.slate_id)
            if pick.attempt is not None and 1 <= pick.attempt <= len(undone):
                return StoredPick(id=undone[pick.attempt - 1], duplicate=True)
            if row is not None and row["pick_id"] is not None and row["session_id"] == session_id:
                if (row["outcome"], row["position"], row["worst"]) == (pick.outcome, pick.position, pick.worst):
                    return StoredPick(id=row["pick_id"], duplicate=True)
                raise PickRefusedError("contradicts", f"Slate {pick.slate_id} has another answer already.")
            if row is None or row["leased_to"] != session_id:
                raise self._not_leased(session_id, pick.slate_id)
            if row["withdrawn_at"] is not None:
                raise PickRefusedError("lapsed", "This session has withdrawn; nothing more is stored.")
            if row["lease_until"] is None or row["lease_until"] < timestamp():
                raise PickRefusedError("lapsed", f"Slate {pick.slate_id} was open too long and went to someone else.")
            pick.check_position(row["k"])
            if check:
                check(pick, row["k"])
            db.conn.execute("UPDATE slate SET lease_until = NULL WHERE id = ?", [pick.slate_id])
            now = timestamp()
            # as the server sees it, a slate came into view when it was served, or after the last answer or its undoing
            seen = max(row["served_at"], row["answered_at"] or "")
            took = datetime.fromisoformat(now) - datetime.fromisoformat(seen)
            cursor = db.conn.execute(
                """INSERT INTO pick(slate_id, session_id, outcome, position, worst, shown_at, picked_at, rt_ms, input,
                viewport, blur_count, server_ms)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                [
                    pick.slate_id,
                    session_id,
                    pick.outcome,
                    pick.position,
                    pick.worst,
                    row["served_at"] if pick.rt_ms is None else timestamp(-pick.rt_ms / 1000),
                    now,
                    pick.rt_ms,
                    pick.input,
                    pick.viewport,
                    pick.blur_count,
                    round(took.total_seconds() * 1000) if seen <= now else None,  # the clock was set back
                ],
            )
            assert cursor.lastrowid is not None
        return StoredPick(id=cursor.lastrowid, duplicate=False)

    def undo_pick(
        self, session_id: str, slate_id: int, attempt: int | None, *, within_s: float, cut: int, lease_s: float
    ) -> StoredPick:
        """Marks a session's last answer as taken back, and leases its slate to the session again.

        Doing it again changes nothing.

        Args:
            session_id: whose.
            slate_id: which slate's answer.
            attempt: the number of the answer among the session's to this slate, from 1; None for the last.
            within_s: seconds after the answer in which it may be taken back; below 0 it may not.
            cut: the highest pick id that can't be taken back any more, since it trains.
            lease_s: of the slate.

        Raises:
            PickRefusedError: there is no such answer, it is not the session's last, it is too old, or it trains.
        """
        with self.write() as db:
            rows = list(
                self.rows(
                    """SELECT id, outcome, picked_at, undone_at,
                    id = (SELECT max(id) FROM pick WHERE session_id = :session) AS is_last
                    FROM pick WHERE session_id = :session AND slate_id = :slate ORDER BY id""",
                    {"session": session_id, "slate": slate_id},
                )
            )
            place = len(rows) if attempt is None else attempt
            if not 1 <= place <= len(rows):
                raise PickRefusedError("unknown", f"This session has no such answer to slate {slate_id}.")
            row, now = rows[place - 1], timestamp()
            if row["undone_at"] is not None:
                return StoredPick(id=row["id"], duplicate=True)
            if row["id"] <= cut:
                raise PickRefusedError("final", "The generator is learning from that answer already, so it stays.")
            age = datetime.fromisoformat(now) - datetime.fromisoformat(row["picked_at"])
            if not row["is_last"] or age.total_seconds() > within_s or row["outcome"] == "timeout":
                raise PickRefusedError(
                    "late", "That answer can't be taken back any more: only the last one can, at once."
                )
            db.conn.execute("UPDATE pick SET undone_at = ? WHERE id = ?", [now, row["id"]])
            db.conn.execute("UPDATE slate SET lease_until = ? WHERE id = ?", [timestamp(lease_s), slate_id])
            self.log(session_id, "pick_undone", pick_id=row["id"], slate_id=slate_id)
        return StoredPick(id=row["id"], duplicate=False)

    def _undone(self, session_id: str, slate_id: int) -> list[int]:
        """The ids of a session's answers to a slate that it took back, in order."""
        rows = self.rows(
            "SELECT id FROM pick WHERE slate_id = ? AND session_id = ? AND undone_at IS NOT NULL ORDER BY id",
            [slate_id, session_id],
        )
        return [row["id"] for row in rows]

    def _not_leased(self, session_id: str, slate_id: int) -> PickRefusedError:
        """The refusal of an answer to a slate that the session doesn't hold: it never did, or no longer does."""
        lapsed = self.value(
            """SELECT 1 FROM event WHERE kind = 'lease_lapsed' AND actor = ?
            AND json_extract(detail_json, '$.slate_id') = ?""",
            [session_id, slate_id],
        )
        if lapsed:
            return PickRefusedError("lapsed", f"Slate {slate_id} was open too long and went to someone else.")
        return PickRefusedError("unknown", f"There is no slate {slate_id} in this session.")

    def add_picks(
        self, answers: Iterable[tuple[int, str, int | None, dict[str, Any]]], worst: Sequence[int] | None = None
    ) -> None:
        """Stores simulated or proxy picks in bulk.

        Args:
            answers: (slate id, session id, position, flags) each; without a position it is a tie.
            worst: the position picked as the worst of each; None where none was.
        """
        now = timestamp()
        with self.write() as db:
            db.conn.executemany(
                """INSERT INTO pick(slate_id, session_id, outcome, position, picked_at, flags_json, worst)
                VALUES (?, ?, ?, ?, ?, ?, ?)""",
                (
                    (slate_id, session_id, "tie" if position is None else "pick", position, now,
                     json.dumps(flags) if flags else "{}", None if worst is None else worst[i])
                    for i, (slate_id, session_id, position, flags) in enumerate(answers)
                ),
            )  # fmt: skip

    def last_pick(self) -> int:
        """The highest pick id so far; 0 before the first."""
        return self.value("SELECT max(id) FROM pick") or 0

    def set_flags(self, picks: Iterable[tuple[int, dict]], sessions: Iterable[tuple[str, dict]]) -> None:
        """Replaces the flags of answers and of sessions."""
        with self.write() as db:
            db.conn.executemany(
                "UPDATE pick SET flags_json = ? WHERE id = ?", [(json.dumps(flags), id_) for id_, flags in picks]
            )
            db.conn.executemany(
                "UPDATE session SET flags_json = ? WHERE id = ? AND flags_json != ?",
                [(json.dumps(flags), id_, json.dumps(flags)) for id_, flags in sessions],
            )

    def exclude(self, t: int, after: int, until: int, rule: ExclusionRule) -> dict[str, int]:
        """Settles which curation picks with `after < id <= until` don't train generation t; how many by flag.

        A pick with several flags counts for the first of the rule: those of picks, then those of raters.
        """
        counts = {}
        with self.write() as db:
            for flag, flagged in (
                *((flag, "json_extract(pick.flags_json, ?)") for flag in rule.picks),
                *((flag, FLAGGED_RATER) for flag in rule.raters),
            ):
                cursor = db.conn.execute(
                    f"""INSERT OR IGNORE INTO exclusion(t, pick_id, flag)
                    SELECT ?, pick.id, ? FROM pick JOIN slate ON slate.id = slate_id
                    JOIN session ON session.id = session_id JOIN rater ON rater.id = session.rater_id
                    WHERE kind = 'human' AND purpose = 'curation' AND outcome IN ('pick', 'tie')
                    AND undone_at IS NULL AND withdrawn_at IS NULL AND pick.id > ? AND pick.id <= ? AND {flagged}""",
                    [t, flag, after, until, f"$.{flag}"],
                )
                counts[flag] = counts.get(flag, 0) + cursor.rowcount
        return counts

    def clear_exclusions(self) -> None:
        """Forgets which picks were excluded from training, for another rule to be applied."""
        with self.write() as db:
            db.conn.execute("DELETE FROM exclusion")

"""Generations, their images and evaluations, the event log and the worker's status."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from data.measurements import read_measurements
from data.records import Evaluated, Generation, timestamp
from data.store.connection import Connection


class Journal(Connection):
    """Events in their order, and the present status."""

    def log(self, actor: str, kind: str, **detail: Any) -> int:
        """Adds an event and returns its id."""
        with self.write() as db:
            cursor = db.conn.execute(
                "INSERT INTO event(at, actor, kind, detail_json) VALUES (?, ?, ?, ?)",
                [timestamp(), actor, kind, json.dumps(detail)],
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def events(self, *, kinds: tuple[str, ...] = (), after: int = 0, newest: int | None = None) -> list[dict]:
        """Events by id, of the given kinds (all when empty): id, at, actor, kind, detail. `newest` keeps the last n."""
        where = f"AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""
        rows = self.rows(
            f"SELECT * FROM event WHERE id > ? {where} ORDER BY id DESC LIMIT ?", [after, *kinds, newest or -1]
        )
        found = [{**row, "detail": json.loads(row.pop("detail_json"))} for row in rows]
        return found[::-1]

    def set_status(self, key: str, **value: Any) -> None:
        """Replaces the status kept under `key`."""
        with self.write() as db:
            db.conn.execute(
                "INSERT OR REPLACE INTO status(key, value_json, at) VALUES (?, ?, ?)",
                [key, json.dumps(value), timestamp()],
            )

    def status(self, key: str) -> dict[str, Any]:
        """The status under `key` with the time `at` which it was set; empty when there is none."""
        row = self.one("SELECT value_json, at FROM status WHERE key = ?", [key])
        return {} if row is None else {**json.loads(row["value_json"]), "at": row["at"]}


class Generations(Connection):
    """The generations, and the PNGs that people saw or that trained them."""

    def publish(self, generation: Generation) -> None:
        """Stores a generation; from this commit on raters get its slates. Joins a surrounding `write()`.

        Raises:
            sqlite3.IntegrityError: generation t is published already.
        """
        now = timestamp()
        with self.write() as db:
            db.conn.execute(
                """INSERT INTO generation(t, parent_t, checkpoint, checkpoint_sha256, n_real, n_curated, policy,
                pick_cut, config_json, metrics_json, created_at, published_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                [
                    generation.t,
                    generation.parent_t,
                    generation.checkpoint,
                    generation.checkpoint_sha256,
                    generation.n_real,
                    generation.n_curated,
                    generation.policy,
                    generation.pick_cut,
                    json.dumps(generation.config, sort_keys=True),
                    json.dumps(generation.measurements.as_json()),
                    generation.created_at or now,
                    now,
                ],
            )

    def generations(self) -> list[Generation]:
        """All published generations, by t."""
        return [_generation(row) for row in self.rows("SELECT * FROM generation ORDER BY t")]

    def generation(self, t: int) -> Generation | None:
        """Generation t; None before it is published."""
        row = self.one("SELECT * FROM generation WHERE t = ?", [t])
        return None if row is None else _generation(row)

    def latest_generation(self) -> Generation | None:
        """The generation that is served now; None before the first is published."""
        row = self.one("SELECT * FROM generation ORDER BY t DESC LIMIT 1")
        return None if row is None else _generation(row)

    def latest_cut(self) -> tuple[int, int] | None:
        """(t, pick_cut) of the generation that is served now; cheaper than `latest_generation`."""
        row = self.one("SELECT t, pick_cut FROM generation ORDER BY t DESC LIMIT 1")
        return None if row is None else (row["t"], row["pick_cut"])

    def add_images(self, images: Iterable[tuple[str, bytes]]) -> None:
        """Stores (sha256, png) pairs; one that is there already stays."""
        with self.write() as db:
            db.conn.executemany("INSERT OR IGNORE INTO image(sha256, png) VALUES (?, ?)", images)

    def image(self, sha256: str) -> bytes | None:
        """The PNG with this hash."""
        return self.value("SELECT png FROM image WHERE sha256 = ?", [sha256])

    def images(self) -> Iterable[tuple[str, bytes]]:
        """All (sha256, png) pairs; an imported log may know images by their hash alone, and those aren't among them."""
        rows = self.rows("SELECT sha256, png FROM image WHERE length(png) > 0")
        return ((row["sha256"], row["png"]) for row in rows)


def _generation(row: dict) -> Generation:
    config, measurements = json.loads(row.pop("config_json")), read_measurements(row.pop("metrics_json"), row["t"])
    return Generation(**row, config=config, measurements=measurements)


class Evaluations(Connection):
    """The samples behind the metrics; predictions and verdicts are computed from them, without a generator."""

    def add_evaluation(self, found: Evaluated) -> None:
        """Stores what a generation (or, with t None, the real data) was measured on; joins a surrounding `write()`.

        Raises:
            sqlite3.IntegrityError: it is there already.
        """
        points = None if found.points is None else found.points.astype("<f4").tobytes()
        with self.write() as db:
            db.conn.execute(
                "INSERT INTO evaluation(t, n, rewards, labels, points) VALUES (?, ?, ?, ?, ?)",
                [
                    found.t,
                    len(found.labels),
                    found.rewards.astype("<f8").tobytes(),
                    found.labels.astype("<i4").tobytes(),
                    points,
                ],
            )

    def evaluation(self, t: int | None) -> Evaluated | None:
        """Samples that generation t (None: the real data) was measured on; None where an older version kept none."""
        row = self.one("SELECT * FROM evaluation WHERE coalesce(t, -1) = ?", [-1 if t is None else t])
        if row is None:
            return None
        points = row["points"]
        return Evaluated(
            t=t,
            rewards=np.frombuffer(row["rewards"], dtype="<f8").reshape(-1, row["n"]),
            labels=np.frombuffer(row["labels"], dtype="<i4"),
            points=None if points is None else np.frombuffer(points, dtype="<f4").reshape(row["n"], -1),
        )

"""Generations, their images, and the samples that they were measured on."""

import json
from collections.abc import Iterable

import numpy as np

from data.measurements import read_measurements
from data.records import Evaluated, Generation, timestamp
from data.store.connection import Connection


class Generations(Connection):
    """The generations, the samples they were measured on, and the PNGs that people saw or that trained them."""

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
        row = self.row("SELECT * FROM generation WHERE t = ?", [t])
        return None if row is None else _generation(row)

    def latest_generation(self) -> Generation | None:
        """The generation that is served now; None before the first is published."""
        row = self.row("SELECT * FROM generation ORDER BY t DESC LIMIT 1")
        return None if row is None else _generation(row)

    def latest_cut(self) -> tuple[int, int] | None:
        """(t, pick_cut) of the generation that is served now; cheaper than `latest_generation`."""
        row = self.row("SELECT t, pick_cut FROM generation ORDER BY t DESC LIMIT 1")
        return None if row is None else (row["t"], row["pick_cut"])

    def add_images(self, images: Iterable[tuple[str, bytes]]) -> None:
        """Stores (sha256, png) pairs; one that is there already stays."""
        with self.write() as db:
            db.conn.executemany("INSERT OR IGNORE INTO image(sha256, png) VALUES (?, ?)", images)

    def image(self, sha256: str) -> bytes | None:
        """The PNG with this hash."""
        return self.value("SELECT png FROM image WHERE sha256 = ?", [sha256])

    def add_evaluation(self, samples: Evaluated) -> None:
        """Stores what a generation (or, with t None, the real data) was measured on; joins a surrounding `write()`.

        Raises:
            sqlite3.IntegrityError: it is there already.
        """
        points = None if samples.points is None else samples.points.astype("<f4").tobytes()
        conditions = None if samples.conditions is None else samples.conditions.astype("<i4").tobytes()
        features = None if samples.features is None else samples.features.astype("<f2").tobytes()
        with self.write() as db:
            db.conn.execute(
                "INSERT INTO evaluation(t, n, rewards, labels, points, conditions, features) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    samples.t,
                    len(samples.labels),
                    samples.rewards.astype("<f8").tobytes(),
                    samples.labels.astype("<i4").tobytes(),
                    points,
                    conditions,
                    features,
                ],
            )

    def evaluation(self, t: int | None) -> Evaluated | None:
        """Samples that generation t (None: the real data) was measured on; None where an older version stored none."""
        row = self.row("SELECT * FROM evaluation WHERE coalesce(t, -1) = ?", [-1 if t is None else t])
        if row is None:
            return None
        points, conditions, features = row["points"], row["conditions"], row["features"]
        return Evaluated(
            t=t,
            rewards=np.frombuffer(row["rewards"], dtype="<f8").reshape(-1, row["n"]),
            labels=np.frombuffer(row["labels"], dtype="<i4"),
            points=None if points is None else np.frombuffer(points, dtype="<f4").reshape(row["n"], -1),
            conditions=None if conditions is None else np.frombuffer(conditions, dtype="<i4"),
            features=None if features is None else np.frombuffer(features, dtype="<f2").reshape(row["n"], -1),
        )


def _generation(row: dict) -> Generation:
    config, measurements = json.loads(row.pop("config_json")), read_measurements(row.pop("metrics_json"), row["t"])
    return Generation(**row, config=config, measurements=measurements)

"""Generations and images."""

import json
from collections.abc import Iterable

from data.records import Generation, timestamp
from data.store.connection import Connection


class Generations(Connection):
    """What the generator was at each t, and the PNGs that people saw or that trained it."""

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
                    json.dumps(generation.metrics),
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
    config, metrics = json.loads(row.pop("config_json")), json.loads(row.pop("metrics_json"))
    return Generation(**row, config=config, metrics=metrics)

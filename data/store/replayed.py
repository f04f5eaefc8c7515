"""What `curate replay` writes and asks: another study's log, and whose generators drew its samples."""

from pathlib import Path

from data.records import timestamp
from data.store.connection import Connection

# Panels' ids, invitations and what the worker did stay where they are.
_COPY = (
    "INSERT INTO rater SELECT * FROM source.rater",
    "INSERT INTO session SELECT * FROM source.session",
    """INSERT INTO image SELECT * FROM source.image WHERE sha256 IN (SELECT image_sha256 FROM source.sample
        UNION SELECT json_extract(metrics_json, '$.grid_sha256') FROM source.generation WHERE t = 0)""",
    "INSERT INTO sample SELECT * FROM source.sample",
    "INSERT INTO slate SELECT * FROM source.slate",
    "INSERT INTO slate_item SELECT * FROM source.slate_item",
    "INSERT INTO pick SELECT * FROM source.pick",
    "INSERT INTO answer SELECT * FROM source.answer",
    "INSERT INTO exclusion SELECT * FROM source.exclusion",
    "INSERT INTO generation SELECT * FROM source.generation WHERE t = 0",
    "INSERT INTO evaluation SELECT * FROM source.evaluation WHERE coalesce(t, 0) = 0",
    "INSERT INTO status SELECT * FROM source.status WHERE key IN ('real', 'flags')",
    "DELETE FROM event",
    "INSERT INTO event SELECT * FROM source.event WHERE actor != 'worker'",
    """INSERT INTO drawn_by SELECT t, coalesce(drawn.checkpoint_sha256, generation.checkpoint_sha256)
        FROM source.generation LEFT JOIN source.drawn_by AS drawn USING (t)""",
)


class Replayed(Connection):
    """The log of another study in a new one."""

    def copy_log(self, source: Path) -> int:
        """Copies another study's log under its ids, and its generation 0, into this empty study; in one transaction.

        Slates name generations that are yet to be published here. Those that nobody answered leave the pool.

        Args:
            source: its study.db.

        Returns:
            The last generation that the log speaks of.
        """
        connection = self.db.conn
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("ATTACH DATABASE ? AS source", [str(source)])
        try:
            with self.write():
                for statement in _COPY:
                    connection.execute(statement)
                connection.execute(
                    """UPDATE slate SET retired_at = ?, lease_until = NULL
                    WHERE retired_at IS NULL AND id NOT IN (SELECT slate_id FROM pick)""",
                    [timestamp()],
                )
        finally:
            connection.execute("DETACH DATABASE source")
            connection.execute("PRAGMA foreign_keys = ON")
        return self.value("SELECT max(t) FROM drawn_by")

    def clear_exclusions(self) -> None:
        """Forgets which picks were kept out of training, for another rule to be applied."""
        with self.write() as db:
            db.conn.execute("DELETE FROM exclusion")

    def foreign_generations(self) -> list[int]:
        """Generations whose slates hold samples of another study's generator instead of their own; of replays alone."""
        return [
            row["t"]
            for row in self.rows(
                """SELECT t FROM drawn_by JOIN generation USING (t)
                WHERE drawn_by.checkpoint_sha256 != generation.checkpoint_sha256 ORDER BY t"""
            )
        ]

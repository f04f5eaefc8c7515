"""Writing another study's answers: `curate import` and `curate replay`."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from data.records import timestamp
from data.store.connection import Connection

SAMPLE = (
    "sample_id", "sample_generation", "sample_seed", "image_sha256", "text", "reward", "label", "point",
    "operative_reward",
)  # fmt: skip
SLATE = ("generation", "purpose", "k", "slate_seed", "copy_of", "answer", "condition")
_IMAGES = "INSERT INTO image SELECT * FROM source.image WHERE sha256 IN (SELECT image_sha256 FROM source.sample {})"
_PEOPLE = "INSERT INTO rater SELECT * FROM source.rater", "INSERT INTO session SELECT * FROM source.session"
_EVENTS = "DELETE FROM event", "INSERT INTO event SELECT * FROM source.event WHERE actor != 'worker'"
# Panels' ids, invitations and the worker's events aren't copied.
_COPY = (
    *_PEOPLE,
    _IMAGES.format("UNION SELECT json_extract(metrics_json, '$.grid_sha256') FROM source.generation WHERE t = 0"),
    "INSERT INTO sample SELECT * FROM source.sample",
    "INSERT INTO slate SELECT * FROM source.slate",
    "INSERT INTO slate_item SELECT * FROM source.slate_item",
    "INSERT INTO pick SELECT * FROM source.pick",
    "INSERT INTO answer SELECT * FROM source.answer",
    "INSERT INTO exclusion SELECT * FROM source.exclusion",
    "INSERT INTO generation SELECT * FROM source.generation WHERE t = 0",
    "INSERT INTO evaluation SELECT * FROM source.evaluation WHERE coalesce(t, 0) = 0",
    "INSERT INTO status SELECT * FROM source.status WHERE key IN ('real', 'flags')",
    *_EVENTS,
    """INSERT INTO drawn_by SELECT t, coalesce(drawn.checkpoint_sha256, generation.checkpoint_sha256)
        FROM source.generation LEFT JOIN source.drawn_by AS drawn USING (t)""",
)
_CURATION = "IN (SELECT id FROM source.slate WHERE purpose = 'curation')"
# An imported log's curation slates as those of generation 0, whoever drew them; the rest compares what isn't there.
_COPY_AS_FIRST = (
    *_PEOPLE,
    _IMAGES.format(""),
    f"""INSERT INTO sample SELECT * FROM source.sample WHERE id IN
        (SELECT sample_id FROM source.slate_item WHERE slate_id {_CURATION})""",
    "UPDATE sample SET t = 0",
    "INSERT INTO slate SELECT * FROM source.slate WHERE purpose = 'curation'",
    "UPDATE slate SET t = 0",
    f"INSERT INTO slate_item SELECT * FROM source.slate_item WHERE slate_id {_CURATION}",
    f"INSERT INTO pick SELECT * FROM source.pick WHERE slate_id {_CURATION}",
    *_EVENTS,
    "INSERT INTO drawn_by VALUES (0, '')",
)


class Transfer(Connection):
    """Bulk insertion into a new study.

    An import is one surrounding `write()`, whose references are checked at its end.
    """

    def begin_import(self) -> None:
        """Lets rows name others that come later in the same transaction."""
        self.db.conn.execute("PRAGMA defer_foreign_keys = ON")

    def import_people(self, raters: Sequence[dict[str, Any]], sessions: Sequence[dict[str, Any]]) -> None:
        """Adds raters (rater, rater_kind, rater_type) and sessions (session, rater, session_flags, withdrawn)."""
        now = timestamp()
        self.db.conn.executemany(
            "INSERT INTO rater(kind, type, alias, created_at) VALUES (:rater_kind, :rater_type, :rater, :now)",
            ({**row, "now": now} for row in raters),
        )
        self.db.conn.executemany(
            """INSERT INTO session(id, rater_id, created_at, withdrawn_at, flags_json, alias)
            SELECT 'imported-' || :session, id, :now, CASE WHEN :withdrawn THEN :now END, :session_flags, :session
            FROM rater WHERE alias = :rater""",
            ({**row, "now": now} for row in sessions),
        )

    def import_answers(self, answers: Sequence[tuple[dict[str, Any], Sequence[dict[str, Any]]]]) -> None:
        """Adds answers with their slates: the columns of an answer, and those of each position."""
        insert = self.db.conn.executemany
        insert(
            """INSERT INTO slate(id, t, purpose, k, seed, created_at, leased_to, served_at, copy_of, answer, condition)
            VALUES (:slate_id, :generation, :purpose, :k, :slate_seed, coalesce(:shown_at, :picked_at),
            'imported-' || :session, coalesce(:shown_at, :picked_at), :copy_of, :answer, :condition)
            ON CONFLICT DO UPDATE SET leased_to = excluded.leased_to, served_at = excluded.served_at""",
            (values for values, _ in answers),
        )
        items = [item for _, rows in answers for item in rows]
        shown = [item for item in items if item["image_sha256"]]
        insert("INSERT OR IGNORE INTO image(sha256, png) VALUES (:image_sha256, x'')", shown)
        insert(
            """INSERT OR IGNORE INTO sample(id, t, seed, image_sha256, text, reward, label, point_json,
            operative_reward) VALUES (:sample_id, :sample_generation, :sample_seed, :image_sha256, :text, :reward,
            :label, :point, CASE WHEN :operative_reward IS NOT :reward THEN :operative_reward END)""",
            items,
        )
        insert("INSERT OR IGNORE INTO slate_item VALUES (:slate_id, :position, :sample_id)", items)
        insert(
            """INSERT INTO pick(id, slate_id, session_id, outcome, position, shown_at, picked_at, rt_ms, input,
            viewport, flags_json, server_ms, blur_count, worst, undone_at)
            VALUES (:choice_id, :slate_id, 'imported-' || :session, :outcome, :at, :shown_at, :picked_at, :rt_ms,
            :input, :viewport, :flags, :server_ms, :blur_count, :worst, CASE WHEN :undone THEN :picked_at END)""",
            (
                {
                    **values,
                    "at": next((item["position"] for item in rows if item["picked"]), None),
                    "worst": next((item["position"] for item in rows if item["worst"]), None),
                }
                for values, rows in answers
            ),
        )
        insert(
            "INSERT INTO exclusion(t, pick_id, flag) VALUES (:generation + 1, :choice_id, :excluded_by)",
            (values for values, _ in answers if values["excluded_by"] is not None),
        )

    def end_import(self, study: str, checkpoints: dict[int, str]) -> None:
        """Adds the generations, and the slates that are known from their copies alone.

        Args:
            study: the log's name for its study, which exports keep.
            checkpoints: hashes of the generations' weights, by t.
        """
        now = timestamp()
        shown = "UNION SELECT t FROM ".join(["SELECT t FROM slate ", "sample"])
        for (t,) in self.db.conn.execute(f"{shown} ORDER BY 1").fetchall():
            self.db.conn.execute(
                """INSERT INTO generation(t, parent_t, checkpoint, checkpoint_sha256, n_real, n_curated, policy,
                pick_cut, config_json, created_at, published_at)
                SELECT ?, max(generation.t), '', ?, 0, 0, 'imported',
                (SELECT coalesce(max(pick.id), 0) FROM pick JOIN slate ON slate.id = slate_id WHERE slate.t < ?),
                '{}', ?, ? FROM generation""",
                [t, checkpoints.get(t, ""), t, now, now],
            )
        self.db.conn.execute(
            """INSERT INTO slate(id, t, purpose, k, seed, created_at, retired_at, condition)
            SELECT copy_of, t, purpose, k, 0, ?, ?, condition FROM slate WHERE copy_of NOT IN (SELECT id FROM slate)
            GROUP BY copy_of""",
            [now, now],
        )
        self.db.conn.execute(
            """INSERT INTO slate_item(slate_id, position, sample_id)
            SELECT copy_of, position, sample_id FROM slate_item JOIN (SELECT min(id) AS first, copy_of FROM slate
            WHERE copy_of NOT IN (SELECT slate_id FROM slate_item) GROUP BY copy_of) ON slate_id = first"""
        )
        self.db.conn.execute(
            "INSERT INTO status(key, value_json, at) VALUES ('origin', json_object('study', ?), ?)", [study, now]
        )

    def fill_image(self, sha256: str, png: bytes) -> None:
        """Gives an image of an imported log its PNG."""
        self.db.conn.execute("UPDATE image SET png = ? WHERE sha256 = ?", [png, sha256])

    def copy_log(self, source: Path, *, as_first: bool = False) -> int:
        """Copies another study's log under its ids, and its generation 0, into this empty study; in one transaction.

        Slates name generations that are yet to be published here. Those that nobody answered leave the pool.

        Args:
            source: its study.db.
            as_first: copies the curation slates alone, as slates of generation 0, which this study makes itself.

        Returns:
            The last generation in the log.
        """
        connection = self.db.conn
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("ATTACH DATABASE ? AS source", [str(source)])
        try:
            with self.write():
                for statement in _COPY_AS_FIRST if as_first else _COPY:
                    connection.execute(statement)
                connection.execute(
                    """UPDATE slate SET retired_at = ?, lease_until = NULL
                    WHERE retired_at IS NULL AND id NOT IN (SELECT slate_id FROM pick WHERE undone_at IS NULL)""",
                    [timestamp()],
                )
        finally:
            connection.execute("DETACH DATABASE source")
            connection.execute("PRAGMA foreign_keys = ON")
        return self.value("SELECT max(t) FROM drawn_by")


def stored_slates(store: Connection, ids: Sequence[int]) -> dict[int, tuple[bool, tuple]]:
    """Those of some slates that are stored: whether an answer stands, and the values of `SLATE` and the samples."""
    marks = ",".join("?" * len(ids))
    rows = store.db.conn.execute(
        f"""SELECT slate.id, id IN (SELECT slate_id FROM pick WHERE undone_at IS NULL), t, purpose, k, seed, copy_of,
        answer, condition, sample_id FROM slate JOIN slate_item ON slate_id = slate.id WHERE slate.id IN ({marks})
        ORDER BY slate.id, position""",
        list(ids),
    )
    return {
        key: (bool(stands), (*values, *(row[-1] for row in items)))
        for (key, stands, *values), items in (
            (head, list(group)) for head, group in groupby(rows, key=lambda row: row[:-1])
        )
    }


def stored_samples(store: Connection, ids: Sequence[int]) -> dict[int, tuple]:
    """Those of some samples that are stored: the values of `SAMPLE` by id."""
    marks = ",".join("?" * len(ids))
    rows = store.db.conn.execute(
        f"""SELECT id, t, seed, image_sha256, text, reward, label, point_json, coalesce(operative_reward, reward)
        FROM sample WHERE id IN ({marks})""",
        list(ids),
    )
    return {row[0]: row for row in rows}


def missing_images(store: Connection) -> list[str]:
    """The hashes of images that have no PNG yet."""
    return [row["sha256"] for row in store.rows("SELECT sha256 FROM image WHERE length(png) = 0 ORDER BY sha256")]

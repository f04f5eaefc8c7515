"""Raters and their sessions."""

from data.records import RaterKind, timestamp
from data.store.connection import Connection


class People(Connection):
    """Who picks. A simulated or proxy rater is a rater like any other, of its own kind."""

    def add_rater(
        self, kind: RaterKind, *, panel: str | None = None, panel_rater_id: str | None = None, type_: str | None = None
    ) -> int:
        """A rater's id; the same panel and panel id always give the same rater."""
        with self.write():
            if panel is not None:
                known = self.value(
                    "SELECT id FROM rater WHERE panel = ? AND panel_rater_id = ?", [panel, panel_rater_id]
                )
                if known is not None:
                    return known
            cursor = self.db.conn.execute(
                "INSERT INTO rater(kind, panel, panel_rater_id, type, created_at) VALUES (?, ?, ?, ?, ?)",
                [kind, panel, panel_rater_id, type_, timestamp()],
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def add_session(
        self,
        session_id: str,
        rater_id: int,
        *,
        panel_study_id: str | None = None,
        panel_session_id: str | None = None,
        user_agent: str | None = None,
    ) -> str:
        """Stores a session; where the rater has one of the same panel session already, gives that one's id."""
        with self.write():
            if panel_session_id is not None:
                known = self.value(
                    "SELECT id FROM session WHERE rater_id = ? AND panel_session_id = ?", [rater_id, panel_session_id]
                )
                if known is not None:
                    return known
            self.db.conn.execute(
                """INSERT INTO session(id, rater_id, panel_study_id, panel_session_id, created_at, user_agent)
                VALUES (?, ?, ?, ?, ?, ?)""",
                [session_id, rater_id, panel_study_id, panel_session_id, timestamp(), user_agent],
            )
            return session_id

    def has_session(self, session_id: str) -> bool:
        """Whether the session exists; one that was withdrawn does."""
        return bool(self.value("SELECT 1 FROM session WHERE id = ?", [session_id]))

    def withdraw(self, session_id: str, code: str = "") -> None:
        """Marks a session as withdrawn, once; its picks stay, and are trained on no more.

        `code` is the completion code that goes with it, unless the session has one already.
        """
        with self.write():
            self.db.conn.execute(
                """UPDATE session SET withdrawn_at = ?, completion_code = coalesce(completion_code, ?)
                WHERE id = ? AND withdrawn_at IS NULL""",
                [timestamp(), code or None, session_id],
            )

    def bulk_session(self, kind: RaterKind, name: str, type_: str | None = None) -> str:
        """The session under which a simulated or proxy rater called `name` picks; made when first asked for."""
        with self.write():
            rater_id = self.add_rater(kind, panel="curate", panel_rater_id=name, type_=type_)
            known = self.value("SELECT id FROM session WHERE rater_id = ?", [rater_id])
            return known or self.add_session(f"{kind}-{rater_id}", rater_id)

    def raters(self) -> dict[str, int]:
        """How many raters of each kind have a session."""
        return {
            row["kind"]: row["n"]
            for row in self.rows(
                """SELECT kind, count(DISTINCT rater.id) AS n FROM rater
                JOIN session ON rater_id = rater.id GROUP BY kind"""
            )
        }

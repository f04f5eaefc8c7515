"""Raters, their sessions, and their way through them: who came from where, which steps are done, what was written."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from data.records import RaterKind, timestamp
from data.store.connection import Connection

Milestone = Literal["consented", "instructed", "understood", "failed", "closed", "finished"]
Question = Literal["comprehension", "closing"]


@dataclass(frozen=True, slots=True)
class PanelIds:
    """A rater's ids in a panel, as the rater's link says.

    Attributes:
        panel: its name.
        rater_id: the rater's id there.
        study_id: the panel's id of the study.
        session_id: the panel's id of the sitting.
        is_claim: no panel stands behind the link (an open study): the rater's id alone names nobody.
    """

    panel: str
    rater_id: str
    study_id: str | None = None
    session_id: str | None = None
    is_claim: bool = False


@dataclass(frozen=True, slots=True)
class Journey:
    """A session's milestones, and its answers.

    Attributes:
        reached: milestones, and 'withdrawn'.
        practised: practice slates answered.
        answered: other slates answered.
        tries: at the comprehension question.
    """

    reached: frozenset[str]
    practised: int
    answered: int
    tries: int


class Sessions(Connection):
    """Raters and their sessions. A simulated or proxy rater is a rater like any other, of its own kind.

    A milestone of a session is reached once; nothing here is ever taken back.
    """

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
        """True if the session exists; one that was withdrawn does."""
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
        """The session under which a simulated or proxy rater called `name` picks; stored at the first call."""
        with self.write():
            rater_id = self.add_rater(kind, panel="curate", panel_rater_id=name, type_=type_)
            known = self.value("SELECT id FROM session WHERE rater_id = ?", [rater_id])
            return known or self.add_session(f"{kind}-{rater_id}", rater_id)

    def find_session(self, ids: PanelIds) -> str | None:
        """The session of a panel's rater: one and the same whenever the rater comes."""
        return self.value(
            """SELECT session.id FROM session JOIN rater ON rater.id = rater_id
            WHERE panel = ? AND panel_rater_id = ? ORDER BY session.rowid LIMIT 1""",
            [ids.panel, pseudonym(ids)],
        )

    def panel_ids(self, session_id: str) -> PanelIds | None:
        """The panel's ids of a session's rater; None where they aren't stored, or not any more."""
        row = self.row(
            """SELECT identity.panel, panel_rater_id, identity.panel_study_id, identity.panel_session_id
            FROM session JOIN identity ON identity.rater_id = session.rater_id WHERE session.id = ?""",
            [session_id],
        )
        return PanelIds(*row.values()) if row else None

    def admit(self, session_id: str, ids: PanelIds | None, *, user_agent: str, consented: bool) -> str:
        """Stores a new person's session; a panel's rater who has one keeps that one, and its id is returned."""
        with self.write() as db:
            if ids is None:
                self.add_session(session_id, self.add_rater("human"), user_agent=user_agent)
            else:
                known = self.find_session(ids)
                if known is not None:
                    return known
                rater_id = self.add_rater("human", panel=ids.panel, panel_rater_id=pseudonym(ids))
                self.add_session(session_id, rater_id, panel_study_id=ids.study_id, user_agent=user_agent)
                now = timestamp()
                db.conn.execute(
                    "INSERT OR IGNORE INTO identity VALUES (?, ?, ?, ?, ?, ?)",
                    [rater_id, ids.panel, ids.rater_id, ids.study_id, ids.session_id, now],
                )
                db.conn.execute(
                    "UPDATE invite SET rater_id = ?, used_at = ? WHERE token_sha256 = ? AND rater_id IS NULL",
                    [rater_id, now, _sha256(ids.rater_id)],
                )
            if consented:
                self.reach(session_id, "consented")
        return session_id

    def journey(self, session_id: str) -> Journey:
        """A session's milestones.

        Raises:
            ValueError: there is no such session.
        """
        columns = ", ".join(f"{name}_at" for name in (*get_args(Milestone), "withdrawn"))
        row = self.row(
            f"""SELECT {columns}, count(slate.id) AS total, coalesce(sum(purpose = 'practice'), 0) AS practised,
            (SELECT count(*) FROM answer WHERE session_id = session.id AND question = 'comprehension') AS tries
            FROM session LEFT JOIN pick ON pick.session_id = session.id AND undone_at IS NULL
            LEFT JOIN slate ON slate.id = slate_id WHERE session.id = ? GROUP BY session.id""",
            [session_id],
        )
        if row is None:
            raise ValueError("There is no such session.")
        return Journey(
            reached=frozenset(name.removesuffix("_at") for name, at in row.items() if name.endswith("_at") and at),
            practised=row["practised"],
            answered=row["total"] - row["practised"],
            tries=row["tries"],
        )

    def reach(self, session_id: str, milestone: Milestone, code: str = "") -> None:
        """Marks a milestone, once; `code` is the completion code that goes with it."""
        if milestone not in get_args(Milestone):
            raise ValueError(f"There is no milestone '{milestone}'.")
        column = f"{milestone}_at"
        with self.write() as db:
            db.conn.execute(
                f"""UPDATE session SET {column} = ?, completion_code = coalesce(?, completion_code)
                WHERE id = ? AND {column} IS NULL""",
                [timestamp(), code or None, session_id],
            )

    def add_answer(self, session_id: str, question: Question, text: str, correct: bool | None = None) -> None:
        """Stores what a session answered in words."""
        with self.write() as db:
            db.conn.execute(
                """INSERT INTO answer(session_id, question, attempt, text, correct, at)
                SELECT ?, ?, count(*) + 1, ?, ?, ? FROM answer WHERE session_id = ? AND question = ?""",
                [session_id, question, text, correct, timestamp(), session_id, question],
            )

    def has_answered(self, session_id: str, question: Question, text: str) -> bool:
        """True if a session gave this very answer before."""
        return bool(
            self.value(
                "SELECT 1 FROM answer WHERE session_id = ? AND question = ? AND text = ?", [session_id, question, text]
            )
        )

    def add_invites(self, tokens: Iterable[str]) -> None:
        """Stores one-time links, by the hashes of their tokens alone."""
        now = timestamp()
        with self.write() as db:
            db.conn.executemany(
                "INSERT INTO invite(token_sha256, created_at) VALUES (?, ?)",
                ((_sha256(token), now) for token in tokens),
            )

    def is_invited(self, token: str) -> bool:
        """True if the token was given out. Once used it leads to its owner's session and to no other."""
        return bool(self.value("SELECT 1 FROM invite WHERE token_sha256 = ?", [_sha256(token)]))


def pseudonym(ids: PanelIds) -> str | None:
    """The stand-in for a panel's id everywhere but in the identity table; None where a claim names no sitting."""
    if not ids.is_claim:
        return _sha256(f"{ids.panel}\0{ids.rater_id}")[:32]
    return _sha256(f"{ids.panel}\0{ids.rater_id}\0{ids.session_id}")[:32] if ids.session_id else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

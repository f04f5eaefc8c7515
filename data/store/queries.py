"""Reads that serve one consumer each: the self-check, the fits, the exports, the researcher's page."""

from collections.abc import Iterator, Sequence
from typing import Any

from data.records import OUTCOMES, PURPOSES, timestamp
from data.schema import NAMES, PANEL, Filter
from data.store.connection import Connection
from data.store.picks import FLAGGED_RATER


class Judged(Connection):
    """Curation slates with the rewards by which they were judged, as plain rows in bulk."""

    def judged_items(self, t: int) -> Iterator[tuple]:
        """One row per position of every curation slate of generation t, answered or not, by slate and position.

        Each is (slate id, K or 0 for infinite, position, sample id, sample's generation, its seed, reward, operative
        reward (the reward where none is stored), picked position or -1, rater id or -1).
        """
        yield from self.db.conn.execute(
            """SELECT slate.id, coalesce(slate.k, 0), slate_item.position, sample.id, sample.t, sample.seed,
            sample.reward, coalesce(sample.operative_reward, sample.reward),
            coalesce(pick.position, -1), coalesce(session.rater_id, -1)
            FROM slate JOIN slate_item ON slate_item.slate_id = slate.id JOIN sample ON sample.id = sample_id
            LEFT JOIN pick ON pick.slate_id = slate.id LEFT JOIN session ON session.id = pick.session_id
            WHERE slate.t = ? AND slate.purpose = 'curation' ORDER BY slate.id, slate_item.position""",
            [t],
        )

    def rater_types(self) -> dict[int, tuple[str, str | None]]:
        """The kind and the type of every rater, by id."""
        return {row["id"]: (row["kind"], row["type"]) for row in self.rows("SELECT id, kind, type FROM rater")}

    def stored_picks(self, after: int, until: int, t: int) -> list[dict[str, Any]]:
        """Picks of curation slates that generation t + 1 may have been trained on, counted.

        Those that a rule on flags left out aren't among them. People's and simulated users' with
        `after < pick id <= until`, the proxies' of slates of generation t: kind,
        name (the rater's in its panel), withdrawn (0 or 1), n.
        """
        return list(
            self.rows(
                """SELECT rater.kind, CASE kind WHEN 'proxy' THEN rater.panel_rater_id END AS name,
                session.withdrawn_at IS NOT NULL AS withdrawn, count(*) AS n
                FROM pick JOIN slate ON slate.id = pick.slate_id JOIN session ON session.id = pick.session_id
                JOIN rater ON rater.id = session.rater_id
                WHERE slate.purpose = 'curation' AND pick.outcome = 'pick' AND
                CASE kind WHEN 'proxy' THEN slate.t = ? ELSE pick.id > ? AND pick.id <= ? END AND NOT EXISTS
                (SELECT 1 FROM exclusion WHERE exclusion.t = ? AND exclusion.pick_id = pick.id) GROUP BY 1, 2, 3""",
                [t, after, until, t + 1],
            )
        )


class Chosen(Connection):
    """Answers and slates of raters of some kinds."""

    def chosen_answers(
        self, kinds: Sequence[str], picks: Sequence[str] = (), raters: Sequence[str] = ()
    ) -> Iterator[tuple]:
        """One row per answer, by slate.

        Each is (slate id, K or 0 for infinite, generation of the slate, purpose as an index into `PURPOSES`, outcome as
        an index into `OUTCOMES`, picked position or -1, rater id, id of the slate that this one is a copy of or 0,
        whether that one was for curation, whether the session withdrew, whether the answer has one of the flags `picks`
        or its rater one of the flags `raters`).
        """
        flagged = [
            *(("json_extract(pick.flags_json, ?) IS NOT NULL", flag) for flag in picks),
            *((FLAGGED_RATER, flag) for flag in raters),
        ]
        yield from self.db.conn.execute(
            f"""SELECT slate.id, coalesce(slate.k, 0), slate.t, {_index("slate.purpose", PURPOSES)},
            {_index("outcome", OUTCOMES)}, coalesce(pick.position, -1), rater.id, coalesce(slate.copy_of, 0),
            coalesce(source.purpose = 'curation', 0), session.withdrawn_at IS NOT NULL,
            {" OR ".join(sql for sql, _ in flagged) or "0"}
            FROM slate JOIN pick ON pick.slate_id = slate.id JOIN session ON session.id = pick.session_id
            JOIN rater ON rater.id = session.rater_id LEFT JOIN slate AS source ON source.id = slate.copy_of
            WHERE rater.kind IN ({",".join("?" * len(kinds))}) ORDER BY slate.id""",
            [*(f"$.{flag}" for _, flag in flagged), *kinds],
        )

    def chosen_items(self, kinds: Sequence[str]) -> Iterator[tuple]:
        """One row per position of every answered slate of finite K, by slate and position.

        Each is (slate id, position, sample id, its generation, label or -1, reward or None, operative reward or None:
        the reward where none is stored).
        """
        yield from self.db.conn.execute(
            f"""SELECT slate.id, slate_item.position, sample.id, sample.t, coalesce(sample.label, -1), sample.reward,
            coalesce(sample.operative_reward, sample.reward)
            FROM slate JOIN pick ON pick.slate_id = slate.id JOIN session ON session.id = pick.session_id
            JOIN rater ON rater.id = session.rater_id JOIN slate_item ON slate_item.slate_id = slate.id
            JOIN sample ON sample.id = slate_item.sample_id
            WHERE slate.k IS NOT NULL AND rater.kind IN ({",".join("?" * len(kinds))})
            ORDER BY slate.id, slate_item.position""",
            list(kinds),
        )

    def sample_details(self, kinds: Sequence[str]) -> Iterator[tuple]:
        """(sample id, image's sha256, point as JSON, more on the reward as JSON) of every sample in `chosen_items`."""
        yield from self.db.conn.execute(
            f"""SELECT DISTINCT sample.id, sample.image_sha256, sample.point_json, sample.reward_json
            FROM slate JOIN pick ON pick.slate_id = slate.id JOIN session ON session.id = pick.session_id
            JOIN rater ON rater.id = session.rater_id JOIN slate_item ON slate_item.slate_id = slate.id
            JOIN sample ON sample.id = slate_item.sample_id
            WHERE slate.k IS NOT NULL AND rater.kind IN ({",".join("?" * len(kinds))})""",
            list(kinds),
        )


def _index(column: str, words: Sequence[str]) -> str:
    """SQL for a word's place in a list."""
    cases = " ".join(f"WHEN '{word}' THEN {i}" for i, word in enumerate(words))
    return f"CASE {column} {cases} END"


VIEW_COLUMNS = tuple(name for name in NAMES if name != "study")


class Exported(Connection):
    """The choice log of `curate export`."""

    def choice_rows(
        self, where: Sequence[Filter] = (), *, panel_ids: bool = False, features: bool = False, size: int = 2_000
    ) -> Iterator[list[tuple]]:
        """The choice log of one moment, a row per position by pick and position, in lists of at most `size`.

        A row has the columns `VIEW_COLUMNS` and, with `panel_ids`, those of `data.schema.PANEL`; with `features`
        the sample's class probabilities come last, as a JSON list or None. `rater` is the rater's number in the study.
        """
        condition, values = _condition(where)
        identity = "LEFT JOIN identity ON identity.rater_id = rater" if panel_ids else ""
        panel = "".join(f", identity.{column.name}" for column in PANEL) if panel_ids else ""
        probs = ", (SELECT json_extract(reward_json, '$.probs') FROM sample WHERE id = sample_id)" if features else ""
        with self.read() as db:
            cursor = db.conn.execute(
                f"""SELECT {", ".join(VIEW_COLUMNS)}{panel}{probs} FROM v_choice_long {identity} WHERE {condition}
                ORDER BY choice_id, position""",
                values,
            )
            while rows := cursor.fetchmany(size):
                yield rows

    def shown_images(self, where: Sequence[Filter] = ()) -> Iterator[tuple[str, bytes]]:
        """(sha256, png) of every image in the rows of `choice_rows`, once each."""
        condition, values = _condition(where)
        yield from self.db.conn.execute(
            f"""SELECT sha256, png FROM image WHERE length(png) > 0 AND sha256 IN
            (SELECT image_sha256 FROM v_choice_long WHERE {condition}) ORDER BY sha256""",
            values,
        )

    def shown_samples(self, where: Sequence[Filter] = ()) -> Iterator[tuple[int, int, int | None, str | None]]:
        """(id, generation, label, image_sha256) of every sample in the rows of `choice_rows`, by id."""
        condition, values = _condition(where)
        yield from self.db.conn.execute(
            f"""SELECT DISTINCT sample_id, sample_generation, label, image_sha256 FROM v_choice_long
            WHERE {condition} ORDER BY sample_id""",
            values,
        )

    def largest_slate(self, where: Sequence[Filter] = ()) -> int:
        """The most positions that an answer of `choice_rows` has; 0 without answers."""
        condition, values = _condition(where)
        return 1 + self.value(f"SELECT coalesce(max(position), -1) FROM v_choice_long WHERE {condition}", values)

    def shown_counts(self, where: Sequence[Filter] = ()) -> dict[str, int]:
        """The numbers of answers, picks, raters, sessions and generations in the rows of `choice_rows`."""
        condition, values = _condition(where)
        row = self.one(
            f"""SELECT count(*) AS answers, coalesce(sum(outcome = 'pick'), 0) AS picks,
            count(DISTINCT rater) AS raters, count(DISTINCT session) AS sessions,
            count(DISTINCT generation) AS generations FROM v_choice_long WHERE position = 0 AND {condition}""",
            values,
        )
        assert row is not None
        return row

    def class_count(self) -> int:
        """The number of class probabilities of a sample; 0 where none are kept."""
        return self.value("SELECT max(json_array_length(reward_json, '$.probs')) FROM sample") or 0

    def aliases(self) -> dict[int, str]:
        """The names of an imported log's raters in it, by rater."""
        return {row["id"]: row["alias"] for row in self.rows("SELECT id, alias FROM rater WHERE alias IS NOT NULL")}


def _condition(where: Sequence[Filter]) -> tuple[str, list[int | str | None]]:
    """SQL with marks for the values; columns and operators are those that `data.schema` knows."""
    words = {"=": "IS", "!=": "IS NOT"}
    parts = [f"{one.column} {words.get(one.operator, one.operator)} ?" for one in where]
    return " AND ".join(parts) or "1", [one.value for one in where]


class Crowd(Connection):
    """Counts over `after < pick id <= until`; add those of adjoining ranges to get those of both."""

    def pick_before(self, moment: str) -> int:
        """The highest pick id that was given before a moment; 0 where there is none."""
        low, high = 0, self.value("SELECT max(id) FROM pick") or 0
        while low < high:
            middle = (low + high + 1) // 2
            if self.value("SELECT picked_at FROM pick WHERE id <= ? ORDER BY id DESC LIMIT 1", [middle]) < moment:
                low = middle
            else:
                high = middle - 1
        return low

    def answers_by_minute(self, after: int, until: int) -> dict[tuple[str, str, str], int]:
        """Answers by kind of rater, outcome and minute, such as ('human', 'pick', '2026-11-21T09:30').

        The outcome of any answer to a practice slate is 'practice'.
        """
        return {
            (row["kind"], row["outcome"], row["minute"]): row["n"]
            for row in self.rows(
                """SELECT kind, CASE slate.purpose WHEN 'practice' THEN 'practice' ELSE pick.outcome END AS outcome,
                substr(picked_at, 1, 16) AS minute, count(*) AS n FROM pick CROSS JOIN slate ON slate.id = pick.slate_id
                JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
                WHERE pick.id > ? AND pick.id <= ? GROUP BY 1, 2, 3""",
                [after, until],
            )
        }

    def flagged_picks(self, after: int, until: int) -> dict[str, int]:
        """The number of people's answers with each flag."""
        return {
            row["flag"]: row["n"]
            for row in self.rows(
                """SELECT flag.key AS flag, count(*) AS n FROM pick JOIN session ON session.id = session_id
                JOIN rater ON rater.id = rater_id, json_each(pick.flags_json) AS flag
                WHERE pick.id > ? AND pick.id <= ? AND pick.flags_json != '{}' AND kind = 'human' GROUP BY 1""",
                [after, until],
            )
        }

    def flagged_sessions(self) -> dict[str, int]:
        """The number of people's sessions with each flag."""
        return {
            row["flag"]: row["n"]
            for row in self.rows(
                """SELECT flag.key AS flag, count(*) AS n FROM session JOIN rater ON rater.id = rater_id,
                json_each(session.flags_json) AS flag
                WHERE session.flags_json != '{}' AND kind = 'human' GROUP BY 1"""
            )
        }

    def audit_wins(self, after: int, until: int) -> dict[tuple[str, int, int, int, int], int]:
        """People's choices between generations in audit slates, by (session, rater, K, t that won, t that lost).

        A picked sample is compared with each unpicked one of another generation in its slate.
        """
        return {
            (row["session"], row["rater"], row["k"], row["won"], row["lost"]): row["n"]
            for row in self.rows(
                """SELECT session.id AS session, session.rater_id AS rater, slate.k AS k, winner.t AS won,
                loser.t AS lost, count(*) AS n FROM pick CROSS JOIN slate ON slate.id = pick.slate_id
                JOIN session ON session.id = pick.session_id JOIN rater ON rater.id = session.rater_id
                JOIN slate_item AS chosen ON chosen.slate_id = slate.id AND chosen.position = pick.position
                JOIN sample AS winner ON winner.id = chosen.sample_id
                JOIN slate_item AS other ON other.slate_id = slate.id AND other.position != pick.position
                JOIN sample AS loser ON loser.id = other.sample_id
                WHERE pick.id > ? AND pick.id <= ? AND slate.purpose = 'audit' AND pick.outcome = 'pick'
                AND rater.kind = 'human' AND winner.t != loser.t GROUP BY 1, 2, 3, 4, 5""",
                [after, until],
            )
        }

    def human_sessions(self, lease_s: float) -> list[dict[str, Any]]:
        """People's sessions that haven't withdrawn: session, rater, finished_at (or None), ended.

        A session has ended when it finished, failed the question, or was last heard of over `lease_s` seconds ago.
        """
        return list(
            self.rows(
                """SELECT session.id AS session, rater_id AS rater, finished_at,
            finished_at IS NOT NULL OR failed_at IS NOT NULL OR max(session.created_at, coalesce(
                (SELECT picked_at FROM pick WHERE session_id = session.id ORDER BY id DESC LIMIT 1), '')) < ? AS ended
            FROM session JOIN rater ON rater.id = rater_id WHERE kind = 'human' AND withdrawn_at IS NULL
            ORDER BY session.rowid""",
                [timestamp(-lease_s)],
            )
        )

    def people_at_work(self, within_s: float) -> int:
        """People who came, got a slate or answered within the last so many seconds, and haven't left since."""
        moment = timestamp(-within_s)
        return self.value(
            """SELECT count(DISTINCT rater_id) FROM session JOIN rater ON rater.id = rater_id
            WHERE kind = 'human' AND finished_at IS NULL AND failed_at IS NULL AND withdrawn_at IS NULL
            AND session.id IN (
                SELECT session_id FROM pick WHERE id > :since
                UNION SELECT leased_to FROM slate WHERE lease_until IS NOT NULL AND served_at > :moment
                UNION SELECT id FROM session WHERE created_at > :moment)""",
            {"since": self.pick_before(moment), "moment": moment},
        )

    def people_who_picked(self) -> int:
        """People's sessions with a pick that isn't practice."""
        return self.value(
            """SELECT count(*) FROM session JOIN rater ON rater.id = rater_id WHERE kind = 'human' AND EXISTS (
            SELECT 1 FROM pick JOIN slate ON slate.id = slate_id
            WHERE session_id = session.id AND purpose != 'practice' AND outcome = 'pick')"""
        )

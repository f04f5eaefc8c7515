"""What `curate fit` reads: every answer with who gave it, and what stood in its slate, as plain rows in bulk."""

from collections.abc import Iterator, Sequence

from data.records import OUTCOMES, PURPOSES
from data.store.connection import Connection
from data.store.flags import FLAGGED_RATER


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

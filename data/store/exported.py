"""What exports read: the long table from the view v_choice_long, its images, and who raters are to their panels."""

from collections.abc import Iterator, Sequence

from data.columns import NAMES, PANEL
from data.filters import Filter
from data.store.connection import Connection

VIEW_COLUMNS = tuple(name for name in NAMES if name != "study")


class Exported(Connection):
    """The choice log of `curate export`."""

    def choice_rows(
        self, where: Sequence[Filter] = (), *, panel_ids: bool = False, features: bool = False, size: int = 2_000
    ) -> Iterator[list[tuple]]:
        """The choice log of one moment, a row per position by pick and position, in lists of at most `size`.

        A row has the columns `VIEW_COLUMNS` and, with `panel_ids`, those of `data.columns.PANEL`; with `features`
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
        """How many answers, picks, raters, sessions and generations the rows of `choice_rows` have."""
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
        """How many class probabilities the study's samples have; 0 where none are kept."""
        return self.value("SELECT max(json_array_length(reward_json, '$.probs')) FROM sample") or 0

    def aliases(self) -> dict[int, str]:
        """What raters of an imported log are called in it, by rater."""
        return {row["id"]: row["alias"] for row in self.rows("SELECT id, alias FROM rater WHERE alias IS NOT NULL")}


def _condition(where: Sequence[Filter]) -> tuple[str, list[int | str | None]]:
    """SQL with marks for the values; columns and operators are those that `data.filters` knows."""
    words = {"=": "IS", "!=": "IS NOT"}
    parts = [f"{one.column} {words.get(one.operator, one.operator)} ?" for one in where]
    return " AND ".join(parts) or "1", [one.value for one in where]

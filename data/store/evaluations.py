"""What generations and the real data were measured on: rewards, labels and points as plain arrays."""

import numpy as np

from data.records import Evaluated
from data.store.connection import Connection


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
        """What generation t (None: the real data) was measured on; None where an older version kept nothing."""
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

"""The event log, and the worker's status that the pages show."""

import json
from typing import Any

from data.records import timestamp
from data.store.connection import Connection


class Journal(Connection):
    """What happened, in order; and what is going on now."""

    def log(self, actor: str, kind: str, **detail: Any) -> int:
        """Adds an event and returns its id."""
        with self.write() as db:
            cursor = db.conn.execute(
                "INSERT INTO event(at, actor, kind, detail_json) VALUES (?, ?, ?, ?)",
                [timestamp(), actor, kind, json.dumps(detail)],
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def events(self, *, kinds: tuple[str, ...] = (), after: int = 0, newest: int | None = None) -> list[dict]:
        """Events by id, of the given kinds (all when empty): id, at, actor, kind, detail. `newest` keeps the last n."""
        where = f"AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""
        rows = self.rows(
            f"SELECT * FROM event WHERE id > ? {where} ORDER BY id DESC LIMIT ?", [after, *kinds, newest or -1]
        )
        found = [{**row, "detail": json.loads(row.pop("detail_json"))} for row in rows]
        return found[::-1]

    def set_status(self, key: str, **value: Any) -> None:
        """Replaces the status kept under `key`."""
        with self.write() as db:
            db.conn.execute(
                "INSERT OR REPLACE INTO status(key, value_json, at) VALUES (?, ?, ?)",
                [key, json.dumps(value), timestamp()],
            )

    def status(self, key: str) -> dict[str, Any]:
        """The status under `key` with the time `at` which it was set; empty when there is none."""
        row = self.one("SELECT value_json, at FROM status WHERE key = ?", [key])
        return {} if row is None else {**json.loads(row["value_json"]), "at": row["at"]}

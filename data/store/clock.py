"""Leases end by the clock on the wall, because they outlive processes; this moves them along when that clock is set.

A second clock, which only goes on and which all processes of a machine share, tells when that has happened.
"""

import time
from functools import cache
from pathlib import Path

from data.store.journal import Journal

JUMP_S = 5.0  # less isn't worth it
KEY = "clock"


class Clock(Journal):
    """Whoever first notices a change of the machine's clock sets all running leases right, once."""

    _offset: float | None = None

    def follow_clock(self) -> None:
        """Moves the leases under way by as much as the machine's clock has been set since anyone last looked.

        None ends sooner or later for it. To be called before a lease is looked at; costs nothing as long as the clock
        goes on steadily.
        """
        offset = clock_offset()
        if self._offset is not None and abs(offset - self._offset) < JUMP_S:
            return
        with self.write() as db:
            known = self.status(KEY)
            same_boot = known.get("boot") == boot_id()
            jump_s = offset - known["offset"] if same_boot else 0.0
            if same_boot and abs(jump_s) < JUMP_S:
                self._offset = known["offset"]  # it stands in the database; what is only written now may be undone yet
                return
            if jump_s:
                change = f"{jump_s:+.3f} seconds"
                db.conn.execute(
                    f"""UPDATE slate SET lease_until = strftime({_FORM}, lease_until, ?),
                    served_at = strftime({_FORM}, served_at, ?) WHERE lease_until IS NOT NULL""",
                    [change, change],
                )
                self.log("curate", "clock_set", by_s=round(jump_s, 1))
            self.set_status(KEY, boot=boot_id(), offset=offset)


_FORM = "'%Y-%m-%dT%H:%M:%fZ'"  # as `data.records.timestamp` writes it


def clock_offset() -> float:
    """The clock on the wall less the steady one, in seconds: it changes only when someone sets the former."""
    while True:
        before, now, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < 0.1:  # nothing came between
            return now - before


def steady_now() -> tuple[str, float]:
    """The present by a clock that is never set: the machine's start it counts from, and seconds."""
    return boot_id(), time.monotonic()


def seconds_since(moment: tuple[str, float] | list | None) -> float | None:
    """Seconds since a `steady_now` of any process of this machine; None where the machine was started anew since."""
    if not moment or moment[0] != boot_id():
        return None
    return time.monotonic() - moment[1]


@cache
def boot_id() -> str:
    """What tells one start of this machine from another; only Linux says, elsewhere each process counts for itself."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"process started at {time.time()}"

"""The few errors of the data package that a caller tells apart; everything else is a ValueError."""

import errno
import sqlite3
from typing import Literal

StorageFault = Literal["locked", "full", "readonly", "corrupt", "unreadable"]

_SQLITE_FAULTS: dict[int, StorageFault] = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PROTOCOL: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "readonly",
    sqlite3.SQLITE_PERM: "readonly",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_IOERR: "unreadable",
    sqlite3.SQLITE_CANTOPEN: "unreadable",
}
_SYSTEM_FAULTS: dict[int, StorageFault] = {errno.ENOSPC: "full", errno.EDQUOT: "full", errno.EROFS: "readonly"}


class NewerDatabaseError(ValueError):
    """The database was written by a newer version of curate and is left as it is."""


class NotAStudyError(ValueError):
    """The file is missing, or is a SQLite database that is no study."""


class CorruptDatabaseError(RuntimeError):
    """The file is damaged or is no SQLite database."""


class BusyDatabaseError(sqlite3.OperationalError):
    """The write lock wasn't free in time; nothing was stored."""

    sqlite_errorcode = sqlite3.SQLITE_BUSY


class PickRefusedError(ValueError):
    """A pick can't be stored, or not be taken back. `reason` says why, in the words of the HTTP routes.

    Attributes:
        reason: 'unknown' (no such slate in this session), 'contradicts' (another answer is stored), 'lapsed' (the
            lease ended and the slate went back to the pool); of picks that can't be taken back 'final' (a generation
            trains on it) and 'late' (the time for it is over).
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def storage_fault(error: BaseException) -> StorageFault | None:
    """The fault of disk or file behind an error; None for any other error.

    'locked' passes by itself, 'full' and 'readonly' need the machine's administrator, 'corrupt' needs a backup, and
    'unreadable' is an error of the disk, or a file that is gone.
    """
    if isinstance(error, sqlite3.Error):
        return _SQLITE_FAULTS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if isinstance(error, CorruptDatabaseError):
        return "corrupt"
    return _SYSTEM_FAULTS.get(error.errno or 0) if isinstance(error, OSError) else None

"""The few errors of the data package that a caller tells apart; everything else is a ValueError."""


class NewerDatabaseError(ValueError):
    """The database was written by a newer version of curate and is left as it is."""


class NotAStudyError(ValueError):
    """The file is missing, or is a SQLite database that is no study."""


class CorruptDatabaseError(RuntimeError):
    """The file is damaged or is no SQLite database."""


class PickRefusedError(ValueError):
    """A pick can't be stored. `reason` says why, in the words of the HTTP routes.

    Attributes:
        reason: 'unknown' (no such slate in this session), 'contradicts' (another answer is stored), 'lapsed' (the
            lease ended and the slate went back to the pool).
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason

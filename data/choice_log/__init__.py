"""The choice log: the forms in which it leaves a study, and the way back. Each form is a `Format`."""

from data.choice_log.comparisons import CHOIX, HPD, PICKAPIC, PREFLIB, TRL
from data.choice_log.source import Format, Source, Written
from data.choice_log.tables import HF, LONG_CSV, LONG_PARQUET, WIDE_CSV

ALL = (LONG_CSV, LONG_PARQUET, WIDE_CSV, CHOIX, TRL, PICKAPIC, HPD, PREFLIB, HF)
FORMATS = {format_.name: format_ for format_ in ALL}

__all__ = ["FORMATS", "Format", "Source", "Written", "find_format"]


def find_format(name: str) -> Format:
    """The format of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"There is no format '{name}'; choose one of {', '.join(FORMATS)}.")
    return FORMATS[name]

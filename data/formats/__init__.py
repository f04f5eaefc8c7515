"""The forms in which the choice log leaves a study; each is a module with a `Format` called FORMAT."""

from data.formats import choix_json, hf, hpd, long_csv, long_parquet, pickapic, preflib, trl, wide_csv
from data.formats.records import Format, Written
from data.formats.source import Source

MODULES = (long_csv, long_parquet, wide_csv, choix_json, trl, pickapic, hpd, preflib, hf)
FORMATS = {module.FORMAT.name: module.FORMAT for module in MODULES}

__all__ = ["FORMATS", "Format", "Source", "Written", "find_format"]


def find_format(name: str) -> Format:
    """The format of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"There is no format '{name}'; choose one of {', '.join(FORMATS)}.")
    return FORMATS[name]

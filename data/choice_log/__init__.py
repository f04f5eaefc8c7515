"""The choice log: the forms in which it leaves a study, and the way back. Each form is a `Format`."""

from data.choice_log.formats import FORMATS, find_format
from data.choice_log.source import Format, Source, Written

__all__ = ["FORMATS", "Format", "Source", "Written", "find_format"]

"""What a study says to its raters: the Markdown of [journey], made into HTML once, with any HTML in it escaped."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from markdown_it import MarkdownIt

from loop.config import StudyConfig

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True, slots=True)
class JourneyTexts:
    """The texts of a study's journey as HTML; an empty one belongs to a step that is left out."""

    consent: str = ""
    instructions: str = ""
    question: str = ""
    closing: str = ""
    thanks: str = ""

    @classmethod
    def of(cls, config: StudyConfig, folder: Path) -> Self:
        """The texts of a study whose .md files lie in `folder`.

        Raises:
            ValueError: a file that isn't there, or isn't text.
        """
        names = (one.name for one in fields(cls))
        return cls(**{name: _html(name, getattr(config.journey, name), folder) for name in names})


def _html(name: str, text: str, folder: Path) -> str:
    if text.endswith(".md") and "\n" not in text and " " not in text:
        text = _read(name, text, folder)
    return _markdown.render(text)


def _read(name: str, file: str, folder: Path) -> str:
    if Path(file).name != file:
        raise ValueError(f"journey.{name} names {file}; the file must lie in the study's folder itself.")
    try:
        return (folder / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"journey.{name} names {file}, which can't be read as text in {folder}: {error}") from None

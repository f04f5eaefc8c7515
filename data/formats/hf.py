"""hf: a folder that `datasets.load_dataset` opens, one row per answer with its images."""

from collections.abc import Iterator
from pathlib import Path

from data.columns import Column
from data.formats.picks import images_of
from data.formats.records import Field, Format, Written
from data.formats.source import Source
from data.formats.tables import in_batches, write_table


def write(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each answer; columns of positions are lists in display order."""
    answers = [column for column in source.columns if column.of_answer]
    items = [column for column in source.columns if not column.of_answer and column.name not in ("position", "picked")]
    fields = (
        Field("images", "image", "what was shown, in display order; null where no image was kept", many=True),
        Field("picked", "integer", "index of the picked one in the lists; null where nothing was picked"),
        *(Field(column.name, column.kind, column.about) for column in answers),
        *(Field(column.name, column.kind, f"{column.about}; a list, in display order", many=True) for column in items),
    )
    rows = _rows(source, answers, items)
    return Written(write_table(path, fields, in_batches(rows, [one.name for one in fields])), fields)


def _rows(source: Source, answers: list[Column], items: list[Column]) -> Iterator[tuple]:
    for answer in source.answers():
        picked = answer.picked
        yield (
            images_of(source, answer),
            None if picked is None else answer.items.index(picked),
            *(answer.values[column.name] for column in answers),
            *([item[column.name] for item in answer.items] for column in items),
        )


FORMAT = Format(
    name="hf",
    file="data/train-00000-of-00001.parquet",
    about="One row per answer with its images in display order, for Hugging Face's datasets.",
    reading='from datasets import load_dataset\n\nanswers = load_dataset(".")["train"]\nanswers[0]["images"]',
    write=write,
    folder_only=True,
)

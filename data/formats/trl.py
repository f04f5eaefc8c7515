"""trl: pairs of a chosen and a rejected image, as preference trainers take them."""

from collections.abc import Iterator
from pathlib import Path

from data.formats.picks import COMMON, Comparisons, common
from data.formats.records import Field, Format, Written
from data.formats.source import Source
from data.formats.tables import in_batches, write_table

FIELDS = (
    Field("prompt", "text", "empty: the generator is unconditional"),
    Field("chosen", "image", "what was picked"),
    Field("rejected", "image", "what was shown beside it"),
    Field("chosen_sample_id", "integer", "the picked sample"),
    Field("rejected_sample_id", "integer", "the other sample"),
    *COMMON,
)


def write(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each picked image and each image beside it."""
    found = Comparisons(source)
    n = write_table(path, FIELDS, in_batches(_rows(found), [one.name for one in FIELDS]))
    return Written(n, FIELDS, dict(found.left_out))


def _rows(found: Comparisons) -> Iterator[tuple]:
    for answer, winner, losers, images in found.pictured():
        for loser in losers:
            shown = (images[winner["position"]], images[loser["position"]])
            yield ("", *shown, winner["sample_id"], loser["sample_id"], *common(answer))


FORMAT = Format(
    name="trl",
    file="pairs.parquet",
    about="One row per picked image and image beside it, for TRL's preference trainers and other DPO code.",
    reading='from datasets import load_dataset\n\npairs = load_dataset("parquet", data_files="pairs.parquet")["train"]',
    write=write,
    limits="A slate of K images gives K - 1 rows, which are not independent: keep those of one slate_id together when "
    "you split, and count choices, not rows. The prompt is empty.",
)

"""pickapic: the columns of the Pick-a-Pic data set."""

from collections.abc import Iterator
from pathlib import Path

from data.formats.picks import Comparisons
from data.formats.records import Field, Format, Written
from data.formats.source import Source
from data.formats.tables import in_batches, write_table

FIELDS = (
    Field("are_different", "boolean", "1: the two images differ"),
    Field("best_image_uid", "text", "hash of the picked image"),
    Field("caption", "text", "empty: the generator is unconditional"),
    Field("created_at", "text", "when, UTC"),
    Field("has_label", "boolean", "1: one was picked"),
    Field("image_0_uid", "text", "hash of the image that stood first"),
    Field("image_1_uid", "text", "hash of the other image"),
    Field("jpg_0", "image", "the first image (a PNG, whatever the column is called)"),
    Field("jpg_1", "image", "the other image"),
    Field("label_0", "number", "1 where the first was picked, else 0"),
    Field("label_1", "number", "1 where the other was picked, else 0"),
    Field("model_0", "text", "the generation that drew the first"),
    Field("model_1", "text", "the generation that drew the other"),
    Field("ranking_id", "integer", "the answer; rows of one answer are one choice, not several"),
    Field("slate_id", "integer", "the slate"),
    Field("user_id", "text", "pseudonym of who picked"),
)


def write(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each picked image and each image beside it, in display order."""
    found = Comparisons(source)
    n = write_table(path, FIELDS, in_batches(_rows(found), [one.name for one in FIELDS]))
    return Written(n, FIELDS, dict(found.left_out))


def _rows(found: Comparisons) -> Iterator[tuple]:
    for answer, winner, losers, images in found.pictured():
        values = answer.values
        for loser in losers:
            first, second = sorted((winner, loser), key=lambda item: item["position"])
            uids = first["image_sha256"], second["image_sha256"]
            label = float(first is winner)
            yield (
                int(uids[0] != uids[1]), winner["image_sha256"], "", values["picked_at"], 1, *uids,
                images[first["position"]], images[second["position"]], label, 1 - label,
                f"generation-{first['sample_generation']}", f"generation-{second['sample_generation']}",
                values["choice_id"], values["slate_id"], values["rater"],
            )  # fmt: skip


FORMAT = Format(
    name="pickapic",
    file="train.parquet",
    about="One row per picked image and image beside it, with the columns of Pick-a-Pic, for PickScore and "
    "Diffusion-DPO code.",
    reading='from datasets import load_dataset\n\npairs = load_dataset("parquet", data_files="train.parquet")["train"]',
    write=write,
    limits="There are no ties: answers that picked nothing are left out. user_id is a text, ranking_id joins the K - 1 "
    "rows of one answer, and the columns jpg_0 and jpg_1 hold PNGs.",
)

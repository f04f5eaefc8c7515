"""Formats of comparisons: choix, PrefLib, HPD v2, Pick-a-Pic, TRL."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.choice_log.source import (
    COMMON,
    Comparisons,
    Field,
    Format,
    Items,
    Source,
    Written,
    common,
    in_batches,
    write_table,
)

PICKAPIC_FIELDS = (
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
TRL_FIELDS = (
    Field("prompt", "text", "empty: the generator is unconditional"),
    Field("chosen", "image", "what was picked"),
    Field("rejected", "image", "what was shown beside it"),
    Field("chosen_sample_id", "integer", "the picked sample"),
    Field("rejected_sample_id", "integer", "the other sample"),
    *COMMON,
)


def write_choix(source: Source, path: Path) -> Written:
    """Writes one JSON object: n_items, items (what each is), data (the picks) and slate_ids (beside data)."""
    with source.store.read():
        items, found = Items(source), Comparisons(source)
        n, slates = 0, []
        with path.open("w", encoding="utf-8") as file:
            file.write(f'{{"n_items": {len(items)},\n"items": [')
            for i, (sample, generation, label, sha256) in enumerate(items.described()):
                one = {"sample_id": sample, "generation": generation, "label": label, "image_sha256": sha256}
                file.write((",\n" if i else "\n") + json.dumps(one))
            file.write('\n],\n"data": [')
            for answer, winner, losers in found.picks():
                one = [items.number(winner["sample_id"]), [items.number(loser["sample_id"]) for loser in losers]]
                file.write((",\n" if n else "\n") + json.dumps(one))
                slates.append(answer.values["slate_id"])
                n += 1
            file.write(f'\n],\n"slate_ids": {json.dumps(slates)}\n}}\n')
    return Written(n, left_out=dict(found.left_out))


CHOIX = Format(
    name="choix",
    file="choix.json",
    about="Top-1 lists, one per pick, for choix.",
    reading='import choix, json\n\nlog = json.load(open("choix.json"))\n'
    "label = [item['label'] for item in log['items']]\n"
    "data = [(label[w], [label[i] for i in losers]) for w, losers in log['data']]\n"
    "utilities = choix.opt_top1(max(label) + 1, data, alpha=0.1)",
    write=write_choix,
    limits="An item is a sample, and most samples stand in one slate only, so that their utilities can't be told "
    "apart: replace items by their label or generation, as above, before you fit.",
)


def write_hpd(source: Source, path: Path) -> Written:
    """Writes a JSON list with a record for each picked image and each image beside it, in display order."""
    found, n = Comparisons(source), 0
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for record in _records(found):
            file.write((",\n" if n else "\n") + json.dumps(record, ensure_ascii=False))
            n += 1
        file.write("\n]\n")
    return Written(n, left_out=dict(found.left_out))


def _records(found: Comparisons) -> Iterator[dict[str, Any]]:
    for answer, winner, losers, _ in found.pictured():
        for loser in losers:
            pair = sorted((winner, loser), key=lambda item: item["position"])
            yield {
                "prompt": "",
                "image_path": [f"images/{item['image_sha256']}.png" for item in pair],
                "human_preference": [int(item is winner) for item in pair],
                "user_hash": answer.values["rater"],
                "slate_id": answer.values["slate_id"],
                "choice_id": answer.values["choice_id"],
            }


HPD = Format(
    name="hpd",
    file="train.json",
    about="One record per picked image and image beside it, as in HPDv2's train.json, for HPSv2's training code.",
    reading='import json\n\npairs = json.load(open("train.json"))',
    write=write_hpd,
    limits="The records of one slate_id are one choice among K images, not K - 1 independent ones. The prompt is "
    "empty.",
    folder_only=True,
)


def write_pickapic(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each picked image and each image beside it, in display order."""
    found = Comparisons(source)
    n = write_table(path, PICKAPIC_FIELDS, in_batches(_pickapic_rows(found), [one.name for one in PICKAPIC_FIELDS]))
    return Written(n, PICKAPIC_FIELDS, dict(found.left_out))


def _pickapic_rows(found: Comparisons) -> Iterator[tuple]:
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


PICKAPIC = Format(
    name="pickapic",
    file="train.parquet",
    about="One row per picked image and image beside it, with the columns of Pick-a-Pic, for PickScore and "
    "Diffusion-DPO code.",
    reading='from datasets import load_dataset\n\npairs = load_dataset("parquet", data_files="train.parquet")["train"]',
    write=write_pickapic,
    limits="There are no ties: answers that picked nothing are left out. user_id is a text, ranking_id joins the K - 1 "
    "rows of one answer, and the columns jpg_0 and jpg_1 hold PNGs.",
)


def write_preflib(source: Source, path: Path) -> Written:
    """Writes a .toi file; equal orders share a line, so all orders are held in memory."""
    with source.store.read():
        items, found = Items(source), Comparisons(source)
        orders = Counter(
            _order(items.number(winner["sample_id"]), [items.number(loser["sample_id"]) for loser in losers])
            for _, winner, losers in found.picks()
        )
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for name, value in _head(source, path.name, len(items), orders).items():
                file.write(f"# {name}: {value}\n")
            for i, (sample, generation, _, _) in enumerate(items.described()):
                file.write(f"# ALTERNATIVE NAME {i + 1}: sample {sample} of generation {generation}\n")
            for order, n in sorted(orders.items(), key=lambda one: (-one[1], one[0])):
                file.write(f"{n}: {order}\n")
    return Written(orders.total(), left_out=dict(found.left_out))


def _order(winner: int, losers: list[int]) -> str:
    others = ",".join(str(one + 1) for one in sorted(losers))
    return f"{winner + 1},{{{others}}}" if len(losers) > 1 else f"{winner + 1},{others}"


def _head(source: Source, name: str, n: int, orders: Counter[str]) -> dict[str, str | int]:
    today = datetime.now(UTC).date().isoformat()
    return {
        "FILE NAME": name,
        "TITLE": " ".join(source.study.split()),
        "DESCRIPTION": "The picked sample of each slate before the others, which are tied; the rest is unranked.",
        "DATA TYPE": "toi",
        "MODIFICATION TYPE": "original",
        "RELATES TO": "",
        "RELATED FILES": "",
        "PUBLICATION DATE": today,
        "MODIFICATION DATE": today,
        "NUMBER ALTERNATIVES": n,
        "NUMBER VOTERS": orders.total(),
        "NUMBER UNIQUE ORDERS": len(orders),
    }


PREFLIB = Format(
    name="preflib",
    file="picks.toi",
    about="One order per pick, for PrefLib's tools.",
    reading="from preflibtools.instances import OrdinalInstance\n\n"
    'orders = OrdinalInstance("picks.toi").flatten_strict()',
    write=write_preflib,
    limits="A .toi file holds no raters, times, positions or generations of slates. Its voters are picks, not people; "
    "what wasn't picked is tied, which it needn't have been; and most samples stand in one order only.",
)


def write_trl(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each picked image and each image beside it."""
    found = Comparisons(source)
    n = write_table(path, TRL_FIELDS, in_batches(_trl_rows(found), [one.name for one in TRL_FIELDS]))
    return Written(n, TRL_FIELDS, dict(found.left_out))


def _trl_rows(found: Comparisons) -> Iterator[tuple]:
    for answer, winner, losers, images in found.pictured():
        for loser in losers:
            shown = (images[winner["position"]], images[loser["position"]])
            yield ("", *shown, winner["sample_id"], loser["sample_id"], *common(answer))


TRL = Format(
    name="trl",
    file="pairs.parquet",
    about="One row per picked image and image beside it, for TRL's preference trainers and other DPO code.",
    reading='from datasets import load_dataset\n\npairs = load_dataset("parquet", data_files="pairs.parquet")["train"]',
    write=write_trl,
    limits="A slate of K images gives K - 1 rows, which are not independent: keep those of one slate_id together when "
    "you split, and count choices, not rows. The prompt is empty.",
)

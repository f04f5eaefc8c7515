"""hpd: JSON as the training split of the Human Preference Dataset v2 has it, with images by path."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats.picks import Comparisons
from data.formats.records import Format, Written
from data.formats.source import Source


def write(source: Source, path: Path) -> Written:
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


FORMAT = Format(
    name="hpd",
    file="train.json",
    about="One record per picked image and image beside it, as in HPDv2's train.json, for HPSv2's training code.",
    reading='import json\n\npairs = json.load(open("train.json"))',
    write=write,
    limits="The records of one slate_id are one choice among K images, not K - 1 independent ones. The prompt is "
    "empty.",
    folder_only=True,
)

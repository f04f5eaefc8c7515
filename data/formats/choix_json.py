"""choix: top-1 lists, [winner, [losers]] each, and what the items are."""

import json
from pathlib import Path

from data.formats.items import Items
from data.formats.picks import Comparisons
from data.formats.records import Format, Written
from data.formats.source import Source


def write(source: Source, path: Path) -> Written:
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


FORMAT = Format(
    name="choix",
    file="choix.json",
    about="Top-1 lists, one per pick, for choix.",
    reading='import choix, json\n\nlog = json.load(open("choix.json"))\n'
    "label = [item['label'] for item in log['items']]\n"
    "data = [(label[w], [label[i] for i in losers]) for w, losers in log['data']]\n"
    "utilities = choix.opt_top1(max(label) + 1, data, alpha=0.1)",
    write=write,
    limits="An item is a sample, and most samples stand in one slate only, so that their utilities can't be told "
    "apart: replace items by their label or generation, as above, before you fit.",
)

"""preflib: orders with ties, incomplete (.toi): the picked sample before all others of its slate."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from data.formats.items import Items
from data.formats.picks import Comparisons
from data.formats.records import Format, Written
from data.formats.source import Source


def write(source: Source, path: Path) -> Written:
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


FORMAT = Format(
    name="preflib",
    file="picks.toi",
    about="One order per pick, for PrefLib's tools.",
    reading="from preflibtools.instances import OrdinalInstance\n\n"
    'orders = OrdinalInstance("picks.toi").flatten_strict()',
    write=write,
    limits="A .toi file holds no raters, times, positions or generations of slates. Its voters are picks, not people; "
    "what wasn't picked is tied, which it needn't have been; and most samples stand in one order only.",
)

"""How the generator has moved: the first and the latest generation, and the class whose share grew the most."""

from collections.abc import Sequence
from typing import Any

from data.records import Generation

LEAST_GROWTH = 0.01  # less is noise on 2,000 samples


def movement(generations: Sequence[Generation]) -> dict[str, Any]:
    """{first, latest, moved}: sheets as {t, grid, columns}, `moved` as {name, before, after} or None.

    Generations without a contact sheet are passed over; `first` and `latest` are None when there is none.
    """
    shown = [generation for generation in generations if generation.metrics.get("grid_sha256")]
    if not shown:
        return {"first": None, "latest": None, "moved": None}
    first, latest = shown[0], shown[-1]
    return {"first": _sheet(first), "latest": _sheet(latest), "moved": grown(first, latest)}


def grown(first: Generation, latest: Generation) -> dict[str, Any] | None:
    """The class whose share grew the most between two generations; None where none did, or shares are unknown."""
    before, after = first.metrics.get("class_shares") or [], latest.metrics.get("class_shares") or []
    if not before or len(before) != len(after):
        return None
    most = max(range(len(after)), key=lambda label: after[label] - before[label])
    if after[most] - before[most] < LEAST_GROWTH:
        return None
    return {"name": class_name(latest, most), "before": before[most], "after": after[most]}


def class_name(generation: Generation, label: int) -> str:
    """What the study calls a class; its number where it has no name."""
    names = generation.metrics.get("class_names") or []
    return str(names[label]) if label < len(names) else str(label)


def _sheet(generation: Generation) -> dict[str, Any]:
    sha256 = generation.metrics["grid_sha256"]
    columns = generation.metrics.get("grid_columns")
    return {"t": generation.t, "grid": f"/img/{sha256}.png", "columns": columns}

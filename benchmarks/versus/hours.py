"""Hours of 20 generations of the paper's size: each measured piece times how often it occurs."""

from typing import Any

from loop.study import configure

SAMPLES = 50_000  # a generation, picked from in slates of K (Ferbach et al. 2024)
SIDES = ("plain", "ours")


def hours(record: dict[str, Any], evaluated: int) -> dict[str, Any]:
    """The extrapolation, with its pieces.

    Args:
        record: of `report.summary`, with the requested sizes.
        evaluated: samples that the measured generation was evaluated on.
    """
    paper, requested = configure("cifar10"), record["asked"]
    k, stages = int(paper.curation.k), record["stages"]
    steps = {side: record["step_s"][side] or stages["fine-tune"][f"{side}_s"] / requested["steps"] for side in SIDES}
    pieces = [
        _piece("sample an image", SAMPLES, _per_item(stages["sample"], requested["samples"])),
        _piece("score an image", SAMPLES, _per_item(stages["score"], requested["samples"])),
        _piece("pick and store a slate", SAMPLES // k, _per_item(stages["pick and store"], requested["samples"] // k)),
        _piece("fine-tune by a step", paper.train.finetune_steps, steps),
        _piece("evaluate an image", paper.evaluation.samples, _per_item(stages["evaluate"], evaluated)),
    ]
    generations = paper.generations
    for piece in pieces:
        for side in SIDES:
            piece[f"{side}_h"] = generations * piece["count"] * piece[f"{side}_s"] / 3600
    totals = {f"{side}_h": sum(piece[f"{side}_h"] for piece in pieces) for side in SIDES}
    return {"generations": generations, "pieces": pieces, **totals}


def _per_item(row: dict[str, float], n: int) -> dict[str, float]:
    return {side: row[f"{side}_s"] / n for side in SIDES}


def _piece(name: str, count: int, seconds: dict[str, float]) -> dict[str, Any]:
    return {"name": name, "count": count, **{f"{side}_s": seconds[side] for side in SIDES}}

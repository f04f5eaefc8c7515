"""What 20 generations of the paper's size would take: each measured piece times how often it occurs."""

from typing import Any

from loop.study import configure

SAMPLES = 50_000  # a generation, picked from in slates of K (Ferbach et al. 2024)
SIDES = ("plain", "ours")


def hours(found: dict[str, Any], evaluated: int) -> dict[str, Any]:
    """The extrapolation, with its pieces.

    Args:
        found: what `report.summary` gave, with what was asked for.
        evaluated: samples that the measured generation was evaluated on.
    """
    paper, asked = configure("cifar10"), found["asked"]
    k, stages = int(paper.curation.k), found["stages"]
    steps = {side: found["step_s"][side] or stages["fine-tune"][f"{side}_s"] / asked["steps"] for side in SIDES}
    pieces = [
        _piece("sample an image", SAMPLES, _each(stages["sample"], asked["samples"])),
        _piece("score an image", SAMPLES, _each(stages["score"], asked["samples"])),
        _piece("pick and store a slate", SAMPLES // k, _each(stages["pick and store"], asked["samples"] // k)),
        _piece("fine-tune by a step", paper.train.finetune_steps, steps),
        _piece("evaluate an image", paper.evaluation.samples, _each(stages["evaluate"], evaluated)),
    ]
    generations = paper.generations
    for piece in pieces:
        for side in SIDES:
            piece[f"{side}_h"] = generations * piece["count"] * piece[f"{side}_s"] / 3600
    totals = {f"{side}_h": sum(piece[f"{side}_h"] for piece in pieces) for side in SIDES}
    return {"generations": generations, "pieces": pieces, **totals}


def _each(row: dict[str, float], n: int) -> dict[str, float]:
    return {side: row[f"{side}_s"] / n for side in SIDES}


def _piece(name: str, count: int, seconds: dict[str, float]) -> dict[str, Any]:
    return {"name": name, "count": count, **{f"{side}_s": seconds[side] for side in SIDES}}

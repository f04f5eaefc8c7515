"""The researcher's page's curves: measured, from the generations' metrics; predicted, from the evidence kept last."""

from collections.abc import Sequence
from typing import Any

from curate_app.charts import Chart, Line, Point, number
from curate_app.rater.movement import class_name
from curate_app.report.charts import BOUND, is_simulated, predictions
from data.records import Generation
from loop.evidence.schema import Evidence
from loop.evidence.study import kept
from loop.study import Study

MEASURED = "measured, with its 95 % interval"
MOVED = 0.01  # of the samples: a share that changed by less has not moved


class KeptEvidence:
    """What the worker left last of a study's evidence, read anew only when there is something new."""

    def __init__(self, study: Study):
        self._study = study
        self._read: tuple[str | None, Evidence | None] = (None, None)

    def __call__(self) -> Evidence | None:
        """The evidence; None before the first generation, or where another version left it."""
        at = self._study.store.status("evidence").get("at")
        if at != self._read[0]:
            self._read = (at, kept(self._study))
        return self._read[1]


def reward_chart(
    generations: Sequence[Generation], real: dict[str, Any], evidence: Evidence | None = None
) -> Chart | None:
    """Mean reward with its interval and predictions; None before the first measurement."""
    points = _points(generations, "mean_reward")
    if not points:
        return None
    a, b = points[0], points[-1]
    spoken = f"Mean reward from {number(a.value, 3)} at generation {a.t} to {number(b.value, 3)} at generation {b.t}."
    ahead = predictions(evidence.generations, lambda law: law.mean_reward) if evidence else []
    lines = [Line("generator", points, loud=True, legend=MEASURED if ahead else ""), *ahead]
    return Chart("mean reward", spoken, lines, real.get("mean_reward", {}).get("value"), "real data")


def weight_chart(generations: Sequence[Generation], real: dict[str, Any], evidence: Evidence | None) -> Chart | None:
    """E[w] with its predictions and floors; None where nothing was predicted, as of people's picks."""
    points = _points(generations, "mean_w")
    if (
        not points
        or evidence is None
        or not is_simulated(evidence)
        or not any(g.predicted for g in evidence.generations)
    ):
        return None
    names = sorted({name for one in evidence.generations for name in one.floors})
    floors = [
        Line(
            name,
            [Point(g.t, g.floors[name]) for g in evidence.generations if name in g.floors],
            look="bound",
            legend=BOUND,
        )
        for name in names
    ]
    ahead = predictions(evidence.generations, lambda law: law.mean_w)
    lines = [Line("generator", points, loud=True, legend=MEASURED), *ahead, *floors]
    spoken = f"E[w], w = exp(r), is {number(points[-1].value)} at generation {points[-1].t}."
    return Chart("E[w]", spoken, lines, real.get("mean_w", {}).get("value"), "real data")


def shares_chart(
    generations: Sequence[Generation], real: dict[str, Any], evidence: Evidence | None = None
) -> Chart | None:
    """The share of every class; the one that moved most is loud, and the real data's share of it is the reference."""
    measured = [generation for generation in generations if generation.metrics.get("class_shares")]
    if not measured:
        return None
    first, last = measured[0].metrics["class_shares"], measured[-1].metrics["class_shares"]
    classes = range(min(len(generation.metrics["class_shares"]) for generation in measured))
    moved = max(classes, key=lambda label: abs(last[label] - first[label]))
    ahead = predictions(evidence.generations, lambda law: law.class_shares[moved]) if evidence else []
    lines = [
        Line(
            class_name(measured[-1], label),
            [Point(generation.t, generation.metrics["class_shares"][label]) for generation in measured],
            loud=label == moved,
            legend="measured" if ahead and label == moved else "",
        )
        for label in classes
    ]
    name, shares = class_name(measured[-1], moved), real.get("class_shares") or []
    spoken = f"Share of class {name} moved most: from {first[moved]:.0%} to {last[moved]:.0%} of the samples."
    if abs(last[moved] - first[moved]) < MOVED:
        spoken = "The share of no class has moved by a percentage point."
    reference = shares[moved] if moved < len(shares) else None
    return Chart("share of samples", spoken, [*lines, *ahead], reference, f"{name}, real", "{:.0%}".format, floor=0.0)


def _points(generations: Sequence[Generation], key: str) -> list[Point]:
    return [
        Point(generation.t, found["value"], found.get("se") or 0.0)
        for generation in generations
        if (found := generation.metrics.get(key)) and found.get("value") is not None
    ]

"""Doses and responses: the measurements of each combination of a sweep at the last generation, over its seeds."""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.stats import t as student_t

from data.measurements import LanguageFigures, Mean
from loop.evidence.schema import Estimate, Evidence
from loop.evidence.study import evidence_of
from loop.study import Study
from loop.sweep.grid import Cell, combinations

LANGUAGE: dict[str, Callable[[LanguageFigures], Mean | None]] = {
    "cross-entropy": lambda by: by.cross_entropy,
    "L1 from t = 0": lambda by: by.l1_first,
    "L1 from t = 1": lambda by: by.l1_second,
    "rare tokens": lambda by: by.rare_share,
}


class OverSeeds(Estimate):
    """A mean over seeds, with the value of each."""

    each: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """The response of one combination at its last generation; intervals are over seeds where there are two or more.

    Attributes:
        values: the swept settings.
        seeds: studies that it rests on.
        t: the generation.
        mean_reward: E[r].
        gain: of E[w], w = exp(r), since generation 0.
        transmission: measured over predicted gains of E[w], each summed over the generations.
        mean_reward_predicted: from generation 0 by the exact operator, mean over seeds; None where unknown.
        gain_predicted: likewise.
        language: of texts, the figures of `LANGUAGE` by name; empty for all else.
    """

    values: dict[str, Any]
    seeds: int
    t: int
    mean_reward: OverSeeds
    gain: OverSeeds
    transmission: OverSeeds | None
    mean_reward_predicted: float | None
    gain_predicted: float | None
    language: dict[str, OverSeeds] = field(default_factory=dict)


def responses(folder: Path, cells: Sequence[Cell], last: int) -> list[Response]:
    """The responses of all combinations, from their studies that have reached generation `last`."""
    rows = []
    for group in combinations(cells):
        evidence = []
        for cell in group:
            if (folder / cell.name).exists():
                study = Study.open(folder / cell.name)
                with closing(study.store):
                    evidence.append(evidence_of(study))
        reached = [study for study in evidence if len(study.generations) > last]
        if reached:
            rows.append(response(dict(group[0].values), reached, last))
    return rows


def response(values: dict[str, Any], studies: Sequence[Evidence], last: int) -> Response:
    """The response of one combination at generation `last`, from the studies of its seeds."""
    ends = [(study.generations[0], study.generations[last]) for study in studies]
    gains = []
    for first, end in ends:
        now, before = end.measured.mean_w, first.measured.mean_w
        gains.append(Estimate.of(now.value - before.value, math.hypot(now.se, before.se)))
    predicted = [(first, end.predicted_from_start) for first, end in ends if end.predicted_from_start]
    carried = [ratio for study in studies if (ratio := transmission(study, last))]
    written = [by for _, end in ends if (by := end.language)]
    language = {name: [mean for by in written if (mean := of(by))] for name, of in LANGUAGE.items()}
    return Response(
        values=values,
        seeds=len(studies),
        t=last,
        mean_reward=over_seeds([end.measured.mean_reward for _, end in ends]),
        gain=over_seeds(gains),
        transmission=over_seeds(carried) if carried else None,
        mean_reward_predicted=_mean([end.mean_reward.value for _, end in predicted]),
        gain_predicted=_mean([end.mean_w.value - first.measured.mean_w.value for first, end in predicted]),
        language={
            name: over_seeds([Estimate.of(mean.value, mean.se) for mean in means])
            for name, means in language.items()
            if 0 < len(means) == len(studies)
        },
    )


def transmission(study: Evidence, last: int) -> Estimate | None:
    """Measured over predicted gain of E[w], each summed over the generations; None if there was little to gain."""
    so_far = study.generations[last].transmission_so_far
    return so_far.ratio if so_far else None


def over_seeds(values: Sequence[Estimate]) -> OverSeeds:
    """The mean over seeds with Student's 95% interval from their spread; one seed keeps its own interval."""
    n, by_seed = len(values), tuple(estimate.value for estimate in values)
    if n == 1:
        return OverSeeds(**values[0].model_dump(include=set(Estimate.model_fields)), each=by_seed)
    mean = sum(by_seed) / n
    se = math.sqrt(sum((value - mean) ** 2 for value in by_seed) / (n - 1) / n)
    reach = float(student_t.ppf(0.975, n - 1)) * se
    return OverSeeds(value=mean, se=se, low=mean - reach, high=mean + reach, each=by_seed)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

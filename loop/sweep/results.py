"""Doses and responses: the measurements of each combination of a sweep at the last generation, over its seeds.

Beside its controls, too: the gain beyond that of the same loop without choice, or with a generator that copies.
"""

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
from loop.sweep.grid import CONTROLS, Cell, combinations, controlled

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
        control: which of the controls this is; empty for a combination.
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
    control: str = ""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The gain of one combination beside that of one of its controls, on the same seeds.

    Attributes:
        name: of the combination, as its studies' folders have it.
        control: which one.
        seeds: that both have reached the last generation on.
        gain: of E[w] since generation 0.
        control_gain: likewise.
        beyond: the difference, seed by seed; its interval is over seeds where there are two or more.
    """

    name: str
    control: str
    seeds: int
    gain: OverSeeds
    control_gain: OverSeeds
    beyond: OverSeeds


def reached(folder: Path, cells: Sequence[Cell], last: int) -> dict[str, Evidence]:
    """The evidence of the studies that have reached generation `last`, by name."""
    evidence = {}
    for cell in cells:
        if (folder / cell.name).exists():
            study = Study.open(folder / cell.name)
            with closing(study.store):
                evidence[cell.name] = evidence_of(study)
    return {name: study for name, study in evidence.items() if len(study.generations) > last}


def responses(folder: Path, cells: Sequence[Cell], last: int) -> list[Response]:
    """The responses of all combinations and controls, from their studies that have reached generation `last`."""
    evidence, rows = reached(folder, cells, last), []
    for group in combinations(cells):
        studies = [evidence[cell.name] for cell in group if cell.name in evidence]
        if studies:
            rows.append(response(dict(group[0].values), studies, last, group[0].control))
    return rows


def contrasts(folder: Path, cells: Sequence[Cell], last: int) -> list[Contrast]:
    """Each combination beside each of its controls, from studies that have reached generation `last`."""
    evidence = reached(folder, cells, last)
    by_settings = {cell.config: cell for cell in cells}
    rows = []
    for group in combinations(cells):
        for control in CONTROLS if not group[0].control else ():
            pairs = [(cell, by_settings.get(controlled(cell.config, control))) for cell in group]
            gains = [
                (gain_of(evidence[cell.name], last), gain_of(evidence[other.name], last))
                for cell, other in pairs
                if other and other is not cell and cell.name in evidence and other.name in evidence
            ]
            if not gains:
                continue
            beyond = [Estimate.of(own.value - its.value, math.hypot(own.se, its.se)) for own, its in gains]
            own, its = (over_seeds(side) for side in zip(*gains, strict=True))
            name = group[0].name.rpartition(",")[0]
            rows.append(Contrast(name, control, len(gains), own, its, over_seeds(beyond)))
    return rows


def gain_of(study: Evidence, last: int) -> Estimate:
    """The gain of E[w] from generation 0 to generation `last`."""
    now, before = study.generations[last].measured.mean_w, study.generations[0].measured.mean_w
    return Estimate.of(now.value - before.value, math.hypot(now.se, before.se))


def response(values: dict[str, Any], studies: Sequence[Evidence], last: int, control: str = "") -> Response:
    """The response of one combination or control at generation `last`, from the studies of its seeds."""
    ends = [(study.generations[0], study.generations[last]) for study in studies]
    predicted = [(first, end.predicted_from_start) for first, end in ends if end.predicted_from_start]
    carried = [ratio for study in studies if (ratio := transmission(study, last))]
    written = [by for _, end in ends if (by := end.language)]
    language = {name: [mean for by in written if (mean := of(by))] for name, of in LANGUAGE.items()}
    return Response(
        values=values,
        seeds=len(studies),
        t=last,
        mean_reward=over_seeds([end.measured.mean_reward for _, end in ends]),
        gain=over_seeds([gain_of(study, last) for study in studies]),
        transmission=over_seeds(carried) if carried else None,
        mean_reward_predicted=_mean([end.mean_reward.value for _, end in predicted]),
        gain_predicted=_mean([end.mean_w.value - first.measured.mean_w.value for first, end in predicted]),
        language={
            name: over_seeds([Estimate.of(mean.value, mean.se) for mean in means])
            for name, means in language.items()
            if 0 < len(means) == len(studies)
        },
        control=control,
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

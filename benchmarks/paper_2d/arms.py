"""The studies of one experiment and one arm (pure or mixed), and their figures by generation, over the seeds."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loop.config import StudyConfig
from loop.evidence.schema import Estimate, Evidence, GenerationEvidence
from loop.evidence.study import evidence_of
from loop.study import Study
from loop.sweep.grid import Cell, Sweep, combinations
from loop.sweep.results import OverSeeds, over_seeds, transmission

EXPERIMENTS = {"moons": "Two moons", "gaussians": "Eight Gaussians"}
GRID = {"mix.lam": [math.inf, 1]}
AT_BEST = -1e-9  # rewards above it are the highest there is, 0


def sweep_of(name: str, seeds: int, settings: Sequence[str] = ()) -> Sweep:
    """The studies of an experiment: the preset as it is but for the settings, both arms, several seeds."""
    return Sweep(name, GRID, seeds, tuple(settings))


@dataclass(frozen=True)
class Arm:
    """Studies that differ in their seed alone.

    Attributes:
        name: of the experiment.
        config: of the first seed.
        studies: their evidence, by seed.
        in_ball: by seed and generation: share of samples where the reward is highest.
        real_in_ball: by seed: the same of the real data.
        points: of the first seed by generation, (n, 2) each.
        real: of the first seed, (n, 2).
    """

    name: str
    config: StudyConfig
    studies: Sequence[Evidence]
    in_ball: np.ndarray
    real_in_ball: np.ndarray
    points: Sequence[np.ndarray]
    real: np.ndarray

    @property
    def is_pure(self) -> bool:
        """True if picks alone train."""
        return self.config.policy.is_pure

    @property
    def title(self) -> str:
        """The arm in words."""
        return "pure (λ = ∞)" if self.is_pure else f"mixed (λ = {self.config.mix.lam:g})"

    @property
    def last(self) -> int:
        """The last generation."""
        return len(self.points) - 1

    def over(self, value: Callable[[GenerationEvidence], Estimate | None]) -> list[OverSeeds]:
        """A quantity by generation; the generations for which there is none are left out at the start."""
        rows = [[value(study.generations[t]) for study in self.studies] for t in range(self.last + 1)]
        return [over_seeds([estimate for estimate in row if estimate]) for row in rows if any(row)]

    def mean_w(self) -> list[OverSeeds]:
        """E[w] by generation."""
        return self.over(lambda generation: generation.measured.mean_w)

    def mean_reward(self) -> list[OverSeeds]:
        """E[r] by generation."""
        return self.over(lambda generation: generation.measured.mean_reward)

    def ball(self) -> list[OverSeeds]:
        """The share of samples where the reward is highest, by generation."""
        return [over_seeds([Estimate.of(float(value)) for value in column]) for column in self.in_ball.T]

    def shares(self) -> np.ndarray:
        """(generations, modes) mean over seeds."""
        shares = [
            [[share.value for share in generation.measured.class_shares] for generation in study.generations]
            for study in self.studies
        ]
        return np.array(shares).mean(0)

    def real_shares(self) -> np.ndarray:
        """(modes,) of the real data, mean over seeds."""
        shares = [[share.value for share in study.real.class_shares] for study in self.studies if study.real]
        return np.array(shares).mean(0)

    def carried(self) -> OverSeeds | None:
        """Transmission over all generations."""
        ratios = [ratio for study in self.studies if (ratio := transmission(study, self.last))]
        return over_seeds(ratios) if ratios else None


def arms_of(folder: Path, sweep: Sweep) -> list[Arm]:
    """The arms of an experiment, from its finished sweep."""
    return [_arm(folder, sweep.preset, together) for together in combinations(sweep.cells())]


def _arm(folder: Path, name: str, cells: Sequence[Cell]) -> Arm:
    studies, in_ball, real_in_ball, points, real = [], [], [], [], np.empty((0, 2))
    for study in _opened(folder, cells):
        evidence = evidence_of(study)
        studies.append(evidence)
        evaluations = [study.store.evaluation(t) for t in range(len(evidence.generations))]
        in_ball.append([float((evaluation.rewards[0] >= AT_BEST).mean()) for evaluation in evaluations if evaluation])
        truth = study.store.evaluation(None)
        assert truth is not None and truth.points is not None
        real_in_ball.append(float((truth.rewards[0] >= AT_BEST).mean()))
        if not points:
            points = [evaluation.points for evaluation in evaluations if evaluation and evaluation.points is not None]
            real = truth.points
    return Arm(name, cells[0].config, studies, np.array(in_ball), np.array(real_in_ball), points, real)


def _opened(folder: Path, cells: Sequence[Cell]) -> Iterator[Study]:
    for cell in cells:
        study = Study.open(folder / cell.name)
        with closing(study.store):
            yield study

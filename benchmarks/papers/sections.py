"""The sections of `make papers`: which studies each makes, at the size for two cores and at the papers' own."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from curate_app.commands.sweep import run_sweep
from data.text import load_corpus
from loop.config import StudyConfig
from loop.evidence.schema import Evidence
from loop.evidence.study import evidence_of
from loop.policy import DataPolicy
from loop.study import Study
from loop.sweep.grid import Sweep, combinations, requested_sweep
from loop.sweep.run import standing

Scale = Literal["small", "full"]


@dataclass(frozen=True)
class Arm:
    """The studies of one policy (and temperature), which differ in their seed alone.

    Attributes:
        config: of the first.
        studies: their evidence, by seed.
        seconds: that training and measuring each later generation took, all studies' together.
    """

    config: StudyConfig
    studies: Sequence[Evidence]
    seconds: Sequence[float]

    @property
    def policy(self) -> DataPolicy:
        """The policy that trains."""
        return self.config.policy


@dataclass(frozen=True)
class Experiment:
    """The studies of one section, as a sweep, so that a run that was stopped goes on.

    Attributes:
        name: of its folder.
        preset: of every study, by scale.
        grid: by the setting's name, the values.
        generations: the last t of every study, by scale.
        settings: of every study, by scale.
    """

    name: str
    preset: Mapping[Scale, str]
    grid: Mapping[str, Sequence[Any]]
    generations: Mapping[Scale, int]
    settings: Mapping[Scale, tuple[str, ...]] = field(default_factory=dict)

    def sweep(self, scale: Scale, seeds: int, generations: int | None) -> Sweep:
        """The studies at a scale."""
        settings = self.settings.get(scale, ())
        return Sweep(self.preset[scale], self.grid, seeds, settings, generations or self.generations[scale])

    def run(self, folder: Path, sweep: Sweep, jobs: int) -> None:
        """Makes the studies that are missing.

        Raises:
            RuntimeError: some couldn't be made.
            DownloadError: their text couldn't be downloaded.
        """
        requested = requested_sweep(
            folder, sweep.preset, sweep.grid, sweep.seeds, list(sweep.settings), sweep.generations
        )
        cells = requested.cells()
        missing = [cell for cell in cells if not standing(folder, cell).reaches(requested.last)]
        data = cells[0].config.data
        if missing and data.is_text:  # downloaded once, before every study asks for it
            load_corpus(data.path, data.characters)
        if missing and not run_sweep(folder, requested, jobs, as_json=False):
            raise RuntimeError(f"Not all studies of {folder} could be made; run this again.")

    def arms(self, folder: Path, sweep: Sweep) -> list[Arm]:
        """The studies that are there, up to their last generation, by arm; arms without any are left out."""
        arms = []
        for together in combinations(sweep.cells()):
            studies, seconds = [], []
            for cell in together:
                if (folder / cell.name).exists():
                    study = Study.open(folder / cell.name)
                    with closing(study.store):
                        evidence, generations = evidence_of(study), study.store.generations()
                    if evidence.generations:
                        studies.append(evidence)
                        taken = [generation.measurements.seconds for generation in generations]
                        seconds += [some.train + some.evaluate for some in taken if some]
            if studies:
                arms.append(Arm(together[0].config, studies, seconds))
        return arms


# The smallest transformer that learns more than words: a model takes some ten seconds of one core
SMALL_GPT = (
    "data.path=", "data.n=1500", "network.width=64", "network.depth=2", "train.pretrain_steps=300",
    "train.batch_size=16", "train.pretrain_lr=0.003", "evaluation.samples=500",
)  # fmt: skip
ORIGIN = ("mix.policy=mix", "mix.origin=generation")
EXPERIMENTS = {
    "ngram": Experiment(
        "ngram",
        {"small": "text", "full": "text"},
        {"mix.policy": ["replace", "accumulate", "replace_grown", "mix"]},
        {"small": 10, "full": 50},
        {
            scale: (
                "network.draws=100", "network.order=3", "network.interpolated=false", "curation.k=1",
                "curation.picks=0", "mix.lam=1", "data.n=300", "evaluation.samples=300",
            )
            for scale in ("small", "full")
        },
    ),
    "gpt-seddik": Experiment(
        "gpt-seddik",
        {"small": "shakespeare-small", "full": "shakespeare"},
        {"mix.lam": [math.inf, 1.0, 0.25]},
        {"small": 10, "full": 10},
        {"small": (*SMALL_GPT, *ORIGIN), "full": ORIGIN},
    ),
    "gpt-gerstgrasser": Experiment(
        "gpt-gerstgrasser",
        {"small": "shakespeare-small", "full": "tinystories"},
        {"mix.policy": ["replace", "accumulate", "replace_grown"], "sampling.temperature": [1.0, 0.3]},
        {"small": 9, "full": 9},
        {"small": SMALL_GPT},
    ),
    "vae": Experiment(
        "vae",
        {"small": "vae-digits", "full": "vae-fashion"},
        {"mix.policy": ["replace", "accumulate"]},
        {"small": 10, "full": 20},
        {
            "small": ("train.pretrain_steps=300",),
            "full": ("network.width=32", "train.pretrain_steps=3000", "train.batch_size=128"),
        },
    ),
}  # fmt: skip
SECTIONS: dict[str, tuple[str, ...]] = {
    "exact": (),
    "ngram": ("ngram",),
    "2d": (),
    "vae": ("vae",),
    "gpt": ("gpt-seddik", "gpt-gerstgrasser"),
}

"""One generation by curate: the code of `curate simulate`, from the picks to the published generation.

Timers sit around it, never in it: the generator and the scorer that the loop is handed tell the time of their work.
"""

import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from loop.evaluation import Evaluator
from loop.generators import load_generator
from loop.round import next_generation
from loop.scoring import Scorer, Scores
from loop.setup import prepare_evaluator
from loop.slates import STREAMS, draw, to_pixels
from loop.study import Study
from loop.users import SimulatedUsers
from model.flow import Flow
from model.interfaces import OnStep, TrainingData
from model.sampling import derive_seeds, evaluations
from versus.clock import Clock, Pace, peak_memory
from versus.floor import matmul_rates


class TimedScorer(Scorer):
    """The study's scorer, telling the time of its work."""

    def __init__(self, scorer: Scorer, clock: Clock):
        super().__init__(scorer.config, scorer.classifier, scorer.label_names)
        self.clock = clock

    def score(self, x: torch.Tensor, on_step: OnStep | None = None, conditions: np.ndarray | None = None) -> Scores:
        """As the scorer's own."""
        with self.clock("score"):
            return super().score(x, on_step, conditions)


class TimedFlow:
    """A flow that tells the time of its work, and keeps what it drew for the comparison."""

    def __init__(self, flow: Flow, clock: Clock):
        self.flow, self.clock, self.pace = flow, clock, Pace()
        self.seeds: list[np.ndarray] = []
        self.pixels: list[np.ndarray] = []
        self.fitting = (0.0, 0.0)

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """As the flow's own."""
        with self.clock("sample"):
            x = self.flow.sample(seeds, conditions)
        with self.clock("kept for the comparison"):
            self.seeds.append(seeds)
            self.pixels.append(to_pixels(x))
        return x

    def fit(
        self, training_set: TrainingData, parent: Self | None, seed: int, on_step: OnStep | None = None, **more: Any
    ) -> Flow:
        """As the flow's own."""

        def mark(done: int, total: int) -> None:
            self.pace.mark(done)
            if on_step:
                on_step(done, total)

        began = time.perf_counter()
        with self.clock("fine-tune"):
            child = self.flow.fit(training_set, parent and parent.flow, seed, mark, **more)
        self.fitting = (began, time.perf_counter())
        return child


def run(folder: Path, out: Path) -> dict[str, Any]:
    """Takes a study at generation 0 to generation 1.

    Args:
        folder: the study.
        out: where the samples go: their seeds and pixels, of generation 0 those that were picked from, of generation
            1 those it is evaluated on.

    Returns:
        The measurements.
    """
    study, clock, warm_up = Study.open(folder), Clock(), Clock()
    with clock("once"):
        evaluator, parent = prepare_evaluator(study, _silent), _flow(study, 0)
        evaluator.of(TimedFlow(parent, warm_up), 0, None)  # reads and scores the real images; all is warm after it
    clock.seconds["once"] -= warm_up.seconds["sample"]  # which no run pays again
    timed = TimedFlow(parent, clock)
    turn_s, evaluate_s = _turn(study, evaluator, SimulatedUsers(study, TimedScorer(evaluator.scorer, clock)), timed)
    memory = peak_memory()
    seconds = dict(clock.seconds)
    recording_s = seconds.pop("kept for the comparison")
    seconds["pick and store"] = turn_s - recording_s - sum(seconds[stage] for stage in ("sample", "score", "fine-tune"))
    seconds["evaluate"] = evaluate_s
    child, config = _flow(study, 1), study.config
    evaluated = derive_seeds(config.evaluation.samples, config.seed, STREAMS["evaluation"])
    _keep(out, "parent", np.concatenate(timed.seeds), np.concatenate(timed.pixels))
    _keep(out, "child", evaluated, to_pixels(draw(child, evaluated)))
    study.store.close()
    return {
        "seconds": seconds,
        "step_s": timed.pace.seconds(),
        "evaluations": evaluations(config.sampling.solver, config.sampling.steps),
        "memory": memory,
        "matmul": matmul_rates(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "threads": torch.get_num_threads(),
    }


def _turn(study: Study, evaluator: Evaluator, users: SimulatedUsers, timed: TimedFlow) -> tuple[float, float]:
    """Seconds from the first sample to the trained generation, and from there until it is evaluated and published."""
    began = time.perf_counter()
    turn = users.curate(timed, 0)
    next_generation(study, evaluator, timed, turn, _silent)
    ended = time.perf_counter()
    return timed.fitting[1] - began, ended - timed.fitting[1]


def _flow(study: Study, t: int) -> Flow:
    generator = load_generator(study, t)
    assert isinstance(generator, Flow)
    return generator


def _keep(out: Path, name: str, seeds: np.ndarray, pixels: np.ndarray) -> None:
    np.save(out / f"{name}-seeds.npy", seeds)
    np.save(out / f"{name}.npy", pixels)


def _silent(_phase: str, _done: int, _total: int) -> None:
    pass

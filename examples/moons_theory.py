"""The paper's pure loop on two moons, and the exact choice operator beside it.

A study keeps the reward of every sample that a generation was measured on. That is all the operator needs: this script
predicts the next generation's E[w], w = exp(r), from them, and holds it against what was measured. `curate report` does
the same with intervals and verdicts.

    python examples/moons_theory.py studies/moons-theory
    python examples/moons_theory.py studies/moons-quick --generations 2 --picks 500 --steps 200
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.store import Store
from loop.simulate import simulate
from loop.study import Study, open_or_create
from loop.theory.population import mean, pure_loop, step
from loop.user_types import luce_rule
from model.luce import LuceRule


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulates the study, or goes on with it, and prints a table."""
    options = _parse(arguments)
    settings = [
        f"curation.picks={options.picks}", f"train.pretrain_steps={2 * options.steps}",
        f"train.finetune_steps={options.steps}", f"evaluation.samples={options.samples}",
    ]  # fmt: skip
    study = open_or_create(options.study, "moons", settings, seed=options.seed, generations=options.generations)
    simulate(study, options.generations, lambda phase, done, total: None)
    print_table(study)
    study.store.close()


def print_table(study: Study) -> None:
    """E[w] of each generation: measured, predicted from the one before, and predicted from generation 0 alone."""
    rule = luce_rule(study.config)
    samples = [rewards(study.store, generation.t) for generation in study.store.generations()]
    ahead = [float("nan"), *(one_step(r, rule) for r in samples[:-1])]
    first = pure_loop(samples[0], uniform(len(samples[0])), rule, len(samples) - 1)
    from_start = mean(np.exp(samples[0]), first)
    print(f"{'t':>2}  {'measured':>8}  {'one step ahead':>14}  {'from generation 0':>17}")
    for t, r in enumerate(samples):
        print(f"{t:>2}  {np.exp(r).mean():>8.4f}  {ahead[t]:>14.4f}  {from_start[t]:>17.4f}")


def rewards(store: Store, t: int) -> np.ndarray:
    """(n,) the stored rewards of the fresh samples that generation t was measured on."""
    evaluation = store.evaluation(t)
    assert evaluation is not None, f"generation {t} was published without its samples"
    return evaluation.rewards[0]


def one_step(r: np.ndarray, rule: LuceRule) -> float:
    """E[w] of what users pick from samples with these rewards: what a generator that learned it exactly would have."""
    return float(mean(np.exp(r), step(r, uniform(len(r)), rule)))


def uniform(n: int) -> np.ndarray:
    """(n,) equal masses: samples stand for their generator."""
    return np.full(n, 1 / n)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The exact operator beside a simulated moons study.")
    parser.add_argument("study", type=Path, help="its folder; made if it isn't there")
    parser.add_argument("--generations", type=int, default=5)
    parser.add_argument("--picks", type=int, default=5_000, help="a generation")
    parser.add_argument("--steps", type=int, default=1_200, help="of training a generation; twice that at first")
    parser.add_argument("--samples", type=int, default=20_000, help="that a generation is measured on")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

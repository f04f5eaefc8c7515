"""The share of the curation that a fine-tuning recipe carries over: docs/transmission.md rests on this.

    python benchmarks/transmission.py --preset moons --set reward.gamma=2 --generations 5 --seeds 3 \
        --variant "" --variant "train.finetune_steps=600" --variant "network.kind=resample"

Runs the curated loop in memory, for each variant (settings with spaces between them) and seed, from the same generation
0, which is kept in --cache. The gain that theory predicts for a generation splits the measured one in two:

    sampling = (E[w] of the training set it got - prediction) / predicted gain     the luck of finitely many picks
    learning = (E[w] measured - E[w] of the training set) / predicted gain         the generator's own error

and transmission = 1 + sampling + learning. Only learning is the recipe's to mend, and it is the less noisy.
"""

import argparse
import hashlib
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from data.datasets import load
from loop.config import StudyConfig
from loop.evidence.schema import Estimate
from loop.policy import Composition
from loop.scoring import Scorer, Scores
from loop.setup import STARTERS
from loop.slates import STREAMS, draw
from loop.study import configure
from loop.sweep.results import over_seeds
from loop.theory.population import policy_loop
from loop.training_data import Mixture, curated_count, real_only, to_tensor
from loop.user_types import curators
from loop.users import choose
from model.flow import Flow
from model.generators.resampler import Resampler
from model.interfaces import Generator, Rows
from model.judging.classifier import Classifier
from model.judging.fidelity import nearest_ratio, typical_spacing
from model.sampling import derive_seed, derive_seeds

ERRORS = {"transmission": "se", "learning": "learning_se"}
REPLICATES = 40  # of the bootstrap over the evaluation's samples
NEAREST_SAMPLES = 2_000


@dataclass(frozen=True)
class Row:
    """One generation of one seed.

    Attributes:
        se: of the transmission: of both means and the prediction (bootstrap), and of finitely many picks.
        learning_se: of the evaluation's samples alone.
        gain: predicted.
        seconds: that the fit took.
        nn: distance to the nearest real datum, over that between real data (`model.judging.fidelity.nearest_ratio`).
        ideal: E[w] over what theory predicts for this generation from generation 0.
    """

    transmission: float
    se: float
    sampling: float
    learning: float
    learning_se: float
    gain: float
    seconds: float = 0.0
    nn: float = 0.0
    ideal: float = 0.0


def main() -> None:
    """Prints a table for each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="moons", choices=["moons", "gaussians", "digits"])
    parser.add_argument("--set", action="append", default=[], dest="settings", help="for every variant")
    parser.add_argument("--variant", action="append", help="settings of one variant; '' is the preset as it stands")
    parser.add_argument("--generations", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=40_000, help="to measure each generation on")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/curate-transmission"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for variant in args.variant or [""]:
        settings = [*args.settings, *variant.split()]
        configs = [configure(args.preset, settings, seed=seed) for seed in range(args.seeds)]
        runs = [run(config, args.generations, args.samples, args.cache) for config in configs]
        print_table(variant or "the preset", runs)


def run(config: StudyConfig, generations: int, n: int, cache: Path) -> list[Row]:
    """The loop of `curate simulate` without its database, measured on n samples of each generation.

    Raises:
        ValueError: a data policy that trains on more than the real data and the latest picks.
    """
    if config.policy.accumulates:
        raise ValueError("this benchmark is for the loops of the paper: mix.policy = 'mix' or 'replace'")
    data = load(config.data, config.seed)
    real, seeds = to_tensor(data.x), derive_seeds(n, config.seed, STREAMS["evaluation"])
    scorer, spacing = _scorer(config, data.label_names), typical_spacing(real)
    generator = first_generation(config, real, cache)
    real_scores, scores = scorer.score(real), scorer.score(draw(generator, seeds))
    ideal = many_steps(config, real_scores, scores, generations)
    real_w, rows = float(np.exp(real_scores.reward).mean()), []
    for t in range(generations):
        curated = pick(config, scorer, generator, t, curated_count(config, len(real)))
        composition = config.policy.compose(len(real), [len(curated)])
        mixture = Mixture.compose(Rows(real), [Rows(curated)], composition, np.random.default_rng(0))
        started = time.monotonic()
        generator = generator.fit(mixture, generator, derive_seed(config.seed, t + 1, 0xF17))
        seconds = time.monotonic() - started
        x = draw(generator, seeds)
        before, scores = scores, scorer.score(x)
        trained = float(np.exp(scorer.score(curated).reward).mean())
        row = compare(config, before, scores, real_w, trained, composition)
        nn = nearest_ratio(x[:NEAREST_SAMPLES], real, spacing)
        rows.append(replace(row, seconds=seconds, nn=nn, ideal=float(np.exp(scores.reward).mean() / ideal[t + 1])))
    return rows


def compare(
    config: StudyConfig, before: Scores, now: Scores, real_w: float, trained: float, composition: Composition
) -> Row:
    """The gain of E[w] that was measured beside the predicted one; replicates resample the seeds that both share."""
    n, share, real_share = len(now.reward), composition.set_shares[-1], composition.real_share
    draws = np.random.default_rng(config.seed).multinomial(n, np.full(n, 1 / n), REPLICATES).T / n
    masses = np.column_stack([np.full(n, 1 / n), draws])
    w, law = np.exp(before.reward), curators(config).pick(before.operative, masses)
    started, ended, picked = w @ masses, np.exp(now.reward) @ masses, w @ law
    gain = real_share * real_w + share * picked - started
    luck = share * np.sqrt((w**2 @ law[:, 0] - picked[0] ** 2) / composition.sets[-1]) / gain[0]
    ratio = (ended - started) / gain
    return Row(
        transmission=float(ratio[0]),
        se=float(np.hypot(ratio[1:].std(ddof=1), luck)),
        sampling=float(share * (trained - picked[0]) / gain[0]),
        learning=float((ended[0] - real_share * real_w - share * trained) / gain[0]),
        learning_se=float((ended[1:] / gain[0]).std(ddof=1)),
        gain=float(gain[0]),
    )


def many_steps(config: StudyConfig, real: Scores, first: Scores, generations: int) -> np.ndarray:
    """(generations + 1,) E[w] that theory predicts, from the rewards of generation 0 and of the real data."""
    both = np.concatenate([real.operative, first.operative], axis=1)
    w = np.exp(np.concatenate([real.reward, first.reward]))
    is_real = np.arange(len(w)) < len(real.reward)
    p_ref, p0 = is_real / is_real.sum(), ~is_real / (~is_real).sum()
    return policy_loop(both, p0, p_ref, config.policy, curators(config), generations) @ w


def pick(config: StudyConfig, scorer: Scorer, generator: Generator, t: int, n: int) -> torch.Tensor:
    """(n, *shape) what simulated users pick from n fresh slates of generation t."""
    per_pick = config.curation.inf_pool if config.curation.k == "inf" else int(config.curation.k)
    x = draw(generator, derive_seeds(n * per_pick, config.seed, t, STREAMS["sim"], 0, 1))
    rng = np.random.default_rng(derive_seed(config.seed, t, STREAMS["sim"], 0, 2))
    return x[torch.from_numpy(choose(scorer.score(x).operative, n, config, rng).winners)]


def first_generation(config: StudyConfig, real: torch.Tensor, cache: Path) -> Generator:
    """The digits' starter, or a flow pretrained once for each seed and setting of it."""
    shape, tables = tuple(real.shape[1:]), (config.network, config.train, config.sampling)
    seed = derive_seed(config.seed, 0, 0xF17)
    if config.network.kind == "resample":
        return Resampler.build(shape, *tables).fit(real_only(real), None, seed)
    if real.ndim == 4:
        return Flow.load(STARTERS / config.data.dataset / "generator.safetensors", config.train, config.sampling)
    given = {key: value for key, value in config.train.model_dump().items() if key.startswith("pretrain")}
    train = configure(config.preset).train.model_copy(update=given)  # the same start, whatever the fine-tuning
    key = hashlib.sha256(repr((config.data, config.network, train, seed)).encode()).hexdigest()
    path = cache / f"{key}.safetensors"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        Flow.build(shape, config.network, train, config.sampling).fit(real_only(real), None, seed).save(path)
    return Flow.load(path, config.train, config.sampling)


def print_table(title: str, runs: list[list[Row]]) -> None:
    """Means over the seeds by generation, with the half of Student's 95% interval from the spread between them."""
    names = [field.name for field in fields(Row)]
    cells = {name: np.array([[getattr(row, name) for row in rows] for rows in runs]) for name in names}
    print(f"\n## {title}\n  t  transmission   sampling  learning        gain    ideal    NN      s")
    for t in range(len(runs[0])):
        mean = {name: values[:, t].mean() for name, values in cells.items()}
        half, own = (_half(cells[name][:, t], cells[error][:, t]) for name, error in ERRORS.items())
        print(
            f"{t + 1:>3}  {mean['transmission']:5.3f} ± {half:5.3f}   {mean['sampling']:+8.3f}  "
            f"{mean['learning']:+6.3f} ± {own:5.3f}  {mean['gain']:6.4f}  {mean['ideal']:5.3f}  {mean['nn']:4.2f}  "
            f"{mean['seconds']:5.1f}"
        )
    learning = cells["learning"]
    for seed, rows in enumerate(runs):
        print(f"seed {seed}: " + ", ".join(f"{row.transmission:.3f} ± {row.se:.3f}" for row in rows))
    print(f"learning: mean {learning.mean():+.3f}, rms {np.sqrt((learning**2).mean()):.3f}", flush=True)


def _half(values: np.ndarray, errors: np.ndarray) -> float:
    """Half of the 95% interval of a mean over seeds: seeds differ by more than the error of each tells."""
    estimates = [Estimate.of(float(value), float(se)) for value, se in zip(values, errors, strict=True)]
    mean = over_seeds(estimates)
    return (mean.high - mean.low) / 2


def _scorer(config: StudyConfig, names: tuple[str, ...]) -> Scorer:
    images = config.data.dataset == "digits"
    return Scorer(config, Classifier.load(STARTERS / "digits" / "classifier.safetensors") if images else None, names)


if __name__ == "__main__":
    main()

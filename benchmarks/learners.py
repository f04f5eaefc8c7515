"""Each learner against its own population law: moons and gaussians, from one generation 0 a seed; and DPO on digits.

    make learners                                     # five seeds; writes docs/learners.md (half an hour on two cores)
    python benchmarks/learners.py --seeds 1 --only moons --out t.md

All arms of a seed learn from the same generation 0; those with the same K see the same slates and picks. Intervals are
Student's, over seeds.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from machine import commit, machine
from scipy.stats import t as student

DOCUMENT = Path(__file__).parents[1] / "docs" / "learners.md"
GAMMA = 2.0
POINTS = ("curation.k=4", "curation.picks=5000", "mix.lam=inf", f"reward.gamma={GAMMA}", "evaluation.samples=5000")
DIGITS = ("curation.k=4", "curation.picks=1200", "mix.lam=inf", "reward.kind=class_prob", "reward.target=7",
          f"reward.gamma={GAMMA}", "evaluation.samples=1000")  # fmt: skip
PREFERENCE = ("dpo", "luce_dpo")
LAWS = 2_000  # samples that a divergence from the parent is a mean over


@dataclass(frozen=True)
class Arm:
    """A learner with its settings.

    Attributes:
        name: in the table.
        settings: beside those of the data set.
    """

    name: str
    settings: tuple[str, ...]


ARMS = (
    Arm("curate", ()),
    Arm("curate, K = inf", ('curation.k="inf"',)),
    Arm("reward_weighted, τ = 1", ("learner.kind=reward_weighted",)),
    Arm("best_of_k, K = 4", ("learner.kind=best_of_k",)),
    *(
        Arm(f"{kind}, β = {beta:g}" + (f", {steps:,} steps" if steps != 1_000 else ""),
            (f"learner.kind={kind}", f"learner.beta={beta}", f"train.finetune_steps={steps}"))
        for kind in PREFERENCE
        for beta, steps in ((1.0, 1_000), (2.0, 1_000))
    ),
)  # fmt: skip
ON_DIGITS = (
    Arm("curate", ()),
    *(Arm(f"{kind}, β = {beta:g}", (f"learner.kind={kind}", f"learner.beta={beta}"))
      for kind in PREFERENCE for beta in (1.0, 0.3)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """One generation of one arm.

    Attributes:
        before: E[r] of generation 0.
        measured: E[r] of generation 1.
        predicted: E[r] by the learner's population law.
        transmission: of E[w], measured over predicted gain.
        kl: KL(p_1 || p_0), measured from exact densities; NaN for images.
        kl_target: of the population law, on generation 0's samples.
        fd: Fréchet distance from the real images; NaN for points.
        seconds: of training.
    """

    before: float
    measured: float
    predicted: float
    transmission: float
    kl: float
    kl_target: float
    fd: float
    seconds: float


def run_seed(dataset: str, seed: int) -> list[Outcome]:
    """All arms of one seed."""
    from threadpoolctl import threadpool_limits

    from loop.simulate import simulate
    from loop.study import Study, configure

    arms, shared = (ON_DIGITS, DIGITS) if dataset == "digits" else (ARMS, POINTS)
    outcomes, donor = [], None
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        for number, arm in enumerate(arms):
            config = configure(dataset, [*shared, *arm.settings], seed=seed)
            study = Study.create(Path(folder) / str(number), config)
            simulate(study, 1, lambda *_: None, donor)
            outcomes.append(outcome(study))
            donor = donor or study
    return outcomes


def outcome(study) -> Outcome:
    """The figures of a study's first round."""
    from loop.evidence.study import build

    evidence, generations = build(study), study.store.generations()
    first, latest = evidence.generations[0], evidence.generations[1]
    assert latest.predicted is not None and latest.transmission is not None
    ratio, distances = latest.transmission.ratio, generations[1].measurements.distances
    seconds = generations[1].measurements.seconds
    kl, kl_target = divergences(study)
    return Outcome(
        first.measured.mean_reward.value,
        latest.measured.mean_reward.value,
        latest.predicted.mean_reward.value,
        ratio.value if ratio else float("nan"),
        kl,
        kl_target,
        float(distances.fd) if distances and distances.fd is not None else float("nan"),
        seconds.train if seconds else float("nan"),
    )


def divergences(study) -> tuple[float, float]:
    """KL(p_1 || p_0) of the two flows, where they are of points, and KL(target || p_0) on generation 0's samples."""
    import torch

    from loop.generators import load_generator
    from loop.theory.population import kl
    from loop.user_types import target
    from model.density import PointDensity
    from model.flow import Flow

    evaluated, aim = study.store.evaluation(0), target(study.config)
    assert evaluated is not None and aim is not None
    uniform = np.full(len(evaluated.labels), 1 / len(evaluated.labels))
    wanted = kl(aim.pick(evaluated.rewards[:1], uniform), uniform)
    parent, child = load_generator(study, 0), load_generator(study, 1)
    if not isinstance(parent, Flow) or not isinstance(child, Flow) or len(parent.shape) != 1:
        return float("nan"), wanted
    own = PointDensity(child.network, study.config.sampling).of_seeds(np.arange(LAWS, dtype=np.int64) + 10**9)
    there, close = PointDensity(parent.network, study.config.sampling).at(own.x1)
    ratios = (own.log_density - there.log_density)[close]
    return float(ratios[torch.isfinite(ratios)].mean()), wanted


def interval(values: Sequence[float], digits: int = 2) -> str:
    """A mean over seeds with Student's 95% interval."""
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    if not len(x):
        return "–"
    if len(x) == 1:
        return f"{x[0]:.{digits}f}"
    half = student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return f"{x.mean():.{digits}f} ({x.mean() - half:.{digits}f} to {x.mean() + half:.{digits}f})"


def table(dataset: str, runs: list[list[Outcome]]) -> str:
    """The table of a data set: a row for each arm, means over seeds."""
    digits = dataset == "digits"
    arms = ON_DIGITS if digits else ARMS
    head = ["learner", "E[r] before", "by its law", "measured", "transmission of E[w]"]
    head += ["FD"] if digits else ["KL(p₁‖p₀) of its law", "measured"]
    lines = ["| " + " | ".join([*head, "training, s"]) + " |", "|" + "---|" * (len(head) + 1)]
    for number, arm in enumerate(arms):
        of = [run[number] for run in runs]
        cells = [
            arm.name,
            f"{np.mean([row.before for row in of]):.2f}",
            f"{np.mean([row.predicted for row in of]):.2f}",
            interval([row.measured for row in of]),
            interval([row.transmission for row in of]),
            *([interval([row.fd for row in of])] if digits else [
                f"{np.mean([row.kl_target for row in of]):.2f}", interval([row.kl for row in of])
            ]),
            f"{np.mean([row.seconds for row in of]):.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def paired(runs: list[list[Outcome]], arms: Sequence[Arm], first: str, second: str) -> str:
    """E[r] of one arm less another's, paired by seed."""
    names = [arm.name for arm in arms]
    i, j = names.index(first), names.index(second)
    return interval([run[i].measured - run[j].measured for run in runs], 3)


HEAD = """# Learners: other ways to use the same slates

`learner.kind` says how a round's slates become the next generation. Each has a law that it would reach with unlimited
slates and a perfect generator, p being the parent's law, so prediction, transmission and verdicts speak of each:

| `learner.kind` | trains on | population law | source |
|---|---|---|---|
| `curate` | what was picked | `p H^K` | Ferbach et al. 2024; the same as RAFT, ReST, fine-tuning on the chosen |
| `reward_weighted` | all samples, by `exp(τ r)` | `p exp(τ r) / Z`; at τ = 1 it is K = ∞ | 2502.06061, for flows |
| `best_of_k` | the best of each slate | `K p F^(K-1)`, KL at most log K − (K−1)/K | BOND (2407.14622) |
| `dpo` | the picked one against one other | at its optimum `p exp(r / β) / Z` | Diffusion-DPO (2311.12908) |
| `luce_dpo` | the picked one against all others | the same | derived for this project (`model/preferences.py`) |

`reward_weighted` and `best_of_k` go by the study's reward where simulated users pick, and by utilities fitted to all
picks so far where people do. Real data join the first three by λ. `dpo` and `luce_dpo` learn from slates alone
(`mix.lam = inf`), work for flows, and estimate the log-likelihood ratio by the flow-matching loss weighted by t / (1
− t), over `learner.draws` pairs of time and noise that the slate's items and both models share. Where users lapse or
favour a position no law is claimed of them. The theorem's own claims (C1 to C6) are about `curate`.

    curate simulate S --preset moons --set curation.k=4 --set learner.kind=luce_dpo --set learner.beta=1
    curate replay MY-STUDY --learner dpo --out BY-DPO      # on the picks that there are, people's too

A replay by `dpo` or `luce_dpo` sets mix.lam to inf by itself; `reward_weighted` and `best_of_k` keep the study's.
Studies of simulated users store the images of what wasn't picked only with another learner than `curate`, so a log of
images that `curate` made can't be replayed by these; people's can.

## Which did people like best?

A replay says what another learner makes of the same picks, not whether people like it better. Ask them:

    curate audit MY-STUDY BY-DPO BY-BEST-OF-K --out AUDIT --set stop.raters=40
    curate serve AUDIT
    curate report AUDIT

AUDIT is a study of its own. Its generations 0, 1, ... are copies of the studies' last generations (`--generation T`
of all, `STUDY@T` of one; the same study twice, as in `MY-STUDY MY-STUDY@0`, shows what the loop did). All its slates
are pairs of two studies' samples, each pair of studies equally often and in either order; neither the page nor its
requests say which is whose. Nothing is ever trained. Pages, reward and data are the first study's, without its panel;
each generator is sampled with its own study's settings. Change the texts in `study.toml` first where they speak of
training.

The report has a win rate for each pair, the mean over raters of each one's share of comparisons won. Intervals are
those of [audit slates in a study](crowd.md#win-rates-while-it-runs): always valid, or for the number of raters that
`stop.raters` sets before the first pick. A verdict needs the interval at 5% over the number of pairs to exclude one
half; a study is called best where it is so preferred to each of the others. The theory's claims, predictions and
transmission are not applicable. Exports have `purpose` audit, and `sample_generation` is the number in AUDIT (`curate
status` lists which is whose). `curate crowd` rehearses an audit; `curate simulate` and `curate replay` refuse it.
"""


def document(results: dict[str, list[list[Outcome]]], seeds: int, took_s: float) -> str:
    """docs/learners.md."""
    parts = [HEAD, f"## Measured\n\nOne round from one generation 0, r = {GAMMA:g} times a ball's (points) or "
             f"a class's probability (digits), K = 4, pure loop, {seeds} seeds (means, 95% intervals of Student over "
             f"seeds); {machine()}{commit()}, {took_s / 60:.0f} min. Transmission: measured over predicted gain "
             "of E[w], by the learner's own law."]  # fmt: skip
    for dataset, runs in results.items():
        parts.append(f"### {dataset}\n\n{table(dataset, runs)}")
        arms = ON_DIGITS if dataset == "digits" else ARMS
        difference = paired(runs, arms, "luce_dpo, β = 1", "dpo, β = 1")
        parts.append(f"On the same picks, E[r] by luce_dpo less that by dpo at β = 1: {difference}.")
        if dataset != "digits":
            equal = paired(runs, arms, "reward_weighted, τ = 1", "curate, K = inf")
            parts.append(f"E[r] by reward_weighted at τ = 1 less that by curate at K = inf: {equal}.")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Runs all seeds and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=["moons", "gaussians", "digits"])
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    started, results = time.monotonic(), {}
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        for dataset in options.only:
            results[dataset] = list(pool.map(run_seed, [dataset] * options.seeds, range(options.seeds)))
            print(table(dataset, results[dataset]), flush=True)
    options.out.write_text(document(results, options.seeds, time.monotonic() - started), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Each learner against its own population law: moons and gaussians, from one generation 0 a seed; and DPO on digits.

    make learners                                     # writes docs/learners.md (25 minutes on two cores)
    python benchmarks/learners.py --only moons --keep runs.jsonl     # in parts: what is kept is joined in the document

All arms of a seed learn from the same generation 0; those with the same K and number of picks see the same slates and
picks. Intervals are Student's, over seeds.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from machine import commit, machine
from scipy.stats import t as student

DOCUMENT = Path(__file__).parents[1] / "docs" / "learners.md"
BEGIN, END = "<!-- written by benchmarks/learners.py -->", "<!-- end of what benchmarks/learners.py writes -->"
SEEDS = {"moons": 5, "gaussians": 5, "digits": 3}
GAMMA = 2.0
FEW = 300  # picks
POINTS = ("curation.k=4", "curation.picks=5000", "mix.lam=inf", f"reward.gamma={GAMMA}", "evaluation.samples=5000")
DIGITS = ("curation.k=4", "curation.picks=1200", "curation.extend=none", "mix.lam=inf", "reward.kind=class_prob",
          "reward.target=7", f"reward.gamma={GAMMA}", "evaluation.samples=1000")  # fmt: skip
PREFERENCE = ("dpo", "luce_dpo")
PLAIN, UNANCHORED = ("learner.reference_steps=0", "learner.anchor=0"), ("learner.anchor=0",)
LAWS = 1_000  # samples that a divergence from the parent is a mean over


@dataclass(frozen=True)
class Arm:
    """A learner with its settings.

    Attributes:
        name: in the table.
        settings: beside those of the data set.
    """

    name: str
    settings: tuple[str, ...]


BOTH = tuple(
    Arm(f"{kind}, β = {beta:g}", (f"learner.kind={kind}", f"learner.beta={beta}"))
    for beta in (1.0, 2.0)
    for kind in PREFERENCE
)
ON_FEW = tuple(Arm(f"{kind}, β = 1, {FEW} picks", (f"learner.kind={kind}", f"curation.picks={FEW}"))
               for kind in PREFERENCE)  # fmt: skip
LOSS_ALONE = Arm("luce_dpo, β = 1, its loss alone", ("learner.kind=luce_dpo", *PLAIN))
NO_ANCHOR = Arm("luce_dpo, β = 1, no anchor", ("learner.kind=luce_dpo", *UNANCHORED))
ARMS = {
    "gaussians": (
        Arm("curate", ()),
        Arm("curate, K = inf", ('curation.k="inf"',)),
        Arm("reward_weighted, τ = 1", ("learner.kind=reward_weighted",)),
        Arm("best_of_k, K = 4", ("learner.kind=best_of_k",)),
        *BOTH,
    ),
    "digits": (Arm("curate", ()), *BOTH[:2], NO_ANCHOR, LOSS_ALONE, *ON_FEW),
}
ARMS["moons"] = (
    *ARMS["gaussians"],
    NO_ANCHOR,
    LOSS_ALONE,
    *ON_FEW,
)


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
        fd: Fréchet distance from the real data: of images by their features, of points by their coordinates.
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


def run_seed(dataset: str, seed: int, keep: Path) -> None:
    """All arms of one seed that aren't in `keep` yet; each is written there as it ends, as a line of JSON."""
    from threadpoolctl import threadpool_limits

    from loop.simulate import simulate
    from loop.study import Study, configure

    done, donor = {row["arm"] for row in rows(keep) if (row["dataset"], row["seed"]) == (dataset, seed)}, None
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        for number, arm in enumerate(ARMS[dataset]):
            if arm.name in done:
                continue
            started, shared = time.monotonic(), DIGITS if dataset == "digits" else POINTS
            study = Study.create(Path(folder) / str(number), configure(dataset, [*shared, *arm.settings], seed=seed))
            simulate(study, 1, lambda *_: None, donor)
            row = {"dataset": dataset, "seed": seed, "arm": arm.name, "took": time.monotonic() - started}
            with keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | asdict(outcome(study))) + "\n")
            print(f"{dataset}, seed {seed}, {arm.name}: {row['took']:.0f} s", flush=True)
            donor = donor or study


def rows(keep: Path) -> list[dict[str, Any]]:
    """The outcomes kept by earlier runs."""
    return [json.loads(line) for line in keep.read_text(encoding="utf-8").splitlines()] if keep.exists() else []


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
        float(distances.fd) if distances and distances.fd is not None else distance_of_points(study),
        seconds.train if seconds else float("nan"),
    )


def distance_of_points(study) -> float:
    """Fréchet distance of generation 1's points from the real ones; NaN where they weren't stored."""
    import torch

    from model.judging.fidelity import FeatureMoments, frechet_distance

    evaluated = study.store.evaluation(1)
    if evaluated is None or evaluated.points is None:
        return float("nan")
    own = FeatureMoments.of(torch.tensor(evaluated.points, dtype=torch.float64))
    return frechet_distance(FeatureMoments.of(torch.tensor(study.real.x, dtype=torch.float64)), own)


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
    digits, arms = dataset == "digits", ARMS[dataset]
    head = ["learner", "E[r] before", "by its law", "measured", "transmission of E[w]"]
    head += ["FD"] if digits else ["KL(p₁‖p₀) of its law", "measured", "FD"]
    lines = ["| " + " | ".join([*head, "training, s"]) + " |", "|" + "---|" * (len(head) + 1)]
    for number, arm in enumerate(arms):
        of = [run[number] for run in runs]
        cells = [
            arm.name,
            f"{np.mean([row.before for row in of]):.2f}",
            f"{np.mean([row.predicted for row in of]):.2f}",
            interval([row.measured for row in of]),
            interval([row.transmission for row in of]),
            *([] if digits else [f"{np.mean([row.kl_target for row in of]):.2f}", interval([row.kl for row in of])]),
            interval([row.fd for row in of]),
            f"{np.mean([row.seconds for row in of]):.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def paired(runs: list[list[Outcome]], arms: Sequence[Arm], first: str, second: str, figure: str = "measured") -> str:
    """A figure of one arm less another's, paired by seed; E[r] unless named."""
    names = [arm.name for arm in arms]
    i, j = names.index(first), names.index(second)
    return interval([getattr(run[i], figure) - getattr(run[j], figure) for run in runs], 3)


def gap(runs: list[list[Outcome]], arms: Sequence[Arm], name: str) -> str:
    """E[r] of an arm less that of its law, by seed."""
    i = [arm.name for arm in arms].index(name)
    return interval([run[i].measured - run[i].predicted for run in runs], 3)


def measured(results: dict[str, list[list[Outcome]]], took_s: float) -> str:
    """The document's section on the runs."""
    seeds = ", ".join(f"{dataset} {len(runs)}" for dataset, runs in results.items())
    parts = [
        f"One round from one generation 0, r = {GAMMA:g} times a ball's (points) or a class's probability (digits), K "
        f"= 4, 5,000 picks (digits 1,200), pure loop; seeds: {seeds}. Means, with 95% intervals of Student over seeds; "
        f"{machine()}{commit()}, {took_s / 60:.0f} min on two cores. Transmission: measured over predicted gain of "
        "E[w], by the learner's own law. FD: Fréchet distance from the real data, of points by their coordinates."
    ]
    for dataset, runs in results.items():
        parts.append(f"### {dataset}\n\n{table(dataset, runs)}")
        arms, few = ARMS[dataset], (f", {FEW} picks", f"{FEW} picks")
        for suffix, picks in (("", "picks"), few) if ON_FEW[0] in arms else (("", "picks"),):
            names = [f"{kind}, β = 1{suffix}" for kind in ("luce_dpo", "dpo")]
            reward, distance = (paired(runs, arms, *names, figure=figure) for figure in ("measured", "fd"))
            parts.append(f"On the same {picks}, luce_dpo less dpo at β = 1: E[r] {reward}; FD {distance}.")
        if dataset != "digits":
            equal = paired(runs, arms, "reward_weighted, τ = 1", "curate, K = inf")
            parts.append(f"E[r] by reward_weighted at τ = 1 less that by curate at K = inf: {equal}.")
            gaps = (f"{kind} {gap(runs, arms, f'{kind}, β = {beta:g}')} at β = {beta:g}"
                    for kind in PREFERENCE for beta in (1.0, 2.0))  # fmt: skip
            parts.append(f"E[r] less that of p exp(r / β): {', '.join(gaps)}.")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Runs all seeds and writes the section of the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, help="of each data set; left out: " + str(SEEDS))
    parser.add_argument("--only", nargs="*", default=list(SEEDS), choices=list(SEEDS))
    parser.add_argument("--keep", type=Path, help="a file of outcomes, a line of JSON each, which are not run again")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        keep = options.keep or Path(folder) / "runs.jsonl"
        wanted = [(dataset, seed) for dataset in options.only for seed in range(options.seeds or SEEDS[dataset])]
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
            for run in [pool.submit(run_seed, dataset, seed, keep) for dataset, seed in wanted]:
                run.result()
        kept = rows(keep)
    runs: dict[tuple[str, int], dict[str, Outcome]] = {}
    for row in kept:
        figures = {field.name: row[field.name] for field in fields(Outcome)}
        runs.setdefault((row["dataset"], row["seed"]), {})[row["arm"]] = Outcome(**figures)
    results = {dataset: [[run[arm.name] for arm in arms] for (of, _), run in sorted(runs.items())
                         if of == dataset and len(run) == len(arms)] for dataset, arms in ARMS.items()}  # fmt: skip
    took_s = sum(row["took"] for row in kept) / 2
    text = measured({dataset: results[dataset] for dataset in SEEDS if results[dataset]}, took_s)
    page = options.out.read_text(encoding="utf-8") if options.out.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    options.out.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()

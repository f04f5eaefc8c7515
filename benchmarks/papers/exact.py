"""Everything that has a formula: toy models beside it, the n-gram control within a band, Theorems 1 and 3.

`measure` works it all out and gives plain values, which `make papers` keeps; `tests/benchmarks/test_papers.py` tests
the band on simulated truth.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.stats import norm

from data.text import Characters, load_corpus, windows
from loop.generators import load_generator
from loop.policy import POLICY_KINDS, DataPolicy
from loop.study import Study
from loop.sweep.grid import Sweep
from loop.theory.collapse import MeasuredMean, deviation_verdict, simulate_collapse
from loop.theory.toy_models import (
    Curve,
    GaussianModel,
    KernelModel,
    LinearModel,
    ToyModel,
    curves,
    largest_z,
    simulate_in_blocks,
    spread,
)
from loop.theory.toy_tokens import CategoricalModel, ContextModel, expected_distances

LEVEL = 0.01  # of all points of a band together
SHOWN = (1, 2, 5, 10)
LOOPS = 100  # of an independent simulation: its error is a sixth of that of three studies
ALL_POLICIES = tuple(DataPolicy(kind) for kind in POLICY_KINDS)
FOUR = tuple(DataPolicy(kind) for kind in ("replace", "replace_grown", "accumulate", "accumulate_subsample"))
VOCABULARY, TOKENS, ROWS, GENERATIONS = 600, 52, 100, 50  # of the finding on Theorem 3
LAWS = {"two tokens, 1/2 each": [0.5, 0.5], "two tokens, 9/10 and 1/10": [0.9, 0.1]}


@dataclass(frozen=True, slots=True)
class BandPoint:
    """A mean at one generation under one policy beside its exact value.

    Attributes:
        policy: in words.
        n: the fit, or the generation.
        name: of the quantity.
        exact: its expectation.
        measured: mean.
        low: lower end of the band about the exact value, and
        high: upper end, in which the means of all points lie in 99% of runs.
    """

    policy: str
    n: int
    name: str
    exact: float
    measured: float
    low: float
    high: float

    @property
    def is_inside(self) -> bool:
        """True if the mean lies within the band."""
        return bool(self.low <= self.measured <= self.high)


def band(
    values: Mapping[DataPolicy, Mapping[str, np.ndarray]], exact: Mapping[DataPolicy, Mapping[str, np.ndarray]]
) -> list[BandPoint]:
    """Means beside exact values, with a simultaneous 99% band: Bonferroni over all points that chance moves.

    Args:
        values: by policy and quantity, (generations, repetitions).
        exact: likewise, (generations,).
    """
    points = [(policy, name, n) for policy, own in values.items() for name, x in own.items() for n in range(len(x))]
    errors = {
        (p, name, n): values[p][name][n].std(ddof=1) / math.sqrt(values[p][name].shape[1]) for p, name, n in points
    }
    z = float(norm.isf(LEVEL / 2 / max(1, sum(error > 1e-12 for error in errors.values()))))
    result = []
    for policy, name, n in points:
        centre, reach = float(exact[policy][name][n]), z * errors[policy, name, n] + 1e-12
        mean = float(values[policy][name][n].mean())
        result.append(BandPoint(str(policy), n + 1, name, centre, mean, centre - reach, centre + reach))
    return result


def control_band(
    model: ContextModel, policies: Sequence[DataPolicy], generations: int, repetitions: int, seed: int
) -> list[BandPoint]:
    """The band of the n-gram control: S_m and E L2^2 under each policy, simulated beside their formulas."""
    values, exact = {}, {}
    for policy in policies:
        simulated = simulate_in_blocks(model, policy, generations, repetitions, seed, lambda share: None)
        values[policy] = {"S": simulated[:, 0], "L2²": simulated[:, 1]}
        squared = model.beside(policy, generations)["l2_squared_exact"]
        exact[policy] = {"S": model.exact(policy, generations), "L2²": squared}
    return band(values, exact)


def study_band(folder: Path, sweep: Sweep, seed: int = 0) -> list[BandPoint]:
    """The same of studies of the loop: their n-gram generators' laws after contexts of held-out text, by generation.

    Each context of each study is a repetition: contexts are resampled independently. Formulas are those of a loop that
    begins with generation 0's own laws. The L1 distance from these has none; it is held against `simulated_l1`.

    Args:
        folder: of the sweep.
        sweep: its studies, finished.
        seed: draws the contexts.
    """
    differences: dict[DataPolicy, dict[str, list[np.ndarray]]] = {}
    expected: dict[DataPolicy, dict[str, np.ndarray]] = {}
    for cell in sweep.cells():
        study, policy = Study.open(folder / cell.name), cell.config.policy
        with closing(study.store):
            laws = study_laws(study, sweep.last, seed)
        factor = spread(policy, cell.config.network.draws, sweep.last + 1)
        factor = factor / factor[0]
        truths = 1 - (laws[0] ** 2).sum(axis=1)
        own = differences.setdefault(policy, {"S": [], "L2²": [], "L1": []})
        own["S"].append((laws**2).sum(axis=2) - (1 - factor[:, None] * truths))
        own["L2²"].append(((laws - laws[0]) ** 2).sum(axis=2) - (1 - factor)[:, None] * truths)
        l1 = simulated_l1(laws[0], policy, cell.config.network.draws, sweep.last, LOOPS, np.random.default_rng(seed))
        own["L1"].append(np.abs(laws - laws[0]).sum(axis=2) - l1)
        mean = truths.mean()
        expected[policy] = {"S": 1 - factor * mean, "L2²": (1 - factor) * mean, "L1": l1.mean(axis=1)}
    values = {
        policy: {name: np.concatenate(parts, axis=1) + expected[policy][name][:, None] for name, parts in own.items()}
        for policy, own in differences.items()
    }
    return band(values, expected)


def simulated_l1(
    start: np.ndarray, policy: DataPolicy, draws: int, last: int, loops: int, rng: np.random.Generator
) -> np.ndarray:
    """(last + 1, contexts) mean L1 distance from the first laws, of loops that are none of a study's.

    Args:
        start: (contexts, tokens) generation 0's laws, which stand for the real data.
        policy: composes all draws there are by their shares.
        draws: after each context where a set is as large as the real data.
        last: generation.
        loops: to average over.
        rng: draws.
    """
    real, sets = np.broadcast_to(start, (loops, *start.shape)), []
    law, result = real, [np.zeros(len(start))]
    for t in range(1, last + 1):
        n = policy.asked(draws, t)
        sets.append(rng.multinomial(n, law / law.sum(axis=-1, keepdims=True)) / n)
        share, shares = policy.shares(draws, policy.sizes(draws, t))
        law = share * real + sum(own * part for own, part in zip(shares, sets, strict=True) if own)
        result.append(np.abs(law - start).sum(axis=-1).mean(axis=0))
    return np.stack(result)


def study_laws(study: Study, last: int, seed: int) -> np.ndarray:
    """(last + 1, contexts, tokens) laws after contexts of held-out text, different ones at generation 0."""
    config = study.config
    corpus = load_corpus(config.data.path or "python-topics", config.data.characters)
    vocabulary = Characters.of(corpus)
    drawn = windows(vocabulary.encode(corpus.held_out), config.network.order - 1, 300, np.random.default_rng(seed))
    contexts = np.unique(drawn, axis=0)
    first: Any = load_generator(study, 0)
    contexts = contexts[np.unique(first.next_laws(contexts), axis=0, return_index=True)[1]]  # unknown ones share a law
    return np.stack([cast(Any, load_generator(study, t)).next_laws(contexts) for t in range(last + 1)])


def measure(
    repetitions: int = 2_000, seed: int = 0, on_section: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """All figures, as plain values.

    Args:
        repetitions: of the toy models; the regression has as many, and the control a twentieth.
        seed: everything random comes from it.
        on_section: called with the name of what begins.
    """
    result: dict[str, Any] = {"repetitions": repetitions, "toys": {}}
    toys: dict[str, tuple[ToyModel, Sequence[DataPolicy]]] = {
        "regression, d = 10, T = 60": (LinearModel(), FOUR),
        "Gaussian, N = 20": (GaussianModel(), ALL_POLICIES),
        "kernel density, N = 20, h = 0.3": (KernelModel(), ALL_POLICIES),
        "ten tokens, N = 20": (CategoricalModel(), ALL_POLICIES),
    }
    for name, (model, policies) in toys.items():
        on_section(name)
        result["toys"][name] = toy_rows(name, model, curves(model, policies, SHOWN[-1], repetitions, seed))
    on_section("the n-gram control")
    model = ContextModel.of_text("python-topics", 200_000, 3, 300, 100, seed)
    result["control"] = [
        {**asdict(point), "inside": point.is_inside}
        for point in control_band(model, ALL_POLICIES, SHOWN[-1], max(20, repetitions // 20), seed)
    ]
    result["control_settings"] = {"contexts": len(model.laws), "draws": model.rows, "text": model.text}
    on_section("Theorem 3")
    result["theorem_3"] = theorem_3_rows(max(50, repetitions // 10), seed)
    on_section("times of total collapse")
    result["collapse"] = [
        {"law": name, **asdict(simulate_collapse(np.asarray(law), 100, repetitions, np.random.default_rng(seed)))}
        for name, law in {**LAWS, "fifty tokens, 1/50 each": [0.02] * 50, "ten tokens, as 1/i": zipf(10, 1.0)}.items()
    ]
    return result


def toy_rows(name: str, model: ToyModel, simulated: Sequence[Curve]) -> dict[str, Any]:
    """A toy model's curves at the generations that are shown."""
    rows = [
        {
            "policy": str(curve.policy),
            "points": [
                {"n": point.n, "exact": point.exact, "simulated": point.simulated, "reach": 1.96 * point.se}
                for point in curve.points
                if point.n in SHOWN
            ],
        }
        for curve in simulated
    ]
    return {"quantity": model.quantities[0], "rows": rows, "largest_z": largest_z(simulated)}


def zipf(tokens: int, exponent: float) -> np.ndarray:
    """(tokens,) a law whose i-th mass is proportional to i^-exponent."""
    masses = np.arange(1, tokens + 1) ** -exponent
    return masses / masses.sum()


def theorem_3_rows(repetitions: int, seed: int) -> list[dict[str, Any]]:
    """Theorem 3 at three numbers of synthetic rows, where 52 of 600 tokens have mass and S_0 = 0.1."""
    law = np.zeros((1, VOCABULARY))
    law[0, :TOKENS] = zipf(TOKENS, 1.1)
    rows = []
    for n in (10, 100, 1_000):
        policy = DataPolicy("mix", n / ROWS)
        simulated = simulate_in_blocks(
            ContextModel(law, ROWS), policy, GENERATIONS, repetitions, seed, lambda share: None
        )
        l1 = simulated[-1, 2]
        measured = MeasuredMean.of(float(l1.mean()), float(l1.std(ddof=1)) / math.sqrt(len(l1)), len(l1))
        derived = float(expected_distances(law, policy, ROWS, GENERATIONS)["l1_bound"][-1])
        verdict = deviation_verdict(measured, derived, ROWS, n, VOCABULARY)
        rows.append({**asdict(verdict), "bound": "inf" if verdict.bound == math.inf else verdict.bound})
    return rows

"""Solvers and grids at few evaluations of the network, against dopri5 at 1e-5 on the same noise.

    python benchmarks/sampling.py --weights generator.safetensors --classifier vgg11.safetensors --preset cifar10-small

For each the table has the evaluations, how far a sample is from the exact one (root mean square over pixels, in
[-1, 1]), how far its features are (over the spread of the exact ones' features), how often the classifier puts both in
the same class, and the Fréchet distance to the real images. `--write` keeps it in docs/sampling.md.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from machine import commit, machine

from curate_app.console import is_debug, run
from curate_app.processes import use_threads

if TYPE_CHECKING:
    import numpy as np
    import torch

    from model.flow import Flow

EVALUATIONS = (4, 6, 8, 10, 12, 16)
SHORTLIST = ("midpoint", "heun", "ab2")  # tried on every grid
DOCUMENT = Path(__file__).parents[1] / "docs" / "sampling.md"
HERE = "<!-- table -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One way of sampling: its name, evaluations, errors by pixels and by features, agreement, FD."""

    name: str
    evaluations: int
    pixels: float
    features: float
    agreement: float
    fd: float

    def cells(self) -> list[str]:
        """As the table shows them."""
        return [
            self.name, str(self.evaluations), f"{self.pixels:.4f}", f"{self.features:.3f}", f"{self.agreement:.1%}",
            f"{self.fd:.3f}",
        ]  # fmt: skip


HEADINGS = ("method", "evaluations", "pixels, RMS", "features", "same class", "FD(vgg11)")


def main() -> None:
    """Measures and prints."""
    options = arguments()
    use_threads(beside_app=False)
    rows = list(measure(options))
    lines = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)], *(row.cells() for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    section = (
        f"{datetime.now(UTC).date()}, {machine()}{commit()}: {options.samples} samples of {options.weights.name} "
        f"(preset {options.preset}), in float32 unless the row says bf16.\n\n{table}"
    )
    print(section)
    if options.write:
        text = DOCUMENT.read_text()
        before, after = text.split(HERE)[0], text.split(HERE)[-1]
        DOCUMENT.write_text(f"{before}{HERE}\n{section}\n{HERE}{after}")


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """The rows, the exact solution first."""
    import numpy as np
    import torch

    from data.datasets import load
    from loop.study import configure
    from loop.training_data import to_tensor
    from model.compute import device, precision_of, uses_bf16
    from model.flow import Flow
    from model.judging.classifier import Classifier, Judgement
    from model.judging.fidelity import Reference
    from model.sampling import GRIDS, derive_seeds, evaluations

    paths = [f"data.path={options.data}"] if options.data else []
    config = configure(options.preset, paths)
    flow = Flow.load(options.weights, config.train, config.sampling)
    judge = Classifier.load(options.classifier)
    real = load(config.data, config.seed)
    drawn = np.random.default_rng(0).choice(len(real), min(options.real, len(real)), replace=False)
    reference = Reference(torch.from_numpy(judge.judge(to_tensor(real.x[drawn])).features).to(device()), 5)
    seeds = derive_seeds(options.samples, 0x5A3B)
    exact, calls = exactly(flow, seeds)
    judged = judge.judge(exact)
    spread = np.linalg.norm(judged.features - judged.features.mean(0), axis=1).mean()

    def row(name: str, n: int, x: torch.Tensor, judgement: Judgement) -> Row:
        fd = reference.compare(torch.from_numpy(judgement.features).to(device())).fd
        return Row(
            name=name,
            evaluations=n,
            pixels=float((x - exact).square().mean().sqrt()),
            features=float(np.linalg.norm(judgement.features - judged.features, axis=1).mean() / spread),
            agreement=float((judgement.probs.argmax(1) == judged.probs.argmax(1)).mean()),
            fd=float("nan") if fd is None else fd,
        )

    yield row("dopri5 at 1e-5", round(calls), exact, judged)
    fp32 = replace(flow, network_config=flow.network_config.model_copy(update={"precision": "fp32"}))
    for solver in ("euler", "midpoint", "heun", "rk4", "ab2"):
        for grid in GRIDS if solver in SHORTLIST else ("uniform",):
            for n in EVALUATIONS:
                steps = next((steps for steps in range(1, n + 1) if evaluations(solver, steps) == n), None)
                if steps is None or (grid != "uniform" and n not in (8, 12)):
                    continue
                sampling = config.sampling.model_copy(update={"solver": solver, "steps": steps, "grid": grid})
                x = replace(fp32, sampling=sampling).sample(seeds)
                yield row(f"{solver}, {steps} steps, {grid}", n, x, judge.judge(x))
    if uses_bf16(precision_of(flow.network_config)):
        own = config.sampling
        x = flow.sample(seeds)
        n = evaluations(own.solver, own.steps)
        name = f"{own.solver}, {own.steps} steps, {own.grid}, bf16 (the preset's)"
        yield row(name, n, x, judge.judge(x))


def exactly(flow: "Flow", seeds: "np.ndarray") -> "tuple[torch.Tensor, float]":
    """The samples by dopri5 at 1e-5, and how often it evaluates the network for a batch."""
    import numpy as np
    import torch
    from torchdiffeq import odeint

    from model.compute import device
    from model.sampling import noise

    calls, parts = 0, []

    def velocity(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return flow.network(t.expand(len(x)), x)

    batches = np.array_split(seeds, -(-len(seeds) // flow.sampling.batch_size))
    times = torch.tensor([0.0, 1.0], device=device())
    flow.network.eval()
    with torch.inference_mode():
        for batch in batches:
            x0 = noise(batch, flow.shape).to(device())
            parts.append(odeint(velocity, x0, times, atol=1e-5, rtol=1e-5, method="dopri5")[-1].clamp(-1, 1).cpu())
    return torch.cat(parts), calls / len(batches)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="generator 0, from `curate pretrain`")
    parser.add_argument("--classifier", type=Path, required=True, help="from `curate reward train`")
    parser.add_argument("--preset", default="cifar10-small")
    parser.add_argument("--data", default="", help="a local copy of the images, as class folders")
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--real", type=int, default=10_000, help="real images that the FD compares with")
    parser.add_argument("--write", action="store_true", help="put the table into docs/sampling.md")
    parser.add_argument("--debug", action="store_true", help="show a failure's traceback")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(run(main, is_debug()))

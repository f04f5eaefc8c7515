"""Checks that need a GPU, in one command of a few minutes: its agreement with the CPU, and its speed.

    python benchmarks/gpu_acceptance.py --out results
    python benchmarks/gpu_acceptance.py --out results --device cpu --quick      # the script itself, on a small scale

Images are synthetic. Each part is guarded: what fails is written down, and the next one goes on. OUT/<part>.json is
written as the part ends, OUT/summary.json after each. The last part extrapolates to 20 generations of the paper's size;
the aim is under 45 minutes on one H200.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from loop.study import configure
from model import training
from model.compute import autocast, describe, use, velocity_field
from model.config import ClassifierConfig, NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.interfaces import Samples
from model.judging.classifier import Classifier, vgg11
from model.judging.classifier_training import train_classifier
from model.judging.fidelity import Reference, nearest_distances
from model.networks import build_network
from model.sampling import derive_seeds, evaluations
from model.training import Snapshotter

CLASSES = 10
AIM = 45  # minutes, on one H200
GENERATIONS, SAMPLES, EVALUATED = 20, 50_000, 10_000  # the paper's, and the preset's
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Scale:
    """The size of the measured work."""

    width: int
    depth: int
    side: int
    batch: int
    steps: int
    lots: tuple[int, ...]
    images: int
    compile: bool

    @property
    def network(self) -> NetworkConfig:
        """The UNet."""
        return NetworkConfig(kind="unet", width=self.width, depth=self.depth, dropout=0.1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image."""
        return (3, self.side, self.side)


FULL = Scale(width=128, depth=2, side=32, batch=128, steps=60, lots=(256, 1_024, 4_096), images=4_000, compile=True)
QUICK = Scale(width=32, depth=1, side=16, batch=4, steps=4, lots=(4, 8), images=60, compile=False)


class Images:
    """Synthetic images of ten classes: a hue and a stripe for each, and noise."""

    def __init__(self, n: int, side: int):
        rng = np.random.default_rng(0)
        self.labels = np.arange(n) % CLASSES
        stripe = np.sin(np.arange(side) * (1 + self.labels[:, None]) / 3)[:, None, :, None]
        hue = np.stack([np.cos(self.labels + shift) for shift in (0, 2, 4)], 1)[:, :, None, None]
        x = 0.5 * stripe + 0.4 * hue + 0.15 * rng.standard_normal((n, 3, side, side))
        self.pixels = torch.from_numpy(((x + 1) * 127.5).clip(0, 255).astype(np.uint8))

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        """(n, 3, side, side) in [-1, 1]."""
        return Samples(self.pixels[torch.from_numpy(rng.integers(len(self.pixels), size=n))].float() / 127.5 - 1)

    def write(self, folder: Path) -> None:
        """As class folders of PNGs under train/ and test/."""
        for part in ("train", "test"):
            for label in range(CLASSES):
                (folder / part / f"class-{label}").mkdir(parents=True, exist_ok=True)
        for i, pixels in enumerate(self.pixels.permute(0, 2, 3, 1).numpy()):
            part = "test" if i // CLASSES % 5 == 0 else "train"
            Image.fromarray(pixels).save(folder / part / f"class-{self.labels[i]}" / f"{i}.png")


def synchronise() -> None:
    """Waits until the GPU, where there is one, has done its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """Of one call, after one that isn't counted."""
    work()
    synchronise()
    began = time.perf_counter()
    for _ in range(repeat):
        work()
    synchronise()
    return (time.perf_counter() - began) / repeat


def environment(_scale: Scale, device: torch.device, _results: dict[str, Any]) -> dict[str, Any]:
    """The machine and the software."""
    facts: dict[str, Any] = {
        "device": describe(), "torch": torch.__version__, "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "accelerate": version("accelerate"), "cores": os.cpu_count(),
    }  # fmt: skip
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "memory_gb": round(properties.total_memory / 2**30, 1),
            "capability": list(torch.cuda.get_device_capability(device)),
            "bf16_in_hardware": torch.cuda.is_bf16_supported(including_emulation=False),
            "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
        }
    return facts


def parity(scale: Scale, device: torch.device, _results: dict[str, Any]) -> dict[str, Any]:
    """Networks and figures on the device against the CPU's: within 1e-4 in float32."""
    torch.manual_seed(0)
    network = build_network(scale.shape, scale.network).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.03)
    config = ClassifierConfig(width=64)
    judge = vgg11(scale.shape, config, CLASSES).eval()
    t, x = torch.rand(8), torch.randn(8, *scale.shape)
    differences: dict[str, Any] = {}
    with torch.inference_mode():
        for name, work in (("unet", lambda n, t, x: n(t, x)), ("vgg", lambda n, _t, x: n[0](x))):
            own = network if name == "unet" else judge
            on_cpu = work(own, t, x)
            moved = own.to(device)
            fp32 = work(moved, t.to(device), x.to(device)).float().cpu()
            with torch.autocast(device.type, torch.bfloat16):
                bf16 = work(moved, t.to(device), x.to(device)).float().cpu()
            differences[name] = {
                "fp32": float((fp32 - on_cpu).abs().max() / on_cpu.abs().max()),
                "bf16": float((bf16 - on_cpu).norm() / on_cpu.norm()),
            }
            own.cpu()
    rng = np.random.default_rng(0)
    real, other = (torch.from_numpy(rng.standard_normal((600, 64)).astype(np.float32) + shift) for shift in (0, 0.1))
    figures = [Reference(real.to(where)).compare(other.to(where)).as_json() for where in ("cpu", device)]
    differences["distances"] = {
        key: abs(figures[0][key] - figures[1][key]) for key in ("fd", "kd", "precision", "recall", "coverage")
    }
    images = Images(200, scale.side).pixels
    near = nearest_distances(images[:20], images[20:])
    exact = torch.cdist(images[:20].double().flatten(1), images[20:].double().flatten(1)).amin(1) / 127.5
    differences["nearest"] = float((near - exact).abs().max())
    worst = max(
        differences["unet"]["fp32"],
        differences["vgg"]["fp32"],
        differences["nearest"],
        *differences["distances"].values(),
    )
    return {**differences, "worst_fp32": worst, "passed": worst < 1e-4 and differences["unet"]["bf16"] < 0.05}


def memory_and_resume(scale: Scale, device: torch.device, _results: dict[str, Any]) -> dict[str, Any]:
    """Too little memory divides the work, and an interrupted training goes on to the same weights."""
    images = Images(scale.images, scale.side)
    recipe = TrainConfig(pretrain_steps=40, batch_size=scale.batch, pair_size=scale.batch, warmup_steps=2)
    network = scale.network.model_copy(update={"compile": "never"})
    flow = Flow.build(scale.shape, network, recipe, SamplingConfig(steps=2, batch_size=scale.lots[-1]))
    facts: dict[str, Any] = {}
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, 4e9 / total))
        torch.cuda.empty_cache()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                flow.sample(np.arange(scale.lots[-1]))
            facts["halved"] = sum("too little memory" in str(warning.message) for warning in caught)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()

    def stop(done: int, _total: int) -> None:
        if done == 20:
            raise InterruptedError

    with tempfile.TemporaryDirectory() as folder:
        snapshotter = Snapshotter(Path(folder) / "g.partial", "acceptance", every_s=0)
        straight = flow.fit(images, None, 1)
        with suppress(InterruptedError):
            flow.fit(images, None, 1, stop, snapshotter)
        resumed = flow.fit(images, None, 1, None, snapshotter)
    pairs = zip(straight.network.state_dict().values(), resumed.network.state_dict().values(), strict=True)
    apart = max(float((a - b).abs().max()) for a, b in pairs)
    return {**facts, "resumed_apart": apart, "passed": apart < 1e-2}


def steps(scale: Scale, device: torch.device, _results: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a training step, eager and compiled; real batches against one that is repeated shows the stall."""
    images, timings = Images(scale.images, scale.side), {}
    recipe = TrainConfig(finetune_steps=5_000, batch_size=scale.batch, pair_size=scale.batch, flip=True)
    for how in ("eager", "compiled") if scale.compile else ("eager",):
        config = scale.network.model_copy(update={"compile": "always" if how == "compiled" else "never"})
        network = build_network(scale.shape, config).to(device).train()
        average = [weight.detach().clone() for weight in network.parameters()]
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        velocity = velocity_field(network, config, recipe)

        def step(batch: training.Batch, velocity=velocity, network=network, optimiser=optimiser, average=average):
            training.backward(velocity, batch, "auto", optimiser, 1)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(average, list(network.parameters()), 0.01)

        rng, began = np.random.default_rng(0), time.perf_counter()
        drawn = training.batches(images, scale.shape, recipe, 2 * scale.steps + 3, rng, pretraining=False)
        fixed = next(drawn)
        step(fixed)
        synchronise()
        first = time.perf_counter() - began
        ahead: Iterator[training.Batch] = training.ahead(drawn)
        timings[how] = {
            "first_s": first,
            "fixed_s": seconds(lambda batch=fixed, step=step: step(batch), scale.steps),
            "real_s": seconds(lambda ahead=ahead, step=step: step(next(ahead)), scale.steps),
        }
        timings[how]["stall"] = timings[how]["real_s"] / timings[how]["fixed_s"] - 1
    for layout, form in (("first", torch.contiguous_format), ("last", torch.channels_last)):
        network = build_network(scale.shape, scale.network).to(device, memory_format=form)
        t, x = torch.rand(scale.batch, device=device), torch.randn(scale.batch, *scale.shape, device=device)
        x = x.contiguous(memory_format=form)

        def forward(network=network, t=t, x=x) -> None:
            with autocast("auto"):
                network(t, x).square().mean().backward()

        timings[f"eager_channels_{layout}_s"] = seconds(forward, max(2, scale.steps // 4))
    return timings


def sampling(scale: Scale, _device: torch.device, _results: dict[str, Any]) -> dict[str, Any]:
    """Images a second at several batch sizes, and whether a sample is the same in each."""
    solver, first, rates = SamplingConfig(steps=8), None, {}
    for lot in scale.lots:
        for how in ("never", "always") if scale.compile else ("never",):
            torch.manual_seed(0)
            config = scale.network.model_copy(update={"compile": how})
            flow = Flow.build(scale.shape, config, TrainConfig(), solver.model_copy(update={"batch_size": lot}))
            x: list[torch.Tensor] = []
            took = seconds(lambda flow=flow, lot=lot, x=x: x.append(flow.sample(derive_seeds(2 * lot, 1))))
            first = x[0][:4] if first is None else first
            rates[f"{lot}, {how}"] = {
                "images_per_s": 2 * lot / took,
                "apart": float((x[0][:4] - first).abs().max()),
                "same_alone": bool(torch.equal(flow.sample(derive_seeds(2 * lot, 1)[:4]), x[0][:4])),
            }
    return {**rates, "evaluations": evaluations(solver.solver, solver.steps)}


def one_rank(scale: Scale, device: torch.device, _results: dict[str, Any]) -> dict[str, Any]:
    """One process under torchrun: NCCL (gloo on a CPU), DDP and the collectives, in a process of its own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", __file__]
    quick = ["--quick"] if scale is QUICK else []
    done = run([*command, "--rank", "--device", device.type, *quick, "--out", "."])
    return {"passed": done.returncode == 0, "said": done.stdout[-500:], "error": done.stderr[-2_000:]}


def as_rank(scale: Scale, device: torch.device) -> None:
    """Does the work of the process that `one_rank` starts."""
    from accelerate.utils import broadcast_object_list, gather

    from model.compute import accelerator

    network = build_network(scale.shape, scale.network).to(device)
    parallel = accelerator().prepare(network)
    assert isinstance(parallel, nn.parallel.DistributedDataParallel), type(parallel)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    recipe = TrainConfig(batch_size=scale.batch, pair_size=scale.batch)
    images, rng = Images(scale.images, scale.side), np.random.default_rng(0)
    for batch in training.batches(images, scale.shape, recipe, 3, rng, pretraining=False):
        loss, _ = training.backward(parallel, batch, "auto", optimiser, 1)
        optimiser.step()
    assert torch.isfinite(loss) and len(gather(torch.ones(3, 2, device=device))) == 3  # pyright: ignore
    assert broadcast_object_list([{"t": 1}]) == [{"t": 1}]
    print("one rank:", torch.distributed.get_backend(), float(loss))


def end_to_end(scale: Scale, device: torch.device, _results: dict[str, Any]) -> dict[str, Any]:
    """`curate simulate --preset cifar10`, small, and `curate check`."""
    small = (
        f"data.size={scale.side}", f"network.width={scale.width}", f"network.depth={scale.depth}",
        "train.pretrain_steps=20",
        "train.finetune_steps=20", f"train.batch_size={scale.batch}", f"sampling.batch_size={scale.lots[0]}",
        "classifier.width=8", "classifier.epochs=1", "classifier.restart_epochs=0", "judge.width=8", "judge.epochs=1",
        "curation.picks=50", "evaluation.samples=100", "network.compile=never",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Images(scale.images, scale.side).write(Path(folder) / "images")
        study, settings = str(Path(folder) / "study"), [f"data.path={folder}/images", *small]
        curate = [sys.executable, "-m", "curate_app"]
        options = [part for setting in settings for part in ("--set", setting)]
        began = time.perf_counter()
        simulated = run([*curate, "simulate", study, "--preset", "cifar10", "--generations", "2", "--device",
                         device.type, "--json", *options])  # fmt: skip
        took = time.perf_counter() - began
        checked = run([*curate, "check", study])
    return {
        "seconds": took,
        "passed": simulated.returncode == 0 and checked.returncode == 0,
        "error": simulated.stderr[-2_000:]
        if simulated.returncode
        else checked.stdout[-2_000:]
        if checked.returncode
        else "",
    }


def hours(scale: Scale, _device: torch.device, results: dict[str, Any]) -> dict[str, Any]:
    """Minutes of 20 generations of the paper's size: measured pieces times how often they occur."""
    paper, images = configure("cifar10"), Images(scale.images, scale.side)
    step = min(results["steps"][how]["real_s"] for how in ("eager", "compiled") if how in results["steps"])
    compiling = results["steps"].get("compiled", {}).get("first_s", 0.0)
    rate = max(row["images_per_s"] for row in results["sampling"].values() if isinstance(row, dict))
    pieces = {"compiling": 2 * compiling, "training": GENERATIONS * paper.train.finetune_steps * step,
              "sampling": GENERATIONS * (SAMPLES + EVALUATED) / rate}  # fmt: skip
    judging = 0.0
    for name in ("classifier", "judge"):
        table = ClassifierConfig(**getattr(paper, name).model_dump(include=set(ClassifierConfig.model_fields)))
        short = table.model_copy(update={"epochs": 1, "restart_epochs": 0})
        began = time.perf_counter()
        trained = train_classifier(images.pixels, images.labels, tuple("abcdefghij"), short, 0)
        synchronise()
        per_image = (time.perf_counter() - began) / (0.8 * scale.images)
        pieces[f"training the {name}"] = per_image * 50_000 * (table.epochs + table.restart_epochs)
        wide = Classifier(scale.shape, trained.network, table, trained.label_names, None, 0)
        x = images.draw(min(2_048, scale.images), np.random.default_rng(1)).x
        judging += seconds(lambda wide=wide, x=x: wide.judge(x)) / len(x)
    pieces["judging"] = judging * (GENERATIONS * (SAMPLES + EVALUATED) + 50_000)
    minutes = {name: value / 60 for name, value in pieces.items()}
    together = sum(minutes.values())
    verdict = {} if scale is QUICK else {"passed": together < AIM}
    return {"minutes": minutes, "together": together, "aim": AIM, **verdict}


PARTS: tuple[Callable[[Scale, torch.device, dict[str, Any]], dict[str, Any]], ...] = (
    environment, parity, memory_and_resume, steps, sampling, one_rank, end_to_end, hours,
)  # fmt: skip


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command of this project to its end, ten minutes at the most."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env={**os.environ, "PYTHONPATH": path}
    )


def main() -> int:
    """Runs the parts; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="everything small: for trying the script")
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in PARTS], help="these parts alone")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    scale, device = QUICK if options.quick else FULL, use(options.device)
    if options.rank:
        as_rank(scale, device)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for part in PARTS:
        name = part.__name__
        if options.only and name not in options.only:
            continue
        began = time.perf_counter()
        try:
            results[name] = part(scale, device, results)
        except Exception as error:  # noqa: BLE001 - a part that fails is a result
            results[name] = {
                "passed": False,
                "error": f"{type(error).__name__}: {error}",
                "trace": traceback.format_exc(),
            }
        results[name]["took_s"] = round(time.perf_counter() - began, 1)
        (options.out / f"{name}.json").write_text(json.dumps(results[name], indent=1))
        verdict = {True: "passed", False: "FAILED", None: "measured"}[results[name].get("passed")]
        print(f"{name:<18}{verdict:<10}{results[name]['took_s']:>7.1f} s", flush=True)
        (options.out / "summary.json").write_text(json.dumps(results, indent=1))
    return int(any(part.get("passed") is False for part in results.values()))


if __name__ == "__main__":
    raise SystemExit(main())

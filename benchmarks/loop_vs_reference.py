"""One generation here and the plain way: time by stage, ratio, FD(vgg11) of both, and how near the floor each is.

    python benchmarks/loop_vs_reference.py --data cifar --samples 2000 --steps 350
    python benchmarks/loop_vs_reference.py --data cifar --weights generator.safetensors --classifier vgg11.safetensors
    python benchmarks/loop_vs_reference.py --data cifar --preset cifar10 --device cuda --samples 50000 --steps 5000

A generation: sample N images, score them, pick one of each slate by Luce's rule, fine-tune S steps on real and picked
ones. Here it is the code of `curate simulate` on a study, its database included (`versus/curate_way.py`); the plain way
is what the libraries' own examples lead to (`versus/plain_way.py`). Both have the same weights, noise, classifier, real
images and recipe, and each runs in a process of its own. Targets on two cores with the small UNet: the generation at
least 6 times faster, sampling 30, FD within 3%, and at most 15 s at the start; the step's ratio is reported, whatever
it is. On one H200 20 generations of the paper's size in under 45 minutes (`gpu_acceptance.py`).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import commit, machine

from curate_app.console import is_debug, run, turn_progress
from curate_app.processes import use_threads

if TYPE_CHECKING:
    from loop.config import StudyConfig

SURROUNDINGS = dict(os.environ)  # as they were found: each way chooses its own threads


def main() -> None:
    """Prepares the study, runs both ways, prints."""
    options = arguments()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if options.side:
        run_side(options.side, options.keep)
        return
    with tempfile.TemporaryDirectory(prefix="versus-") as scratch:
        record = measure(options, options.keep or Path(scratch), Path(scratch))
    if options.json:
        print(json.dumps(record, indent=1))
        return
    from rich.console import Console
    from versus.report import print_tables

    print_tables(record, Console())


def measure(options: argparse.Namespace, keep: Path, scratch: Path) -> dict[str, Any]:
    """All measurements, as one record."""
    base, config = keep / "study", prepared(options, keep / "study")
    runs = []
    for i in range(options.repeat):
        folder = scratch / f"run-{i}"
        (folder / "plain").mkdir(parents=True)
        (folder / "ours").mkdir()
        shutil.copytree(base, folder / "study")
        sides = {side: in_own_process(side, folder, options) for side in ("ours", "plain")}
        fd = {name: distances(folder, name) for name in ("parent", "child")}
        runs.append({**sides, "fd": fd})
        if i:
            shutil.rmtree(scratch / f"run-{i - 1}")
    from versus.hours import hours
    from versus.report import summary

    requested = {"samples": options.samples, "steps": options.steps, "repeat": options.repeat, "device": options.device}
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": device_name() or machine(),
        "software": f"curate {version('curate')}{commit()}, torch {version('torch')}",
        "asked": requested,
        "network": config.network.model_dump(),
        "sampling": config.sampling.model_dump(),
        "train": config.train.model_dump(),
        **summary(runs, {"samples": options.samples, "steps": options.steps, "batch": config.train.batch_size}),
    }
    if options.hours or options.device == "cuda":
        record["hours"] = hours(record, config.evaluation.samples)
    return record


def prepared(options: argparse.Namespace, folder: Path) -> "StudyConfig":
    """Makes the study that both ways start from, unless it is there; returns its configuration.

    Raises:
        ValueError: no images, no GPU, or what `versus.preparation` refuses.
    """
    if not (options.data / "train").is_dir():
        raise ValueError(f"There is no folder {options.data / 'train'}; --data wants class folders in train/.")
    use_threads(beside_app=False)
    import torch
    from versus.preparation import prepare, settings_of

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("There is no GPU that torch can use here; leave out --device cuda.")
    config = settings_of(options)
    with turn_progress(1, 0, quiet=options.json) as report:
        prepare(folder, config, options.weights, report)
    return config


def in_own_process(side: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Runs one way and gives what it measured."""
    command = [sys.executable, __file__, "--side", side, "--keep", str(folder), "--device", options.device]
    done = subprocess.run([*command, "--data", str(options.data)], check=False, env=SURROUNDINGS)
    if done.returncode:
        raise RuntimeError(f"The process that ran '{side}' failed; what it said stands above")
    return json.loads((folder / f"{side}.json").read_text())


def run_side(side: str, folder: Path) -> None:
    """Runs one way, in the process that measures it."""
    if side == "ours":
        use_threads(beside_app=False)
        from versus import curate_way

        measured = curate_way.run(folder / "study", folder / "ours")
    else:
        from versus import plain

        measured = plain.run(folder / "study", folder / "plain", folder / "ours")
    (folder / f"{side}.json").write_text(json.dumps(measured))


def distances(folder: Path, name: str) -> dict[str, float | None]:
    """FD(vgg11) of both ways' samples against the real images."""
    import numpy as np
    from versus.distances import frechet_distances

    real = np.load(folder / "study" / "real-features.npy")
    pixels = {side: np.load(folder / side / f"{name}.npy") for side in ("plain", "ours")}
    return frechet_distances(folder / "study", real, pixels)


def device_name() -> str:
    """The GPU's name, where there is one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with class folders of real images in train/")
    parser.add_argument("--preset", default="cifar10-small")
    parser.add_argument("--weights", type=Path, help="generator 0, a checkpoint of curate; else one is pretrained")
    parser.add_argument("--pretrain-steps", type=int, default=2_000, help="without --weights; cifar10-small's")
    parser.add_argument("--classifier", type=Path, help="from `curate reward train`; else one is trained")
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--steps", type=int, default=350, help="of the fine-tune; cifar10-small's")
    parser.add_argument("--repeat", type=int, default=1, help="runs of both; the figures are medians")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--hours", action="store_true", help="extrapolate to 20 generations, as --device cuda does")
    parser.add_argument("--keep", type=Path, help="a folder in which the study is prepared, or is already")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="other settings of the study")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--debug", action="store_true", help="show a failure's traceback")
    parser.add_argument("--side", choices=("ours", "plain"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(run(main, is_debug()))

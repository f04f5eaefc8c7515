"""Options that several verbs share, and the checks on them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loop.config import StudyConfig
    from loop.setup import Plan
    from loop.study import Study

PRESETS = (
    "flowers, digits, digits-classes, moons, gaussians, cifar10, cifar10-small, diffusers, vae-digits, vae-fashion, "
    "text, shakespeare-small, shakespeare and tinystories (both for a GPU), or folder (your own images: folder-small "
    "on a CPU, else folder-large)"
)
StudyPath = Annotated[Path, typer.Argument(help="The study's folder.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting as a.b=value; may be given again.")]
Seed = Annotated[int | None, typer.Option(help="Everything random comes from it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
Port = Annotated[int, typer.Option(min=1, max=65535)]
Device = Annotated[
    str | None,
    typer.Option("--device", help="auto (CUDA, else Apple's mps, else the CPU), cpu, cuda or mps; else study.toml's."),
]
Weights = Annotated[Path, typer.Option("--out", help="The weights' file, .safetensors; a .json comes beside it.")]
Checkpoint = Annotated[
    str,
    typer.Option(
        help="Generation 0: a file of `curate pretrain` or of torchcfm, or torchcfm-otcfm, which is downloaded."
    ),
]


def check_destination(path: Path, force: bool) -> None:
    """Refuses a path that can't be written, or that mustn't be.

    Raises:
        ValueError: a folder, a file that is there (unless `force`), or no folder for it.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; choose another --out.")
    if path.exists() and not force:
        raise ValueError(f"{path} is there already; add --force to replace it, or choose another --out.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} into.")


def check_weights_file(path: Path) -> None:
    """Refuses a path that weights can't be written to.

    Raises:
        ValueError: it doesn't end in .safetensors, or is there already.
    """
    if path.suffix != ".safetensors" or path.exists():
        raise ValueError(f"--out must be a new file that ends in .safetensors, not {path}.")


def with_checkpoint(settings: Sequence[str] | None, checkpoint: str) -> list[str]:
    """The settings with `network.file`, where a checkpoint was given; a path is made absolute."""
    from loop.presets import PUBLISHED

    if not checkpoint:
        return list(settings or ())
    file = checkpoint if checkpoint in PUBLISHED else str(Path(checkpoint).resolve())
    return [*(settings or ()), f"network.file={file}"]


def check_checkpoint(config: "StudyConfig", study: Path, device: str | None = None) -> None:
    """Compares the generator that a new study names with the study's settings; downloads it first if need be.

    Args:
        config: the study's settings.
        study: its folder; a study that exists has been checked.
        device: the command line's, where it names one.

    Raises:
        ValueError: the generator can't be read or doesn't go with the study.
        DownloadError: it can't be downloaded.
    """
    pipeline = config.network.kind == "diffusers"  # which says itself that it needs a file
    if not (config.network.file or pipeline) or study.exists():
        return
    from curate_app.console import err, phase_bars
    from curate_app.processes import use_threads
    from loop.presets import PUBLISHED, locate

    with phase_bars() as report:
        located = None if pipeline else locate(config.network, partial(report, "downloading"))
    use_threads(beside_app=False, small=config.network.kind == "mlp")
    from loop.compute import choose_device  # after use_threads: torch reads the number of threads when imported
    from loop.generators import check_pretrained

    choose_device(config, device)
    check_pretrained(config)
    if located and config.network.file in PUBLISHED:
        err.print(f"{located.source}: SHA-256 {located.sha256}")


def fitting_preset(preset: str, settings: Sequence[str] | None, device: str | None = None) -> str:
    """The preset that fits the device: of 'folder' the small one on a CPU, the large one otherwise; says which.

    Args:
        preset: as given.
        settings: of which compute.device counts.
        device: the command line's, where it names one, which counts before.
    """
    from loop.presets import FOLDER

    if preset != FOLDER:
        return preset
    from curate_app.console import err
    from curate_app.processes import use_threads
    from loop.study import configure

    device = device or configure(preset, settings or ()).compute.device
    if device == "auto":
        use_threads(beside_app=False)
        from loop.compute import usual_device  # torch

        device = usual_device()
    if device == "cpu":
        err.print("A small generator for a CPU (--preset folder-small); the one for a GPU is --preset folder-large.")
    return "folder-small" if device == "cpu" else "folder-large"


def print_plan(
    config: "StudyConfig", study: "Study | None", rounds: int = 0, *, names: Sequence[str] | None = None,
    picked: bool = False, quiet: bool = False,
) -> "Plan":  # fmt: skip
    """Prints about how long the device is to work, and what it is to do where that is over a minute; gives the plan.

    Args:
        config: the settings.
        study: that has them; None where a part of it is trained for many.
        rounds: that are to follow the preparation.
        names: of that part; see `loop.setup.plan`.
        picked: the picks of these rounds are there.
        quiet: prints nothing.
    """
    from curate_app.console import ESTIMATED_S, duration, err, plan_line, starting
    from loop.setup import FLOW_KINDS, plan  # torch
    from loop.study import SAMPLES

    if study is not None and config.data.is_text:
        read_data(study, quiet=quiet)
    starting.show("measuring a few steps of the work")
    planned, steps = plan(config, study, rounds, names, picked=picked), config.train.pretrain_steps
    if not quiet and (line := plan_line(planned, 1 if config.network.kind == "ngram" else steps)):
        trains = "pretraining" in planned.parts and config.network.kind in FLOW_KINDS and len(planned.shape) == 3
        pictures = f" Samples along the way: {study.path / SAMPLES}." if study and trains else ""
        err.print(line + pictures, markup=False)
    elif not quiet and planned.seconds >= ESTIMATED_S:
        err.print(f"About {duration(planned.seconds)} on {planned.device}.", markup=False)
    return planned


def read_data(study: "Study", *, quiet: bool = False) -> None:
    """Reads a study's data, with a bar while they are downloaded.

    Raises:
        ValueError: they can't be read, or are too few.
        DownloadError: they can't be downloaded.
    """
    from curate_app.console import phase_bars

    with phase_bars(quiet=quiet) as report:
        study.read_real(partial(report, "downloading"))

"""`curate pretrain` and `curate reward`: networks trained once for many studies, the generator and the classifier."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from curate_app.commands.options import (
    Checkpoint,
    Device,
    Json,
    Seed,
    Settings,
    Weights,
    check_weights_file,
    fitting_preset,
    print_plan,
    with_checkpoint,
)
from curate_app.console import out as console
from curate_app.console import phase_bars
from curate_app.launch import use_device
from curate_app.processes import use_threads
from loop.study import configure

DATASETS = ("digits", "cifar10", "cifar10-small", "folder")
reward = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    help="The classifier behind the rewards of images.",
)


def pretrain(
    out: Weights,
    preset: Annotated[str, typer.Option(help="Whose generator: cifar10, cifar10-small, folder, digits ...")],
    path: Annotated[str, typer.Option(help="A local copy of the images, as class folders.")] = "",
    seed: Seed = None,
    setting: Settings = None,
    checkpoint: Checkpoint = "",
    device: Device = None,
    json_: Json = False,
) -> None:
    """Train the generator that studies begin with, once for many; an interrupted run goes on with the same command.

    Pictures of samples along the way go into a folder beside the file. A study takes it with `--checkpoint FILE`.
    With `--checkpoint` here the weights are taken from there instead, and written in curate's format.

    Example: `curate pretrain --preset cifar10-small --out cifar10-small.safetensors`
    """
    check_weights_file(out)
    paths = [f"data.path={path}"] if path else []
    settings = with_checkpoint([*paths, *(setting or [])], checkpoint)
    config = configure(fitting_preset(preset, settings, device), settings, seed=seed)
    use_threads(beside_app=False, small=config.network.kind == "mlp")
    use_device(config, device)
    from loop import setup  # after use_threads: torch reads the number of threads when imported
    from loop.compute import from_main, is_main

    if not checkpoint:
        from_main(lambda: print_plan(config, None, names=["generator"]))
    with phase_bars(quiet=not is_main()) as report:
        trained = (setup.take if checkpoint else setup.pretrain)(config, out, report)
    if json_:
        print_values(path=str(out), sha256=trained.sha256, parameters=trained.parameters)
        return
    pictures = f" Samples along the way: {trained.sheets}." if trained.sheets else ""
    console.print(f"{trained.parameters:,} parameters.{pictures} Use it with: --checkpoint {out}")


@reward.command("train")
def train(
    dataset: Annotated[str, typer.Option(help=f"{', '.join(DATASETS[:-1])} or {DATASETS[-1]}.")],
    out: Weights,
    path: Annotated[str, typer.Option(help="A local copy of the images, as class folders.")] = "",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    setting: Settings = None,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Train the VGG11 that judges images, and measure its accuracy; an interrupted run goes on with the same command.

    A study takes it with `--set classifier.file=PATH`.

    Example: `curate reward train --dataset digits --out digits-vgg11.safetensors`
    """
    if dataset not in DATASETS:
        raise ValueError(
            f"There is no image data set '{dataset}'; choose {', '.join(DATASETS[:-1])} or {DATASETS[-1]}."
        )
    paths = [f"data.path={path}"] if path else []
    settings = [*paths, *(setting or [])]
    config = configure(fitting_preset(dataset, settings, device), settings, seed=seed)
    use_threads(beside_app=False)
    use_device(config, device)
    from data.datasets import load
    from loop.compute import from_main, is_main
    from loop.setup import trained

    check_weights_file(out)
    from_main(lambda: print_plan(config, None, names=["classifier"]))
    with phase_bars(quiet=not is_main()) as report:
        real = from_main(lambda: load(config.data, config.seed, on_read=partial(report, "reading images")))
        classifier = trained(config, real, "classifier", out, report)
    if json_:
        print_values(path=str(out), sha256=classifier.sha256, accuracy=classifier.accuracy)
        return
    console.print(f"Held-out accuracy {classifier.accuracy:.2%}. Use it with: --set classifier.file={out}")


@reward.command("import")
def import_(
    weights: Annotated[Path, typer.Option(help="The state dict, .pt, of huyvnphan/PyTorch_CIFAR10's vgg11_bn.")],
    out: Weights,
    path: Annotated[str, typer.Option(help="A local copy of CIFAR-10, as class folders under `test`.")] = "",
    json_: Json = False,
) -> None:
    """Turn a VGG11 of huyvnphan/PyTorch_CIFAR10 into curate's format, and measure its accuracy on the test images.

    A study takes it with `--set classifier.file=PATH`. Without the test images it is written all the same, without
    an accuracy.

    Example: `curate reward import --weights vgg11_bn.pt --out vgg11-huyvnphan.safetensors`
    """
    use_threads(beside_app=False)
    from loop.setup import imported

    check_weights_file(out)
    if path and not Path(path).is_dir():
        raise ValueError(f"There is no folder {path}; --path is for a local copy of CIFAR-10, or left out.")
    classifier, why_unknown = imported(weights, path)
    sha256 = classifier.save(out)
    if json_:
        print_values(path=str(out), sha256=sha256, accuracy=classifier.accuracy, not_measured=why_unknown)
        return
    accuracy = (
        why_unknown if classifier.accuracy is None else f"Accuracy on the test images: {classifier.accuracy:.2%}."
    )
    console.print(f"{accuracy} Use it with: --set classifier.file={out}", markup=False)


def print_values(**values: Any) -> None:
    """Prints values as JSON."""
    console.print_json(json.dumps(values))

"""`curate reward`: trains the classifier behind the rewards of images, or imports one. Imports are inside the verbs."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate_app.console import out, phase_bars
from curate_app.launch import Device, use_device

if TYPE_CHECKING:
    from loop.config import StudyConfig

app = typer.Typer(no_args_is_help=True, help="The classifier behind the rewards of images.")
Out = Annotated[Path, typer.Option(help="The weights' file, .safetensors; a .json comes beside it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]


def import_reward(weights: Path, path: Path, cifar10: str, *, as_json: bool) -> None:
    """Converts the weights and prints their accuracy on the test images, or why it isn't known.

    Args:
        weights: the other project's file.
        path: the file to write.
        cifar10: a local copy of the data; empty: downloaded.
        as_json: for a program to read.

    Raises:
        ValueError: the weights can't be read, the path is no new .safetensors, or there are no such data.
    """
    from loop.setup import imported

    check_out(path)
    if cifar10 and not Path(cifar10).is_dir():
        raise ValueError(f"There is no folder {cifar10}; --path is for a local copy of CIFAR-10, or left out.")
    found, unknown = imported(weights, cifar10)
    sha256 = found.save(path)
    if as_json:
        told = {"path": str(path), "sha256": sha256, "accuracy": found.accuracy, "not_measured": unknown}
        out.print_json(json.dumps(told))
        return
    accuracy = f"Accuracy on the test images: {found.accuracy:.2%}." if found.accuracy is not None else unknown
    out.print(f"{accuracy} Use it with: --set classifier.file={path}", markup=False)


def train_reward(config: "StudyConfig", path: Path, *, as_json: bool) -> None:
    """Trains on the configured data and writes weights and sidecar; prints the held-out accuracy.

    Interrupted, it goes on from the last time it was kept when it is called again.

    Raises:
        ValueError: the path doesn't end in .safetensors, or is there already.
    """
    from data.datasets import load
    from loop.compute import from_main, is_main
    from loop.setup import trained

    check_out(path)
    with phase_bars(quiet=not is_main()) as report:
        real = from_main(lambda: load(config.data, config.seed, on_read=partial(report, "reading images")))
        found = trained(config, real, "classifier", path, report)
    if as_json:
        out.print_json(json.dumps({"path": str(path), "sha256": found.sha256, "accuracy": found.accuracy}))
        return
    out.print(f"Held-out accuracy {found.accuracy:.2%}. Use it with: --set classifier.file={path}")


def check_out(path: Path) -> None:
    """Refuses a path that weights can't be written to.

    Raises:
        ValueError: it doesn't end in .safetensors, or is there already.
    """
    if path.suffix != ".safetensors" or path.exists():
        raise ValueError(f"--out must be a new file that ends in .safetensors, not {path}")


@app.command("train")
def train(
    dataset: Annotated[str, typer.Option(help="digits, cifar10, cifar10-small or folder.")],
    out: Out,
    path: Annotated[str, typer.Option(help="A local copy of the images, as class folders.")] = "",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting as a.b=value; may be given again.")
    ] = None,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Train the VGG11 that judges images, and measure its accuracy; an interrupted run goes on with the same command.

    A study takes it with `--set classifier.file=PATH`.

    Example: `curate reward train --dataset digits --out digits-vgg11.safetensors`
    """
    from curate_app.processes import use_threads
    from loop.study import configure

    if dataset not in ("digits", "cifar10", "cifar10-small", "folder"):
        raise ValueError(f"There is no image data set '{dataset}'; choose digits, cifar10, cifar10-small or folder.")
    paths = [f"data.path={path}"] if path else []
    config = configure(dataset, [*paths, *(setting or [])], seed=seed)
    use_threads(beside_app=False)
    use_device(config, device)

    train_reward(config, out, as_json=json_)


@app.command("import")
def import_(
    weights: Annotated[Path, typer.Option(help="The state dict, .pt, of huyvnphan/PyTorch_CIFAR10's vgg11_bn.")],
    out: Out,
    path: Annotated[str, typer.Option(help="A local copy of CIFAR-10, as class folders under `test`.")] = "",
    json_: Json = False,
) -> None:
    """Turn a VGG11 of huyvnphan/PyTorch_CIFAR10 into one of ours, and measure its accuracy on CIFAR-10's test images.

    A study takes it with `--set classifier.file=PATH`. Without the test images it is written all the same, without
    an accuracy.

    Example: `curate reward import --weights vgg11_bn.pt --out vgg11-huyvnphan.safetensors`
    """
    from curate_app.processes import use_threads

    use_threads(beside_app=False)

    import_reward(weights, out, path, as_json=json_)

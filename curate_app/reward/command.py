"""The verbs of `curate reward`: what they take, and an example of each."""

from pathlib import Path
from typing import Annotated

import typer

from curate_app.launch import Device, use_device

app = typer.Typer(no_args_is_help=True, help="The classifier behind the rewards of images.")

Out = Annotated[Path, typer.Option(help="The weights' file, .safetensors; a .json comes beside it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]


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
    from curate_app.reward.training import train_reward

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
    from curate_app.reward.importing import import_reward

    import_reward(weights, out, path, as_json=json_)

"""`curate pretrain`: the generator that studies begin with, trained once."""

import json
from pathlib import Path
from typing import Annotated

import typer

from curate_app.commands.options import Checkpoint
from curate_app.launch import Device, use_device


def pretrain(
    out: Annotated[Path, typer.Option(help="The weights' file, .safetensors; a .json comes beside it.")],
    preset: Annotated[str, typer.Option(help="Whose generator: cifar10, cifar10-small, folder, digits ...")],
    path: Annotated[str, typer.Option(help="A local copy of the images, as class folders.")] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="Everything random comes from it.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting as a.b=value; may be given again.")
    ] = None,
    checkpoint: Checkpoint = "",
    device: Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")] = False,
) -> None:
    """Train the generator that studies begin with, once for many; an interrupted run goes on with the same command.

    Pictures of samples along the way go into a folder beside the file. A study takes it with `--checkpoint FILE`.
    With `--checkpoint` here the weights are taken from there instead, and written in curate's format.

    Example: `curate pretrain --preset cifar10-small --out cifar10-small.safetensors`
    """
    from curate_app.commands.options import with_checkpoint
    from curate_app.commands.reward import check_out
    from curate_app.console import out as console
    from curate_app.console import phase_bars
    from curate_app.processes import use_threads
    from loop.study import configure

    check_out(out)
    paths = [f"data.path={path}"] if path else []
    config = configure(preset, with_checkpoint([*paths, *(setting or [])], checkpoint), seed=seed)
    use_threads(beside_app=False, small=config.network.kind == "mlp")
    use_device(config, device)
    from loop import setup
    from loop.compute import is_main

    with phase_bars(quiet=not is_main()) as report:
        made = (setup.take if checkpoint else setup.pretrain)(config, out, report)
    if json_:
        found = {"path": str(out), "sha256": made.sha256, "parameters": made.parameters}
        console.print_json(json.dumps(found))
        return
    pictures = f" Samples along the way: {made.sheets}." if made.sheets else ""
    console.print(f"{made.parameters:,} parameters.{pictures} Use it with: --checkpoint {out}")

"""Options that several verbs share: where to write, and with which checkpoint a study begins."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loop.config import StudyConfig

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


def with_checkpoint(settings: Sequence[str] | None, checkpoint: str) -> list[str]:
    """The settings with `network.file`, where a checkpoint was given; a path is made absolute."""
    from loop.presets import PUBLISHED

    if not checkpoint:
        return list(settings or ())
    file = checkpoint if checkpoint in PUBLISHED else str(Path(checkpoint).resolve())
    return [*(settings or ()), f"network.file={file}"]


def check_checkpoint(config: "StudyConfig", study: Path, device: str | None = None) -> None:
    """Holds the generator that a new study names against its settings, after downloading it if need be.

    Args:
        config: the study's settings.
        study: its folder; one that is there has been checked.
        device: the command line's, where it names one.

    Raises:
        ValueError: it can't be read or doesn't go with the study.
        DownloadError: it can't be downloaded.
    """
    if not config.network.file or study.exists():
        return
    from curate_app.console import err, phase_bars
    from curate_app.processes import use_threads
    from loop.presets import PUBLISHED, locate

    with phase_bars() as report:
        located = locate(config.network, partial(report, "downloading"))
    use_threads(beside_app=False, small=config.network.kind == "mlp")
    from loop.compute import choose_device
    from loop.generators import pretrained

    choose_device(config, device)
    pretrained(config)
    if config.network.file in PUBLISHED:
        err.print(f"{located.source}: SHA-256 {located.sha256}")

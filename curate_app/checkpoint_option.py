"""`--checkpoint` of `curate new` and `curate simulate`: another beginning than pretraining, checked beforehand."""

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


def with_checkpoint(settings: Sequence[str] | None, checkpoint: str) -> list[str]:
    """The settings with `network.file`, where a checkpoint was given; a path is made absolute."""
    from loop.published import PUBLISHED

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
    from loop.published import PUBLISHED, locate

    with phase_bars() as report:
        located = locate(config.network, partial(report, "downloading"))
    use_threads(beside_app=False, small=config.network.kind == "mlp")
    from loop.compute import choose_device
    from loop.pretrained import pretrained

    choose_device(config, device)
    pretrained(config)
    if config.network.file in PUBLISHED:
        err.print(f"{located.source}: SHA-256 {located.sha256}")

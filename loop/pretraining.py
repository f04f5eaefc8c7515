"""`curate pretrain`: generation 0 outside any study, to be used in many."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data.real import load
from loop.config import StudyConfig
from loop.generators import train_first
from loop.pretrained import pretrained
from loop.tensors import to_bytes
from model.distributed import from_main
from model.flow import Flow
from model.interfaces import Report


@dataclass(frozen=True, slots=True)
class Made:
    """A generator that was written: its file's SHA-256, how many numbers it holds, where its pictures are."""

    sha256: str
    parameters: int
    sheets: Path | None


def pretrain(config: StudyConfig, path: Path, report: Report) -> Made:
    """Trains the generator that a study with these settings would begin with, and writes it.

    Interrupted, it goes on from the last time it was kept when it is called again. Pictures of samples along the way
    go into a folder beside the file.

    Args:
        config: the settings.
        path: of the weights, .safetensors.
        report: called with the phase and how far it is.

    Raises:
        ValueError: the network doesn't go with the data.
        NonFiniteLossError: training diverged.
    """
    real = from_main(lambda: load(config.data, config.seed, on_read=partial(report, "reading images")))
    sheets = path.with_name(f"{path.stem}-samples")
    sha256 = train_first(config, to_bytes(real.x), path, partial(report, "pretraining"), sheets)
    return Made(sha256, _parameters(Flow.load(path, config.train, config.sampling)), sheets)


def take(config: StudyConfig, path: Path, report: Report) -> Made:
    """Writes the generator that `network.file` names, one of torchcfm's or of ours, in our format.

    Args:
        config: the settings, which it has to go with.
        path: of the weights, .safetensors.
        report: called with the phase and how far it is.

    Raises:
        ValueError: it can't be read or doesn't go with the settings.
        DownloadError: it can't be downloaded.
    """

    def take_it() -> Made:
        flow = pretrained(config, partial(report, "downloading")).flow
        return Made(flow.save(path), _parameters(flow), None)

    return from_main(take_it)


def _parameters(flow: Flow) -> int:
    return sum(parameter.numel() for parameter in flow.network.parameters())

"""Generation 0 from a file: one of ours or one of torchcfm's, held against what the study says."""

from dataclasses import dataclass, replace

from data.downloads import OnBytes
from data.real import sample_shape
from loop.config import StudyConfig
from loop.published import Located, locate
from model.flow import Flow
from model.foreign import torchcfm

ARCHITECTURE = ("kind", "width", "depth")  # the settings of [network] that weights depend on


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A generator from a file, with the study's settings, and where it came from."""

    flow: Flow
    located: Located


def pretrained(config: StudyConfig, on_bytes: OnBytes | None = None) -> Pretrained:
    """The generator that `network.file` names.

    Args:
        config: the study's.
        on_bytes: told how far a download is.

    Raises:
        ValueError: the file can't be read, or doesn't go with the study's data or its [network] settings.
        CorruptCheckpointError: the file isn't what was written.
        DownloadError: it couldn't be downloaded.
    """
    located = locate(config.network, on_bytes)
    ours = located.path.suffix == ".safetensors"
    read = Flow.load if ours else torchcfm.read
    flow = read(located.path, config.train, config.sampling)
    _check(flow, config)
    # the weights are the study's own from here on: a path that only this machine has says nothing about them
    network = config.network.model_copy(update={"file": "", "file_sha256": ""})
    return Pretrained(replace(flow, network_config=network, parent=None), located)


def _check(flow: Flow, config: StudyConfig) -> None:
    """Refuses a generator of another architecture or of other data than the study's."""
    for key in ARCHITECTURE:
        there, here = getattr(flow.network_config, key), getattr(config.network, key)
        if there != here:
            raise ValueError(
                f"{config.network.file}: network.{key} is {there} there and {here} in the study; "
                f"set network.{key}={there}, or choose another file."
            )
    shape = sample_shape(config.data)
    if flow.shape != shape:
        raise ValueError(
            f"{config.network.file} makes samples of shape {flow.shape}, and the study's data ({config.data.dataset}) "
            f"are of shape {shape}; choose other data or another file."
        )

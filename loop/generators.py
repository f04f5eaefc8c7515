"""Generators as study.toml names them: untrained, pretrained or from a file as generation 0, and read back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from data.datasets import sample_shape
from data.downloads import OnBytes
from loop.config import StudyConfig
from loop.presets import Located, locate
from loop.slates import COLUMNS, picture
from loop.study import Study
from loop.training_data import real_only
from model import weights_import
from model.compute import from_main, processes
from model.config import Conditions, SamplingConfig, TrainConfig
from model.flow import Flow
from model.generators.command_generator import CommandGenerator
from model.generators.diffusers_generator import DiffusersGenerator, open_base
from model.generators.estimators import Gaussian, KernelDensity
from model.generators.resampler import Resampler
from model.generators.text_generators import GptGenerator, NgramGenerator
from model.generators.vae import Vae
from model.interfaces import Generator, OnStep, Rows, TrainingSet, has_parameter, import_named
from model.sampling import derive_seed, derive_seeds
from model.training import Snapshotter

ARCHITECTURE = ("kind", "width", "depth", "patch")  # the settings of [network] that weights depend on
FLOW_KINDS = ("mlp", "digits", "unet")
OTHERS: dict[str, Any] = {
    "resample": Resampler,
    "vae": Vae,
    "kde": KernelDensity,
    "gaussian": Gaussian,
    "command": CommandGenerator,
    "diffusers": DiffusersGenerator,
    "ngram": NgramGenerator,
    "gpt": GptGenerator,
}
METHODS = ("build", "sample", "fit", "save", "load")  # of a user's own, see `model.interfaces.Generator`
SNAPSHOT_EVERY_S = 60.0
OnSheet = Callable[[int, str, bytes], None]


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A generator from a file, with the study's settings, and where it came from."""

    flow: Flow
    located: Located


def pretrained(config: StudyConfig, on_bytes: OnBytes | None = None) -> Pretrained:
    """The generator that `network.file` names.

    Args:
        config: the study's.
        on_bytes: called with the progress of a download.

    Raises:
        ValueError: the file can't be read, or doesn't go with the study's data or its [network] settings.
        CorruptCheckpointError: the file isn't what was written.
        DownloadError: it couldn't be downloaded.
    """
    if config.network.kind in OTHERS:
        raise ValueError(f"network.file is for flows, and network.kind is '{config.network.kind}'; leave it empty.")
    located = locate(config.network, on_bytes)
    is_own = located.path.suffix == ".safetensors"
    read = Flow.load if is_own else weights_import.read_torchcfm
    flow = read(located.path, config.train, config.sampling)
    check_architecture(flow, config)
    # the weights are the study's own from here on: a path that only this machine has says nothing about them
    network = config.network.model_copy(update={"file": "", "file_sha256": ""})
    return Pretrained(replace(flow, network_config=network, parent=None), located)


def check_pretrained(config: StudyConfig) -> None:
    """Refuses a generator that `network.file` names and that doesn't go with the study; errors as of `pretrained`."""
    if config.network.kind == "diffusers":
        open_base(config.network).check(sample_shape(config.data))
    else:
        pretrained(config)


def check_architecture(flow: Flow, config: StudyConfig) -> None:
    """Refuses a generator from `network.file` that doesn't go with the study.

    Raises:
        ValueError: it is of another architecture, or of samples of another shape.
    """
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


@dataclass(frozen=True)
class EarlierGenerator:
    """A user's own generator as it was before there were conditions, behind the interface of today.

    Its `sample` takes seeds alone, and what its `fit` draws are tensors rather than `Samples`.

    Attributes:
        own: its class.
        inner: the generator; None for the class alone, of which `build` and `load` are called.
    """

    own: Any
    inner: Any = None

    def build(self, *tables: Any) -> Self:
        """An untrained one."""
        return replace(self, inner=self.own.build(*tables))

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """Its samples of (n,) seeds."""
        return self.inner.sample(seeds)

    def fit(self, training_set: TrainingSet, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """A new one, fitted to the draws of the training set."""
        return replace(self, inner=self.inner.fit(BareDraws(training_set), parent and parent.inner, seed, on_step))

    def save(self, path: Path) -> str:
        """Writes its checkpoint and returns the sha256."""
        return self.inner.save(path)

    def load(self, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads its checkpoint."""
        return replace(self, inner=self.own.load(path, train, sampling))


@dataclass(frozen=True)
class BareDraws:
    """A training set whose draws are (n, *shape) tensors, as earlier generators take them."""

    training_set: TrainingSet

    def draw(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """(n, *shape) float32 on the CPU."""
        return self.training_set.draw(n, rng).x


def generator_class(config: StudyConfig) -> type[Generator]:
    """The class that `network.kind` stands for.

    Raises:
        ValueError: there is no such class, it isn't whole, or it is no flow and there are several processes.
    """
    kind = config.network.kind
    if kind not in FLOW_KINDS and processes() > 1:
        raise ValueError(f"network.kind '{kind}' works in one process; start the command without a launcher.")
    own = OTHERS.get(kind, Flow) if kind in FLOW_KINDS or kind in OTHERS else import_named(kind, "network.kind")
    if missing := [f"`{name}`" for name in METHODS if not callable(getattr(own, name, None))]:
        raise ValueError(f"network.kind '{kind}' has no {', '.join(missing)}; model/interfaces.py has what it needs.")
    if has_conditions(config) and not has_parameter(own.build, "conditions"):
        raise ValueError(
            f"network.kind '{kind}' can't draw under conditions: its `build` and `sample` take none. Choose another "
            "generator, or remove the study's conditions."
        )
    return own if has_parameter(own.sample, "conditions") else EarlierGenerator(own)  # pyright: ignore[reportReturnType]


def has_conditions(config: StudyConfig) -> bool:
    """True if the study has conditions."""
    return bool(config.conditions) or config.data.conditions != "none"


def load_generator(study: Study, t: int) -> Generator:
    """Generation t from its checkpoint.

    Raises:
        MissingCheckpointError: it isn't there.
        CorruptCheckpointError: it isn't what was written.
    """
    config = from_main(lambda: study.config_of(t))
    generator = generator_class(config).load(study.checkpoint_path(t), config.train, config.sampling)
    if isinstance(generator, CommandGenerator):  # by the commands of today, which may have been mended since
        return replace(generator, network=config.network)
    return generator


def train_first(
    config: StudyConfig, real: Rows, path: Path, on_step: OnStep | None, on_sheet: OnSheet | None = None,
    conditions: Conditions | None = None, vocabulary: dict[str, Any] | None = None,
) -> str:  # fmt: skip
    """Pretrains generation 0, writes its checkpoint and returns the sha256; the same settings give the same weights.

    Snapshots of a flow's training lie beside the checkpoint; an interrupted training continues from the last.

    Args:
        config: the settings.
        real: the real data.
        path: of the checkpoint.
        on_step: called now and then with (done, total).
        on_sheet: takes pictures of samples along the way, on rank 0: the step, the picture's sha256, its PNG.
        conditions: the study's; None for none.
        vocabulary: of texts, as plain values; None for all else.
    """
    shape = sample_shape(config.data)
    own, tables = generator_class(config), (shape, config.network, config.train, config.sampling)
    more: dict[str, Any] = {"vocabulary": vocabulary} if vocabulary and has_parameter(own.build, "vocabulary") else {}
    untrained = own.build(*tables, **more) if conditions is None else own.build(*tables, conditions, **more)
    seed = derive_seed(config.seed, 0, 0xF17)
    if isinstance(untrained, DiffusersGenerator):  # as it is, whether or not real data are of its conditions
        return replace(untrained, seed=seed).save(path)
    if not len(real):
        raise ValueError(
            "Generation 0 has nothing to be trained on, as no real datum is of any of the study's conditions: name "
            "[[conditions]] after the data's classes, or give each a label."
        )
    data = real_only(real)
    if not isinstance(untrained, Flow):
        return untrained.fit(data, None, seed, on_step).save(path)

    def show(step: int, network: nn.Module) -> None:
        if on_sheet is not None:
            sha256, png = sheet(replace(untrained, network=network), config, real.x)
            from_main(partial(on_sheet, step, sha256, png))

    snapshotter = Snapshotter(path.with_suffix(".partial"), config.pretraining, SNAPSHOT_EVERY_S, show)
    sha256 = untrained.fit(data, None, seed, on_step, snapshotter).save(path)
    snapshotter.remove()
    return sha256


def sheet(flow: Flow, config: StudyConfig, real: torch.Tensor) -> tuple[str, bytes]:
    """(sha256, png) of a picture of a flow's samples, a condition a row; the same noise at the same place each time."""
    seeds = derive_seeds(COLUMNS * COLUMNS, config.seed)
    conditions = np.arange(len(seeds)) // COLUMNS % flow.conditions if flow.conditions else None
    return picture(flow.sample(seeds, conditions), real.numpy(), config.data)

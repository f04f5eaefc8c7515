"""Generators as study.toml names them: untrained, pretrained as generation 0, and read back."""

from dataclasses import replace
from pathlib import Path

import torch

from data.real import sample_shape
from loop.config import StudyConfig
from loop.mixing import real_only
from loop.pictures import COLUMNS, picture
from loop.study import Study
from model.distributed import is_main, processes
from model.flow import Flow
from model.interfaces import Generator, OnStep
from model.keeping import Keeper
from model.noise import derive_seed, derive_seeds
from model.resampler import Resampler
from model.reward import import_named

FLOW_KINDS = ("mlp", "digits", "unet")
KEPT_EVERY_S = 120.0


def generator_class(config: StudyConfig) -> type[Generator]:
    """The class that `network.kind` stands for.

    Raises:
        ValueError: there is no such class, or it is no flow and there are several processes.
    """
    kind = config.network.kind
    if kind not in FLOW_KINDS and processes() > 1:
        raise ValueError(f"network.kind '{kind}' works in one process; start the command without a launcher.")
    if kind == "resample":
        return Resampler
    return Flow if kind in FLOW_KINDS else import_named(kind, "network.kind")


def load_generator(study: Study, t: int) -> Generator:
    """Generation t from its checkpoint.

    Raises:
        MissingCheckpointError: it isn't there.
        CorruptCheckpointError: it isn't what was written.
    """
    config = study.config
    return generator_class(config).load(study.checkpoint_path(t), config.train, config.sampling)


def train_first(
    config: StudyConfig, real: torch.Tensor, path: Path, on_step: OnStep | None, sheets: Path | None = None
) -> str:
    """Pretrains generation 0, writes its checkpoint and returns the sha256; the same settings give the same weights.

    A flow's training is kept beside the checkpoint on the way, and goes on from there where it was interrupted.

    Args:
        config: the settings.
        real: (n, *shape) the real data, images as uint8 pixels.
        path: of the checkpoint.
        on_step: called now and then with (done, total).
        sheets: a folder for pictures of samples along the way; None for none.
    """
    shape = sample_shape(config.data)
    untrained = generator_class(config).build(shape, config.network, config.train, config.sampling)
    data, seed = real_only(real), derive_seed(config.seed, 0, 0xF17)
    if not isinstance(untrained, Flow):
        return untrained.fit(data, None, seed, on_step).save(path)

    def show(step: int, flow: Flow) -> None:
        if sheets is None:
            return
        x = flow.sample(derive_seeds(COLUMNS * COLUMNS, config.seed))
        if is_main():
            sheets.mkdir(parents=True, exist_ok=True)
            (sheets / f"step-{step:07d}.png").write_bytes(picture(x, real.numpy())[1])

    keeper = Keeper(path.with_suffix(".partial"), config.pretraining, KEPT_EVERY_S)
    keeper.on_kept = lambda step, network: show(step, replace(untrained, network=network))
    trained = untrained.fit(data, None, seed, on_step, keeper)
    sha256 = trained.save(path)
    show(config.train.pretrain_steps, trained)
    keeper.done()
    return sha256

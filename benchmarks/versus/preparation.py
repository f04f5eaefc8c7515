"""The study that both ways start from: its classifier, its generation 0, and the real images' features."""

import argparse
from pathlib import Path

import numpy as np

from data.records import Generation
from loop.config import StudyConfig
from loop.setup import copy_checkpoint, prepare_evaluator, prepare_first_generation
from loop.study import Study, configure
from loop.training_data import to_tensor
from model import checkpoint
from model.interfaces import Report
from model.judging.classifier import Classifier

FEATURES = "real-features.npy"
NETWORK = ("kind", "width", "depth", "dropout")  # what the plain way has to know of it


def settings_of(options: argparse.Namespace) -> StudyConfig:
    """The study's configuration: the preset's, but for what was asked on the command line.

    Raises:
        ValueError: an unknown preset or setting, samples that don't make whole slates, another kind of reward.
    """
    network = checkpoint.load(options.weights).config["network"] if options.weights else {}
    given = [
        f"data.path={_quoted(options.data)}",
        f"train.pretrain_steps={options.pretrain_steps}",
        f"train.finetune_steps={options.steps}",
        "judge.enabled=false",
        "mix.lam=1",  # real images have to be read, and mixed in
        *([f"classifier.file={_quoted(options.classifier)}"] if options.classifier else []),
        *(f"network.{key}={network[key]}" for key in NETWORK if network),
        *options.settings,
    ]
    k = _slate(configure(options.preset, given), options.samples)
    return configure(options.preset, [*given, f"curation.picks={options.samples // k}"])


def prepare(folder: Path, config: StudyConfig, weights: Path | None, report: Report) -> None:
    """Makes the study at generation 0, from weights or by pretraining; `curate simulate` does the same.

    Args:
        folder: where; left alone if it is complete.
        config: from `settings_of`.
        weights: of a generator, or None.
        report: called with the phase and how far it is.

    Raises:
        ValueError: the study there has other settings.
    """
    if (folder / FEATURES).exists():
        _check_same(folder, config)
        return
    study = Study.open(folder) if folder.exists() else Study.create(folder, config)
    evaluator = prepare_evaluator(study, report)
    donor = _donor(folder.with_name("donor"), config, weights) if weights else None
    prepare_first_generation(study, evaluator, report, donor)
    np.save(folder / FEATURES, Classifier.load(study.classifier_path).judge(to_tensor(study.real.x)).features)
    study.store.close()


def _donor(folder: Path, config: StudyConfig, weights: Path) -> Study:
    """A study whose generation 0 has these weights, to be copied from."""
    donor = Study.open(folder) if folder.exists() else Study.create(folder, config)
    path = donor.checkpoint_path(0)
    copy_checkpoint(weights, path)
    if donor.store.latest_cut() is None:
        donor.store.publish(Generation(0, None, path.name, checkpoint.load(path).sha256, 0, 0, "given weights"))
    return donor


def _slate(config: StudyConfig, samples: int) -> int:
    """Samples in a slate."""
    k = config.curation.k
    if k == "inf" or samples % k:
        raise ValueError(f"--samples {samples} don't make whole slates of curation.k = {k}.")
    if config.reward.kind != "class_prob" or not config.policy.is_mixed:
        raise ValueError("The plain way knows the reward class_prob and a finite mix.lam; choose such a preset.")
    return k


def _check_same(folder: Path, config: StudyConfig) -> None:
    study = Study.open(folder)
    study.store.close()
    if study.config != config:
        raise ValueError(f"The study kept at {folder} has other settings; give --keep another folder.")


def _quoted(path: Path) -> str:
    return f'"{path.resolve()}"'

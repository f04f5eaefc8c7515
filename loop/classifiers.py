"""The classifiers that judge images: the one behind the reward, and the second opinion; trained or imported."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from data.config import DataConfig
from data.real import RealData, load_test
from loop.config import StudyConfig
from loop.tensors import to_bytes
from model.classifier import Classifier
from model.classifier_training import Labelled, accuracy, train_classifier
from model.config import ClassifierConfig
from model.distributed import from_main
from model.foreign import huyvnphan
from model.interfaces import Report
from model.keeping import Keeper
from model.noise import derive_seed

PURPOSES = {"classifier": 0xC1A55, "judge": 0x10D6E}  # each trains from a seed of its own


def trained(config: StudyConfig, real: RealData, name: str, path: Path, report: Report) -> Classifier:
    """The study's 'classifier' or 'judge', trained on the real images; measured on the test set where there is one.

    Its training is kept beside the checkpoint on the way, and goes on from there where it was interrupted.

    Args:
        config: the settings.
        real: the images.
        name: 'classifier' or 'judge'.
        path: where its checkpoint is written.
        report: called with the phase and how far it is.

    Raises:
        ValueError: fewer than two classes.
        RuntimeError: the device's memory is too small for a batch.
    """
    table = ClassifierConfig(**getattr(config, name).model_dump(include=set(ClassifierConfig.model_fields)))
    seed = derive_seed(config.seed, PURPOSES[name])
    keeper = Keeper(path.with_suffix(".partial"), repr((seed, config.data, table)))
    unseen = from_main(lambda: unseen_images(config.data, real.label_names))
    reports = partial(report, name), partial(report, f"accuracy of the {name}")
    about = to_bytes(real.x), real.labels, real.label_names, table, seed
    try:
        found = train_classifier(*about, reports[0], unseen, keeper, reports[1])
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"The device has too little memory to train the {name} on {table.batch_size} images at once: set "
            f"{name}.batch_size lower."
        ) from error
    found = replace(found, sha256=found.save(path))
    keeper.done()
    return found


def imported(weights: Path, path: str = "") -> tuple[Classifier, str]:
    """The VGG11 of huyvnphan/PyTorch_CIFAR10 with its accuracy on CIFAR-10's test images.

    Args:
        weights: the .pt file.
        path: a local copy of CIFAR-10; empty: downloaded.

    Returns:
        The classifier, and why its accuracy isn't known: empty where it is.

    Raises:
        ValueError: the weights can't be read, or the local copy is of other images.
    """
    found = huyvnphan.read(weights)
    try:
        test = unseen_images(DataConfig(dataset="cifar10", path=path), found.label_names)
    except (OSError, RuntimeError) as error:  # torchvision's words for a download that fails
        why = f"CIFAR-10 can't be had ({error}): the accuracy is not measured and not stored; --path names a copy."
        return found, why
    if test is None:
        return found, f"There is no folder `test` in {path}: the accuracy is not measured and not stored."
    return replace(found, accuracy=accuracy(found, *test)), ""


def unseen_images(data: DataConfig, label_names: tuple[str, ...]) -> Labelled | None:
    """Images and labels that no training sees, where the data set has them.

    Raises:
        ValueError: they are of other classes than these.
        OSError: they couldn't be downloaded.
    """
    found = load_test(data)
    if found is None:
        return None
    if found.label_names != label_names:
        raise ValueError(f"The test images have classes {found.label_names}, and {label_names} were expected.")
    return to_bytes(found.x), found.labels

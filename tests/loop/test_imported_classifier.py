"""A VGG11 from elsewhere, measured on CIFAR-10's test images where they can be had."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.measurements import TotalVariation
from loop.setup import imported
from model.config import ClassifierConfig
from model.judging.classifier import Classifier, vgg11
from model.weights_import import CLASSES, CONFIG, SHAPE


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG11 in huyvnphan's layout that takes everything for a cat."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = vgg11(SHAPE, CONFIG, len(CLASSES))
    network[1][6].bias.data[CLASSES.index("cat")] = 100.0  # pyright: ignore
    state = {
        name.replace("0.0.", "features.", 1) if name.startswith("0.0.") else "classifier." + name.removeprefix("1."): t
        for name, t in network.state_dict().items()
    }
    path = tmp_path_factory.mktemp("weights") / "vgg11_bn.pt"
    torch.save(state, path)
    return path


def images(root: Path, counts: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for name, n in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


def test_the_accuracy_is_that_on_the_test_images(weights: Path, tmp_path: Path):
    images(tmp_path / "test", {name: 6 if name == "cat" else 1 for name in CLASSES})
    found, unknown = imported(weights, str(tmp_path))
    assert (found.accuracy, unknown) == (6 / 15, "")


def test_without_test_images_there_is_no_accuracy_and_a_reason(weights: Path, tmp_path: Path):
    images(tmp_path, {"cat": 1})
    found, unknown = imported(weights, str(tmp_path))
    assert found.accuracy is None and "no folder `test`" in unknown and "not measured" in unknown


def test_a_download_that_fails_leaves_the_accuracy_unknown(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:1/cifar.tar.gz")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found, unknown = imported(weights)
    assert found.accuracy is None and "CIFAR-10 can't be had" in unknown and "--path" in unknown


def test_images_of_other_classes_are_refused(weights: Path, tmp_path: Path):
    images(tmp_path / "test", {"cat": 1, "unicorn": 1})
    with pytest.raises(ValueError, match="unicorn"):
        imported(weights, str(tmp_path))


def untrained(path: Path, shape: tuple[int, ...], names: tuple[str, ...]) -> Path:
    config = ClassifierConfig(width=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = vgg11(shape, config, len(names))
    Classifier(shape, network, config, names, None, 0).save(path)
    return path


def test_a_file_for_images_of_another_size_is_refused_and_not_kept(make, run, tmp_path: Path):
    large = untrained(tmp_path / "large.safetensors", (3, 32, 32), CLASSES)
    study = make("digits", f"classifier.file={large}")
    with pytest.raises(ValueError, match=r"classifier\.file is for images of 32 x 32 pixels, 3 channels.* 8 x 8"):
        run(study, 0)
    assert not study.classifier_path.exists()


def test_a_file_may_know_other_classes_than_the_data_have(make, run, tmp_path: Path):
    other = untrained(tmp_path / "other.safetensors", (1, 8, 8), ("round", "edged", "both"))
    study = run(make("digits", f"classifier.file={other}", "reward.target=1"), 1)
    for generation in study.store.generations():
        measurements = generation.measurements
        assert measurements.class_names == ("round", "edged", "both")
        assert isinstance(measurements.tv_real, TotalVariation) and 0 <= measurements.tv_real.value <= 1

"""VGG11: its shape, its split, its training, its checkpoint."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import vgg11_bn

from model.checkpoint import Checkpoint, CorruptCheckpointError, MissingCheckpointError, save
from model.config import ClassifierConfig
from model.judging.classifier import Classifier, vgg11
from model.judging.classifier_training import augment, split, train_classifier
from model.training import Snapshotter

TINY = ClassifierConfig(width=4, epochs=8, batch_size=32, shift=1, dropout=0.0, lr=1e-2)


def dark_and_bright(n: int = 120, channels: int = 1) -> tuple[torch.Tensor, np.ndarray]:
    """Two classes that differ in brightness."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    x = 0.2 * rng.standard_normal((n, channels, 8, 8)) + (labels - 0.5)[:, None, None, None]
    return torch.from_numpy(x.astype(np.float32)).clamp(-1, 1), labels


def train(seed: int = 0, config: ClassifierConfig = TINY, channels: int = 1) -> Classifier:
    x, labels = dark_and_bright(channels=channels)
    return train_classifier(x, labels, ("dark", "bright"), config, seed)


def convolutions(network: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(part.weight.shape) for part in network.modules() if isinstance(part, nn.Conv2d)]


def test_at_width_64_and_32_pixels_it_has_torchvisions_convolutions():
    ours = vgg11((3, 32, 32), ClassifierConfig(width=64), 10)
    theirs = vgg11_bn(weights=None)
    assert convolutions(ours) == convolutions(theirs.features)
    pools = [sum(isinstance(part, nn.MaxPool2d) for part in network.modules()) for network in (ours, theirs.features)]
    assert pools == [5, 5]
    assert ours[0](torch.zeros(2, 3, 32, 32)).shape == (2, 512)


@pytest.mark.parametrize("size", [8, 16, 28, 64])
def test_it_fits_the_size_of_the_images(size: int):
    network = vgg11((1, size, size), ClassifierConfig(width=4), 3).eval()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 3)


@pytest.mark.parametrize("holdout", [0.1, 0.2, 0.5])
def test_the_split_is_disjoint_complete_and_stratified(holdout: float):
    labels = np.repeat([0, 1, 2], [100, 50, 200])[np.random.default_rng(0).permutation(350)]
    kept, held = split(labels, holdout, seed=1)
    assert sorted([*kept, *held]) == list(range(350))
    np.testing.assert_array_equal(np.bincount(labels[held]), np.round(holdout * np.array([100, 50, 200])))
    again, _ = split(labels, holdout, seed=1)
    other, _ = split(labels, holdout, seed=2)
    assert kept.tolist() == again.tolist() != other.tolist()


def test_a_class_of_one_is_held_out_rather_than_lost():
    kept, held = split(np.array([0, 0, 0, 1]), 0.2, seed=0)
    assert 3 in held and len(kept) + len(held) == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_it_learns_two_classes_that_a_child_tells_apart(channels: int):
    found = train(seed=2, channels=channels)
    x, labels = dark_and_bright(channels=channels)
    judged = found.judge(x)
    assert found.accuracy > 0.95
    assert (judged.probs.argmax(1) == labels).mean() > 0.95
    np.testing.assert_allclose(judged.probs.sum(1), 1, rtol=1e-5)
    assert judged.features.shape == (120, 8 * 4)


def test_the_accuracy_is_that_of_the_held_out_part():
    x, labels = dark_and_bright()
    wrong = labels.copy()
    held = split(labels, TINY.holdout, seed=0)[1]
    wrong[held] = 1 - wrong[held]  # flips both classes alike, so the split stays the same
    order = split(wrong, TINY.holdout, seed=0)[1]
    found = train_classifier(x, wrong, ("dark", "bright"), TINY, 0)
    truth = (found.judge(x[order]).probs.argmax(1) == wrong[order]).mean()
    assert found.accuracy == pytest.approx(truth)


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    dropped = TINY.model_copy(update={"dropout": 0.3, "flip": True})
    first, again, other = (train(seed, dropped).network.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def killed(done: int) -> None:
    raise KeyboardInterrupt


def ctrl_c(done: int) -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("at", [1, 11, 12, 24, 25, 30])
@pytest.mark.parametrize(("stop", "every_s", "lost"), [(killed, 0, 1), (ctrl_c, 60, 0)])
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, at: int, stop: Callable[[int], None], every_s: float, lost: int
):
    x, labels = dark_and_bright()
    config = TINY.model_copy(update={"dropout": 0.3, "flip": True, "optimiser": "sgd", "restart_epochs": 3})
    snapshotter = Snapshotter(tmp_path / "c.partial", "this one", every_s)
    fit = partial(train_classifier, x, labels, ("dark", "bright"), config, 0, snapshotter=snapshotter)
    with pytest.raises(KeyboardInterrupt):
        fit(lambda done, total: stop(done) if done == at else None)
    done = []
    found = fit(lambda step, total: done.append((step, total)))
    straight = train_classifier(x, labels, ("dark", "bright"), config, 0).network.state_dict()
    assert done[0] == (at + 1 - lost, 33)  # an epoch has three steps
    assert all(torch.equal(tensor, straight[name]) for name, tensor in found.network.state_dict().items())


def test_the_rate_falls_starts_again_stays_and_falls_to_nothing():
    rates = []

    class Recorder(torch.optim.AdamW):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"] / TINY.lr)
            return super().step(closure)

    x, labels = dark_and_bright()
    config = TINY.model_copy(update={"restart_epochs": 5, "restart_lr": TINY.lr / 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.optim.AdamW", Recorder)
        found = train_classifier(x, labels, ("dark", "bright"), config, 0)
    first, again = rates[:24], rates[24:]
    assert max(first) == 1 and first[-1] < 0.01
    assert again == pytest.approx([0.5] * 7 + [0.5 * (15 - step) / 9 for step in range(7, 15)])
    assert found.accuracy > 0.95


@pytest.mark.parametrize("mirror", [False, True])
def test_it_judges_by_the_mean_over_the_image_moved_and_mirrored(mirror: bool):
    found, (x, _) = train(), dark_and_bright()
    judging = replace(found, config=TINY.model_copy(update={"jitter": 2, "mirror": mirror}))
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    moved = [torch.from_numpy(padded[:, :, by : by + 8, by : by + 8]) for by in (0, 2, 4)]
    views = [*moved, *(view.flip(3) for view in moved)] if mirror else moved
    expected = np.mean([found.judge(view.contiguous()).probs for view in views], axis=0)
    np.testing.assert_allclose(judging.judge(x).probs, expected, atol=1e-6)


def test_a_judgement_does_not_depend_on_the_company():
    found, (x, _) = train(), dark_and_bright()
    together, alone = found.judge(x), found.judge(x[5:6])
    np.testing.assert_allclose(alone.probs[0], together.probs[5], rtol=1e-4, atol=1e-6)


def test_a_saved_classifier_judges_the_same(tmp_path: Path):
    found, (x, _) = train(), dark_and_bright()
    sha256 = found.save(tmp_path / "c.safetensors")
    loaded = Classifier.load(tmp_path / "c.safetensors")
    np.testing.assert_array_equal(loaded.judge(x).probs, found.judge(x).probs)
    assert (loaded.sha256, loaded.accuracy, loaded.label_names) == (sha256, found.accuracy, ("dark", "bright"))


def test_what_is_no_classifier_or_has_other_weights_is_refused(tmp_path: Path):
    found, path = train(), tmp_path / "c.safetensors"
    save(path, Checkpoint("flow", found.network.state_dict(), {}, 0))
    with pytest.raises(MissingCheckpointError, match="not a classifier"):
        Classifier.load(path)
    config = {"shape": [1, 8, 8], "classifier": TINY.model_dump() | {"width": 8}, "label_names": ["a", "b"]}
    save(path, Checkpoint("classifier", found.network.state_dict(), config | {"accuracy": 1.0}, 0))
    with pytest.raises(CorruptCheckpointError):
        Classifier.load(path)


def test_one_class_alone_is_refused():
    with pytest.raises(ValueError, match="two classes"):
        train_classifier(torch.zeros(4, 1, 8, 8), np.zeros(4, np.int64), ("only",), TINY, 0)


@pytest.mark.parametrize("flip", [False, True])
def test_augmented_images_are_shifts_with_the_border_repeated_and_mirrors(flip: bool):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((200, 2, 6, 6)).astype(np.float32))
    torch.manual_seed(1)
    y = augment(x, ClassifierConfig(shift=1, flip=flip))
    padded = nn.functional.pad(x, [1] * 4, mode="replicate")
    seen = set()
    for image, big in zip(y, padded, strict=True):
        candidates = {
            (top, left, mirrored): (big.flip(2) if mirrored else big)[:, top : top + 6, left : left + 6]
            for top in range(3)
            for left in range(3)
            for mirrored in ((False, True) if flip else (False,))
        }
        matches = [key for key, candidate in candidates.items() if torch.equal(image, candidate)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == (18 if flip else 9)


def test_no_shift_and_no_flip_change_nothing():
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augment(x, ClassifierConfig(shift=0)), x)

"""A VGG11 in huyvnphan's layout, built here with torch.nn, gives the same probabilities as our classifier."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model.judging.classifier import Classifier
from model.weights_import import ForeignWeightsError, read_huyvnphan

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)


class Theirs(nn.Module):
    """Convolutions in torchvision's order, one pooled value a channel, a head of three layers."""

    def __init__(self, plan: tuple[int | str, ...] = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")):
        super().__init__()
        self.features = nn.Sequential(*self._layers(plan))
        self.classifier = nn.Sequential(
            nn.Linear(512, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 10),
        )  # fmt: skip

    @staticmethod
    def _layers(plan: tuple[int | str, ...]) -> Iterator[nn.Module]:
        channels = 3
        for part in plan:
            if isinstance(part, str):
                yield nn.MaxPool2d(2)
            else:
                yield from (nn.Conv2d(channels, part, 3, padding=1), nn.BatchNorm2d(part), nn.ReLU())
                channels = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


@pytest.fixture(scope="module")
def theirs() -> Theirs:
    """The network, with statistics in its batch norms that aren't those it starts with."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Theirs()
        network.train()(torch.randn(8, 3, 32, 32))
        for parameter in network.classifier.parameters():
            parameter.data *= 10  # else all images have about the same probabilities
    return network.eval()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_it_gives_the_same_probabilities(theirs: Theirs, tmp_path: Path, prefix: str):
    path = tmp_path / "vgg11_bn.pt"
    torch.save({prefix + name: tensor for name, tensor in theirs.state_dict().items()}, path)
    found = read_huyvnphan(path)
    pixels = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(part)[:, None, None] for part in (MEAN, STD))
    with torch.no_grad():
        wanted = theirs((pixels - mean) / std).softmax(1).numpy()
    np.testing.assert_allclose(found.judge(2 * pixels - 1).probs, wanted, rtol=1e-4, atol=1e-6)
    assert found.accuracy is None and found.label_names[0] == "airplane" and found.label_names[9] == "truck"
    assert np.ptp(wanted, axis=0).max() > 0.01  # the images differ to it


def test_it_is_saved_and_loaded_as_our_own(theirs: Theirs, tmp_path: Path):
    torch.save(theirs.state_dict(), tmp_path / "vgg11_bn.pt")
    found, x = read_huyvnphan(tmp_path / "vgg11_bn.pt"), torch.zeros(1, 3, 32, 32)
    found.save(tmp_path / "ours.safetensors")
    again = Classifier.load(tmp_path / "ours.safetensors")
    np.testing.assert_array_equal(again.judge(x).probs, found.judge(x).probs)
    assert (again.accuracy, again.config) == (None, found.config)


def test_the_older_head_is_refused(theirs: Theirs, tmp_path: Path):
    pooled = torch.zeros(1).expand(4096, 512 * 7 * 7)
    torch.save(theirs.state_dict() | {"classifier.0.weight": pooled}, tmp_path / "vgg11_bn.pt")
    with pytest.raises(ForeignWeightsError, match=r"older VGG11 .*25,088 inputs"):
        read_huyvnphan(tmp_path / "vgg11_bn.pt")


def others() -> dict[str, dict[str, torch.Tensor]]:
    """State dicts of other networks, their tensors empty of memory."""
    with torch.device("meta"):
        deeper = Theirs((64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")).state_dict()
        own = Theirs().state_dict()
    of_hundred = own | {"classifier.6.weight": torch.zeros(100, 4096)}
    return {"vgg13": deeper, "of another task": of_hundred, "one too many": own | {"extra": torch.zeros(1)}}


@pytest.mark.parametrize("name", others())
def test_other_networks_are_refused(tmp_path: Path, name: str):
    state = {key: torch.zeros(()).expand(tensor.shape) for key, tensor in others()[name].items()}
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(ForeignWeightsError, match="doesn't hold huyvnphan's vgg11_bn") as told:
        read_huyvnphan(tmp_path / "net.pt")
    assert "\n" not in str(told.value)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path):
    torch.save({"ema_model": {}, "step": 3}, tmp_path / "net.pt")
    with pytest.raises(ForeignWeightsError, match="no state dict"):
        read_huyvnphan(tmp_path / "net.pt")

"""The VGG11 of huyvnphan/PyTorch_CIFAR10, read into a classifier.

That repository keeps a bare state dict for each network. Its VGG11 with batch norm is torchvision's with one pooled
value per channel before the three layers of the head; an older version kept 7 x 7 of them and is another network.
"""

from pathlib import Path

from model.classifier import Classifier
from model.config import ClassifierConfig
from model.devices import device
from model.foreign.pickled import ForeignWeightsError, first_misfit, read_pickled, state_dict
from model.vgg import vgg11

SHAPE = (3, 32, 32)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CONFIG = ClassifierConfig(
    width=64, head="vgg", dropout=0.5, mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616)
)  # mean and std are of that repository's own transform
POOLED_7X7 = 512 * 7 * 7
PARTS = {"0.0.": "features.", "1.": "classifier."}  # ours: theirs


def read(path: Path) -> Classifier:
    """A classifier of CIFAR-10's classes with those weights; its accuracy isn't known yet.

    Raises:
        ForeignWeightsError: the file can't be read, or holds another network's weights.
    """
    found = state_dict(read_pickled(path), path)
    first = found.get("classifier.0.weight")
    if first is not None and first.shape[-1] == POOLED_7X7:
        raise ForeignWeightsError(
            f"{path} is of the older VGG11 with a 7 x 7 pooled head (25,088 inputs); use the weights of that "
            "repository's later version, whose head has 512."
        )
    network = vgg11(SHAPE, CONFIG, len(CLASSES))
    names = {name: _theirs(name) for name in network.state_dict()}
    misfit = first_misfit(found, {names[name]: tensor for name, tensor in network.state_dict().items()})
    if misfit:
        raise ForeignWeightsError(f"{path} doesn't hold huyvnphan's vgg11_bn for CIFAR-10: {misfit}.")
    network.load_state_dict({ours: found[theirs] for ours, theirs in names.items()})
    return Classifier(SHAPE, network.to(device()).eval(), CONFIG, CLASSES, None, seed=0)


def _theirs(name: str) -> str:
    for ours, theirs in PARTS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name

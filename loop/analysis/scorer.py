"""Fitted utilities as a file that scores images, or points, outside curate (docs/howto-analyst.md has the loader).

A scorer is a safetensors file: the coefficients, the classifier's weights where utilities depend on its probabilities,
and, as JSON in the metadata, the layers by torch's own names, so that torch and safetensors are all a reader needs.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.designs import coordinate_names
from loop.analysis.design import class_name
from loop.analysis.logit import Fit
from loop.study import Study

if TYPE_CHECKING:
    from torch import nn

    from model.judging.classifier import Classifier

FORMAT = "curate-scorer/1"
ARGUMENTS = {  # of torch's layers, as far as the classifier uses them
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "padding"),
    "BatchNorm2d": ("num_features",),
    "ReLU": (),
    "MaxPool2d": ("kernel_size", "stride"),
    "AdaptiveAvgPool2d": ("output_size",),
    "Flatten": (),
    "Linear": ("in_features", "out_features"),
}


def layers(network: "nn.Module") -> Iterator["nn.Module"]:
    """The layers of nested sequences in order, without dropout, which does nothing where nothing is trained."""
    for layer in network.children():
        if type(layer).__name__ == "Sequential":
            yield from layers(layer)
        elif type(layer).__name__ != "Dropout":
            yield layer


def described(layer: "nn.Module") -> tuple[str, dict[str, Any]]:
    """A layer's class in torch.nn, and the arguments that build it."""
    kind = type(layer).__name__
    return kind, {name: getattr(layer, name) for name in ARGUMENTS[kind]}


def probability_coefficients(fit: Fit, class_names: Sequence[str], classes: int) -> np.ndarray:
    """(classes,) utilities of the class probabilities; 0 for the reference, and for what couldn't be estimated.

    Raises:
        ValueError: the fit has other columns than class probabilities.
    """
    names = [f"probability of {class_name(label, class_names)}" for label in range(classes)]
    check_columns(fit, names, "--features probs")
    known = dict(zip(fit.names, fit.coefficients, strict=True))
    return np.array([known.get(name, 0.0) for name in names])


def check_columns(fit: Fit, names: Sequence[str], features: str) -> None:
    """Refuses a fit with columns that don't follow from the item alone.

    Raises:
        ValueError: it has such columns, or none.
    """
    other = [name for name in fit.names if name not in names]
    if other or not fit.names:
        columns = f"depends on '{other[0]}', which isn't seen on an image alone" if other else "has no utilities"
        raise ValueError(f"This fit {columns}; a scorer needs {features}.")


def save_scorer(path: Path, study: Study, fit: Fit) -> None:
    """Writes the scorer of a fit on `probs` (images) or on `factors` (points and designs); whole or not at all.

    Raises:
        ValueError: the fit has columns that don't follow from the item alone.
    """
    import torch
    from safetensors.torch import save

    from data.datasets import sample_shape
    from model.checkpoint import write_whole
    from model.judging.classifier import Classifier

    if study.config.data.is_text:
        raise ValueError("A scorer is of images or points; this study's samples are texts.")
    shape, tensors = sample_shape(study.config.data), {}
    about: dict[str, Any] = {"format": FORMAT, "study": study.path.name, "picks": fit.n, "raters": fit.raters}
    if len(shape) == 3:
        classifier = Classifier.load(study.classifier_path)
        names = classifier.label_names
        class_names = study.store.generations()[0].measurements.class_names
        coefficients = probability_coefficients(fit, class_names, len(names))
        network = torch.nn.Sequential(*layers(classifier.network))
        tensors = {f"network.{name}": tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
        about |= image_input(classifier, shape) | {"layers": [described(layer) for layer in network]}
    else:
        family = study.config.data.family
        names = ["x", "y"] if family is None else coordinate_names(family.factors)
        check_columns(fit, names, "--features factors")
        known = dict(zip(fit.names, fit.coefficients, strict=True))
        coefficients = np.array([known.get(name, 0.0) for name in names])
    about |= {"names": list(names)}
    content = save({**tensors, "coefficients": torch.from_numpy(coefficients)}, {"scorer": json.dumps(about)})
    write_whole(path, lambda file: file.write(content))


def image_input(classifier: "Classifier", shape: tuple[int, ...]) -> dict[str, Any]:
    """The form of the images that a classifier judges, and the views of each that it takes the mean over."""
    config = classifier.config
    return {"shape": shape, "mean": config.mean, "std": config.std, "mirror": config.mirror, "jitter": config.jitter}

"""`curate reward import`: a classifier that another project trained, in our format."""

import json
from pathlib import Path

from curate_app.console import out
from curate_app.reward.training import check_out
from loop.classifiers import imported


def import_reward(weights: Path, path: Path, cifar10: str, *, as_json: bool) -> None:
    """Converts the weights and prints their accuracy on the test images, or why it isn't known.

    Args:
        weights: the other project's file.
        path: the file to write.
        cifar10: a local copy of the data; empty: downloaded.
        as_json: for a program to read.

    Raises:
        ValueError: the weights can't be read, the path is no new .safetensors, or there are no such data.
    """
    check_out(path)
    if cifar10 and not Path(cifar10).is_dir():
        raise ValueError(f"There is no folder {cifar10}; --path is for a local copy of CIFAR-10, or left out.")
    found, unknown = imported(weights, cifar10)
    sha256 = found.save(path)
    if as_json:
        told = {"path": str(path), "sha256": sha256, "accuracy": found.accuracy, "not_measured": unknown}
        out.print_json(json.dumps(told))
        return
    accuracy = f"Accuracy on the test images: {found.accuracy:.2%}." if found.accuracy is not None else unknown
    out.print(f"{accuracy} Use it with: --set classifier.file={path}", markup=False)

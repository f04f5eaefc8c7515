"""`curate reward train`: trains a classifier outside any study."""

import json
from pathlib import Path

from curate_app.console import one_bar, out
from data.real import load
from loop.config import StudyConfig
from loop.tensors import to_tensor
from model.classifier import train_classifier
from model.noise import derive_seed


def train_reward(config: StudyConfig, path: Path, *, as_json: bool) -> None:
    """Trains on the configured data and writes weights and sidecar; prints the held-out accuracy.

    Raises:
        ValueError: the path doesn't end in .safetensors, or is there already.
    """
    if path.suffix != ".safetensors" or path.exists():
        raise ValueError(f"--out must be a new file that ends in .safetensors, not {path}")
    real = load(config.data, config.seed)
    with one_bar("epochs") as report:
        seed = derive_seed(config.seed, 0xC1A55)
        found = train_classifier(to_tensor(real.x), real.labels, real.label_names, config.classifier, seed, report)
    sha256 = found.save(path)
    if as_json:
        out.print_json(json.dumps({"path": str(path), "sha256": sha256, "accuracy": found.accuracy}))
        return
    out.print(f"Held-out accuracy {found.accuracy:.2%}. Use it with: --set classifier.file={path}")

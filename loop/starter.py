"""Rebuilds the weights that ship for the presets digits and flowers: `make starter` (about fifteen minutes).

They are what a study of the preset would train for itself from this seed, in half precision, so that a first slate
needs no waiting. Everything is measured before it is written.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from data.datasets import load, nearest_mode
from loop.setup import STARTERS
from loop.slates import draw
from loop.study import configure
from loop.training_data import real_only, to_tensor
from model.checkpoint import Checkpoint, save
from model.checkpoint import load as load_checkpoint
from model.flow import Flow
from model.interfaces import Report
from model.judging.classifier_training import train_classifier
from model.judging.fidelity import nearest_ratio, typical_spacing
from model.sampling import derive_seeds

SEED = 1
SURE = 0.9


def rebuild(preset: str, folder: Path, report: Report) -> dict[str, float | None]:
    """Trains classifier and generator of a preset, writes both in half precision, and returns what was measured.

    Returns:
        accuracy (held out), sure_ratio (share of samples over real data of which the classifier is over 90% sure),
        tv (class shares, samples to real) and nn_ratio (see `model.judging.fidelity.nearest_ratio`).
    """
    config = configure(preset)
    real = load(config.data, config.seed)
    x = to_tensor(real.x)
    judge = train_classifier(
        x, real.labels, real.label_names, config.classifier, SEED, lambda done, n: report("classifier", done, n)
    )
    judge.save(folder / "classifier.safetensors")
    flow = Flow.build(tuple(x.shape[1:]), config.network, config.train, config.sampling)
    path = folder / "generator.safetensors"
    flow.fit(real_only(x), None, SEED, lambda done, n: report("generator", done, n)).save(path)
    for part in (folder / "classifier.safetensors", path):
        halve(part)
    samples = draw(Flow.load(path, config.train, config.sampling), derive_seeds(2_000, SEED))
    probs, real_probs = judge.judge(samples).probs, judge.judge(x).probs
    shares = np.bincount(probs.argmax(1), minlength=len(real.label_names)) / len(samples)
    return {
        "accuracy": judge.accuracy,
        "sure_ratio": float((probs.max(1) > SURE).mean() / (real_probs.max(1) > SURE).mean()),
        "tv": 0.5 * float(np.abs(shares - real.shares()).sum()),
        "nn_ratio": nearest_ratio(samples, x, typical_spacing(x)),
    }


def rebuild_designs(preset: str, folder: Path, report: Report) -> dict[str, float | None]:
    """Trains the generator of a preset of designs, writes it in half precision, and returns what was measured.

    Returns:
        tv (shares of kinds, samples to real) and nn_ratio (see `model.judging.fidelity.nearest_ratio`).
    """
    config = configure(preset)
    real = load(config.data, config.seed)
    x, path = torch.from_numpy(real.x), folder / "generator.safetensors"
    flow = Flow.build(tuple(x.shape[1:]), config.network, config.train, config.sampling)
    flow.fit(real_only(x), None, SEED, lambda done, n: report("generator", done, n)).save(path)
    halve(path)
    samples = draw(Flow.load(path, config.train, config.sampling), derive_seeds(4_000, SEED))
    labels = nearest_mode(config.data, samples.numpy())
    shares = np.bincount(labels, minlength=len(real.label_names)) / len(samples)
    return {
        "tv": 0.5 * float(np.abs(shares - real.shares()).sum()),
        "nn_ratio": nearest_ratio(samples[:2_000], x, typical_spacing(x)),
    }


def halve(path: Path) -> None:
    """Writes a checkpoint's weights in half precision."""
    full = load_checkpoint(path)
    tensors = {name: x.half() if x.is_floating_point() else x for name, x in full.tensors.items()}
    save(path, Checkpoint(full.kind, tensors, full.config, full.seed, full.parent))


if __name__ == "__main__":
    shown: dict[str, int] = {}

    def show(phase: str, done: int, total: int) -> None:
        """Prints every tenth of a phase."""
        tenth = 10 * done // total
        if shown.get(phase) != tenth:
            shown[phase] = tenth
            sys.stderr.write(f"{phase}: {10 * tenth}%\n")

    for preset, build in {"digits": rebuild, "flowers": rebuild_designs}.items():
        if preset in sys.argv[1:] or len(sys.argv) == 1:
            (STARTERS / preset).mkdir(exist_ok=True)
            sys.stdout.write(json.dumps({preset: build(preset, STARTERS / preset, show)}, indent=2) + "\n")

"""Rebuilds the weights that ship for the digits preset: `make starter` (about fifteen minutes on two cores).

They are what a study of the preset would train for itself from this seed, in half precision, so that a first slate
needs no waiting. Everything is measured before it is written.
"""

import json
import sys
from pathlib import Path

import numpy as np

from data.datasets import load
from loop.setup import STARTERS
from loop.slates import draw
from loop.study import configure
from loop.training_data import real_only, to_tensor
from model.checkpoint import Checkpoint, save
from model.checkpoint import load as load_checkpoint
from model.classifier_training import train_classifier
from model.fidelity import nearest_ratio, typical_spacing
from model.flow import Flow
from model.interfaces import Report
from model.sampling import derive_seeds

SEED = 1
SURE = 0.9


def rebuild(preset: str, folder: Path, report: Report) -> dict[str, float | None]:
    """Trains classifier and generator of a preset, writes both in half precision, and returns what was measured.

    Returns:
        accuracy (held out), sure_ratio (share of samples over real data of which the classifier is over 90% sure),
        tv (class shares, samples to real) and nn_ratio (see `model.fidelity.nearest_ratio`).
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
        full = load_checkpoint(part)
        tensors = {name: x.half() if x.is_floating_point() else x for name, x in full.tensors.items()}
        save(part, Checkpoint(full.kind, tensors, full.config, full.seed, full.parent))
    samples = draw(Flow.load(path, config.train, config.sampling), derive_seeds(2_000, SEED))
    probs, real_probs = judge.judge(samples).probs, judge.judge(x).probs
    shares = np.bincount(probs.argmax(1), minlength=len(real.label_names)) / len(samples)
    return {
        "accuracy": judge.accuracy,
        "sure_ratio": float((probs.max(1) > SURE).mean() / (real_probs.max(1) > SURE).mean()),
        "tv": 0.5 * float(np.abs(shares - real.shares()).sum()),
        "nn_ratio": nearest_ratio(samples, x, typical_spacing(x)),
    }


if __name__ == "__main__":
    shown: dict[str, int] = {}

    def show(phase: str, done: int, total: int) -> None:
        """Prints every tenth of a phase."""
        tenth = 10 * done // total
        if shown.get(phase) != tenth:
            shown[phase] = tenth
            sys.stderr.write(f"{phase}: {10 * tenth}%\n")

    sys.stdout.write(json.dumps(rebuild("digits", STARTERS / "digits", show), indent=2) + "\n")

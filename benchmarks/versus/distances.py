"""FD(vgg11) of both ways' samples, by one classifier and one formula."""

from pathlib import Path

import numpy as np
import torch

from loop.study import Study
from loop.training_data import to_tensor
from model.judging.classifier import Classifier
from model.judging.fidelity import FeatureMoments, frechet_distance


def frechet_distances(study: Path, real: np.ndarray, pixels: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Of each set of (n, height, width, 3) uint8 images to (m, d) features of real ones; None where n <= d."""
    classifier = Classifier.load(Study.open(study).classifier_path)
    distances: dict[str, float | None] = {}
    for side, images in pixels.items():
        features = torch.from_numpy(classifier.judge(to_tensor(images)).features)
        enough = min(len(real), len(features)) > features.shape[1]
        distances[side] = (
            frechet_distance(FeatureMoments.of(torch.from_numpy(real)), FeatureMoments.of(features)) if enough else None
        )
    return distances

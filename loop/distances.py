"""How far a generation's images are from the real ones, by the features that [evaluation] names."""

from pathlib import Path
from typing import Any

import torch

from loop.config import StudyConfig
from loop.scoring import Scorer, Scores
from model.devices import device
from model.distances import Reference
from model.features import FeatureExtractor, load_extractor
from model.pixels import scaled

OWN = "vgg11"  # the study's classifier, whose features come with the scores


class DistancesToReal:
    """Measures images of one study against its real ones, whose features are found once.

    Raises:
        ValueError: the features need a file, or a package, that isn't there.
    """

    def __init__(self, config: StudyConfig, scorer: Scorer):
        evaluation = config.evaluation
        self._classes, self._neighbours = len(scorer.label_names), evaluation.neighbours
        self._extractor: FeatureExtractor | None = None
        if evaluation.features != "classifier":
            self._extractor = load_extractor(evaluation.features, Path(evaluation.features_file), device())
        self._reference: Reference | None = None

    def of(self, x: torch.Tensor, scores: Scores, real: torch.Tensor, real_scores: Scores) -> dict[str, Any]:
        """The distances by name (see `model.distances.Distances`), and whose features they rest on.

        Args:
            x: (n, channels, height, width) in [-1, 1], the generation's.
            scores: theirs.
            real: the real images as uint8 pixels, always the same.
            real_scores: theirs.
        """
        if self._reference is None:
            self._reference = Reference(self._features(real, real_scores), self._neighbours)
        found = self._reference.compare(self._features(x, scores))
        return {"features": self._extractor.name if self._extractor else OWN, **found.as_json()}

    def _features(self, x: torch.Tensor, scores: Scores) -> torch.Tensor:
        if self._extractor:
            return self._extractor.features(scaled(x))
        assert scores.features is not None
        on = "cpu" if device().type == "mps" else device()  # which has no float64
        return torch.from_numpy(scores.features[:, self._classes :]).to(on)

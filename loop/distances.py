"""How far a generation's images are from the real ones, by the features that [evaluation] names."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from loop.config import StudyConfig
from loop.scoring import Scorer, Scores
from model.checkpoint import write_whole
from model.devices import device
from model.distances import Reference
from model.distributed import from_main
from model.features import FeatureExtractor, load_extractor
from model.pairs import Within
from model.pixels import scaled

OWN = "vgg11"  # the study's classifier, whose features come with the scores


class DistancesToReal:
    """Measures images of one study against its real ones, whose features are found once.

    What all pairs of real features say takes the longest; it is kept in a file, under a hash of the features.

    Args:
        config: the study's.
        scorer: the study's.
        kept: the file.

    Raises:
        ValueError: the features need a file, or a package, that isn't there.
    """

    def __init__(self, config: StudyConfig, scorer: Scorer, kept: Path):
        self._kept = kept
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
            self._reference = self._refer_to(self._features(real, real_scores))
        found = self._reference.compare(self._features(x, scores))
        return {"features": self._extractor.name if self._extractor else OWN, **found.as_json()}

    def _refer_to(self, real: torch.Tensor) -> Reference:
        reference = Reference(real, self._neighbours)
        about = f"{self._neighbours} neighbours, {real.device.type}, "
        key = hashlib.sha256(about.encode() + real.cpu().contiguous().numpy().tobytes()).hexdigest()
        found = from_main(lambda: load_file(self._kept) if self._kept.exists() else {})
        if f"{key} radii" in found:
            kernel, square = found[f"{key} kernels"].tolist()
            radii, kernel_of = (found[f"{key} {name}"].to(real.device) for name in ("radii", "kernel_of"))
            reference.within = Within(radii, kernel, kernel_of, square)
        elif (within := reference.within).kernel is not None:
            kernels = torch.tensor([within.kernel, within.kernel_square], dtype=torch.float64)
            named = {"radii": within.squared_radii, "kernel_of": within.kernel_of, "kernels": kernels}
            raw = save({f"{key} {name}": tensor.cpu() for name, tensor in named.items()})
            from_main(lambda: write_whole(self._kept, lambda file: file.write(raw)))
        return reference

    def _features(self, x: torch.Tensor, scores: Scores) -> torch.Tensor:
        if self._extractor:
            return self._extractor.features(scaled(x))
        assert scores.features is not None
        on = "cpu" if device().type == "mps" else device()  # which has no float64
        return torch.from_numpy(scores.features[:, self._classes :]).to(on)

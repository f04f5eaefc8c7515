"""A trainer and a sampler that know nothing of curate: pictures in, pictures out (docs/howto-own-trainer.md).

It learns the mean and the main directions of the pictures (a principal component analysis); yours would be a network.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

DIRECTIONS = 24


def train(data: Path, out: Path) -> None:
    """Leaves a model in `out`, from the pictures in `data`."""
    lines = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    x = np.stack([np.asarray(Image.open(data / line["file_name"]), dtype=float) for line in lines])
    mean = x.mean(0)
    print(f"progress 1 2\n{len(x)} pictures", flush=True)
    _, scale, directions = np.linalg.svd((x - mean).reshape(len(x), -1), full_matrices=False)
    np.savez(out / "model.npz", mean=mean, basis=scale[:DIRECTIONS, None] * directions[:DIRECTIONS] / len(x) ** 0.5)


def sample(model: Path, seeds: Path, out: Path) -> None:
    """Draws a picture into `out` for each line of `seeds`."""
    weights = np.load(model / "model.npz")
    for row in csv.DictReader(seeds.open()):
        z = np.random.default_rng(int(row["seed"])).standard_normal(len(weights["basis"]))  # a seed, a picture
        x = weights["mean"] + (z @ weights["basis"]).reshape(weights["mean"].shape)
        Image.fromarray(x.round().clip(0, 255).astype(np.uint8)).save(out / f"{int(row['index']):08d}.png")


if __name__ == "__main__":
    {"train": train, "sample": sample}[sys.argv[1]](*map(Path, sys.argv[2:]))

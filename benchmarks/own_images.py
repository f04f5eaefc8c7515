"""A folder of pictures, from `curate new` to a served first slate: minutes, fidelity, and how good the plan's line was.

    python benchmarks/own_images.py CIFAR --out own-images

CIFAR is a copy of CIFAR-10 as class folders (CIFAR/train/airplane, CIFAR/train/automobile, ...). The first 500 of
each of two classes are the pictures. FD(vgg11) by the study's own classifier is of the 1,000 samples of generation 0's
evaluation; beside it are the FDs of the pictures themselves, blurred (Gaussian of 2 pixels) and noised (0.3, of a
range from -1 to 1), as many, by the same classifier.
"""

import argparse
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import torch
from machine import commit, machine
from scipy.ndimage import gaussian_filter

from loop.study import Study
from loop.training_data import to_bytes
from model.interfaces import scaled
from model.judging.classifier import Classifier
from model.judging.fidelity import Reference, nearest_ratio, typical_spacing

CURATE = [sys.executable, "-m", "curate_app"]
BLUR_PIXELS, NOISE = 2.0, 0.3
MOST_S = 2 * 3600
UNITS = {"s": 1, "min": 60, "h": 3600}


def main() -> None:
    """Makes the study, serves it until the first slate, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path, help="CIFAR-10 as class folders")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the pictures, the study and samples")
    parser.add_argument("--classes", nargs=2, default=["airplane", "automobile"])
    parser.add_argument("--n", type=int, default=500, help="pictures of each class")
    options = parser.parse_args()
    for name in options.classes:
        (options.out / "pictures" / name).mkdir(parents=True)
        for file in sorted((options.cifar / "train" / name).iterdir())[: options.n]:
            shutil.copy(file, options.out / "pictures" / name)

    began, path = time.monotonic(), options.out / "study"
    settings = ["--preset", "folder", "--set", f"data.path={options.out / 'pictures'}"]
    created = subprocess.run([*CURATE, "new", str(path), *settings], check=True, capture_output=True, text=True)
    new_s = time.monotonic() - began
    print(f"{machine()}{commit()}\n{created.stderr.strip()}\n`curate new` took {new_s:.1f} s")
    first_slate_s = serve_until_first_slate(path, began)
    print(f"first slate {first_slate_s / 60:.1f} min after `curate new` began")
    planned = planned_seconds(created.stderr)
    if planned:
        print(f"the plan said {planned / 60:.1f} min: {first_slate_s / planned:.2f} times that")
    print_fidelity(path, options.out)


def serve_until_first_slate(path: Path, began: float) -> float:
    """Serves the study until a rater who waits gets a slate; seconds since `began`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([*CURATE, "serve", str(path), "--port", str(port)])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while time.monotonic() - began < MOST_S:
                time.sleep(1)
                try:
                    state = client.post("/api/session").json()
                except (httpx.HTTPError, ValueError):  # not up yet
                    continue
                if state["state"] == "picking":
                    client.get(state["items"][0]["image"]).raise_for_status()
                    return time.monotonic() - began
    finally:
        server.terminate()
        server.wait()
    raise RuntimeError(f"There was no slate after {MOST_S / 60:.0f} minutes.")


def planned_seconds(line: str) -> float | None:
    """The time that the plan's line names before the first round."""
    match = re.search(r"about (?:(\d+) h )?(\d+) (min|s)", line)
    return match and int(match[1] or 0) * 3600 + int(match[2]) * UNITS[match[3]]


def print_fidelity(path: Path, out: Path) -> None:
    """Prints FD and neighbour ratio of generation 0 beside those of blurred pictures; writes its sample sheet."""
    study = Study.open(path)
    first = study.store.generations()[0].measurements
    assert first.distances is not None and first.grid_sha256 is not None
    (out / "samples.png").write_bytes(study.store.image(first.grid_sha256) or b"")
    classifier = Classifier.load(study.classifier_path)
    pixels = to_bytes(study.real.x)
    reference, spacing = Reference(torch.as_tensor(classifier.judge(scaled(pixels)).features)), typical_spacing(pixels)
    real, rng = scaled(pixels).numpy(), np.random.default_rng(0)
    blurred = gaussian_filter(real, (0, 0, BLUR_PIXELS, BLUR_PIXELS))
    noised = np.clip(blurred + NOISE * rng.standard_normal(real.shape), -1, 1).astype(np.float32)
    print(f"generation 0: FD {first.distances.fd:.1f}, neighbour ratio {first.nn_ratio:.2f}")
    for words, images in ((f"blurred by {BLUR_PIXELS:g} px", blurred), (f"and noised by {NOISE:g}", noised)):
        x = torch.from_numpy(images)
        distances = reference.compare(torch.as_tensor(classifier.judge(x).features))
        print(f"pictures {words}: FD {distances.fd:.1f}, neighbour ratio {nearest_ratio(x, pixels, spacing):.2f}")
    study.store.close()


if __name__ == "__main__":
    main()

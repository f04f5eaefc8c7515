"""A rater made of code, through the HTTP routes alone: always picks the most seven-like digit.

    python benchmarks/scripted_rater.py STUDY --generations 5 [--set curation.extend=none]

Starts `curate serve` on a new study, picks until the generations are published, and prints for each one the share of
the target class among fresh samples, nearest-neighbour ratios, how long the turn took from the last pick that it
needed, and how long the answers to picks took while it trained.
"""

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from data.store import Store, queries
from loop.training_data import to_tensor
from model.judging.classifier import Classifier
from model.judging.fidelity import nearest_ratio, typical_spacing


def main() -> None:
    """Runs the rater and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--generations", type=int, default=5)
    parser.add_argument("--target", type=int, default=7)
    parser.add_argument("--port", type=int, default=7999)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between picks")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()
    curate = [sys.executable, "-m", "curate_app"]
    settings = [part for setting in args.settings for part in ("--set", setting)]
    subprocess.run([*curate, "new", str(args.study), "--preset", "digits", *settings], check=True)
    started = time.monotonic()
    server = subprocess.Popen([*curate, "serve", str(args.study), "--port", str(args.port)])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{args.port}", timeout=30) as client:
            _until_up(client)
            print(f"page answers after {time.monotonic() - started:.1f} s")
            pick_all(client, args, started)
    finally:
        server.terminate()
        server.wait()
    report(args)


def pick_all(client: httpx.Client, args: argparse.Namespace, started: float) -> None:
    """Picks until the last generation is published."""
    client.post("/api/session", json={}).raise_for_status()
    judge: Classifier | None = None
    t, triggered, took, first = 0, None, [], True
    while True:
        slate = client.get("/api/slate").raise_for_status().json()
        if slate["progress"]["t"] > t:
            t = slate["progress"]["t"]
            since = time.monotonic() - (triggered or started)
            worst = f"{1e3 * max(took):.0f} ms over {len(took)} picks" if took else "none"
            print(f"generation {t} published {since:.1f} s after its last pick; slowest answer meanwhile: {worst}")
            triggered, took = None, []
            if t >= args.generations:
                return
        if slate["state"] == "waiting":
            time.sleep(0.5)
            continue
        if first:
            print(f"first slate after {time.monotonic() - started:.1f} s")
            first = False
        judge = judge or Classifier.load(args.study / "classifier.safetensors")
        position = _most_like(client, judge, slate, args.target)
        body = {"slate_id": slate["slate_id"], "outcome": "pick", "position": position, "rt_ms": 500, "input": "script"}
        before = time.monotonic()
        answer = client.post("/api/pick", json=body).raise_for_status().json()
        if triggered is not None:
            took.append(time.monotonic() - before)
        elif answer["progress"]["done"] >= answer["progress"]["total"]:
            triggered = time.monotonic()
        time.sleep(args.pause)


def report(args: argparse.Namespace) -> None:
    """Prints what the generations became, against the picks of people alone."""
    from data.datasets import digits
    from data.images import decode_png

    store = Store(args.study / "study.db")
    spacing = typical_spacing(to_tensor(digits().x))
    picks = to_tensor(
        np.stack([decode_png(store.image(row["image_sha256"]) or b"") for row in queries.curation_picks(store)])
    )
    print("  t  share  nn(real)  nn(curated)  nn(people's picks)  curated")
    for generation in store.generations():
        measurements, curated, nan = generation.measurements, generation.measurements.curated, float("nan")
        sheet = decode_png(store.image(measurements.grid_sha256 or "") or b"")
        shown = np.stack([sheet[r : r + 8, c : c + 8] for r in range(0, 72, 9) for c in range(0, 72, 9)])
        ratio = nearest_ratio(to_tensor(shown), picks, spacing)
        print(
            f"{generation.t:>3}  {measurements.class_shares[args.target]:.3f}  {measurements.nn_ratio or nan:8.2f}  "
            f"{measurements.nn_picks_ratio or nan:11.2f}  {ratio:18.2f}  {json.dumps(curated and curated.as_json())}"
        )


def _most_like(client: httpx.Client, judge: Classifier, slate: dict, target: int) -> int:
    images = []
    for item in slate["items"]:
        pixels = np.asarray(Image.open(io.BytesIO(client.get(item["image"]).raise_for_status().content)))
        images.append(pixels[:, :, None])
    return int(judge.judge(to_tensor(np.stack(images))).probs[:, target].argmax())


def _until_up(client: httpx.Client) -> None:
    while True:
        try:
            client.get("/").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.1)


if __name__ == "__main__":
    main()

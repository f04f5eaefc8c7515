"""Twice the samples, twice the time, in the same memory; and a fine-tune that doesn't grow with the study.

    python benchmarks/scaling.py                                       # the digits generator that ships
    python benchmarks/scaling.py --weights generator.safetensors --preset cifar10-small
    python benchmarks/scaling.py --counts 1000 2000 --picks 1000 10000

Each row is measured in a process of its own; those of the first table several times, in turns, for the median: a
machine that others use is slow for moments. Samples are drawn in the lots of `curate simulate`. Targets: a doubling
within 10% of twice the time, memory flat from the first full lot on, and no more than noise between the studies. The
memory of the second table is the highest of two turns, the first of which reads and decodes all the stored picks.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from curate_app.console import is_debug, run
from curate_app.processes import use_threads

STARTER = Path(__file__).parents[1] / "model" / "starters" / "digits" / "generator.safetensors"
IMAGES = 50  # that the stored picks share: the database grows by rows
TURN = ("curation.extend=none", "curation.k=2", "curation.picks=500", "evaluation.samples=500")


def main() -> None:
    """Measures and prints both tables, or one row in its own process."""
    options = arguments()
    use_threads(beside_app=False)
    if options.row:
        work = sampling if options.row == "sampling" else turn
        print(json.dumps(work(options, options.counts[0])))
        return
    rounds = [[in_own_process("sampling", n, options) for n in options.counts] for _ in range(options.repeat)]
    rows = [median(repeats) for repeats in zip(*rounds, strict=True)]
    print("  samples   seconds   images/s   peak MB   time against the row above, per sample")
    for before, row in pairwise([None, *rows]):
        grown = before and row["seconds"] / before["seconds"] * before["n"] / row["n"]
        print(
            f"{row['n']:>9,}{row['seconds']:10.2f}{row['n'] / row['seconds']:11.0f}{row['peak_mb']:10.0f}"
            + (f"{grown:8.3f}" if grown else "")
        )
    print(f"\nA turn that picks 500 and fine-tunes {options.steps} steps, after so many stored picks:")
    print("    picks   database MB   fine-tune s   whole turn s   peak MB")
    for count in options.picks:
        row = in_own_process("turn", count, options)
        print(
            f"{row['n']:>9,}{row['database_mb']:14.1f}{row['fine_tune_s']:14.2f}{row['turn_s']:15.2f}"
            f"{row['peak_mb']:10.0f}"
        )


def median(repeats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure of a row that was measured several times."""
    return {name: statistics.median_low(row[name] for row in repeats) for name in repeats[0]}


def sampling(options: argparse.Namespace, n: int) -> dict[str, Any]:
    """Draws n samples, lot by lot; the first batch, before the clock starts, warms up."""
    import numpy as np
    from versus.clock import peak_memory

    from loop.study import configure
    from loop.users import CHUNK
    from model.flow import Flow

    config = configure(options.preset)
    flow = Flow.load(options.weights, config.train, config.sampling)
    flow.sample(np.arange(config.sampling.batch_size))
    lot = CHUNK * 2  # slates of two
    began = time.perf_counter()
    for first in range(0, n, lot):
        flow.sample(np.arange(first, min(n, first + lot)))
    return {"n": n, "seconds": time.perf_counter() - began, "peak_mb": peak_memory()["resident"]}


def turn(options: argparse.Namespace, n: int) -> dict[str, Any]:
    """The second turn of a study whose first one came after n stored picks."""
    from versus.clock import peak_memory

    from loop.generators import load_generator
    from loop.round import next_generation
    from loop.setup import prepare_evaluator, prepare_first_generation
    from loop.study import Study, configure
    from loop.users import SimulatedUsers

    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        config = configure("digits", [*TURN, f"train.finetune_steps={options.steps}"])
        study = Study.create(Path(folder) / "study", config)
        evaluator = prepare_evaluator(study, silent)
        prepare_first_generation(study, evaluator, silent)
        fill(study, n)
        users, generator = SimulatedUsers(study, evaluator.scorer), load_generator(study, 0)
        seconds = 0.0
        for t in range(2):
            began = time.perf_counter()
            generator = next_generation(study, evaluator, generator, users.curate(generator, t), silent)
            seconds = time.perf_counter() - began
        latest = study.store.latest_generation()
        assert latest is not None and latest.t == 2 and latest.measurements.seconds
        study.store.close()
        size = (study.path / "study.db").stat().st_size / 1e6
    trained = latest.measurements.seconds.train
    memory = peak_memory()["resident"]
    return {"n": n, "fine_tune_s": trained, "turn_s": seconds, "database_mb": size, "peak_mb": memory}


def fill(study: Any, n: int) -> None:
    """Stores n picks of generation 0 by simulated users of a session of their own."""
    import numpy as np

    from data.images import encode_png
    from data.records import NewSlate, Sample

    rng, store = np.random.default_rng(0), study.store
    images = [encode_png(pixels) for pixels in study.real.x[:IMAGES]]
    session = store.bulk_session("sim", "earlier users")
    names = [name for name, _ in images]
    slates = (
        NewSlate(0, "curation", 2, i, [Sample(0, 2 * i + j, 0.0, 0, names[(2 * i + j) % IMAGES]) for j in range(2)])
        for i in range(n)
    )
    with store.write():
        store.add_images(images)
        ids = store.add_slates(slates, picked_by=[session] * n)
        positions = rng.integers(0, 2, n).tolist()
        store.add_picks((slate_id, session, position, {}) for slate_id, position in zip(ids, positions, strict=True))


def in_own_process(row: str, count: int, options: argparse.Namespace) -> dict[str, Any]:
    """One row, measured in a fresh process."""
    command = [sys.executable, __file__, "--row", row, "--counts", str(count), "--steps", str(options.steps)]
    command += ["--weights", str(options.weights), "--preset", options.preset]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"The process that measured {row} at {count:,} failed; what it said stands above")
    return json.loads(done.stdout)


def silent(_phase: str, _done: int, _total: int) -> None:
    """Reports nothing."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=STARTER, help="a generator, a checkpoint of curate")
    parser.add_argument("--preset", default="digits", help="whose solver and batch size sample")
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 2_000, 4_000, 8_000, 16_000])
    parser.add_argument("--repeat", type=int, default=3, help="how often to measure the first table")
    parser.add_argument("--picks", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="stored picks")
    parser.add_argument("--steps", type=int, default=200, help="of the fine-tune")
    parser.add_argument("--debug", action="store_true", help="show a failure's traceback")
    parser.add_argument("--row", choices=("sampling", "turn"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(run(main, is_debug()))

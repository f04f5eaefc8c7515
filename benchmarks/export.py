"""The time and memory that an export of a million picks takes: each format in a process of its own.

    python benchmarks/export.py                                   # a million picks of K = 4, as long-parquet
    python benchmarks/export.py --picks 100000 --formats long-csv wide-csv choix
    python benchmarks/export.py --keep /tmp/million               # keeps the study for the next time

Target on two cores: a million picks as long-parquet in under 60 s and 500 MB.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from data.records import Generation, NewSlate, Sample
from data.store import Store
from loop.study import Study, configure

USERS = 2_000


def main() -> None:
    """Makes the study where there is none yet, and exports it."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        study = (options.keep or Path(folder)) / "study"
        if not study.exists():
            fill(Study.create(study, configure("moons")).store, options.picks, options.k)
        for name in options.formats:
            out = Path(folder) / f"picks-{name}"
            started = time.monotonic()
            command = [sys.executable, "-m", "curate_app", "export", str(study), "--format", name, "--out", str(out)]
            subprocess.run(command, check=True)
            took, peak = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
            print(f"{name}: {took:.1f} s, {size:.0f} MB on disk; most memory of any export so far {peak:.0f} MB")


def fill(store: Store, n: int, k: int) -> None:
    """Generation 0 and n picks by simulated users from slates of K points."""
    rng = np.random.default_rng(0)
    store.publish(Generation(0, None, "generation-0000.safetensors", "ab" * 32, 10, 0, "mix lam=1"))
    users = [store.bulk_session("sim", f"user {i}", f"type {i % 3}") for i in range(USERS)]
    owners = [users[i % USERS] for i in range(n)]
    slates = store.add_slates((slate(i, k, rng) for i in range(n)), picked_by=owners)
    picked = rng.integers(0, k, n).tolist()
    store.add_picks(
        (slate_id, owner, position, {}) for slate_id, owner, position in zip(slates, owners, picked, strict=True)
    )
    store.close()


def slate(number: int, k: int, rng: np.random.Generator) -> NewSlate:
    """A slate of K points with rewards and classes."""
    drawn = rng.random((k, 3)).tolist()
    samples = [Sample(0, number * k + j, r, int(8 * x), point=(x, y)) for j, (x, y, r) in enumerate(drawn)]
    return NewSlate(0, "curation", k, number, samples)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picks", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--formats", nargs="+", default=["long-parquet"])
    parser.add_argument("--keep", type=Path, help="a folder in which the study is made, or is already")
    return parser.parse_args()


if __name__ == "__main__":
    main()

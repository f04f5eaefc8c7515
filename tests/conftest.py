"""What several folders of tests share: settings that make a study tiny, a database with slates, a folder's contents."""

import hashlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from data.images import encode_png
from data.records import Generation, NewSlate, Purpose, Sample
from data.store import Store, queries

settings.register_profile("patient", deadline=None)  # a busy machine isn't a fault
settings.load_profile("patient")

MOONS = (
    "data.n=300", "network.width=32", "train.pretrain_steps=60", "train.finetune_steps=30", "train.batch_size=64",
    "curation.picks=200", "evaluation.samples=200", "sampling.steps=4",
)  # fmt: skip
DIGITS = (
    "data.n=300", "network.width=32", "network.depth=1", "train.pretrain_steps=40", "train.finetune_steps=20",
    "train.batch_size=64", "train.pair_size=64", "classifier.width=4", "classifier.epochs=1", "evaluation.samples=200",
    "curation.picks=60", "sampling.steps=2", "sampling.batch_size=64",
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Lets Ctrl-C interrupt, also where a shell has started the tests in the background, which makes them ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_moons() -> tuple[str, ...]:
    """Settings, as for --set, of a moons study whose turns take a second."""
    return MOONS


@pytest.fixture(scope="session")
def tiny_digits() -> tuple[str, ...]:
    """Settings, as for --set, of a digits study whose turns take a second or two."""
    return DIGITS


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, str]]:
    """A function: every file and folder under a path, with the sha256 of each file."""

    def listing(root: Path) -> dict[str, str]:
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            for path in sorted(root.rglob("*"))
        }

    return listing


@pytest.fixture(scope="session")
def fill() -> Callable[..., list[int]]:
    """A function: publishes generation t if it is new, adds n slates of K distinct images, returns their ids."""

    def add(store: Store, t: int = 0, n: int = 4, k: int = 3, purpose: Purpose = "curation") -> list[int]:
        if store.latest_cut() is None or store.latest_cut()[0] < t:  # pyright: ignore[reportOptionalSubscript]
            store.publish(Generation(t, t - 1 if t else None, f"generation-{t:04d}.safetensors", "ab" * 32, 10, 0, ""))
        rng = np.random.default_rng([t, len(purpose), queries.count_slates(store, purpose, t)])
        pngs = [encode_png(pixels) for pixels in rng.integers(0, 256, (n * k, 8, 8, 1), dtype=np.uint8)]
        store.add_images(pngs)
        samples = [Sample(t, seed, 0.1 * seed, seed % 10, sha256) for seed, (sha256, _) in enumerate(pngs)]
        return store.add_slates(NewSlate(t, purpose, k, i, samples[i * k : (i + 1) * k]) for i in range(n))

    return add


@pytest.fixture
def store(tmp_path: Path, fill: Callable[..., list[int]]) -> Iterator[Store]:
    """A database with generation 0, four free curation slates of K = 3, and a person's sessions 'ann' and 'bob'."""
    made = Store.create(tmp_path / "study.db")
    fill(made)
    for name in ("ann", "bob"):
        made.add_session(name, made.add_rater("human", panel="panel", panel_rater_id=name))
    yield made
    made.close()

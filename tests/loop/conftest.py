"""Tiny studies, people who pick by a rule, and processes that are killed at a chosen moment."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from data.records import Pick
from data.store import queries
from loop.simulate import simulate
from loop.study import Study, configure
from tests.loop.processes import run_script


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks are fastest so, and the killed processes compute the same bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make(tmp_path: Path, tiny_moons: tuple[str, ...], tiny_digits: tuple[str, ...]) -> Iterator[Callable[..., Study]]:
    """A factory: a new tiny study of a preset, with more settings; `name` is its folder."""
    made: list[Study] = []

    def create(preset: str, *settings: str, seed: int = 0, name: str = "") -> Study:
        tiny = {"moons": tiny_moons, "digits": tiny_digits}[preset]
        study = Study.create(
            tmp_path / (name or f"study-{len(made)}"), configure(preset, [*tiny, *settings], seed=seed)
        )
        made.append(study)
        return study

    yield create
    for study in made:
        study.store.close()


@pytest.fixture(scope="session")
def run() -> Callable[..., Study]:
    """A function: simulates a study for a number of generations, and gives it back."""

    def simulated(study: Study, generations: int = 2) -> Study:
        simulate(study, generations, lambda phase, done, total: None)
        return study

    return simulated


@pytest.fixture(scope="session")
def simulated_digits(tmp_path_factory: pytest.TempPathFactory, tiny_digits: tuple[str, ...], run) -> Iterator[Study]:
    """A digits study of two simulated generations, to be looked at only."""
    config = configure("digits", [*tiny_digits, "curation.extend=none"], seed=3)
    study = run(Study.create(tmp_path_factory.mktemp("digits") / "study", config))
    yield study
    study.store.close()


@pytest.fixture
def copy_of(tmp_path: Path) -> Iterator[Callable[[Study], Study]]:
    """A function: a copy of a study, to be changed."""
    copies: list[Study] = []

    def copy(study: Study) -> Study:
        study.store.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copytree(study.path, tmp_path / f"copy-{len(copies)}")
        copies.append(Study.open(tmp_path / f"copy-{len(copies)}"))
        return copies[-1]

    yield copy
    for study in copies:
        study.store.close()


@pytest.fixture(scope="session")
def fingerprint() -> Callable[[Study], dict[str, object]]:
    """A function: what must not depend on interruptions: every pick with its slate's seeds, every checkpoint."""

    def of(study: Study) -> dict[str, object]:
        store = study.store
        picks = [
            (row["t"], row["slate_id"], row["position"], row["seed"], row["kind"], row["image_sha256"])
            for row in queries.curation_picks(store, kinds=("human", "sim", "proxy"))
        ]
        samples = [tuple(row.values()) for row in store.rows("SELECT id, t, seed, reward, label FROM sample")]
        generations = [
            (row.t, row.checkpoint_sha256, row.pick_cut, row.n_real, row.n_curated) for row in store.generations()
        ]
        return {"picks": picks, "samples": samples, "generations": generations}

    return of


@pytest.fixture(scope="session")
def people() -> Callable[..., list[int]]:
    """A function: one person answers n curation slates by the slate's number, and the ids of the picks."""

    def pick(study: Study, n: int, name: str = "ann") -> list[int]:
        store, (t, _) = study.store, study.store.latest_cut() or (0, 0)
        rater = store.add_rater("human", panel="test", panel_rater_id=name)
        session = store.add_session(name, rater, panel_session_id=name)
        ids = []
        for _ in range(n):
            slate = store.lease(session, ("curation",), t, 600)
            assert slate is not None, "the pool is empty"
            ids.append(store.record_pick(session, Pick(slate.id, "pick", slate.id % slate.k, rt_ms=300)).id)
        return ids

    return pick


@pytest.fixture(scope="session")
def run_and_die() -> Callable[..., None]:
    """A function: has a script work on a study in a process of its own and SIGKILLs it at the nth report of a phase."""

    def die(script: Path, study: Study, phase: str, nth: int) -> None:
        study.store.close()
        assert run_script(str(script), str(study.path), phase, str(nth)) == -signal.SIGKILL, "it ended by itself"

    return die

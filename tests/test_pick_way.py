"""How many of our modules one pick runs through, from POST /api/pick to the first gradient that it has a part in."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import torch
from starlette.testclient import TestClient

from curate_app.web.app import build_app
from loop.generators import load_generator
from loop.round import next_generation
from loop.study import Study, configure
from loop.users import People
from loop.worker import Worker

ROOT = Path(__file__).parents[1]
PACKAGES = tuple(f"{ROOT / package}/" for package in ("curate_app", "data", "loop", "model"))
MOST_MODULES = 29  # 25 before training sets had parts, data policies a module, and conditions were asked for


class GradientError(Exception):
    """The first gradient is there."""


@contextmanager
def traced() -> Iterator[set[str]]:
    """The modules of ours in which a function is called meanwhile, in any thread."""
    called: set[str] = set()

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and frame.f_code.co_name != "<module>" and file.startswith(PACKAGES):
            called.add(str(Path(file).relative_to(ROOT)))

    threading.setprofile_all_threads(profile) if sys.version_info >= (3, 12) else threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield called
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def test_a_pick_runs_through_few_modules(tmp_path: Path, tiny_digits: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    settings = [*tiny_digits, "curation.extend=none", "schedule.picks=1", "pool.size=8", "pool.audit=4"]
    study = Study.create(tmp_path / "study", configure("digits", settings))
    worker = Worker(study)
    worker.run(once=True)
    with (
        traced() as called,
        TestClient(build_app(study, admin_open=True, password=None), base_url="http://localhost") as client,
    ):
        client.get("/")
        client.post("/api/session", json={})
        slate = client.get("/api/slate").json()
        called.clear()
        pick = {"slate_id": slate["slate_id"], "outcome": "pick", "position": 0, "rt_ms": 700, "input": "mouse"}
        assert client.post("/api/pick", json=pick).status_code == 200
        route = set(called)
    assert "data/store/slates.py" in route and not any(name.startswith("model/") for name in route)

    def gradient(_loss: torch.Tensor) -> None:
        raise GradientError

    monkeypatch.setattr(torch.Tensor, "backward", gradient)
    parent, silent = load_generator(study, 0), lambda phase, done, total: None
    people: Callable = People(study, worker.scorer).curate
    with traced() as called, pytest.raises(GradientError):
        next_generation(study, worker.evaluator, parent, people(parent, 0), silent)
    training = set(called)
    study.store.close()
    assert {"loop/round.py", "model/training.py"} <= training
    assert len(route | training) <= MOST_MODULES, sorted(route | training)

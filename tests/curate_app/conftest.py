"""Studies of real digits without a worker; a real server on a free port; a real Chromium."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from curate_app.web.app import build_app
from data.datasets import digits
from data.images import contact_sheet, encode_png
from data.measurements import Mean, Measurements
from data.records import Generation, NewSlate, Sample
from loop.study import Study, configure

MakeStudy = Callable[..., Study]
expect.set_options(timeout=30_000)  # a busy machine is no fault
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def publish(
    study: Study, t: int, *, slates: int = 12, audit: int = 4, share: float = 0.1, random_ids: bool = False
) -> None:
    """Generation t with a contact sheet, class shares in which class 3 has `share`, and free slates."""
    store, real, rng = study.store, digits(), np.random.default_rng(t)
    k = study.config.curation.k
    assert isinstance(k, int)
    sheet, sheet_png = encode_png(contact_sheet(real.x[rng.choice(len(real), 16)], 8))
    measurements = Measurements(
        mean_reward=Mean(value=1.0 + 0.1 * t, se=0.01),
        class_shares=tuple(share if label == 3 else (1 - share) / 9 for label in range(10)),
        class_names=tuple("0123456789"),
        nn_ratio=0.9,
        grid_sha256=sheet,
        grid_columns=8,
    )
    made = []
    for index in range(slates + audit):
        chosen = rng.choice(len(real), k, replace=False)
        pngs = [encode_png(real.x[i]) for i in chosen]
        store.add_images(pngs)
        samples = [Sample(t, 1000 * index + j, 0.5, int(real.labels[i]), pngs[j][0]) for j, i in enumerate(chosen)]
        made.append(NewSlate(t, "curation" if index < slates else "audit", k, index, samples))
    with store.write():
        store.add_images([(sheet, sheet_png)])
        parent = t - 1 if t else None
        store.publish(
            Generation(t, parent, f"{t}.safetensors", "ab" * 32, 1797, 0, "mix lam=1", measurements=measurements)
        )
        for purpose in ("curation", "audit"):  # in two calls, as the worker does
            store.add_slates([slate for slate in made if slate.purpose == purpose], random_ids=random_ids)


def set_phase(study: Study, phase: str) -> None:
    """The worker's phase; it counts as alive however slow the test is."""
    study.store.set_status("worker", phase=phase, done=0.25, left_s=18)
    with study.store.write() as db:
        db.conn.execute("UPDATE status SET at = '2999-01-01T00:00:00.000Z'")


@contextmanager
def _studies(folder: Path) -> Iterator[MakeStudy]:
    opened: list[Study] = []

    def make(*settings: str, generations: int = 1, phase: str | None = "idle") -> Study:
        study = Study.create(folder / f"study-{len(opened)}", configure("digits", settings))
        opened.append(study)
        for t in range(generations):
            publish(study, t, share=0.1 + 0.05 * t)
        if phase:
            set_phase(study, phase)
        return study

    yield make
    for study in opened:
        study.store.close()


@pytest.fixture
def make_study(tmp_path: Path) -> Iterator[MakeStudy]:
    """A factory: settings as for --set, the number of generations, the worker's phase (None: no worker)."""
    with _studies(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def serve_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[Study, str]]]:
    """A factory for a whole module: makes a study as `make_study` does, serves it, and gives it with its address."""
    with ExitStack() as stack:
        make = stack.enter_context(_studies(tmp_path_factory.mktemp("studies")))

        def serve(*settings: str, **more: Any) -> tuple[Study, str]:
            study = make(*settings, **more)
            return study, stack.enter_context(_served(study))

        yield serve


@pytest.fixture(scope="session")
def worker_phase() -> Callable[[Study, str], None]:
    """`set_phase`, for tests in which the worker goes on."""
    return set_phase


@pytest.fixture
def study(make_study: MakeStudy) -> Study:
    """One generation, an idle worker."""
    return make_study()


@pytest.fixture(scope="session")
def publish_generation() -> Callable[..., None]:
    """`publish`, for tests that let a generation arrive while the page is open."""
    return publish


@contextmanager
def _served(study: Study, password: str | None = None, port: int = 0) -> Iterator[str]:
    app = build_app(study, admin_open=password is None, password=password)
    listening = socket.create_server(("127.0.0.1", port))  # it listens from here on, so a browser may come at once
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """A factory: serves a study and gives its address."""
    with ExitStack() as stack:
        yield lambda study, password=None: stack.enter_context(_served(study, password))


@pytest.fixture
def serving() -> Callable[..., AbstractContextManager[str]]:
    """The same for a while: `with serving(study, port=…)`. Without a port it is a free one."""
    return _served


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, else Playwright's own."""
    with sync_playwright() as playwright:
        found = _launch(playwright)
        if found is None:
            pytest.skip("no Chromium: install one, or run `make browser`")
        yield found
        found.close()


def _launch(playwright: Playwright) -> Browser | None:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return playwright.chromium.launch(executable_path=path, args=CHROMIUM)
    try:
        return playwright.chromium.launch(args=CHROMIUM)
    except PlaywrightError:
        return None


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh browser profile with a laptop's window."""
    with browser.new_context(viewport={"width": 1280, "height": 720}) as fresh:
        yield fresh


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab; an error in its script fails the test that waits for what it should have done."""
    return context.new_page()

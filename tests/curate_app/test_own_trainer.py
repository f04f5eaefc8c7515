"""A trainer of one's own as two commands: picked from in Chromium, retrained, broken, mended."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from curate_app.admin.panels import event_words
from loop.study import Study, configure
from loop.worker import Worker
from model.command_generator import CommandError
from tests.curate_app.pages import picks, ready, saved

TRAINER = Path(__file__).parents[2] / "examples" / "own_trainer.py"
PYTHON = f"{sys.executable} {TRAINER}"
SETTINGS = (
    "data.n=200", "network.kind=command", f"network.train_command={PYTHON} train {{data}} {{out}}",
    f"network.sample_command={PYTHON} sample {{model}} {{seeds}} {{out}}", "classifier.width=4", "classifier.epochs=1",
    "evaluation.samples=100", "curation.k=2", "curation.extend=none", "schedule.picks=4", "pool.size=6", "pool.audit=2",
)  # fmt: skip


def work(path: Path, *changes: tuple[str, str]) -> Study:
    """Has a worker do all there is to do at the moment, after changes to study.toml."""
    settings = (path / "study.toml").read_text()
    for old, new in changes:
        assert old in settings
        settings = settings.replace(old, new)
    (path / "study.toml").write_text(settings)
    study = Study.open(path)
    try:
        Worker(study).run(once=True)
    finally:
        study.store.close()
    return study


@pytest.mark.browser
def test_a_command_is_picked_from_retrained_broken_and_mended(page: Page, serve: Callable[..., str], tmp_path: Path):
    Study.create(tmp_path / "s", configure("digits", SETTINGS)).store.close()
    work(tmp_path / "s")
    study = Study.open(tmp_path / "s")
    assert [row.t for row in study.store.generations()] == [0]
    ready(page, serve(study))
    for n in range(1, 5):
        page.keyboard.press("1")
        saved(page, n)
        ready(page)
    broken = "sample {model} {seeds} {out}", "smaple {model} {seeds} {out}"
    with pytest.raises(CommandError, match=r"network\.sample_command failed with exit code 1"):
        work(tmp_path / "s", broken)
    (failure,) = study.store.events(kinds=("worker_failed",))
    words, reason = event_words("worker_failed", failure["detail"])
    assert words == "stopped on an error"
    assert reason.startswith("network.sample_command failed with exit code 1") and "KeyError" in reason
    assert len(picks(study)) == 4 and [row.t for row in study.store.generations()] == [0]
    page.keyboard.press("2")  # people go on meanwhile
    saved(page, 5)
    work(tmp_path / "s", tuple(reversed(broken)))
    first, second = study.store.generations()
    assert second.t == 1 and second.n_curated == 4 and second.parent_t == 0
    assert second.checkpoint_sha256 != first.checkpoint_sha256 and len(picks(study)) == 5
    study.store.close()

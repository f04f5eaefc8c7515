"""The way of docs/howto-diffusers.md in small: a pipeline trained, served, picked, retrained, checked, reported."""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from loop.study import Study
from loop.worker import Worker
from tests.curate_app.command_line import curate_process
from tests.curate_app.pages import picks, ready, saved

ROOT = Path(__file__).parents[2]
PIPELINE = ("network.kind=diffusers", "network.file=my-ddpm", "sampling.scheduler=DDIMScheduler", "sampling.steps=3")
SMALL = (
    "train.finetune_lr=1e-4", "train.finetune_steps=4", "train.batch_size=8", "evaluation.samples=100", "pool.size=8",
    "pool.audit=0", "curation.picks=20", "curation.extend=none", "schedule.picks=3",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.browser
def test_from_nothing_to_a_report(tmp_path: Path, page: Page, serve: Callable[..., str]):
    def run(*arguments: str) -> None:
        done = curate_process(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]

    example = [sys.executable, str(ROOT / "examples" / "diffusers_digits.py"), "my-ddpm", "--steps", "5"]
    subprocess.run(example, cwd=tmp_path, check=True, timeout=300)
    settings = [word for setting in (*PIPELINE, *SMALL) for word in ("--set", setting)]
    run("new", "people", "--preset", "digits", *settings)

    study = Study.open(tmp_path / "people")
    with contextlib.chdir(tmp_path):  # `network.file` is relative, and needed once
        Worker(study).run(once=True)
    address = serve(study)
    for n in range(1, 4):
        ready(page, address if n == 1 else None)
        page.keyboard.press("1")
        saved(page, n)
    Worker(study).run(once=True)
    first, second = study.store.generations()
    assert first.policy == "pretrained elsewhere" and second.measurements.curated.human == 3
    assert len(picks(study)) == 3
    run("check", "people")
    run("report", "people")
    run("export", "people", "--out", "picks.csv")
    assert (tmp_path / "people" / "report.html").exists() and (tmp_path / "picks.csv").read_text().count("\n") > 3

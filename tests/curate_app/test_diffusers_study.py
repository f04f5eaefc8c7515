"""docs/howto-diffusers.md in small: its own commands, and studies of classes and prompts, picked, killed, resumed."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from loop.study import Study
from loop.worker import Worker
from model.checkpoint import load as load_checkpoint
from tests.curate_app.command_line import ENVIRONMENT, curate
from tests.curate_app.pages import picks, ready, saved
from tests.pipelines import save_dit, save_stable_diffusion

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "howto-diffusers.md").read_text()
COMMANDS = [line.strip() for line in TEXT.splitlines() if line.startswith(("    python ", "    curate "))]
SMALL = (
    "train.finetune_steps=4", "train.batch_size=8", "sampling.steps=3", "evaluation.samples=100", "pool.size=8",
    "pool.audit=0", "curation.picks=20", "curation.extend=none", "schedule.picks=3",
)  # fmt: skip
TINY = (
    "data.size=16", "classifier.width=4", "classifier.epochs=1", "train.finetune_steps=400",
    "train.batch_size=8", "sampling.steps=4", "sampling.batch_size=64", "sampling.guidance_scale=2", "reward.kind=ink",
    "reward.gamma=100", "curation.k=3", "curation.extend=none", "schedule.picks=6", "pool.size=12", "pool.audit=3",
    "evaluation.samples=600", "network.precision=fp32",
)  # fmt: skip
PROMPTS = ("a lighthouse at dusk, oil on canvas", "a fox in the snow, woodcut")  # of the howto
SIMULATED = 450


def run(line: str, cwd: Path, *more: str, sets: tuple[str, ...] = ()) -> None:
    """Runs a command of the howto, with more arguments and other settings."""
    program, *arguments = [*shlex.split(line), *more, *(word for setting in sets for word in ("--set", setting))]
    if program == "python":
        subprocess.run([sys.executable, str(ROOT / arguments[0]), *arguments[1:]], cwd=cwd, check=True, timeout=300)
        return
    done = curate(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr[-2000:]


def work(study: Study) -> None:
    """Has a worker do all there is to do, started two folders above the study."""
    with contextlib.chdir(study.path.resolve().parents[1]):
        Worker(study).run(once=True)


@pytest.mark.slow
@pytest.mark.browser
def test_the_commands_of_the_howto_go_from_nothing_to_a_report(tmp_path: Path, page: Page, serve: Callable[..., str]):
    example, simulate, report, new, _, export, *_ = COMMANDS
    assert [line.split()[1] for line in COMMANDS[1:6]] == ["simulate", "report", "new", "serve", "export"]
    assert "examples/diffusers_digits.py" in example
    run(example, tmp_path, "--steps", "5")
    run(simulate, tmp_path, sets=SMALL)
    run(report, tmp_path)
    assert "DDPM" in (tmp_path / "my-ddpm" / "model_index.json").read_text()
    assert (tmp_path / "studies" / "ddpm" / "report.html").exists()
    run(new, tmp_path, sets=SMALL)
    study = Study.open(tmp_path / "studies" / "people")
    work(study)
    address = serve(study)
    for n in range(1, 4):
        ready(page, address if n == 1 else None)
        page.keyboard.press("1")
        saved(page, n)
    work(study)
    first, second = study.store.generations()
    assert first.policy == "pretrained elsewhere" and second.measurements.curated.human == 3
    assert len(picks(study)) == 3
    run("curate check studies/people", tmp_path)
    run("curate report studies/people", tmp_path)
    run(export, tmp_path)
    assert (study.path / "report.html").exists() and (tmp_path / "picks.csv").read_text().count("\n") > 3


def save_pictures(folder: Path) -> None:
    """Pictures of 16 x 16 pixels in folders of three classes, of a colour each."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("bird", "cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(24):
            pixels = rng.integers(0, 100, (16, 16, 3)) + 100 * (np.arange(3) == channel)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


def classes_study(cwd: Path) -> tuple[str, ...]:
    """Makes a study of a DiT under its three classes, and returns these."""
    save_dit(cwd / "my-dit")
    run("curate new studies/art --preset diffusers", cwd, sets=("network.file=my-dit", "data.path=pictures", *TINY,
        "data.conditions=classes"))  # fmt: skip
    return "bird", "cat", "dog"


def prompts_study(cwd: Path) -> tuple[str, ...]:
    """Makes a study of Stable Diffusion by what the howto says, and returns its prompts."""
    (new,) = [line for line in COMMANDS if "stable-diffusion" in line]
    (file,) = [word.partition("=")[2] for word in shlex.split(new) if word.startswith("network.file=")]
    save_stable_diffusion(cwd / file)
    run(new, cwd, sets=TINY)
    _, _, after = TEXT.partition("instead of `conditions = []`:\n\n```toml\n")
    settings = cwd / "studies" / "art" / "study.toml"
    assert "conditions = []" in settings.read_text()
    settings.write_text(settings.read_text().replace("conditions = []", after.partition("```")[0]))
    return PROMPTS


def twin(study: Study, path: Path) -> Study:
    """A copy of a study that is being served."""
    shutil.copytree(study.path, path, ignore=shutil.ignore_patterns("study.db*"))
    with sqlite3.connect(study.path / "study.db") as served, sqlite3.connect(path / "study.db") as copy:
        served.backup(copy)
    return Study.open(path)


def killed_in_training(study: Study, cwd: Path) -> None:
    """Starts `curate worker`, and kills it by SIGKILL in the middle of a training."""
    command = [sys.executable, "-m", "curate_app", "worker", str(study.path), "--once"]
    worker = subprocess.Popen(command, cwd=cwd, env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)})
    while not (status := study.store.status("worker")).get("done") or status["phase"] != "training":
        assert worker.poll() is None, "it ended by itself"
        time.sleep(0.05)
    assert status["done"] < 1
    worker.send_signal(signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("make", [classes_study, prompts_study])
def test_a_study_under_conditions_is_picked_killed_resumed_exported_and_reported(
    make: Callable[[Path], tuple[str, ...]], tmp_path: Path, page: Page, serve: Callable[..., str]
):
    save_pictures(tmp_path / "pictures")
    conditions = make(tmp_path)
    study = Study.open(tmp_path / "studies" / "art")
    work(study)
    study.store.log("researcher", "simulate_requested", n=SIMULATED)  # as the researcher's page does
    work(study)
    assert [generation.t for generation in study.store.generations()] == [0, 1]

    address, seen = serve(study), set()
    for n in range(1, 7):
        ready(page, address if n == 1 else None)
        seen.add(page.locator(".condition").inner_text())
        page.keyboard.press("1")
        saved(page, n)
    assert seen <= set(conditions)
    undisturbed = twin(study, tmp_path / "twins" / "art")
    killed_in_training(study, tmp_path)
    assert not study.checkpoint_path(2).exists() and len(study.store.generations()) == 2
    ready(page)  # people go on meanwhile
    work(study)
    *_, second, third = study.store.generations()
    assert third.t == 2 and third.measurements.curated.human == 6 == sum(third.measurements.condition_picks)
    work(undisturbed)
    assert undisturbed.store.generations()[2].checkpoint_sha256 == third.checkpoint_sha256
    stored = load_checkpoint(study.checkpoint_path(2))
    assert stored.parent == second.checkpoint_sha256 and stored.config["sampled"]["guidance_scale"] == 2
    assert all("lora_" in name for name in stored.tensors) == (make is prompts_study)

    run("curate check studies/art", tmp_path)
    run("curate report studies/art", tmp_path)
    report = json.loads((study.path / "report.json").read_text())
    assert [condition["name"] for condition in report["conditions"]] == list(conditions)
    for condition in report["conditions"]:
        _, simulated, people = condition["generations"]
        assert simulated["picks"] and simulated["transmission"]["predicted_gain"]["value"] > 0
        assert people["transmission"] is None  # nobody knows by what taste they picked
    html = (study.path / "report.html").read_text()
    assert "Within each condition" in html
    run("curate export studies/art --format pickapic --out picks.parquet", tmp_path)
    assert set(pq.read_table(tmp_path / "picks.parquet")["caption"].to_pylist()) <= set(conditions)
    run("curate export studies/art --format imagefolder --out picked", tmp_path)
    lines = [json.loads(line) for line in next((tmp_path / "picked").rglob("metadata.jsonl")).read_text().splitlines()]
    assert {line["text"] for line in lines} <= set(conditions)
    expect(page.locator(".rater")).to_be_visible()
    for opened in (study, undisturbed):
        opened.store.close()

"""docs/howto-own-trainer.md in small: two commands, picked from in Chromium, retrained, broken in each way, mended."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from curate_app.admin.panels import event_words
from data.records import Pick
from loop.study import Study
from loop.worker import Worker
from model.generators.command_generator import CommandError
from tests.curate_app.command_line import curate
from tests.curate_app.pages import picks, ready, saved

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "howto-own-trainer.md").read_text()
NEW, SERVE, *_ = (line.strip() for line in TEXT.splitlines() if line.startswith("    curate "))
(NETWORK,) = re.findall(r"^```toml\n\[network\]\n(.*?)^```", TEXT, re.M | re.S)
SMALL = (
    "data.n=200", "classifier.width=4", "classifier.epochs=1", "evaluation.samples=100", "curation.k=2",
    "curation.extend=none", "schedule.picks=4", "pool.size=6", "pool.audit=2",
)  # fmt: skip
BROKEN = """
import sys, time
from pathlib import Path
from PIL import Image

how, out = sys.argv[1], Path(sys.argv[-1])
if how == "fails":
    sys.exit("out of memory")
if how == "hangs":
    time.sleep(60)
n = 1 if how == "few" else len(Path(sys.argv[3]).read_text().splitlines()) - 1 if how in ("size", "text") else 0
for i in range(n):
    Image.new("L", (9, 9) if how == "size" else (8, 8)).save(out / f"{i:08d}.png")
    if how == "text":
        (out / f"{i:08d}.png").write_text("no image")
"""
WAYS = {
    ("train", "fails"): "failed with exit code 1. Its last words: out of memory",
    ("train", "hangs"): "was ended after network.timeout_s = 2 s",
    ("train", "nothing"): "wrote nothing into {out}",
    ("sample", "fails"): "failed with exit code 1. Its last words: out of memory",
    ("sample", "hangs"): "was ended after network.timeout_s = 2 s",
    ("sample", "nothing"): "wrote 0 of ",
    ("sample", "few"): "00000001.png is missing",
    ("sample", "size"): "wrote 00000000.png of 9 x 9 pixels; the study's images have 8 x 8",
    ("sample", "text"): "wrote 00000000.png, which is no image",
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the howto's study, made where its commands find `python` and `examples`."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = curate(*shlex.split(NEW)[1:], *(word for setting in SMALL for word in ("--set", setting)))
    assert done.returncode == 0, done.stderr
    path = tmp_path / shlex.split(SERVE)[-1]
    for line in NETWORK.splitlines():
        write(path, line)
    return path


def write(path: Path, line: str) -> None:
    """Replaces a line of [network] in study.toml."""
    name, settings = line.partition(" =")[0], (path / "study.toml").read_text()
    settings, n = re.subn(rf"(^\[network\]\n(?:[^\[\n].*\n)*?){name} =.*", lambda m: m[1] + line, settings, flags=re.M)
    assert n == 1
    (path / "study.toml").write_text(settings)


def work(path: Path) -> Study:
    """Has a worker do all there is to do at the moment."""
    study = Study.open(path)
    try:
        Worker(study).run(once=True)
    finally:
        study.store.close()
    return study


def broken(path: Path, command: str, how: str) -> str:
    """Has a worker run into a broken command, and mends it; the reason that the researcher's page has for it."""
    script = path.parent / "broken.py"
    script.write_text(BROKEN)
    words = {"train": "{data} {out}", "sample": "{model} {seeds} {out}"}[command]
    (right,) = [line for line in NETWORK.splitlines() if line.startswith(f"{command}_command")]
    write(path, f'{command}_command = "python {script} {how} {words}"')
    with pytest.raises(CommandError):
        work(path)
    write(path, right)
    store = Study.open(path).store
    failure = store.events(kinds=("worker_failed",))[-1]
    store.close()
    said, reason = event_words("worker_failed", failure["detail"])
    assert said == "stopped on an error"
    return reason


@pytest.mark.browser
def test_a_command_is_picked_from_retrained_broken_and_mended(page: Page, serve: Callable[..., str], study: Path):
    work(study)
    served = Study.open(study)
    assert [row.t for row in served.store.generations()] == [0]
    ready(page, serve(served))
    for n in range(1, 5):
        page.keyboard.press("1")
        saved(page, n)
        ready(page)
    write(study, 'sample_command = "python examples/own_trainer.py smaple {model} {seeds} {out}"')
    with pytest.raises(CommandError, match=r"(?s)network\.sample_command failed with exit code 1.*KeyError"):
        work(study)
    assert len(picks(served)) == 4 and [row.t for row in served.store.generations()] == [0]
    page.keyboard.press("2")  # people go on meanwhile
    saved(page, 5)
    write(study, NETWORK.splitlines()[-1])
    work(study)
    first, second = served.store.generations()
    assert second.t == 1 and second.n_curated == 4 and second.parent_t == 0
    assert second.checkpoint_sha256 != first.checkpoint_sha256 and len(picks(served)) == 5
    served.store.close()


def pick(path: Path, n: int = 4) -> None:
    """Lets somebody pick."""
    store = Study.open(path).store
    session = store.add_session("ann", store.add_rater("human"))
    for _ in range(n):
        slate = store.lease(session, ("curation",), 0, 600)
        assert slate is not None
        store.record_pick(session, Pick(slate.id, "pick", 1))
    store.close()


def state(path: Path) -> tuple[int, list[int]]:
    """The number of picks, and the generations that there are."""
    study = Study.open(path)
    n, ts = len(picks(study)), [row.t for row in study.store.generations()]
    study.store.close()
    return n, ts


@pytest.mark.slow
def test_each_way_a_command_breaks_is_named_and_the_study_goes_on_after_the_fix(study: Path):
    work(study)
    pick(study)
    write(study, "timeout_s = 2.0")
    for (command, how), sentence in WAYS.items():
        reason = broken(study, command, how)
        assert reason.startswith(f"network.{command}_command ") and sentence in reason
        assert state(study) == (4, [0])
    work(study)
    assert state(study) == (4, [0, 1])


@pytest.mark.slow
def test_a_killed_worker_leaves_no_command_behind_and_the_next_goes_on(study: Path):
    work(study)
    pick(study)
    note = study.parent / "note"
    script = study.parent / "long.py"
    script.write_text(f"import os, time\nopen({str(note)!r}, 'w').write(f'{{os.getpid()}}\\n')\ntime.sleep(120)")
    write(study, f'train_command = "python {script} {{data}} {{out}}"')
    worker = subprocess.Popen(
        [sys.executable, "-m", "curate_app", "worker", str(study)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while not note.exists() or not note.read_text().endswith("\n"):
        assert worker.poll() is None
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    with pytest.raises(ProcessLookupError):
        for _ in range(200):
            os.kill(int(note.read_text()), 0)
            time.sleep(0.05)
    write(study, NETWORK.splitlines()[1])
    work(study)
    assert state(study) == (4, [0, 1])

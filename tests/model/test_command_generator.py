"""A generator of two commands: what they get, what they leave, and what is said when they don't."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.generators.command_generator import CommandError, CommandGenerator, fill, repeats, run, write_folder
from model.interfaces import Conditions, Rows

TRAINER = Path(__file__).parents[2] / "examples" / "own_trainer.py"
TABLES = TrainConfig(), SamplingConfig()
SEEDS = np.array([3, 1, 3], dtype=np.int64)


class Parts:
    """A training set of given parts."""

    slates = None

    def __init__(self, real: torch.Tensor, curated: torch.Tensor, real_share: float, weights: np.ndarray | None = None):
        self.real, self.curated, self.real_share = Rows(real), Rows(curated, None, weights), real_share

    def draw(self, n, rng):
        raise NotImplementedError


def commands(train: str, sample: str, timeout_s: float = 60.0) -> NetworkConfig:
    return NetworkConfig(kind="command", train_command=train, sample_command=sample, timeout_s=timeout_s)


def own_trainer() -> NetworkConfig:
    python = f"{sys.executable} {TRAINER}"
    return commands(f"{python} train {{data}} {{out}}", f"{python} sample {{model}} {{seeds}} {{out}}")


def images(n: int, level: int = 100) -> torch.Tensor:
    spread = torch.randint(-40, 40, (n, 1, 8, 8), generator=torch.Generator().manual_seed(level))
    return (spread + level).clamp(0, 255).to(torch.uint8)


def build(network: NetworkConfig, conditions: Conditions | None = None) -> CommandGenerator:
    return CommandGenerator.build((1, 8, 8), network, *TABLES, conditions)


def test_the_example_learns_saves_and_draws_by_seed(tmp_path: Path):
    steps: list[tuple[int, int]] = []
    empty = torch.empty(0, 1, 8, 8, dtype=torch.uint8)
    fitted = build(own_trainer()).fit(Parts(images(60), empty, 1.0), None, 7, lambda *step: steps.append(step))
    fitted.save(tmp_path / "g.safetensors")
    loaded = CommandGenerator.load(tmp_path / "g.safetensors", *TABLES)
    x = loaded.sample(SEEDS)
    assert x.shape == (3, 1, 8, 8) and x.dtype == torch.float32 and abs(float(x.mean()) - (100 / 127.5 - 1)) < 0.1
    assert torch.equal(x[0], x[2]) and not torch.equal(x[0], x[1]) and torch.equal(x, fitted.sample(SEEDS))
    child = loaded.fit(Parts(images(60), images(5, 200), 0.5), loaded, 8)
    assert child.parent == loaded.sha256 and float(child.sample(SEEDS).mean()) > float(x.mean())


def test_the_folder_has_the_shares_of_the_policy(tmp_path: Path):
    n = write_folder(tmp_path / "data", Parts(images(100), images(5, 200), 0.5), (), np.random.default_rng(0))
    lines = [json.loads(line) for line in (tmp_path / "data" / "metadata.jsonl").read_text().splitlines()]
    sources = [line["source"] for line in lines]
    assert n == 200 == len(list((tmp_path / "data").glob("*.png"))) and sources.count("real") == 100
    weighted = Parts(images(4), images(4, 200), 0.0, np.array([1.0, 1.0, 2.0, 4.0]))
    ((name, _, counts),) = repeats(weighted, np.random.default_rng(1))
    assert name == "curated" and counts.sum() in (3, 4, 5) and counts[3] >= 2
    means = np.mean([repeats(weighted, np.random.default_rng(i))[0][2] for i in range(2000)], axis=0)
    np.testing.assert_allclose(means, [0.5, 0.5, 1.0, 2.0], atol=0.06)


def test_a_share_that_calls_for_ever_more_files_is_bounded(tmp_path: Path):
    parts = repeats(Parts(images(1000), images(1000, 200), 0.99), np.random.default_rng(0))
    assert sum(counts.sum() for *_, counts in parts) <= 4_000 and parts[1][2].sum() in range(35, 45)


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ("import sys; print('no memory'); sys.exit(3)", r"train_command failed with exit code 3.*no memory"),
        ("pass", r"train_command wrote nothing into \{out\}"),
        ("import time; time.sleep(60)", r"train_command was ended after network.timeout_s = 1 s"),
    ],
)
def test_a_train_command_that_fails_is_named(train: str, sentence: str):
    network = commands(f'{sys.executable} -c "{train}" {{data}} {{out}}', "x {model} {seeds} {out}", timeout_s=1.0)
    with pytest.raises(CommandError, match=sentence):
        build(network).fit(Parts(images(3), images(0), 1.0), None, 0)


@pytest.mark.parametrize(
    ("size", "n", "sentence"),
    [(8, 2, r"wrote 2 of 3 images: 00000002\.png is missing"), (9, 3, r"9 x 9 pixels; the study's images have 8 x 8")],
)
def test_a_sample_command_that_leaves_the_wrong_images_is_named(size: int, n: int, sentence: str):
    code = (
        "import sys; from PIL import Image; "
        f"[Image.new('L', ({size}, {size})).save(sys.argv[1] + '/%08d.png' % i) for i in range({n})]"
    )
    network = commands("x {data} {out}", f'{sys.executable} -c "{code}" {{out}} {{model}} {{seeds}}')
    with pytest.raises(CommandError, match=sentence):
        build(network).sample(SEEDS)


def test_conditions_reach_the_command_as_words(tmp_path: Path):
    code = "import sys, shutil; shutil.copy(sys.argv[1], r'%s')" % (tmp_path / "seeds.csv")
    network = commands("x {data} {out}", f'{sys.executable} -c "{code}" {{seeds}} {{model}} {{out}}')
    with pytest.raises(CommandError, match="wrote 0 of 3"):
        build(network, Conditions(("a cat", "a dog, old"), (0.5, 0.5))).sample(SEEDS, np.array([1, 0, 1]))
    lines = (tmp_path / "seeds.csv").read_text().splitlines()
    assert lines == ["index,seed,condition,text", '0,3,1,"a dog, old"', "1,1,0,a cat", '2,3,1,"a dog, old"']


def test_a_command_that_cannot_work_is_refused_at_once(tmp_path: Path):
    with pytest.raises(ValueError, match=r"network.sample_command needs \{seeds\}, \{out\}"):
        commands("x {data} {out}", "y {model}")
    with pytest.raises(ValueError, match="can't be read"):
        build(commands("x {data} {out}", "y {model} {seeds} '{out}"))
    with pytest.raises(ValueError, match="these data are points"):
        CommandGenerator.build((2,), own_trainer(), *TABLES)
    with pytest.raises(CommandError, match="can't be started"):
        run(["no-such-program-here"], "network.train_command", 1.0, tmp_path)
    assert fill("a '{data} b' {out}", {"data": "x y", "out": "z"}, "s") == ["a", "x y b", "z"]


STUBBORN = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
note = pathlib.Path(sys.argv[1])
note.with_suffix(".new").write_text(str(os.getpid()))
note.with_suffix(".new").rename(note)
time.sleep(60)
"""


@pytest.fixture
def stubborn(tmp_path: Path) -> tuple[list[str], Path]:
    """A command whose child ignores the request to end, and the file that the child leaves its process id in."""
    (tmp_path / "child.py").write_text(STUBBORN)
    (tmp_path / "parent.py").write_text("import subprocess, sys\nsubprocess.run([sys.executable, *sys.argv[1:]])\n")
    note = tmp_path / "pid"
    return [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "child.py"), str(note)], note


def ends(pid: int) -> bool:
    """True as soon as a process is gone; an orphan is when init has seen it."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_ending_the_work_ends_the_command_and_its_children(stubborn: tuple[list[str], Path], tmp_path: Path):
    words, note = stubborn

    def stop(done: int, total: int) -> None:
        if note.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(words, "network.train_command", 60.0, tmp_path, stop)
    assert ends(int(note.read_text()))


@pytest.mark.slow
def test_a_killed_process_leaves_neither_its_command_nor_its_folder(stubborn: tuple[list[str], Path], tmp_path: Path):
    (words, note), place = stubborn, tmp_path / "place"
    place.mkdir()
    code = f"from model.generators.command_generator import *\nrun({words}, 's', 60.0, Path({str(place)!r}))"
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    while not note.exists():
        assert worker.poll() is None
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert place.exists()  # until the command has had its time to end
    assert ends(int(note.read_text())) and not place.exists()

"""`curate pretrain`: a generator for many studies, the same that a study would train for itself."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.curate_app import command_line

SMALL = [
    "data.n=300", "network.width=32", "network.depth=1", "train.pretrain_steps=40", "classifier.width=4",
    "classifier.epochs=1", "evaluation.samples=100", "sampling.steps=2", "curation.picks=40",
    "train.finetune_steps=10", "curation.extend=none",
]  # fmt: skip


def curate(*args: str, folder: Path) -> command_line.Done:
    return command_line.curate(*args, *(part for setting in SMALL for part in ("--set", setting)), cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pretrain")
    done = curate("pretrain", "--preset", "digits", "--out", "g.safetensors", "--json", folder=found)
    assert done.returncode == 0, done.stderr
    (found / "said.json").write_text(done.stdout)
    return found


def test_it_says_what_it_made_and_draws_samples(folder: Path):
    said = json.loads((folder / "said.json").read_text())
    assert said["sha256"] == json.loads((folder / "g.json").read_text())["sha256"] and said["parameters"] > 1_000
    [sheet] = (folder / "g-samples").glob("*.png")
    assert Image.open(sheet).size[0] > 64 and not (folder / "g.partial").exists()


def test_a_study_of_the_same_settings_trains_the_same_weights_or_takes_them(folder: Path):
    for name, more in {"own": [], "taken": ["--checkpoint", "g.safetensors"]}.items():
        done = curate("simulate", name, "--preset", "digits", "--generations", "0", *more, folder=folder)
        assert done.returncode == 0, done.stderr
        made = (folder / name / "checkpoints" / "generation-0000.safetensors").read_bytes()
        assert made == (folder / "g.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--preset", "digits", "--out", "g.safetensors"], "must be a new file"),
        (["--preset", "digits", "--out", "g.pt"], ".safetensors"),
        (["--preset", "mnist", "--out", "h.safetensors"], "no preset 'mnist'"),
        (["--preset", "folder", "--path", "nowhere", "--out", "h.safetensors"], "no folder of images at 'nowhere'"),
        (["--preset", "digits", "--out", "h.safetensors", "--checkpoint", "none.pt"], "no generator at"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(folder: Path, args: list[str], said: str):
    before = sorted(path.name for path in folder.iterdir())
    done = curate("pretrain", *args, folder=folder)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == before

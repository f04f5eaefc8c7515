"""The plain way by closed forms, the arithmetic of the report, and the whole benchmark on a few images."""

import argparse
import ast
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = (
    "network.width=32", "network.depth=1", "classifier.width=4", "classifier.epochs=1", "evaluation.samples=100",
    "train.batch_size=8", "sampling.solver=euler", "sampling.steps=1", "sampling.batch_size=32",
)  # fmt: skip
ASKED = {"samples": 1_000, "steps": 100, "repeat": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def beside_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts are found as the script finds them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """PNGs of two classes, 20 each, under train/."""
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        folder = tmp_path / "data" / "train" / name
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 128, (32, 32, 3), dtype=np.uint8) + (128 if name == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "data"


class Growth(nn.Module):
    """v = x, whose flow is known: x(1) = e x(0)."""

    def forward(self, _t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x


def result(seconds: float, evaluations: float, step_s: float) -> dict:
    stages = ("sample", "score", "pick and store", "fine-tune", "evaluate", "once")
    return {
        "seconds": dict.fromkeys(stages, seconds),
        "step_s": step_s,
        "evaluations": evaluations,
        "memory": {"resident": 100.0},
        "matmul": {"fp32": 1e9, "bf16": 2e9},
        "threads": 1,
        "workers": 2,
        "batch": 64,
        "flops": {"forward": 1e6, "step": 3e6, "judge": 2e6},
    }


def found() -> dict:
    from versus.report import summary

    run = {"plain": result(8.0, 100.0, 0.3), "ours": result(2.0, 10.0, 0.1)}
    fd = {"parent": {"plain": 4.0, "ours": 4.2}, "child": {"plain": None, "ours": 3.0}}
    counts = {"samples": ASKED["samples"], "steps": ASKED["steps"], "batch": 10}
    return {"asked": ASKED, "machine": "a machine", **summary([{**run, "fd": fd}], counts)}


def test_the_plain_way_imports_nothing_of_ours():
    tree = ast.parse((BENCHMARKS / "versus" / "plain_way.py").read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name.split(".")[0] for name in names} & {"curate_app", "loop", "model", "data", "versus", "benchmarks"}
    assert any(name.startswith("torchcfm") for name in names)


def test_the_plain_way_integrates():
    from versus import plain_way

    noise = 0.3 * torch.rand(5, 3, 8, 8)
    images, evaluations = plain_way.sample(Growth(), noise, 2, torch.device("cpu"))
    exact = ((math.e * noise).clamp(-1, 1) + 1) * 127.5
    assert (images.float() - exact).abs().max() <= 0.51 and evaluations > 6


def test_the_plain_way_reads_back_what_it_wrote(tmp_path: Path):
    from versus import plain_way

    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    plain_way.save_pngs(images, tmp_path / "all-of-them")
    plain_way.copy_picked(tmp_path / "all-of-them", np.array([1, 4]), tmp_path / "picked")
    for folder, expected in (("all-of-them", images), ("picked", images[[1, 4]])):
        _, read = plain_way.score(tmp_path / folder, lambda x: (x.numpy(), x.numpy()))
        assert np.allclose(read, expected.numpy() / 127.5 - 1, atol=1e-6)


def test_the_plain_way_picks_by_luce():
    from versus import plain_way

    rewards = np.tile([0.0, math.log(3)], 4_000)
    picked = plain_way.pick(rewards, 2, np.random.default_rng(0))
    assert (picked // 2 == np.arange(4_000)).all() and abs((picked % 2).mean() - 0.75) < 0.03


def test_the_plain_ways_distance_is_the_products():
    from versus import plain_way

    from model.judging.fidelity import FeatureMoments, frechet_distance

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((500, 4)), 2 * rng.standard_normal((400, 4)) + 1
    ours = frechet_distance(FeatureMoments.of(torch.from_numpy(a)), FeatureMoments.of(torch.from_numpy(b)))
    assert plain_way.frechet_distance(a, b) == pytest.approx(ours, rel=1e-6)


def test_flops_are_counted_per_image():
    from versus.floor import count_flops

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3 * 8 * 8, 3 * 8 * 8)

        def forward(self, _t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.flatten(1)).reshape(x.shape)

    flops = count_flops(Linear(), lambda x: x.flatten(1) @ torch.ones(192, 10), 8, torch.device("cpu"))
    product = 2 * 192 * 192
    assert flops == {"forward": product, "step": 2 * product, "judge": 2 * 192 * 10}


def test_ratios_and_floors():
    stages = found()["stages"]
    assert stages["generation"] == {
        "plain_s": 32.0, "ours_s": 8.0, "ratio": 4.0, "plain_floor_s": None, "ours_floor_s": None,
    }  # fmt: skip
    assert stages["sample"]["plain_floor_s"] == pytest.approx(100.0)  # 1e6 * 100 evaluations * 1,000 images / 1e9
    assert stages["sample"]["ours_floor_s"] == pytest.approx(5.0)  # a tenth of the evaluations, twice the rate
    assert stages["fine-tune"]["plain_floor_s"] == pytest.approx(3.0)


def test_the_hours_are_pieces_times_counts():
    from versus.hours import hours

    from loop.study import configure

    paper, extrapolated = configure("cifar10"), hours(found(), 500)
    pieces = {piece["name"]: piece for piece in extrapolated["pieces"]}
    assert pieces["sample an image"]["ours_h"] == pytest.approx(20 * 50_000 * 0.002 / 3600)
    assert pieces["pick and store a slate"]["count"] == 25_000 and extrapolated["generations"] == 20
    assert pieces["fine-tune by a step"]["plain_h"] == pytest.approx(20 * paper.train.finetune_steps * 0.3 / 3600)
    assert extrapolated["ours_h"] == pytest.approx(sum(piece["ours_h"] for piece in pieces.values()))


def test_the_tables_say_it():
    from rich.console import Console
    from versus.hours import hours
    from versus.report import print_tables

    measured = found()
    console = Console(width=160, record=True, file=io.StringIO())
    print_tables({**measured, "hours": hours(measured, 500)}, console)
    text = console.export_text()
    for words in ("generation", "4.0x", "FD(vgg11) of the new generation", "+5.0%", "3.0x", "pieces times counts"):
        assert words in text


def run_script(*parts: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / "loop_vs_reference.py"), *parts]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_bad_input_is_one_sentence(tmp_path: Path):
    done = run_script("--data", str(tmp_path))
    assert done.returncode == 2 and "class folders in train/" in done.stderr and done.stderr.count("\n") == 1


def test_samples_are_whole_slates_of_a_reward_that_both_know(pictures: Path):
    from versus.preparation import settings_of

    asked = argparse.Namespace(
        data=pictures, preset="cifar10", weights=None, classifier=None, pretrain_steps=2, samples=15, steps=3,
        settings=[],
    )  # fmt: skip
    with pytest.raises(ValueError, match="whole slates"):
        settings_of(asked)
    asked.samples = 16
    assert settings_of(asked).curation.picks == 8
    asked.settings = ["reward.kind=confidence"]
    with pytest.raises(ValueError, match="class_prob"):
        settings_of(asked)


@pytest.mark.slow
def test_a_generation_both_ways(tmp_path: Path, pictures: Path):
    settings = [part for setting in TINY for part in ("--set", setting)]
    given = ("--data", str(pictures), "--preset", "cifar10", "--samples", "16", "--steps", "4", "--pretrain-steps", "2")
    kept = ("--keep", str(tmp_path / "kept"), "--hours")
    done = run_script(*given, *settings, *kept, "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["evaluations"]["ours"] == 1 and measured["evaluations"]["plain"] >= 8
    assert measured["fd"]["child"]["ours"] > 0 and measured["fd"]["child"]["plain"] > 0
    assert all(row["plain_s"] > 0 and row["ours_s"] > 0 for row in measured["stages"].values())
    assert measured["hours"]["plain_h"] > measured["hours"]["ours_h"] > 0
    checkpoint = tmp_path / "kept" / "study" / "checkpoints" / "generation-0000.safetensors"
    done = run_script(*given, *settings, "--weights", str(checkpoint))
    assert done.returncode == 0, done.stderr
    assert "FD(vgg11)" in done.stdout and "2048x2048" in done.stdout

"""The examples run as they are written, with small settings, and what they print agrees with other code."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from loop.evidence.study import build
from loop.simulate import simulate
from loop.study import Study, configure

EXAMPLES = Path(__file__).parents[2] / "examples"
ELSEWHERE = {"own_trainer": "curate_app/test_own_trainer.py", "diffusers_digits": "curate_app/test_diffusers_study.py"}
EARLIER = """
import torch, numpy as np
from model import checkpoint
from model.sampling import noise

class Means:
    def __init__(self, mean):
        self.mean = mean

    @classmethod
    def build(cls, shape, network, train, sampling):
        return cls(torch.zeros(shape))

    def sample(self, seeds):
        return self.mean + noise(seeds, self.mean.shape)

    def fit(self, data, parent, seed, on_step=None):
        assert parent is None or isinstance(parent, Means)
        return Means(data.draw(500, np.random.default_rng(seed)).mean(0))

    def save(self, path):
        return checkpoint.save(path, checkpoint.Checkpoint("means", {"mean": self.mean}, {}, 0, None))

    @classmethod
    def load(cls, path, train, sampling):
        return cls(checkpoint.load(path).tensors["mean"])
"""


@pytest.fixture(scope="module")
def example() -> Callable[[str], ModuleType]:
    """A function: an example, imported."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def crowd(example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study that digits_crowd.py made."""
    path = tmp_path_factory.mktemp("examples") / "crowd"
    example("digits_crowd").main(
        [str(path), "--generations", "1", "--picks", "300", "--steps", "20", "--samples", "300"]
    )
    return path


def test_every_example_is_run_here():
    tested = Path(__file__).read_text()
    assert all(f'"{path.stem}"' in tested for path in EXAMPLES.glob("*.py"))
    for name, test in ELSEWHERE.items():
        assert name in (Path(__file__).parents[1] / test).read_text()


def test_moons_theory_predicts_what_the_report_predicts(example, tmp_path: Path, capsys: pytest.CaptureFixture):
    arguments = [str(tmp_path / "moons"), "--generations", "2", "--picks", "200", "--steps", "20", "--samples", "400"]
    example("moons_theory").main(arguments)
    rows = [[float(cell) for cell in line.split()] for line in capsys.readouterr().out.splitlines()[1:]]
    evidence = build(Study.open(tmp_path / "moons")).generations
    assert [row[0] for row in rows] == [0, 1, 2]
    for (_, measured, ahead, from_start), generation in zip(rows, evidence, strict=True):
        assert measured == pytest.approx(generation.measured.mean_w.value, abs=1e-4)
        if generation.predicted and generation.predicted_from_start:
            assert ahead == pytest.approx(generation.predicted.mean_w.value, abs=1e-4)
            assert from_start == pytest.approx(generation.predicted_from_start.mean_w.value, abs=1e-4)


def test_the_operator_in_moons_theory_is_what_picking_does(example):
    moons, rng = example("moons_theory"), np.random.default_rng(0)
    r = rng.normal(size=50)
    slates = r[rng.integers(50, size=(200_000, 2))]
    picked = np.exp(slates[np.arange(len(slates)), (slates + rng.gumbel(size=slates.shape)).argmax(axis=1)])
    error = picked.std() / np.sqrt(len(picked))
    assert moons.one_step(r, moons.LuceRule(k=2)) == pytest.approx(picked.mean(), abs=4 * error)


def test_digits_crowd_tells_the_types_of_rater_apart(example, crowd: Path, capsys: pytest.CaptureFixture):
    example("digits_crowd").main(
        [str(crowd), "--generations", "1", "--picks", "300", "--steps", "20", "--samples", "300"]
    )
    printed = capsys.readouterr().out
    assert (crowd / "report.html").is_file() and (crowd / "report.json").is_file()
    assert "rater type sevens" in printed and "rater type sure" in printed
    assert printed.count("of the samples are sevens") == 2


def test_analyse_log_finds_by_statsmodels_what_curate_fit_finds(
    example, crowd: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    capsys.readouterr()
    example("analyse_log").main([str(crowd), "--out", str(tmp_path / "picks")])
    counted, by_position, by_class, fits = capsys.readouterr().out.strip("\n").split("\n\n")
    assert counted == "300 picks of 2 raters"
    positions, classes = ([line.split() for line in table.splitlines()[2:]] for table in (by_position, by_class))
    assert [row[0] for row in positions] == ["0", "1", "2", "3"] and sum(int(row[2]) for row in positions) == 300
    assert max(classes, key=lambda row: float(row[3]))[0] == "7"
    found = np.array([[float(cell) for cell in line.split()[2:]] for line in fits.splitlines()[1:]])
    assert found.shape == (12, 4)
    assert np.abs(found[:, 0] - found[:, 2]).max() < 0.01
    assert np.abs(found[:, 1] - found[:, 3]).max() < 0.001


def test_a_study_takes_the_reward_and_the_generator_of_own_parts(
    example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(EXAMPLES)
    settings = ["reward.kind=own_parts:to_the_right", "network.kind=own_parts:Gaussian", "curation.picks=400"]
    config = configure("moons", [*settings, "data.n=500", "evaluation.samples=400"], seed=0)
    study = Study.create(tmp_path / "own", config)
    simulate(study, 2, lambda phase, done, total: None)
    before, *_, after = build(study).generations
    assert after.t == 2 and after.measured.mean_reward.low > before.measured.mean_reward.high
    own = example("own_parts").Gaussian.load(study.checkpoint_path(2), config.train, config.sampling)
    together, alone = own.sample(np.arange(7)), own.sample(np.array([3]))
    assert (together[3] == alone[0]).all() and own.parent == study.store.generations()[1].checkpoint_sha256


def test_a_study_learns_from_whole_slates_with_own_learner(example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    settings = ["network.kind=own_learner:Tilted", "curation.picks=600", "data.n=500", "evaluation.samples=600"]
    study = Study.create(tmp_path / "own", configure("moons", settings, seed=0))
    simulate(study, 2, lambda phase, done, total: None)
    means = [generation.measured.mean_reward for generation in build(study).generations]
    assert means[0].high < means[1].low and means[1].value < means[2].value
    with pytest.raises(ValueError, match="for points"):
        example("own_learner").Tilted.build((1, 8, 8), *[None] * 3)


def test_a_generator_that_does_not_meet_the_interface_gets_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = EARLIER + "\n\nclass Half:\n    build = Means.build\n\n"
    whole += "class Double(Means):\n    def sample(self, seeds):\n        return super().sample(seeds).double() / 0\n"
    (tmp_path / "halves.py").write_text(whole)
    monkeypatch.syspath_prepend(tmp_path)
    for name, sentence in (
        ("Half", "has no `sample`, `fit`, `save`, `load`"),
        ("Double", r"finite float32 on the CPU for \d+ seeds; it gave \(\d+, 2\) torch.float64 on cpu"),
    ):
        settings = [f"network.kind=halves:{name}", "curation.picks=100", "data.n=200", "evaluation.samples=100"]
        study = Study.create(tmp_path / name, configure("moons", settings, seed=0))
        with pytest.raises(ValueError, match=sentence):
            simulate(study, 1, lambda phase, done, total: None)
        study.store.close()


def test_a_generator_of_seeds_alone_goes_on_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "earlier.py").write_text(EARLIER)
    monkeypatch.syspath_prepend(tmp_path)
    settings = ["network.kind=earlier:Means", "curation.picks=200", "data.n=300", "evaluation.samples=200"]
    study = Study.create(tmp_path / "study", configure("moons", settings, seed=0))
    simulate(study, 1, lambda phase, done, total: None)
    first, second = study.store.generations()
    assert second.checkpoint_sha256 != first.checkpoint_sha256
    assert second.measurements.training and sum(second.measurements.training.shares_achieved) == pytest.approx(1)

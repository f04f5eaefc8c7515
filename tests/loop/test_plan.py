"""The plan of a study's preparation: its parts and seconds, the line that says so, and the share done of all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate_app.commands.options import fitting_preset
from curate_app.console import plan_line
from loop import setup
from loop.config import StudyConfig
from loop.setup import Plan, plan
from loop.study import Study, configure, open_or_create


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twenty images of two classes."""
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


@pytest.fixture
def config(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> StudyConfig:
    """A small study of these, on a device where a step of the generator takes 0.3 s and one of the classifier 2 s."""
    monkeypatch.setattr(setup, "step_seconds", lambda *_: 0.3)
    monkeypatch.setattr(setup, "classifier_step_seconds", lambda *_: 2.0)
    settings = (f"data.path={pictures}", "train.pretrain_steps=1000", "train.finetune_steps=100", "train.batch_size=10",
                "classifier.epochs=5", "classifier.batch_size=8", "evaluation.samples=100", "sampling.steps=5",
                "sampling.solver=euler", "curation.picks=30", "curation.k=2")  # fmt: skip
    return configure("folder-small", settings)


def test_the_parts_take_their_steps_times_the_seconds_of_a_step(config: StudyConfig):
    planned = plan(config, rounds=3)
    # 16 of 20 images train the classifier: 2 batches an epoch; a sample takes 5 evaluations, a third of a step each
    assert planned.parts == pytest.approx({"classifier": 20.0, "pretraining": 300.0, "evaluating": 5.0})
    assert planned.round_s == pytest.approx(100 * 0.3 + (30 * 2 + 100) * 5 * 0.01)
    assert planned.seconds == pytest.approx(325.0 + 3 * planned.round_s)
    assert (planned.n, planned.shape) == (20, (3, 32, 32))


def test_a_replay_makes_no_picks_and_dpo_evaluates_its_reference_too(config: StudyConfig):
    evaluating_s = 100 * 5 * 0.01
    assert plan(config, rounds=1, names=[], picked=True).round_s == pytest.approx(100 * 0.3 + evaluating_s)
    for steps, learned in (("auto", 100 + 100 * 2 * 4 / 3), (0, 100 * 2 * 4 / 3)):
        learner = config.learner.model_copy(update={"kind": "dpo", "reference_steps": steps})
        by_dpo = plan(config.model_copy(update={"learner": learner}), rounds=1, names=[], picked=True)
        assert by_dpo.round_s == pytest.approx(learned * 0.3 + evaluating_s)


def test_the_line_names_work_device_time_and_what_to_set_for_less(config: StudyConfig):
    line = plan_line(plan(config, rounds=3), 1_000)
    assert "a classifier (5 epochs) and generation 0 (1,000 steps) on 20 images of 32 x 32 pixels, about 5 min" in line
    assert "3 generations by picks, about 38 s each" in line
    assert line.startswith("To be done on cpu (") and line.endswith("For less, set train.pretrain_steps=500.")


def test_no_line_on_less_than_a_minute(config: StudyConfig):
    short = config.model_copy(update={"train": config.train.model_copy(update={"pretrain_steps": 50})})
    assert plan_line(plan(short), 50) == ""


@pytest.mark.parametrize("kind", ["gpt", "vae"])
def test_models_that_are_trained_anew_are_measured_and_planned(kind: str):
    """A fresh model each generation takes as many steps as the first."""
    small = {"gpt": ("text", ["network.kind=gpt", "network.heads=2", "data.n=50"]),
             "vae": ("vae-digits", ["network.latent=4"])}[kind]  # fmt: skip
    many = ["network.width=8", "network.depth=1", "train.pretrain_steps=4000", "train.batch_size=8",
            "evaluation.samples=100", "curation.k=1", "curation.picks=100"]  # fmt: skip
    planned = plan(configure(small[0], [*small[1], *many]), rounds=2)
    steps, samples = planned.parts["pretraining"], planned.parts["evaluating"]
    assert 0 < samples < steps and planned.round_s == pytest.approx(steps + 2 * samples)
    line = plan_line(replace(planned, parts={"pretraining": 90.0}), 4_000)
    unit = "50 texts of 64 tokens" if kind == "gpt" else "1,797 images of 8 x 8 pixels"
    assert f"generation 0 (4,000 steps) on {unit}, about 2 min" in line


def test_counts_are_planned_and_too_short_a_text_is_refused_before_anything_is_measured(tmp_path: Path):
    small = ["data.n=50", "data.characters=20000", "evaluation.samples=100", "curation.picks=200", "curation.k=3"]
    planned = plan(configure("text", small), rounds=2)
    counts, samples = planned.parts["pretraining"], planned.parts["evaluating"]
    a_text = samples / (100 + setup.HELD_OUT_TEXTS)
    assert counts > 0 and planned.round_s == pytest.approx(counts + samples + 200 * 3 * a_text)
    line = plan_line(replace(planned, round_s=90.0), 1)
    assert "generation 0 (counts) on 50 texts of 64 tokens" in line and "train." not in line
    (tmp_path / "own.txt").write_text("a short text\n" * 200)
    for wrong, why in (("data.n=50", "which has only 36: set it to 0"), ("data.length=200", "length to 130 or less")):
        with pytest.raises(ValueError, match=why):
            plan(configure("shakespeare", [f"data.path={tmp_path / 'own.txt'}", "data.length=64", wrong]))


def test_what_is_there_is_not_planned(config: StudyConfig, tmp_path: Path):
    study = Study.create(tmp_path / "study", config)
    assert list(plan(config, study).parts) == ["classifier", "pretraining", "evaluating"]
    study.classifier_path.touch()
    assert list(plan(config, study).parts) == ["pretraining", "evaluating"]
    assert plan(configure("digits")).parts == plan(configure("flowers")).parts == {}  # starters
    study.store.close()


def test_the_share_done_goes_by_the_seconds_of_the_parts():
    reports = []
    planned = Plan({"classifier": 100.0, "pretraining": 300.0}, [], 20, (3, 32, 32), "cpu")
    report = planned.overall(lambda phase, done, total: reports.append((phase, done / total)))
    for event in (("reading images", 1, 2), ("classifier", 1, 2), ("pretraining", 0, 10), ("pretraining", 5, 10),
                  ("scoring real data", 1, 9)):  # fmt: skip
        report(*event)
    assert reports == [("preparing", share) for share in (0.0, 0.125, 0.25, 0.625, 0.625)]


def test_the_preset_of_a_folder_fits_the_device(capfd: pytest.CaptureFixture[str], pictures: Path, tmp_path: Path):
    assert fitting_preset("folder", [], "cpu") == fitting_preset("folder", ["compute.device=cpu"]) == "folder-small"
    assert "--preset folder-large" in capfd.readouterr().err
    assert fitting_preset("folder", ["compute.device=cuda"]) == "folder-large"
    assert fitting_preset("digits", [], "cpu") == "digits"
    assert capfd.readouterr().err == ""
    setting = [f"data.path={pictures}"]
    Study.create(tmp_path / "s", configure("folder-large", setting)).store.close()
    again = open_or_create(tmp_path / "s", "folder", setting, seed=None, generations=None)  # on whichever device
    assert again.config.preset == "folder-large"
    again.store.close()

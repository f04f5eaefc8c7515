"""The second classifier: trained on its own, kept with the study, and heard for every generation."""

from pathlib import Path

import pytest
import torch

from loop import setup
from loop.evidence.study import build
from loop.simulate import simulate
from loop.study import Study, configure, faults

JUDGE = ("judge.enabled=true", "judge.width=4", "judge.epochs=1", "judge.holdout=0.5")


def silent(phase: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, tiny_digits: tuple[str, ...]) -> Study:
    path = tmp_path_factory.mktemp("judge") / "study"
    study = Study.create(path, configure("digits", [*tiny_digits, *JUDGE, "curation.extend=none"]))
    simulate(study, 1, silent)
    return study


def test_every_generation_is_judged_by_a_classifier_of_its_own(judged: Study):
    assert judged.weights_path("judge").read_bytes() != judged.classifier_path.read_bytes()
    for generation in judged.store.generations():
        found, own = generation.measurements.judge, generation.measurements.mean_reward
        assert found and sum(found.class_shares) == pytest.approx(1) and 0 <= found.agreement <= 1
        assert own and found.mean_reward.value != own.value
    assert judged.store.status("real")["judge"]["agreement"] <= 1
    assert faults(judged) == []


def test_a_damaged_judge_is_a_fault(judged: Study):
    path = judged.weights_path("judge")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    assert any("judge" in fault for fault in faults(judged))
    path.write_bytes(whole)


def test_the_evidence_has_the_judges_opinion(judged: Study):
    found = build(judged, quick=True).generations
    assert [one.judge is not None for one in found] == [True, True]


def test_too_little_memory_to_train_one_says_what_to_set(
    tmp_path: Path, tiny_digits: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    def short(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(setup, "train_classifier", short)
    study = Study.create(tmp_path / "study", configure("digits", [*tiny_digits, "classifier.batch_size=64"]))
    with pytest.raises(RuntimeError, match=r"memory to train the classifier on 64 .* set classifier\.batch_size lower"):
        simulate(study, 1, silent)
    assert not study.classifier_path.exists()

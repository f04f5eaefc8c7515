"""Every generation of images is measured against the real ones, by the features that are asked for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from loop import evaluation
from loop.evaluation import DistancesToReal, Evaluator
from loop.generators import load_generator
from loop.scoring import Scorer
from loop.simulate import simulate
from loop.slates import STREAMS, draw
from loop.study import JUDGED, Study, configure
from loop.training_data import to_tensor
from model.judging import fidelity
from model.judging.classifier import Classifier
from model.judging.fidelity import Reference
from model.sampling import derive_seeds

Make = Callable[..., Study]


def test_a_digits_study_keeps_the_distances_that_its_samples_have(simulated_digits: Study):
    study = simulated_digits
    classifier = Classifier.load(study.classifier_path)
    reference = Reference(torch.from_numpy(classifier.judge(to_tensor(study.real.x)).features))
    seeds = derive_seeds(200, study.config.seed, STREAMS["evaluation"])
    for generation in study.store.generations():
        images = draw(load_generator(study, generation.t), seeds)
        wanted = reference.compare(torch.from_numpy(classifier.judge(images).features)).as_json()
        assert generation.measurements.distances is not None
        found = generation.measurements.distances.as_json()
        assert found.pop("features") == "vgg11" and found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert found[name] == pytest.approx(value, rel=1e-6), name
        assert wanted["fd"] > 0 and wanted["coverage"] > 0 and (wanted["n"], wanted["n_real"]) == (200, 300)


def test_points_have_no_distances_and_take_no_features(make: Make, run):
    study = run(make("moons", "train.pretrain_steps=5"), generations=0)
    assert study.store.generations()[0].measurements.distances is None
    with pytest.raises(ValueError, match=r"evaluation.features 'inception' is for images"):
        configure("moons", ["evaluation.features=inception", "evaluation.features_file=w.pth"])


def test_too_few_samples_for_a_covariance_leave_the_other_figures(simulated_digits: Study):
    study = simulated_digits
    classifier = Classifier.load(study.classifier_path)
    scorer = Scorer(study.config, classifier, classifier.label_names)
    real = to_tensor(study.real.x)
    scores = scorer.score(real)
    width = classifier.judge(real[:1]).features.shape[1]
    few = scorer.score(real[:width])
    found = DistancesToReal(study.config, scorer, study.path / "kept").of(real[:width], few, real, scores)
    assert found.fd is None and found.precision == 1 and found.kd is not None


def test_what_all_pairs_of_real_features_say_is_kept_and_found_again(
    simulated_digits: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    study, kept = simulated_digits, tmp_path / "kept.safetensors"
    classifier = Classifier.load(study.classifier_path)
    scorer = Scorer(study.config, classifier, classifier.label_names)
    real = to_tensor(study.real.x)
    scores, few = scorer.score(real), scorer.score(real[:50])
    first = DistancesToReal(study.config, scorer, kept).of(real[:50], few, real, scores)
    sizes = []
    within = fidelity.within
    monkeypatch.setattr(fidelity, "within", lambda x, *more: sizes.append(len(x)) or within(x, *more))
    assert DistancesToReal(study.config, scorer, kept).of(real[:50], few, real, scores) == first
    assert sizes == [50]  # the samples' own, not the real ones'
    other = DistancesToReal(study.config, scorer, kept).of(real[:50], few, real[1:], scorer.score(real[1:]))
    assert sorted(sizes) == [50, 50, len(real) - 1]
    assert other != first


def test_what_the_classifier_says_of_many_real_images_is_kept_under_a_hash_of_both(
    simulated_digits: Study, monkeypatch: pytest.MonkeyPatch
):
    study, path = simulated_digits, simulated_digits.path / JUDGED
    classifier = Classifier.load(study.classifier_path)
    scorer = Scorer(study.config, classifier, classifier.label_names)
    few = Evaluator(study, scorer).real_scores
    assert not path.exists()  # judging so few is quick
    monkeypatch.setattr(evaluation, "WORTH_KEEPING", 100)
    first = Evaluator(study, scorer).real_scores
    assert path.exists() and np.array_equal(first.reward, few.reward)
    judged = []
    judge = Classifier.judge
    monkeypatch.setattr(Classifier, "judge", lambda self, *more: judged.append(1) or judge(self, *more))
    again = Evaluator(study, scorer).real_scores
    assert not judged and np.array_equal(again.reward, first.reward) and np.array_equal(again.features, first.features)
    other = Scorer(study.config, replace(classifier, sha256="another"), classifier.label_names)
    assert np.array_equal(Evaluator(study, other).real_scores.reward, first.reward) and judged == [1]


def test_features_from_a_file_must_be_there_before_anything_is_trained(tmp_path: Path, tiny_digits: tuple[str, ...]):
    with pytest.raises(ValueError, match=r"features 'inception' needs its weights: set evaluation.features_file"):
        configure("digits", [*tiny_digits, "evaluation.features=inception"])
    missing = f"evaluation.features_file='{tmp_path / 'none.pth'}'"
    config = configure("digits", [*tiny_digits, "evaluation.features=inception", missing])
    study = Study.create(tmp_path / "study", config)
    phases = []
    with pytest.raises(ValueError, match="There is no weights file at"):
        simulate(study, 1, lambda phase, done, total: phases.append(phase))
    assert "pretraining" not in phases and study.store.generations() == []
    study.store.close()

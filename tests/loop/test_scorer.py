"""A scorer outside curate: the loader in docs/howto-analyst.md gives the utilities that the fit has."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from data.images import decode_png
from data.store import queries
from loop.analysis.log import AnswerFilter
from loop.analysis.report import FitOptions, choice_report
from loop.analysis.scorer import save_scorer
from loop.study import Study
from loop.training_data import to_tensor

LOADER = re.compile(r"```python\n(import json, torch\n.*?)```", re.DOTALL)
SHARP = ("classifier.epochs=6", "classifier.batch_size=32", "classifier.width=8", "curation.picks=200")
DOCS = Path(__file__).parents[2] / "docs" / "howto-analyst.md"


@pytest.fixture
def digits(make, run) -> Study:
    """A digits study whose classifier tells digits apart, with 200 simulated picks."""
    return run(make("digits", *SHARP), 1)


def fitted(study: Study, *features: str):
    options = FitOptions(AnswerFilter(("sim",), ("curation",), (), ()), features, 1.0, (), None)
    return choice_report(study.store, study.config, options)


def test_the_documented_loader_gives_the_fitted_utilities(
    digits: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    analysis = fitted(digits, "probs")
    save_scorer(tmp_path / "scorer.safetensors", digits, analysis.fit)
    rows = [row for row in queries.sample_details(digits.store, ("sim",)) if row[1]][:200]
    assert len(rows) > 20
    pixels = [digits.store.image(row[1]) for row in rows]
    images = to_tensor(np.stack([decode_png(png) for png in pixels if png])).expand(-1, 3, -1, -1)
    monkeypatch.chdir(tmp_path)
    match = LOADER.search(DOCS.read_text())
    assert match is not None
    loaded: dict = {}
    exec(match[1], loaded)
    scores = loaded["score"](images)
    names = digits.store.generations()[0].measurements.class_names
    coefficients = dict(zip(analysis.fit.names, analysis.fit.coefficients, strict=True))
    weights = np.array([coefficients.get(f"probability of {name}", 0.0) for name in names])
    probs = np.array([json.loads(row[3])["probs"] for row in rows])
    assert np.abs(weights).max() > 0.1
    np.testing.assert_allclose(scores.numpy(), probs @ weights, atol=1e-6 * max(1.0, np.abs(weights).max()))
    assert torch.is_tensor(scores) and scores.shape == (len(rows),)


def test_a_fit_on_the_slate_is_no_scorer(simulated_digits: Study, tmp_path: Path):
    analysis = fitted(simulated_digits, "position")
    with pytest.raises(ValueError, match="--features probs"):
        save_scorer(tmp_path / "scorer.safetensors", simulated_digits, analysis.fit)
    assert not (tmp_path / "scorer.safetensors").exists()

"""Rewards of one's own and rewards by condition: their values, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from loop.scoring import Scorer, asked_prob
from loop.study import configure
from model.config import RewardConfig


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function: rewards of 4 points by a reward that gives every point the value, with its declared supremum."""

    def of(value: float, supremum: str) -> list[float]:
        name = f"reward_of_{value:g}".replace(".", "_")
        (tmp_path / f"{name}.py").write_text(f"def same(x):\n    return x[:, 0] * 0 + {value}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        config = configure("moons", [f"reward.kind={name}:same", f"reward.supremum={supremum}"])
        return Scorer(config, None, ("upper", "lower")).score(torch.zeros(4, 2)).reward.tolist()

    return of


def test_a_reward_in_single_precision_may_be_its_supremum(scores):
    assert scores(0.3, "0.3") == pytest.approx([0.3] * 4)  # 0.3 in float32 is 0.30000001
    with pytest.raises(ValueError, match=r"above its declared supremum of 0\.3"):
        scores(0.301, "0.3")


def test_a_reward_whose_exponential_overflows_is_refused_in_words(scores):
    assert scores(299.0, "inf") == [299.0] * 4
    with pytest.raises(ValueError, match=r"gave 400; above 300 .* Subtract a constant"):
        scores(400.0, "inf")


def test_the_class_asked_for_may_be_the_target():
    probs, config = np.array([[0.7, 0.3], [0.6, 0.4], [0.1, 0.9]]), RewardConfig(gamma=5, target="condition")
    assert asked_prob(probs, np.array([0, 1, -1]), config).tolist() == [3.5, 2.0, 0.0]
    assert config.largest(10) == 5
    with pytest.raises(ValueError, match="target 'condition' needs conditions"):
        configure("digits", ["reward.kind=class_prob", "reward.target=condition"])
    rose = ["reward.kind=class_prob", "reward.target=condition", "conditions=[{name='a rose'}]"]
    with pytest.raises(ValueError, match=r"the condition 'a rose' is none of the classes .*give it a label"):
        Scorer(configure("digits", rose), None, tuple("0123456789"))


def test_a_reward_of_ones_own_gets_the_conditions_names_where_it_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = "def far(x, conditions):\n    return x[:, 0] * 0 + sum(len(name or '') for name in conditions)\n"
    (tmp_path / "by_name.py").write_text(words, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    asked = "conditions=[{name='mode 1', weight=2}, {name='mode  0', label=0}]"
    settings = ["data.modes=2", "reward.kind=by_name:far", "reward.supremum=100"]
    scorer = Scorer(configure("gaussians", [*settings, asked]), None, ("mode 0", "mode 1"))
    scores = scorer.score(torch.zeros(3, 2), None, np.array([0, 1, -1]))
    assert scores.reward.tolist() == [6 + 7] * 3
    with pytest.raises(ValueError, match="goes by conditions, and this study has none"):
        Scorer(configure("gaussians", settings), None, ("mode 0", "mode 1"))

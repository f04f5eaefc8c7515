"""Rewards of one's own: what is refused of them, and what isn't."""

from pathlib import Path

import pytest
import torch

from loop.scoring import Scorer
from loop.study import configure


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

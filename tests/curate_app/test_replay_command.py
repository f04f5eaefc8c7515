"""`curate replay`: a report that says what it is, and mistakes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from curate_app.commands.simulate import replay
from loop.simulate import simulate
from loop.study import Study, configure
from tests.curate_app.command_line import curate


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...]) -> Path:
    """A moons study of two simulated generations."""
    config = configure("moons", [*tiny_moons, "mix.lam=1"])
    study = Study.create(tmp_path_factory.mktemp("replay") / "old", config)
    simulate(study, 2, lambda phase, done, total: None)
    study.store.close()
    return study.path


def test_a_replay_is_made_and_its_report_says_what_it_is(old: Path, tmp_path: Path):
    new = tmp_path / "new"
    done = curate("replay", old, "--out", new, "--lam", "inf", "--seed", 3, "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert [one["policy"].split(",")[0] for one in status["generations"][1:]] == ["mix lam=inf"] * 2
    report = curate("report", new)
    told = " ".join(report.stdout.split())
    assert report.returncode == 0 and "It replays the log of old with other settings" in told
    assert "another study's generators" in told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"exclude_picks": "to_fast"}, "There is no flag 'to_fast'; choose from too_fast"),
        ({"exclude_picks": "one_position"}, "one_position is a rater's flag"),
        ({"policy": "mixed"}, "mix.policy"),
        ({"policy": "replace", "lam": 1.0}, "--lam goes with the policy mix"),
        ({"setting": ["mix.lamb=1"]}, "did you mean mix.lam?"),
        ({"setting": ["data.noise=0.2"]}, "data.noise can't be changed in a replay"),
    ],
)
def test_a_mistake_is_told_and_leaves_nothing(old: Path, tmp_path: Path, given: dict[str, Any], told: str):
    with pytest.raises(ValueError, match=re.escape(told)):
        replay(old, tmp_path / "new", **given)
    assert list(tmp_path.iterdir()) == []

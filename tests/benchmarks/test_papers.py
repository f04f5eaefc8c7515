"""`make papers`: its band on simulated truth, what is paired by seed, and documents that say what hasn't been run."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.papers import words
from benchmarks.papers.exact import ALL_POLICIES, band, control_band, simulated_l1
from benchmarks.papers.sections import EXPERIMENTS, SECTIONS, Scale
from loop.policy import POLICY_KINDS, DataPolicy
from loop.theory.toy_models import simulate_in_blocks, spread
from loop.theory.toy_tokens import ContextModel

LAWS = np.random.default_rng(0).dirichlet(np.full(12, 0.4), 40)
ROOT = Path(__file__).parents[2]


def test_the_control_lies_in_the_band_under_every_policy():
    points = control_band(ContextModel(LAWS, 25), ALL_POLICIES, 8, 30, 0)
    assert {point.policy.split()[0] for point in points} == set(POLICY_KINDS)
    assert len(points) == 2 * 8 * len(POLICY_KINDS) and all(point.is_inside for point in points)


def test_the_band_is_left_by_chance_in_one_run_of_a_hundred_and_by_a_wrong_formula_always():
    policies = [DataPolicy("replace"), DataPolicy("accumulate"), DataPolicy("mix")]
    truth, wrong = ContextModel(LAWS[:8], 25), ContextModel(LAWS[:8], 29)
    left = seen = 0
    for seed in range(60):
        values = {policy: simulate_in_blocks(truth, policy, 5, 40, seed, lambda share: None) for policy in policies}
        named = {policy: {"S": some[:, 0], "L2²": some[:, 1]} for policy, some in values.items()}
        for model in (truth, wrong):
            exact = {
                policy: {"S": model.exact(policy, 5), "L2²": model.beside(policy, 5)["l2_squared_exact"]}
                for policy in policies
            }
            outside = not all(point.is_inside for point in band(named, exact))
            left, seen = left + (outside and model is truth), seen + (outside and model is wrong)
    assert left <= 4  # 0.6 are expected, and a few more since 40 repetitions aren't many
    assert seen >= 54


def test_the_simulated_l1_lies_a_little_under_the_root_of_the_exact_squared_distance():
    """By Cauchy and Schwarz; of a normal deviation it is sqrt(2 / pi) of it."""
    for policy in (
        DataPolicy("replace"),
        DataPolicy("mix", 0.5),
        DataPolicy("accumulate"),
        DataPolicy("replace_grown"),
    ):
        own = simulated_l1(LAWS, policy, 25, 4, 60, np.random.default_rng(0)).mean(axis=1)
        assert own[0] == 0
        for t in range(1, 5):
            left = spread(policy, 25, 5)[t] / spread(policy, 25, 5)[0]
            deviations = np.sqrt((1 - left) * LAWS * (1 - LAWS)).sum(axis=1).mean()
            assert 0.6 * deviations < own[t] <= deviations


def test_figures_are_paired_by_seed():
    assert words.cell(words.mean([1.0, 2.0, 3.0])) == "2.000 ± 2.484"
    assert words.cell(words.mean([1.0])) == "1.000" and words.cell(words.mean([])) == "–"
    assert words.scientific(24_922.6) == "2 x 10^4" and words.scientific(9.7e27) == "1 x 10^28"
    assert words.scientific("inf") == "over 10^300"


def test_the_common_step_is_the_one_that_all_arms_of_a_seed_take():
    def arm(*rows: list[float]) -> Any:
        studies = [SimpleNamespace(seed=seed, generations=row) for seed, row in enumerate(rows)]
        return SimpleNamespace(studies=studies)

    arms = [arm([0.0, 0.9, 0.9], [0.0, 0.1, 0.5]), arm([0.0, 0.0, 0.1], [0.0, 0.1, 0.4])]
    step = words.common_step(arms, lambda generation: cast(Any, generation), 0)
    assert step is not None and (step["seed"], step["t"]) == (1, 2) and step["steps"] == pytest.approx([0.4, 0.3])
    assert words.common_step(arms, lambda generation: None, 0) is None


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("scale", ["small", "full"])
def test_every_study_of_a_section_has_settings_that_go_together(name: str, scale: Scale):
    cells = EXPERIMENTS[name].sweep(scale, 2, None).cells()
    assert {"small", "full"} == set(EXPERIMENTS[name].generations)
    assert len({cell.name for cell in cells}) == len(cells) >= 4
    assert all(cell.config.curation.k == 1 for cell in cells)
    assert any(name in experiments for experiments in SECTIONS.values())


def papers(tmp_path: Path, *arguments: str) -> str:
    """Runs `python -m benchmarks.papers` in an empty folder; its output."""
    command = [sys.executable, "-m", "benchmarks.papers", "--folder", "s", "--docs", "d", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_documents_say_what_has_not_been_run(tmp_path: Path):
    papers(tmp_path, "--write")
    for paper, sections in (("seddik", ("exact", "ngram", "gpt")), ("gerstgrasser", ("exact", "gpt", "vae"))):
        text = (tmp_path / "d" / f"reproduction-{paper}.md").read_text()
        assert all(f"Not run yet: `python -m benchmarks.papers --only {section}`." in text for section in sections)


@pytest.mark.slow
def test_sections_run_alone_once_and_are_written(tmp_path: Path):
    run = ("--seeds", "2", "--generations", "3", "--repetitions", "100", "--only", "exact", "--only", "ngram")
    for number in range(2):
        output = papers(tmp_path, *run)
        assert ("done in" in output) is (number == 0)
    text = (tmp_path / "d" / "reproduction-seddik.md").read_text()
    assert "| 10 | 2 x 10^4 | vacuous |" in text and "condition not met" in text
    assert "48 of 48 points lie inside" in text or "47 of 48 points lie inside" in text  # S, L2² and L1
    assert "Not run yet: `python -m benchmarks.papers --only gpt`" in text

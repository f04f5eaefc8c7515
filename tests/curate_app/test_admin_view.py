"""The researcher's page over what a real worker and a real simulation leave behind."""

from pathlib import Path

import pytest

from curate_app.admin.panels import CrowdCounts
from curate_app.admin.view import panels
from loop.simulate import simulate
from loop.study import Study, configure


@pytest.mark.parametrize("preset", ["digits", "moons"])
def test_every_part_shows_what_a_simulated_study_came_to(
    tmp_path: Path, preset: str, tiny_digits: tuple[str, ...], tiny_moons: tuple[str, ...]
):
    study = Study.create(tmp_path / "study", configure(preset, {"digits": tiny_digits, "moons": tiny_moons}[preset]))
    simulate(study, 1, lambda phase, done, total: None)
    found = panels(study, CrowdCounts(study))
    for generation in study.store.generations():
        assert generation.measurements.grid_sha256 in found.sheets
        assert f"{generation.measurements.nn_ratio:.2f}" in found.sheets
    assert found.curves.count("<svg") >= 2 and "real data" in found.curves
    assert found.events.count("published") == 2

"""`make paper-2d` with tiny studies: the document, its figures, and a second run that makes no study anew."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.images import decode_png


@pytest.mark.slow
def test_the_document_is_written_from_the_studies(tmp_path: Path, tiny_moons: tuple[str, ...]):
    settings = [part for setting in tiny_moons for part in ("--set", setting)]
    command = [
        sys.executable,
        "-m",
        "benchmarks.paper_2d",
        "--folder",
        "s",
        "--docs",
        "docs",
        "--seeds",
        "2",
        *settings,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    for run in ("first", "second"):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("done in" in done.stdout + done.stderr) is (run == "first")
    text = (tmp_path / "docs" / "reproduction.md").read_text()
    assert "| real points | 300 | 300 | confirmed |" in text and "8 studies" in text
    for name in ("densities-moons", "densities-gaussians", "rewards", "modes"):
        assert f"images/reproduction/{name}.png" in text
        assert decode_png((tmp_path / "docs" / "images" / "reproduction" / f"{name}.png").read_bytes()).std() > 0

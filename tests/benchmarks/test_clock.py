"""A benchmark's process knows its own memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.slow
def test_peak_memory_is_not_that_of_the_process_that_started_it():
    held = np.ones(1_500_000_000, np.uint8)
    asked = "from versus.clock import peak_memory; print(peak_memory()['resident'])"
    folder = Path(__file__).parents[2] / "benchmarks"
    done = subprocess.run([sys.executable, "-c", asked], cwd=folder, capture_output=True, text=True, check=True)
    assert 50 < float(done.stdout) < held.nbytes / 2**20 / 1.5

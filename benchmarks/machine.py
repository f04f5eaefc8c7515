"""On what a measurement was made: the processor or GPU, and the commit."""

import platform
import subprocess
from pathlib import Path

from curate_app.processes import worker_threads


def machine() -> str:
    """The processor and how many of its cores may be used."""
    cores = worker_threads(beside_app=False)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {cores} core{'s' if cores > 1 else ''}"


def commit() -> str:
    """The commit at hand, as " at 0a1b2c3"; empty where this is no checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" at {done.stdout.strip()}"

"""`curate reward train`: trains a classifier outside any study."""

import json
from functools import partial
from pathlib import Path

from curate_app.console import out, phase_bars
from data.real import load
from loop.classifiers import trained
from loop.compute import from_main, is_main
from loop.config import StudyConfig


def train_reward(config: StudyConfig, path: Path, *, as_json: bool) -> None:
    """Trains on the configured data and writes weights and sidecar; prints the held-out accuracy.

    Interrupted, it goes on from the last time it was kept when it is called again.

    Raises:
        ValueError: the path doesn't end in .safetensors, or is there already.
    """
    check_out(path)
    with phase_bars(quiet=not is_main()) as report:
        real = from_main(lambda: load(config.data, config.seed, on_read=partial(report, "reading images")))
        found = trained(config, real, "classifier", path, report)
    if as_json:
        out.print_json(json.dumps({"path": str(path), "sha256": found.sha256, "accuracy": found.accuracy}))
        return
    out.print(f"Held-out accuracy {found.accuracy:.2%}. Use it with: --set classifier.file={path}")


def check_out(path: Path) -> None:
    """Refuses a path that weights can't be written to.

    Raises:
        ValueError: it doesn't end in .safetensors, or is there already.
    """
    if path.suffix != ".safetensors" or path.exists():
        raise ValueError(f"--out must be a new file that ends in .safetensors, not {path}")

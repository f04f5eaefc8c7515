"""The device of a command, and the processes of its launch, of which rank 0 alone has the study."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from loop.config import StudyConfig
from loop.study import Study
from model.compute import (
    LostProcessError,
    describe,
    from_main,
    is_first_to_say,
    is_lost,
    is_main,
    processes,
    total,
    use,
    uses_bf16,
)

__all__ = [
    "LostProcessError", "choose_device", "from_main", "hardware", "is_first_to_say", "is_lost", "is_main", "open_study",
    "usual_device",
]  # fmt: skip


def hardware() -> str:
    """The device that `auto` means here, its threads, and whether it has bfloat16, in words."""
    use("auto")
    arithmetic = "bfloat16" if uses_bf16("auto") else "float32 only"
    return f"{describe()}, {torch.get_num_threads()} threads, {arithmetic}"


def usual_device() -> str:
    """The device that `auto` means here: 'cuda', 'mps' or 'cpu'."""
    return use("auto").type


def choose_device(config: StudyConfig, requested: str | None) -> str:
    """Chooses the device, the command line's before study.toml's, and says which it is.

    Raises:
        ValueError: there is no such device here.
    """
    use(requested or config.compute.device, deterministic=config.compute.deterministic)
    return describe() + (f", {processes()} processes" if processes() > 1 else "")


def open_study(path: Path, make: Callable[[], Study], device: str | None) -> Study:
    """The study that rank 0 opens or makes; the other processes of a launch get its settings, and no database.

    Args:
        path: the study's folder, which is shared by all or seen by rank 0 alone.
        make: opens or makes it.
        device: the command line's, where it names one.

    Raises:
        ValueError: another process sees a study at the path, and rank 0 doesn't; or whatever `make` raises.
    """
    use(device or "auto")
    is_seen = (path / "study.toml").exists()
    if total(is_seen) and not from_main(lambda: is_seen):
        raise ValueError(f"Rank 0 sees no study at {path}, and another process does; start rank 0 where the study is.")
    opened: list[Study] = []

    def open_it() -> tuple[Path, StudyConfig]:
        opened.append(make())
        return opened[0].path, opened[0].config

    where, config = from_main(open_it)
    return opened[0] if opened else Study(where, config, cast(Any, None))

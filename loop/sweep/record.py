"""sweep.toml: what a sweep runs, kept in its folder; written whole before the first study, and when it is extended."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomlkit
from filelock import FileLock, Timeout
from tomlkit.exceptions import ParseError

from loop.config import override
from loop.presets import PRESETS
from loop.sweep.grid import Sweep, label

FILE, LOCK = "sweep.toml", "sweep.lock"
HEAD = "What `curate sweep` runs here. To add values or seeds, run it again with all of them."


class SweepRunningError(ValueError):
    """Another process runs a sweep in the folder."""


def read(folder: Path) -> Sweep | None:
    """The sweep of a folder; None if there is none.

    Raises:
        ValueError: sweep.toml can't be read.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        found = tomlkit.parse(file.read_text(encoding="utf-8")).unwrap()
        return Sweep(
            preset=str(found["preset"]),
            grid={key: list(values) for key, values in found["grid"].items()},
            seeds=int(found["seeds"]),
            settings=tuple(found["settings"]),
            generations=found.get("generations"),
        )
    except (ParseError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} can't be read ({error}); restore it, or choose another folder.") from error


def write(folder: Path, sweep: Sweep) -> None:
    """Writes sweep.toml, whole or not at all."""
    document = tomlkit.document()
    document.add(tomlkit.comment(HEAD))
    document.add("preset", tomlkit.item(sweep.preset))
    document.add("seeds", tomlkit.item(sweep.seeds))
    if sweep.generations is not None:
        document.add("generations", tomlkit.item(sweep.generations))
    document.add("settings", tomlkit.item(list(sweep.settings)))
    table = tomlkit.table()
    for key, values in sweep.grid.items():
        table.add(tomlkit.key(key), list(values))
    document.add(tomlkit.nl())
    document.add("grid", table)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{FILE}.{os.getpid()}"
    try:
        with draft.open("w", encoding="utf-8") as out:
            out.write(tomlkit.dumps(document))
            out.flush()
            os.fsync(out.fileno())
        draft.replace(folder / FILE)
    finally:
        draft.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Removes what a sweep without studies leaves, so that the folder's name is free for another."""
    for name in (FILE, LOCK):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # something else is in it
        folder.rmdir()


@contextmanager
def only_sweep(folder: Path) -> Iterator[None]:
    """Holds the folder for one sweep at a time; SweepRunningError if another process runs one in it."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SweepRunningError(f"A sweep is running in {folder} already; wait for it, or stop it first.") from None
    try:
        yield
    finally:
        lock.release()


def asked_for(
    folder: Path,
    preset: str | None,
    grid: Mapping[str, Sequence[Any]],
    seeds: int | None,
    settings: Sequence[str],
    generations: int | None,
) -> Sweep:
    """The sweep that a command asks for in a folder: what is left out is as recorded there.

    It may extend the recorded one by values, seeds and generations, and is otherwise the same.

    Raises:
        ValueError: something else is at the folder, there is nothing to go on with, or another sweep is recorded.
    """
    if (folder / "study.toml").exists() or (folder.exists() and not folder.is_dir()):
        what = "a study" if folder.is_dir() else "a file"
        raise ValueError(f"There is {what} at {folder}; a sweep needs a folder of its own.")
    known = read(folder)
    if known is None:
        if preset is None:
            raise ValueError(f"There is no sweep at {folder}; name a preset to begin one, such as --preset moons.")
        return Sweep(preset, grid, seeds if seeds is not None else 1, tuple(settings), generations)
    asked = Sweep(
        preset or known.preset,
        grid or known.grid,
        seeds if seeds is not None else known.seeds,
        tuple(settings) or known.settings,
        generations if generations is not None else known.generations,
    )
    difference = _no_extension(known, asked)
    if difference:
        raise ValueError(
            f"There is another sweep at {folder}: {difference}; ask for that and more, or choose another folder."
        )
    return replace(asked, grid={key: _joined(values, asked.grid[key]) for key, values in known.grid.items()})


def _no_extension(known: Sweep, asked: Sweep) -> str | None:
    """Why a sweep isn't the known one and more, in words; None if it is."""
    if asked.preset != known.preset:
        return f"its preset is {known.preset}"
    if override(PRESETS[asked.preset], asked.settings) != override(PRESETS[known.preset], known.settings):
        return f"its settings are {' '.join(f'--set {each}' for each in known.settings) or 'those of the preset alone'}"
    if set(asked.grid) != set(known.grid):
        return f"it varies {' and '.join(known.grid)}"
    for key, values in known.grid.items():
        names = [label(value) for value in values]
        if not set(names) <= {label(value) for value in asked.grid[key]}:
            return f"{key} takes {', '.join(names)}"
    if asked.seeds < known.seeds:
        return f"it has {known.seeds} seeds"
    if asked.last < known.last:
        return f"its last generation is {known.last}"
    return None


def _joined(known: Sequence[Any], asked: Sequence[Any]) -> list[Any]:
    names = {label(value) for value in known}
    return [*known, *(value for value in asked if label(value) not in names)]

"""The studies of a sweep, checked beforehand, and sweep.toml, which remembers them."""

import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tomlkit
from filelock import FileLock, Timeout
from tomlkit.exceptions import ParseError

from data.secret_file import replace_file
from loop.config import StudyConfig, build, override, put, read_value
from loop.presets import PRESETS

OTHERWISE = {"seed": "--seeds", "generations": "--generations", "preset": "--preset"}
MOST_STUDIES = 10_000
LONGEST_NAME = 40  # of one value in a folder's name
FILE, LOCK = "sweep.toml", "sweep.lock"
CONTROLS: Mapping[str, Mapping[str, Any]] = {  # settings of each control
    "K = 1": {
        "curation.k": 1,
        "curation.position_bias": (),
        "slates.kind": "best",
        "slates.ties": False,
        "learner.kind": "curate",
    },
    "resampler": {"network.kind": "resample", "network.file": "", "learner.kind": "curate"},
}
HEAD = "What `curate sweep` runs here. To add values or seeds, run it again with all of them."


@dataclass(frozen=True)
class Cell:
    """One study of a sweep.

    Attributes:
        name: of its folder, such as 'k=2,lam=inf,seed=0'.
        values: the swept settings by full name, as the configuration holds them.
        config: all its settings.
        control: which of the controls it is; empty for one of the combinations.
    """

    name: str
    values: Mapping[str, Any]
    config: StudyConfig
    control: str = ""

    @cached_property
    def labels(self) -> dict[str, str]:
        """The swept settings as they are written in names."""
        return {key: label(value) for key, value in self.values.items()}


@dataclass(frozen=True)
class Sweep:
    """The settings of a sweep.

    Attributes:
        preset: of every study.
        grid: values by a setting's full name, in the order given.
        seeds: studies of each combination, with seeds 0 .. seeds - 1.
        settings: of every study, as for `--set`.
        generations: the last t of every study; None for the preset's.
        controls: each combination has its controls beside it, on the same seeds.
    """

    preset: str
    grid: Mapping[str, Sequence[Any]]
    seeds: int = 1
    settings: tuple[str, ...] = ()
    generations: int | None = None
    controls: bool = False

    @property
    def base(self) -> dict[str, Any]:
        """The settings that all studies share, as nested values; ValueError if one is unknown."""
        if self.preset not in PRESETS:
            raise ValueError(f"There is no preset '{self.preset}'; choose one of {', '.join(PRESETS)}.")
        top = {} if self.generations is None else {"generations": self.generations}
        return {**override(PRESETS[self.preset], self.settings), **top, "preset": self.preset}

    @property
    def last(self) -> int:
        """The last generation of every study."""
        return int(self.base.get("generations", StudyConfig().generations))

    def cells(self) -> list[Cell]:
        """The studies, all combinations of the first seed and their controls before those of the second.

        Raises:
            ValueError: an unknown or doubly given setting, no values, two that are the same, a combination that
                doesn't fit, or too many studies.
        """
        self.check()
        combined = []
        for values in itertools.product(*self.grid.values()):
            given = dict(zip(self.grid, values, strict=True))
            option = " ".join(f"{key}={as_toml(value)}" for key, value in given.items())
            combined.append(build(put(self.base, given, "--grid"), f"--grid {option}"))
        self.check_distinct(combined)
        short, arms = short_names(self.grid), [("", config) for config in combined]
        if self.controls:
            arms += distinct_controls(combined)
        cells = []
        for seed, (control, config) in itertools.product(range(self.seeds), arms):
            values = {key: setting_of(config, key) for key in self.grid}
            words = [f"{short[key]}={label(value)}" for key, value in values.items()]
            words += [f"control={control.replace(' = ', '-')}"] * bool(control)
            name = ",".join([*words, f"seed={seed}"])
            cells.append(Cell(name, values, config.model_copy(update={"seed": seed}), control))
        return cells

    def check(self) -> None:
        """Raises ValueError for keys that can't be swept, keys without values, or too many studies."""
        if self.seeds < 1:
            raise ValueError(f"--seeds must be 1 or more, not {self.seeds}.")
        if not self.grid:
            raise ValueError("A sweep needs something to vary: give --grid, for example --grid curation.k=2,4,8")
        put({}, dict.fromkeys(self.grid), "--grid")
        fixed = {setting.partition("=")[0].strip() for setting in self.settings}
        for key, option in OTHERWISE.items():
            if key in self.grid or key in fixed:
                raise ValueError(f"{key} is given neither by --grid nor by --set in a sweep; use {option}.")
        for key, values in self.grid.items():
            if key in fixed:
                raise ValueError(f"{key} is both in --grid and in --set; leave one of them out.")
            if not values:
                raise ValueError(f"--grid {key} has no values; give some, for example --grid curation.k=2,4,8")
        n = math.prod(map(len, self.grid.values())) * self.seeds * (1 + len(CONTROLS) * self.controls)
        if n > MOST_STUDIES:
            raise ValueError(f"That would be {n:,} studies; a sweep has {MOST_STUDIES:,} at the most.")

    def check_distinct(self, combined: Sequence[StudyConfig]) -> None:
        """Raises ValueError where two values of a setting are the same in the configurations of all combinations."""
        step = len(combined)
        for key, values in self.grid.items():
            step //= len(values)
            seen: dict[str, Any] = {}
            for index, value in enumerate(values):
                resolved = repr(setting_of(combined[index * step], key))
                if resolved in seen:
                    raise ValueError(
                        f"--grid {key}: {as_toml(seen[resolved])} and {as_toml(value)} are the same value."
                    )
                seen[resolved] = value


def controlled(config: StudyConfig, control: str) -> StudyConfig:
    """The settings of a control: the same study without choice (K = 1), or with a generator that copies (resampler).

    Raises:
        ValueError: such a study isn't possible.
    """
    return build(put(config.model_dump(), CONTROLS[control], "--controls"), f"--controls ({control})")


def distinct_controls(combined: Sequence[StudyConfig]) -> list[tuple[str, StudyConfig]]:
    """The controls of all combinations, each once, and none that is among the combinations."""
    known, controls = set(combined), []
    for control in CONTROLS:
        for config in combined:
            arm = controlled(config, control)
            if arm not in known:
                known.add(arm)
                controls.append((control, arm))
    return controls


def parse_grid(options: Sequence[str]) -> dict[str, list[Any]]:
    """A grid from the command line's `key=v1,v2,...`; values with commas in them as `key=[[2.0, 0.5], [0, 0]]`.

    Raises:
        ValueError: no '=', an empty value, or the same key twice.
    """
    grid: dict[str, list[Any]] = {}
    for option in options:
        key, equals, text = (part.strip() for part in option.partition("="))
        if not equals or not key:
            raise ValueError(f"--grid {option}: write it as key=value,value, for example --grid curation.k=2,4,8")
        if key in grid:
            raise ValueError(f"--grid {key} is given twice; put all its values into one --grid.")
        grid[key] = parse_values(key, text)
    return grid


def short_names(keys: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    """Settings without their table where that is clear: 'k' for 'curation.k'."""
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: name if last.count(name) == 1 and name != "seed" else key for key, name in zip(keys, last, strict=True)
    }


def label(value: Any) -> str:
    """A value as it stands in a folder's name: 2, inf, 0.5, 2_0.5 for a pair; long or odd ones end with a hash."""
    plain = _plain(value)
    name = re.sub(r"[^A-Za-z0-9._+-]+", "_", plain)
    if len(name) > LONGEST_NAME or (isinstance(value, str) and name != plain) or not name or isinstance(value, dict):
        digest = hashlib.sha256(repr(value).encode()).hexdigest()[:6]
        return f"{name[: LONGEST_NAME - 7]}-{digest}"
    return name


def describe(sweep: Sweep) -> str:
    """The swept settings, in words: 'curation.k (3) x mix.lam (2) x 3 seeds'."""
    seeds = f"{sweep.seeds} seed{'s' if sweep.seeds > 1 else ''}"
    combined = " x ".join([*(f"{key} ({len(values)})" for key, values in sweep.grid.items()), seeds])
    return f"{combined}, with controls" if sweep.controls else combined


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "_".join(_plain(item) for item in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0")


def parse_values(key: str, text: str) -> list[Any]:
    """The values of one key of the command line: TOML values, or else words, separated by commas.

    Raises:
        ValueError: an empty value.
    """
    if not text:
        return []
    for array in (text, f"[{text}]") if text.startswith("[") else (f"[{text}]",):
        try:
            return list(tomlkit.parse(f"values = {array}").unwrap()["values"])
        except ParseError:
            continue
    pieces = [piece.strip() for piece in text.split(",")]
    if not all(pieces):
        raise ValueError(f"--grid {key}={text}: there is an empty value; write values with one comma between them.")
    return [read_value(piece) for piece in pieces]


def setting_of(config: StudyConfig, key: str) -> Any:
    """The value of a setting by its full name."""
    value: Any = config.model_dump()
    for part in key.split("."):
        value = value[part]
    return value


def as_toml(value: Any) -> str:
    """A value as it stands in TOML, words without their quotation marks."""
    return value if isinstance(value, str) else tomlkit.item(value).as_string()


def combinations(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Groups of the cells that differ only in their seed."""
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.control, *cell.labels.values()), []).append(cell)
    yield from groups.values()


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
        values = tomlkit.parse(file.read_text(encoding="utf-8")).unwrap()
        return Sweep(
            preset=str(values["preset"]),
            grid={key: list(swept) for key, swept in values["grid"].items()},
            seeds=int(values["seeds"]),
            settings=tuple(values["settings"]),
            generations=values.get("generations"),
            controls=bool(values.get("controls", False)),
        )
    except (ParseError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} can't be read ({error}); restore it, or choose another folder.") from error


def write(folder: Path, sweep: Sweep) -> None:
    """Writes sweep.toml for its owner alone, whole or not at all."""
    document = tomlkit.document()
    document.add(tomlkit.comment(HEAD))
    document.add("preset", tomlkit.item(sweep.preset))
    document.add("seeds", tomlkit.item(sweep.seeds))
    if sweep.generations is not None:
        document.add("generations", tomlkit.item(sweep.generations))
    if sweep.controls:
        document.add("controls", tomlkit.item(True))
    document.add("settings", tomlkit.item(list(sweep.settings)))
    table = tomlkit.table()
    for key, values in sweep.grid.items():
        table.add(tomlkit.key(key), list(values))
    document.add(tomlkit.nl())
    document.add("grid", table)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / FILE, tomlkit.dumps(document))  # settings may hold a password


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


def requested_sweep(
    folder: Path,
    preset: str | None,
    grid: Mapping[str, Sequence[Any]],
    seeds: int | None,
    settings: Sequence[str],
    generations: int | None,
    controls: bool = False,
) -> Sweep:
    """The sweep that a command requests in a folder; options that are left out are as recorded there.

    It may extend the recorded one by values, seeds, generations and controls, and is otherwise the same.

    Raises:
        ValueError: something else is at the folder, there is nothing to go on with, or another sweep is recorded.
    """
    if (folder / "study.toml").exists() or (folder.exists() and not folder.is_dir()):
        there = "a study" if folder.is_dir() else "a file"
        raise ValueError(f"There is {there} at {folder}; a sweep needs a folder of its own.")
    recorded = read(folder)
    if recorded is None:
        if preset is None:
            raise ValueError(f"There is no sweep at {folder}; name a preset to begin one, such as --preset moons.")
        return Sweep(preset, grid, seeds if seeds is not None else 1, tuple(settings), generations, controls)
    requested = Sweep(
        preset or recorded.preset,
        grid or recorded.grid,
        seeds if seeds is not None else recorded.seeds,
        tuple(settings) or recorded.settings,
        generations if generations is not None else recorded.generations,
        controls or recorded.controls,
    )
    conflict = conflict_with(recorded, requested)
    if conflict:
        raise ValueError(
            f"There is another sweep at {folder}: {conflict}; ask for that and more, or choose another folder."
        )
    joined = {}
    for key, values in recorded.grid.items():
        names = {label(value) for value in values}
        joined[key] = [*values, *(value for value in requested.grid[key] if label(value) not in names)]
    return replace(requested, grid=joined)


def conflict_with(recorded: Sweep, requested: Sweep) -> str | None:
    """The reason why a requested sweep is no extension of the recorded one, in words; None if it is one."""
    if requested.preset != recorded.preset:
        return f"its preset is {recorded.preset}"
    preset = PRESETS[recorded.preset]
    if override(preset, requested.settings) != override(preset, recorded.settings):
        settings = " ".join(f"--set {setting}" for setting in recorded.settings)
        return f"its settings are {settings or 'those of the preset alone'}"
    if set(requested.grid) != set(recorded.grid):
        return f"it varies {' and '.join(recorded.grid)}"
    for key, values in recorded.grid.items():
        names = [label(value) for value in values]
        if not set(names) <= {label(value) for value in requested.grid[key]}:
            return f"{key} takes {', '.join(names)}"
    if requested.seeds < recorded.seeds:
        return f"it has {recorded.seeds} seeds"
    if requested.last < recorded.last:
        return f"its last generation is {recorded.last}"
    return None

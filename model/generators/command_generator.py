"""A generator that is two command lines: any trainer and any sampler, with no Python glue.

`network.train_command` turns a folder of images into a model, `network.sample_command` a list of seeds into images;
both talk to the study through files alone (docs/howto-own-trainer.md has the layout). A generation's checkpoint holds
the files that the train command wrote, so a study stays whole when the folders it worked in are gone.
"""

import csv
import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import Self

import numpy as np
import torch
from PIL import Image

from model import checkpoint
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.interfaces import Conditions, OnStep, Rows, TrainingSet, scaled

POLL_S = 0.5  # between two looks at a running command; the worker tends the slates meanwhile
GRACE_S = 5.0  # from the request to end to the end
LAST_LINES = 5  # of a failed command's output, in the error
WATCH = (  # leads the command's process group; its input ends when this process does, be it by SIGKILL
    f"trap '' HUP INT TERM; read -r _; kill -s TERM 0; sleep {GRACE_S:g}; rm -rf -- \"$1\"; kill -s KILL 0"
)
MODES = {1: "L", 3: "RGB"}


class CommandError(RuntimeError):
    """A command failed, took too long, or didn't write what it should."""


def fill(command: str, values: Mapping[str, str], setting: str) -> list[str]:
    """The words of a command line, with {name} replaced in each word.

    Args:
        command: as in study.toml; quoted as in a shell, which doesn't run it.
        values: by name; a path with spaces stays one word.
        setting: named in errors.

    Raises:
        ValueError: the command is badly quoted.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"{setting} can't be read ({error}): {command}") from error
    for name, value in values.items():
        words = [word.replace(f"{{{name}}}", value) for word in words]
    return words


def run(words: list[str], setting: str, timeout_s: float, place: Path, on_step: OnStep | None = None) -> None:
    """Runs a command to its end, or to that of this process, however it comes.

    A line of its output such as 'progress 120 4000' is taken as progress.

    Args:
        words: program and arguments.
        setting: named in errors.
        timeout_s: it is ended after this.
        place: the folder that it works in; it is removed if this process is killed.
        on_step: called every half second with (done, total); where it raises, the command is ended.

    Raises:
        CommandError: it can't be started, fails, or takes longer.
    """
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    watch = subprocess.Popen(
        ["/bin/sh", "-c", WATCH, "sh", str(place)], stdin=pipe, stdout=null, stderr=null, process_group=0
    )
    try:
        process = subprocess.Popen(words, stdin=null, stdout=pipe, stderr=subprocess.STDOUT, process_group=watch.pid)
    except OSError as error:
        watch.kill()
        watch.communicate()
        raise CommandError(f"{setting} can't be started: {error}. It is: {shlex.join(words)}") from error
    lines: deque[str] = deque(maxlen=LAST_LINES)
    progress = [0, 0]

    def read() -> None:
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            word, *numbers = line.split() or [""]
            if word == "progress" and len(numbers) == 2 and all(number.isdecimal() for number in numbers):
                progress[:] = map(int, numbers)
            elif line:
                lines.append(line)

    reader = Thread(target=read, daemon=True)
    reader.start()
    ends = time.monotonic() + timeout_s
    try:
        while True:
            try:
                code = process.wait(POLL_S)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > ends:
                    raise CommandError(
                        f"{setting} was ended after network.timeout_s = {timeout_s:g} s: {shlex.join(words)}"
                    ) from None
            if on_step:
                on_step(*progress)
    finally:
        end(process, watch)
    reader.join(GRACE_S)
    if code:
        output = "\n".join(lines) or "(it printed nothing)"
        raise CommandError(
            f"{setting} failed with exit code {code}. Its last words: {output}\nIt was: {shlex.join(words)}"
        )


def end(process: subprocess.Popen, watch: subprocess.Popen) -> None:
    """Ends a command and all of its process group, if they still run: politely, then at once.

    Args:
        process: the command.
        watch: leads the group, and ends last.
    """
    if process.poll() is None:
        os.killpg(watch.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    with suppress(PermissionError):  # macOS, where none but ended ones are left
        os.killpg(watch.pid, signal.SIGKILL)
    process.kill()  # where it has left the group
    process.wait()
    watch.communicate()


def repeats(training_set: TrainingSet, rng: np.random.Generator) -> list[tuple[str, Rows, np.ndarray]]:
    """Each part of a training set by name, with how often each of its rows is to stand in the folder.

    As many rows in all as the shares call for when no row is left out, but no more than twice the distinct ones: a few
    dozen picks beside thousands of real images come up hundreds of times, as they do in the draws of other generators.
    """
    parts = [("real", training_set.real, training_set.real_share)]
    parts.append(("curated", training_set.curated, 1 - training_set.real_share))
    parts = [part for part in parts if part[2] and len(part[1])]
    total = min(max(len(rows) / share for _, rows, share in parts), 2 * sum(len(rows) for _, rows, _ in parts))
    counted = []
    for name, rows, share in parts:
        weights = np.ones(len(rows)) if rows.weights is None else rows.weights
        edges = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()]) * round(total * share)
        # systematic sampling: each row comes up its expected number of times, rounded up or down at random
        counted.append((name, rows, np.diff(np.floor(edges + rng.random() * (1 - 1e-9))).astype(int)))
    return counted


def write_folder(folder: Path, training_set: TrainingSet, names: tuple[str, ...], rng: np.random.Generator) -> int:
    """Writes a training set as Hugging Face's imagefolder and returns the number of its rows.

    A row that comes up several times is as many files (hard links), so that a trainer that reads each file once in an
    epoch trains on the mix as it is meant.

    Args:
        folder: is made; gets a PNG per row, and metadata.jsonl with file_name, source (real or curated), condition (its
            index) and text (its words).
        training_set: of images.
        names: of the conditions; empty in a study without.
        rng: rounds the numbers of copies.
    """
    folder.mkdir()
    n = 0
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for source, rows, counts in repeats(training_set, rng):
            for row in np.flatnonzero(counts):
                condition = None if rows.conditions is None else int(rows.conditions[row])
                first = folder / f"{n:08d}.png"
                to_image(rows.x[row]).save(first, compress_level=1)
                for copy in range(counts[row]):
                    name = f"{n:08d}.png"
                    if copy:
                        os.link(first, folder / name)
                    text = names[condition] if condition is not None and names else ""
                    line = {"file_name": name, "source": source, "condition": condition, "text": text}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    n += 1
    return n


def to_image(x: torch.Tensor) -> Image.Image:
    """An image from (channels, height, width): uint8 pixels, or float32 in [-1, 1]."""
    pixels = x if x.dtype == torch.uint8 else ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(
        pixels.permute(1, 2, 0).squeeze(2).numpy() if len(x) == 1 else pixels.permute(1, 2, 0).numpy()
    )


def read_folder(folder: Path, n: int, shape: tuple[int, ...]) -> torch.Tensor:
    """(n, *shape) float32 in [-1, 1] of 00000000.png, 00000001.png, ... as a sample command writes them.

    Raises:
        CommandError: one is missing, can't be read, or has another size.
    """
    channels, height, width = shape
    x = torch.empty(n, *shape)
    for i in range(n):
        file = folder / f"{i:08d}.png"
        if not file.is_file():
            there = len(list(folder.glob("*.png")))
            raise CommandError(
                f"network.sample_command wrote {there} of {n} images: {file.name} is missing. It has to write a PNG "
                "for each line of {seeds}, from 00000000.png on."
            )
        try:
            with Image.open(file) as image:
                if image.size != (width, height):
                    size = " x ".join(map(str, image.size))
                    raise CommandError(
                        f"network.sample_command wrote {file.name} of {size} pixels; the study's images have {width} x "
                        f"{height} (set data.size, or have the command scale them)."
                    )
                pixels = np.array(image.convert(MODES[channels]))
        except (OSError, SyntaxError) as error:
            raise CommandError(f"network.sample_command wrote {file.name}, which is no image: {error}.") from error
        x[i] = scaled(torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1))
    return x


@dataclass(frozen=True)
class CommandGenerator:
    """A generator of images whose training and sampling are a user's commands.

    Attributes:
        shape: (channels, height, width).
        network: the [network] table, with both commands.
        conditions: the study's; None in a study without.
        files: what the train command wrote, by path within its folder; empty before `fit`.
        seed: that trained it.
        parent: sha256 of the parent's checkpoint.
        sha256: of its own checkpoint, once loaded.
    """

    shape: tuple[int, ...]
    network: NetworkConfig
    conditions: Conditions | None = None
    files: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    @classmethod
    def build(
        cls,
        shape: tuple[int, ...],
        network: NetworkConfig,
        train: TrainConfig,
        sampling: SamplingConfig,
        conditions: Conditions | None = None,
    ) -> Self:
        """An untrained one.

        Raises:
            ValueError: the samples are no images, or a command is badly quoted.
        """
        if len(shape) != 3:
            raise ValueError("network.kind 'command' makes images; these data are points.")
        for setting in ("train_command", "sample_command"):
            fill(getattr(network, setting), {}, f"network.{setting}")
        return cls(shape, network, conditions)

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, *shape) float32 from (n,) int64 seeds: one run of the sample command.

        Raises:
            CommandError: it failed, took too long, or didn't write an image of the right size for each seed.
        """
        with tempfile.TemporaryDirectory(prefix="curate-sample-") as place:
            model, out, listed = Path(place, "model"), Path(place, "out"), Path(place, "seeds.csv")
            self.unpack(model)
            out.mkdir()
            self.list_seeds(listed, seeds, conditions)
            values = {"model": str(model), "seeds": str(listed), "out": str(out), **self.sizes}
            words = fill(self.network.sample_command, values, "network.sample_command")
            run(words, "network.sample_command", self.network.timeout_s, Path(place))
            return read_folder(out, len(seeds), self.shape)

    def fit(self, training_set: TrainingSet, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """One run of the train command, on the training set as a folder; the parent's files lie beside it.

        Raises:
            CommandError: it failed, took too long, or wrote nothing.
        """
        with tempfile.TemporaryDirectory(prefix="curate-train-") as place:
            data, out, before = Path(place, "data"), Path(place, "out"), Path(place, "parent")
            names = self.conditions.names if self.conditions else ()
            write_folder(data, training_set, names, np.random.default_rng(seed))
            out.mkdir()
            if parent is not None:
                parent.unpack(before)
            values = {"data": str(data), "out": str(out), "seed": str(seed), **self.sizes}
            values |= {"parent": str(before) if parent else ""}
            words = fill(self.network.train_command, values, "network.train_command")
            run(words, "network.train_command", self.network.timeout_s, Path(place), on_step)
            files = {
                str(file.relative_to(out)): torch.from_numpy(np.fromfile(file, dtype=np.uint8))
                for file in sorted(out.rglob("*"))
                if file.is_file()
            }
        if not files:
            raise CommandError("network.train_command wrote nothing into {out}; it has to leave its model there.")
        return replace(self, files=files, seed=seed, parent=parent and parent.sha256, sha256=None)

    @property
    def sizes(self) -> dict[str, str]:
        """Numbers on the images that a command may ask for."""
        return {"size": str(self.shape[1]), "channels": str(self.shape[0])}

    def unpack(self, folder: Path) -> None:
        """Writes its files into a new folder."""
        folder.mkdir()
        for name, content in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            content.numpy().tofile(file)

    def list_seeds(self, path: Path, seeds: np.ndarray, conditions: np.ndarray | None) -> None:
        """Writes a CSV file with a line for each image: index, seed, condition (its index) and text (its words)."""
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["index", "seed", "condition", "text"])
            for i, seed in enumerate(seeds.tolist()):
                condition = "" if conditions is None else int(conditions[i])
                text = self.conditions.names[condition] if self.conditions and condition != "" else ""
                rows.writerow([i, seed, condition, text])

    def save(self, path: Path) -> str:
        """Writes the files as one checkpoint and returns its sha256."""
        network = {
            name: getattr(self.network, name) for name in ("kind", "train_command", "sample_command", "timeout_s")
        }
        config = {"shape": list(self.shape), "network": network, "conditions": None}
        if self.conditions:
            config["conditions"] = [list(self.conditions.names), list(self.conditions.weights)]
        return checkpoint.save(path, checkpoint.Checkpoint("command", self.files, config, self.seed, self.parent))

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        stored = checkpoint.load(path)
        if stored.kind != "command":
            raise checkpoint.MissingCheckpointError(f"{path} holds a {stored.kind}, not a command's model.")
        names = stored.config["conditions"]
        conditions = Conditions(*map(tuple, names)) if names else None
        network = NetworkConfig(**stored.config["network"])
        shape = tuple(stored.config["shape"])
        return cls(shape, network, conditions, stored.tensors, stored.seed, stored.parent, stored.sha256)

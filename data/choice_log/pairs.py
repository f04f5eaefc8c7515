"""Comparisons and verdicts on images that others collected, as rows of the long table.

- pairs in CSV: image_0, image_1 and picked (0, 1, or empty for neither); or chosen, rejected.
- single images in CSV: image and label, good or bad: a slate of one image, picked or not.
- Parquet with jpg_0, jpg_1, label_0 (Pick-a-Pic, Diffusion-DPO), or with chosen and rejected images (TRL).
"""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from data.choice_log.reader import Faults, Row
from data.images import encode_png

Prepare = Callable[[Image.Image], np.ndarray]
GOOD, BAD = ("good", "1", "yes", "true", "up", "like"), ("bad", "0", "no", "false", "down", "dislike")
RATER = ("rater", "user_id", "user", "worker_id")
TIME = ("picked_at", "created_at", "time")
CONDITION = ("condition", "prompt", "caption", "text")
LAYOUTS = (  # columns that a layout is known by, and its words
    (("jpg_0", "jpg_1", "label_0"), "pickapic"),
    (("image_0", "image_1", "picked"), "pair"),
    (("chosen", "rejected"), "chosen"),
    (("image", "label"), "single"),
)


def layout(names: list[str]) -> str:
    """The layout of a file by its columns' names; empty where it is none of these."""
    return next((word for columns, word in LAYOUTS if set(columns) <= set(names)), "")


def column_names(path: Path) -> list[str]:
    """The names of a table's columns; empty where it can't be read as a table."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_schema(path).names
        except pa.ArrowException:
            return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except UnicodeDecodeError:
        return []


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, cells by name) of each row of a CSV or Parquet file."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        line = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=200):
                for cells in batch.to_pylist():
                    line += 1
                    yield line, cells
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for cells in reader:
            yield reader.line_num, cells


class PairReader:
    """Reads the rows of a layout; images are written as PNGs, by content, for the import to pick up.

    Args:
        path: the table; file names in it are relative to its folder.
        images: a folder to write PNGs into.
        prepare: pixels of an image, (height, width, 1 or 3) uint8, as the study wants them.
        faults: where rows that can't be read are noted.
    """

    def __init__(self, path: Path, images: Path, prepare: Prepare, faults: Faults):
        self.path, self.images, self.prepare, self.faults = path, images, prepare, faults
        self.layout = layout(column_names(path))

    def rows(self) -> Iterator[Row]:
        """Rows of the long table, an answer after the other."""
        self.images.mkdir(parents=True, exist_ok=True)
        for number, (line, cells) in enumerate(records(self.path), start=1):
            try:
                shown, picked, ordered = self.slate(cells, number)
                hashes = [self.store(cell) for cell in shown]
            except (ValueError, OSError, UnidentifiedImageError) as error:
                self.faults.add(line, self.layout, str(error))
                continue
            shared = {
                "choice_id": number,
                "rater": next((str(cells[name]) for name in RATER if cells.get(name) not in (None, "")), "rater"),
                "flags": "{}" if ordered else '{"order_unknown": true}',
                "outcome": "none" if picked is None else "pick",
            }
            prompt = next((cells[name] for name in CONDITION if cells.get(name)), None)
            if isinstance(prompt, list):  # a conversation, as TRL has it
                prompt = "\n".join(str(turn["content"] if isinstance(turn, dict) else turn) for turn in prompt)
            if prompt is not None:
                shared["condition"] = str(prompt)
            moment = next((cells[name] for name in TIME if cells.get(name)), None)
            if moment is not None:
                shared["picked_at"] = moment if isinstance(moment, str) else moment.isoformat()
            for position, sha256 in enumerate(hashes):
                sample = {"sample_id": 2 * number + position, "image_sha256": sha256, "position": position}
                yield Row(line, {**shared, **sample, "picked": int(position == picked)})

    def slate(self, cells: dict[str, Any], number: int) -> tuple[list[Any], int | None, bool]:
        """The images of a row in the order they were shown, the position picked, and whether that order is known.

        Raises:
            ValueError: a verdict that can't be read.
        """
        if self.layout == "single":
            verdict = str(cells["label"]).strip().lower()
            if verdict not in GOOD + BAD:
                raise ValueError(f"label '{cells['label']}' is neither good nor bad (nor 1 or 0)")
            return [cells["image"]], 0 if verdict in GOOD else None, True
        if self.layout == "chosen":  # in no order that is known: half of them stand first
            pair = [cells["chosen"], cells["rejected"]]
            return (pair, 0, False) if number % 2 else (pair[::-1], 1, False)
        pair = [cells["jpg_0"], cells["jpg_1"]] if self.layout == "pickapic" else [cells["image_0"], cells["image_1"]]
        verdict = cells["label_0"] if self.layout == "pickapic" else cells["picked"]
        if self.layout == "pickapic":
            picked = {1.0: 0, 0.0: 1}.get(float(verdict)) if verdict is not None else None
            return pair, picked, True
        if str(verdict).strip() not in ("0", "1", "", "None"):
            raise ValueError(f"picked is '{verdict}'; write 0 (image_0), 1 (image_1), or nothing")
        return pair, int(verdict) if str(verdict).strip() in ("0", "1") else None, True

    def store(self, cell: Any) -> str:
        """Writes an image as PNG and returns its sha256.

        Raises:
            ValueError: there is no image in the cell.
            OSError: its file can't be read.
        """
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if content is None and isinstance(cell, dict) and cell.get("path"):
            content = cell["path"]
        if isinstance(content, str) and content:
            content = (self.path.parent / content).read_bytes()
        if not isinstance(content, bytes) or not content:
            raise ValueError("there is no image here")
        with Image.open(io.BytesIO(content)) as image:
            sha256, png = encode_png(self.prepare(image))
        file = self.images / f"{sha256}.png"
        if not file.exists():
            file.write_bytes(png)
        return sha256

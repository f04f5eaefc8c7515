"""What a fit may go by beside the log's own columns: class probabilities, coordinates, and a table of one's own."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Details:
    """What else is known of samples.

    Attributes:
        class_names: of the labels; may be empty.
        probabilities: by class and sample id.
        columns: numbers by name and sample id.
    """

    class_names: Sequence[str] = ()
    probabilities: dict[int, dict[int, float]] = field(default_factory=dict)
    columns: dict[str, dict[int, float]] = field(default_factory=dict)

    @classmethod
    def stored(cls, rows: Iterable[tuple], class_names: Sequence[str]) -> Self:
        """Class probabilities, and x and y of points, from `Store.sample_details`."""
        found = cls(class_names)
        for sample, _, point, more in rows:
            for j, value in enumerate(json.loads(more).get("probs") or () if more else ()):
                found.probabilities.setdefault(j, {})[sample] = value
            for name, value in zip("xy", json.loads(point) if point else (), strict=False):
                found.columns.setdefault(name, {})[sample] = value
        return found


def table_columns(path: Path, rows: Iterable[tuple]) -> dict[str, dict[int, float]]:
    """Columns of a CSV file with `sample_id` or `image_sha256`, by sample id.

    Args:
        path: the file.
        rows: of `Store.sample_details`.

    Raises:
        ValueError: no such file or key, or something that is no number; its line is named.
    """
    if not path.is_file():
        raise ValueError(f"There is no table {path}.")
    ids: dict[str, list[int]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or []
        key = next((name for name in ("sample_id", "image_sha256") if name in header), None)
        if key is None:
            raise ValueError(f"{path} needs a column sample_id or image_sha256, by which samples are known.")
        for sample, image, _, _ in rows:
            ids.setdefault(str(sample) if key == "sample_id" else image, []).append(sample)
        columns: dict[str, dict[int, float]] = {name: {} for name in header if name != key}
        for row in reader:
            for name, column in columns.items():
                value = _number(row[name], path, reader.line_num, name)
                column.update((sample, value) for sample in ids.get(row[key] or "", ()))
    return columns


def _number(text: str | None, path: Path, line: int, name: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{path}, line {line}: '{name}' must be a number, not '{text}'.") from None

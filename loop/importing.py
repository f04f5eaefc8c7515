"""`curate import`: a long table, or comparisons from elsewhere, into a new study, which appears whole or not at all."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from data.choice_log.pairs import PairReader, column_names, layout
from data.choice_log.reader import OF_RATER, OF_SESSION, Answers, Faults, Row, count_rows, read_rows
from data.choice_log.source import Answer
from data.datasets import central_square, sample_shape, to_rgb
from data.store import Store
from data.store.transfer import SAMPLE, SLATE, missing_images, stored_samples, stored_slates
from loop.config import StudyConfig
from loop.study import OnShare, Study, StudyExistsError

CHUNK = 100  # answers; SQLite takes a few hundred marks in one statement
NAMES = ("choices.csv", "choices.parquet")


def import_log(path: Path, out: Path, config: StudyConfig, on_share: OnShare = lambda share: None) -> tuple[int, int]:
    """Makes a study of a long table.

    Args:
        path: a file, or an export's folder, whose images come along; or comparisons in a layout of `choice_log.pairs`,
            whose images are cut and scaled to the study's.
        out: where the study is to be.
        config: its settings.
        on_share: called with the share done.

    Returns:
        How many answers were imported, and how many images are known by their hash alone.

    Raises:
        LogFaultsError: the log is wrong somewhere; nothing is left at `out`.
        StudyExistsError: there is something at `out`.
    """
    if out.exists():
        raise StudyExistsError(f"There is something at {out} already; choose another name or remove it first.")
    file = table_file(path)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        study = Study.create(draft / "study", config)
        try:
            faults = Faults(file.name)
            is_long = not layout(column_names(file))
            images = file.parent / "images" if is_long else draft / "images"
            rows = read_rows(file, faults) if is_long else pair_rows(file, images, config, faults)
            total = count_rows(file)

            def counted() -> Iterator[Row]:
                for i, row in enumerate(rows):
                    yield row
                    if i % CHUNK == 0:
                        on_share(min(1.0, i / max(1, total)))

            with study.store.write():
                n = fill(study.store, counted(), faults, file.stem)
                missing = add_images(study.store, images)
                study.store.log("researcher", "imported", file=file.name, answers=n)
        finally:
            study.store.close()
        (draft / "study").rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return n, missing


def table_file(path: Path) -> Path:
    """The long table at a path: the file itself, or the one in an export's folder.

    Raises:
        ValueError: there is none.
    """
    files = [path / name for name in NAMES if (path / name).is_file()] if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise ValueError(f"There is no long table at {path}; make one with curate export --format long-csv.")
    return files[0]


def pair_rows(file: Path, images: Path, config: StudyConfig, faults: Faults) -> Iterator[Row]:
    """The rows of comparisons from elsewhere; their images, as the study's are, go to a folder.

    Raises:
        ValueError: the study's samples are no images.
    """
    shape = sample_shape(config.data)
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"{file.name} compares images; choose a --preset of images, such as folder or cifar10.")

    def prepare(image: Image.Image) -> np.ndarray:
        square = central_square(to_rgb(ImageOps.exif_transpose(image)), shape[1])
        return np.asarray(Image.fromarray(square).convert("L"))[:, :, None] if shape[0] == 1 else square

    return PairReader(file, images, prepare, faults).rows()


def fill(store: Store, rows: Iterator[Row], faults: Faults, study: str) -> int:
    """Stores the answers of a long table, and returns their number.

    Args:
        store: of the new study.
        rows: of the table.
        faults: of the rows so far.
        study: the name that the answers' study has where the table has none.

    Raises:
        LogFaultsError: it is wrong somewhere.
    """
    table, checkpoints, n = Answers(faults, study), {}, 0
    known: set[tuple[str, str]] = set()
    store.begin_import()
    answers = table.read(rows)
    while chunk := list(islice(answers, CHUNK)):
        check_against_store(store, chunk, faults)
        for line, answer in chunk:
            t, sha256 = answer.values["generation"], answer.values["checkpoint_sha256"]
            if checkpoints.setdefault(t, sha256) != sha256:
                faults.add(line, "checkpoint_sha256", f"generation {t} had another one above")
        if not faults.sentences:  # what follows a fault is read to find more of them, and stored no more
            store.import_people(*new_people(chunk, known))
            store.import_answers([(answer.values, answer.items) for _, answer in chunk])
        n += len(chunk)
    faults.check()
    store.end_import(table.study, checkpoints)
    return n


def new_people(
    chunk: list[tuple[int, Answer]], known: set[tuple[str, str]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the raters and of the sessions of some answers that aren't known yet; they are from now on."""
    raters, sessions = [], []
    for key, names, rows in (("rater", OF_RATER, raters), ("session", OF_SESSION, sessions)):
        for _, answer in chunk:
            name = answer.values[key]
            if (key, name) not in known:
                known.add((key, name))
                rows.append({column: answer.values[column] for column in (key, *names)})
    return raters, sessions


def check_against_store(store: Store, chunk: list[tuple[int, Answer]], faults: Faults) -> None:
    """Adds faults where a slate has an answer already, or a sample was another one before."""
    slates = stored_slates(store, [answer.values["slate_id"] for _, answer in chunk])
    samples = stored_samples(store, [item["sample_id"] for _, answer in chunk for item in answer.items])
    for line, answer in chunk:
        slate, values = answer.values["slate_id"], [answer.values[name] for name in SLATE]
        shown = (*values, *(item["sample_id"] for item in answer.items))
        stands, earlier = slates.get(slate, (False, shown))
        if stands:
            faults.add(line, "slate_id", f"slate {slate} has an answer already")
        elif earlier != shown:
            faults.add(line, "slate_id", f"slate {slate} was another one above")
        slates[slate] = (not answer.values["undone"], shown)
        if len({item["sample_id"] for item in answer.items}) < len(answer.items):
            faults.add(line, "sample_id", "a sample stands in the slate twice")
        for item in answer.items:
            operative = item["reward"] if item["operative_reward"] is None else item["operative_reward"]
            sample = (*(item[name] for name in SAMPLE[:-1]), operative)
            before = samples.setdefault(item["sample_id"], sample)
            if before != sample:
                column = next(name for name, a, b in zip(SAMPLE, before, sample, strict=True) if a != b)
                faults.add(line + item["position"], column, f"sample {item['sample_id']} was another one above")


def add_images(store: Store, folder: Path) -> int:
    """Stores the PNGs of a folder, each checked against its name, and returns the number of images that it lacks.

    Raises:
        ValueError: a file isn't what its name says.
    """
    missing = 0
    for sha256 in missing_images(store):
        file = folder / f"{sha256}.png"
        if not file.is_file():
            missing += 1
            continue
        png = file.read_bytes()
        if hashlib.sha256(png).hexdigest() != sha256:
            raise ValueError(f"{file} doesn't hold what its name says; export again, or remove it.")
        store.fill_image(sha256, png)
    return missing

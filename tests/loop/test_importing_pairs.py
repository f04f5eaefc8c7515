"""Pairs and verdicts from elsewhere become a log: CSV with images, Pick-a-Pic's, Diffusion-DPO's and TRL's columns."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data.choice_log import Source, find_format
from data.choice_log.export import export
from data.choice_log.reader import LogFaultsError
from loop.importing import import_log
from loop.study import Study, configure

FOLDER = configure("folder", ["data.path=.", "data.size=32"])


def picture(level: int, size: tuple[int, int] = (40, 60)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((*size, 3), level, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def imported(path: Path, n: int) -> list[tuple]:
    """(rater, outcome, grey level of the picked image, of the others) of each answer, in order."""
    out = path.parent / "study"
    assert import_log(path, out, FOLDER) == (n, 0)
    study = Study.open(out)
    answers = []
    for answer in Source(study.store, "s").answers():
        levels = [Image.open(io.BytesIO(study.store.image(item["image_sha256"]) or b"")) for item in answer.items]
        assert all(image.size == (32, 32) for image in levels)
        shown = [image.getpixel((5, 5))[0] for image in levels]  # type: ignore[index]
        picked = answer.picked
        won = None if picked is None else shown[answer.items.index(picked)]
        rest = [level for item, level in zip(answer.items, shown, strict=True) if item is not picked]
        answers.append((answer.values["rater"], answer.values["outcome"], won, rest))
    study.store.close()
    return answers


def test_pairs_in_csv(tmp_path: Path):
    for level in (10, 20, 30):
        (tmp_path / f"{level}.png").write_bytes(picture(level))
    (tmp_path / "pairs.csv").write_text(
        "image_0,image_1,picked,rater,picked_at\n10.png,20.png,1,ann,2025-01-01T00:00:00.000Z\n20.png,30.png,0,bob,\n"
        "10.png,30.png,,bob,\n"
    )
    rows = imported(tmp_path / "pairs.csv", 3)
    assert rows == [("ann", "pick", 20, [10]), ("bob", "pick", 20, [30]), ("bob", "none", None, [10, 30])]


def test_good_and_bad_images_are_slates_of_one(tmp_path: Path):
    for level in (10, 20):
        (tmp_path / f"{level}.png").write_bytes(picture(level))
    (tmp_path / "verdicts.csv").write_text("image,label,user\n10.png,good,u\n20.png,bad,u\n")
    assert imported(tmp_path / "verdicts.csv", 2) == [("u", "pick", 10, []), ("u", "none", None, [20])]


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_the_columns_of_pick_a_pic_and_diffusion_dpo(tmp_path: Path, form: str):
    cells = [picture(level) for level in (10, 20, 30, 40)]
    images = cells if form == "bytes" else [{"bytes": cell, "path": "x.png"} for cell in cells]
    table = {"jpg_0": images[:2], "jpg_1": images[2:], "label_0": [1.0, 0.5], "label_1": [0.0, 0.5], "user_id": [7, 8]}
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    assert imported(tmp_path / "train.parquet", 2) == [("7", "pick", 10, [30]), ("8", "none", None, [20, 40])]


def test_pairs_of_trl_stand_in_no_known_order(tmp_path: Path):
    chosen, rejected = ([{"bytes": picture(level), "path": None} for level in row] for row in ((10, 20), (30, 40)))
    pq.write_table(pa.table({"prompt": ["", ""], "chosen": chosen, "rejected": rejected}), tmp_path / "pairs.parquet")
    assert imported(tmp_path / "pairs.parquet", 2) == [("rater", "pick", 10, [30]), ("rater", "pick", 20, [40])]
    study = Study.open(tmp_path / "study")
    answers = list(Source(study.store, "s").answers())
    assert {answer.values["flags"] for answer in answers} == {'{"order_unknown": true}'}
    assert [answer.items.index(answer.picked) for answer in answers if answer.picked] == [0, 1]
    export(Source(study.store, "s"), find_format("trl"), tmp_path / "again")
    pairs = pq.read_table(tmp_path / "again" / "pairs.parquet").to_pylist()
    assert [Image.open(io.BytesIO(row["chosen"]["bytes"])).getpixel((0, 0))[0] for row in pairs] == [10, 20]


def test_prompts_and_captions_become_the_slates_condition(tmp_path: Path):
    images = [{"bytes": picture(level), "path": None} for level in (10, 20)]
    turns = [[{"role": "user", "content": "a rose"}, {"role": "user", "content": "in red"}], None]
    pq.write_table(pa.table({"prompt": turns, "chosen": images, "rejected": images}), tmp_path / "pairs.parquet")
    (tmp_path / "10.png").write_bytes(picture(10))
    (tmp_path / "pairs.csv").write_text(
        'image_0,image_1,picked,caption\n10.png,10.png,1,"=a ""rose"""\n10.png,10.png,0,\n'
    )
    for name, wanted in (("pairs.parquet", ["a rose\nin red", None]), ("pairs.csv", ['=a "rose"', None])):
        import_log(tmp_path / name, tmp_path / f"of-{name}", FOLDER)
        study = Study.open(tmp_path / f"of-{name}")
        assert [answer.values["condition"] for answer in Source(study.store, "s").answers()] == wanted
        study.store.close()


def test_faults_are_named_by_line_and_nothing_is_left(tmp_path: Path):
    (tmp_path / "10.png").write_bytes(picture(10))
    (tmp_path / "pairs.csv").write_text("image_0,image_1,picked\n10.png,none.png,1\n10.png,10.png,2\n10.png,,1\n")
    with pytest.raises(LogFaultsError, match=r"line 2.*none\.png.*line 3.*picked is '2'.*line 4.*no image"):
        import_log(tmp_path / "pairs.csv", tmp_path / "study", FOLDER)
    assert not (tmp_path / "study").exists()
    with pytest.raises(ValueError, match="choose a --preset of images"):
        import_log(tmp_path / "pairs.csv", tmp_path / "study", configure("moons"))

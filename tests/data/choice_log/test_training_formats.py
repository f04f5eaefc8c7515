"""What training scripts read: diffusers' imagefolder, and the pairs of Diffusion-DPO, with raw bytes."""

import io
import json
from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    return tmp_path / "cache"


def trained(study, truth) -> dict[int, int]:
    """The picked sample of each curation slate whose images were kept."""
    pictured = {row["slate_id"] for row in study.rows(
        """SELECT slate_id FROM slate_item JOIN sample ON sample.id = sample_id JOIN slate ON slate.id = slate_id
        GROUP BY slate_id HAVING count(*) > 1 AND count(image_sha256) = count(*) AND purpose = 'curation'"""
    )}  # fmt: skip
    return {slate: sample for slate, sample in truth.picks.items() if slate in pictured}


def test_datasets_opens_the_picked_images_as_an_imagefolder(write, truth, study, cache):
    path, written = write("imagefolder")
    picked = load_dataset("imagefolder", data_dir=str(path.parents[1]), cache_dir=str(cache))["train"]
    wanted = trained(study, truth)
    assert len(picked) == written.rows == len(wanted) and not (path.parents[1] / "images").exists()
    assert written.left_out["attention slates, which nothing is trained on"] == 1
    answers = {row["id"]: row["slate_id"] for row in study.rows("SELECT id, slate_id FROM pick")}
    sha256 = {row["id"]: row["image_sha256"] for row in study.rows("SELECT id, image_sha256 FROM sample")}
    for row in picked:
        original = Image.open(io.BytesIO(study.image(sha256[wanted[answers[row["choice_id"]]]])))
        assert row["image"].tobytes() == original.tobytes() and row["text"] == ""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["file_name"] for line in lines} == {file.name for file in path.parent.glob("*.png")}


def test_diffusion_dpo_reads_the_pairs(write, truth, study, cache):
    path, written = write("diffusion-dpo")
    pairs = load_dataset(str(path.parents[1]), cache_dir=str(cache))["train"]
    wanted = trained(study, truth)
    assert len(pairs) == written.rows and set(pairs["slate_id"]) == set(wanted)
    sha256 = {row["id"]: row["image_sha256"] for row in study.rows("SELECT id, image_sha256 FROM sample")}
    for row in pairs:  # as preprocess_train does in both scripts
        images = [Image.open(io.BytesIO(row[name])).convert("RGB") for name in ("jpg_0", "jpg_1")]
        better = images[0] if row["label_0"] == 1 else images[1]
        original = Image.open(io.BytesIO(study.image(sha256[wanted[row["slate_id"]]]))).convert("RGB")
        assert better.tobytes() == original.tobytes()
        assert row["label_0"] + row["label_1"] == 1 and row["label_0"] in (0, 1) and row["caption"] == ""

"""Generation 0 from a file: ours, torchcfm's, a published one; the study keeps its own copy."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchcfm.models.unet.unet import UNetModelWrapper

from data.downloads import DownloadError, sha256_of
from loop.config import build
from loop.generators import pretrained
from loop.presets import PUBLISHED, locate
from loop.study import Study, configure
from model.checkpoint import load, sidecar_path
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow

UNET = NetworkConfig(kind="unet", width=32, depth=1)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A generator of points in our format, of the tiny moons studies' architecture."""
    flow = Flow.build((2,), NetworkConfig(width=32, dropout=0.5), TrainConfig(), SamplingConfig())
    flow.save(tmp_path / "elsewhere" / "ours.safetensors")
    return tmp_path / "elsewhere" / "ours.safetensors"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of 32x32 images in torchcfm's format."""
    network = UNetModelWrapper(
        dim=(3, 32, 32), num_channels=32, num_res_blocks=1, channel_mult=[1, 2, 2, 2], num_heads=4,
        num_head_channels=64, attention_resolutions="16", dropout=0,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("torchcfm") / "weights.pt"
    torch.save({"ema_model": network.state_dict(), "step": 1}, path)
    return path


def taken(study: Study) -> list[dict[str, str]]:
    """What the event log says of generators taken from files."""
    rows = study.store.rows("SELECT detail_json FROM event WHERE kind = 'generator_taken'")
    return [json.loads(row["detail_json"]) for row in rows]


def test_a_study_begins_with_the_weights_of_the_file(ours: Path, make: Callable[..., Study], run):
    study = run(make("moons", f"network.file={ours}"), 0)
    (first,) = study.store.generations()
    assert (first.checkpoint_sha256, first.policy) == (sha256_of(ours), "pretrained elsewhere")
    assert taken(study) == [{"source": str(ours), "sha256": sha256_of(ours)}]
    kept = load(study.checkpoint_path(0))
    assert all(torch.equal(tensor, load(ours).tensors[name]) for name, tensor in kept.tensors.items())
    assert kept.config["network"]["dropout"] == 0  # the study's own, which it goes on training with
    ours.unlink()
    assert len(run(study, 1).store.generations()) == 2  # it has a copy of its own


def test_where_the_file_lay_makes_no_difference(ours: Path, tmp_path: Path, make: Callable[..., Study], run):
    other = tmp_path / "moved.safetensors"
    other.write_bytes(ours.read_bytes())
    sidecar_path(other).write_bytes(sidecar_path(ours).read_bytes())
    first, second = (run(make("moons", f"network.file={path}"), 1) for path in (ours, other))
    for t in (0, 1):
        paths = [study.checkpoint_path(t) for study in (first, second)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert sidecar_path(paths[0]).read_bytes() == sidecar_path(paths[1]).read_bytes()


def test_a_donors_generation_is_copied_where_the_file_is_the_same(ours: Path, make: Callable[..., Study]):
    same, other = (make("moons", f"network.file={ours}", f"train.finetune_steps={n}").config for n in (5, 6))
    assert same.pretraining == other.pretraining != make("moons").config.pretraining


def test_a_study_begins_with_torchcfms_weights(theirs: Path, tmp_path: Path, run):
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "images" / f"class {i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    settings = [
        f"data.path={tmp_path / 'images'}", f"network.file={theirs}", "network.width=32", "sampling.steps=1",
        "sampling.solver=euler", "sampling.batch_size=50", "evaluation.samples=100", "classifier.width=4",
        "classifier.epochs=1",
    ]  # fmt: skip
    study = run(Study.create(tmp_path / "study", configure("folder", settings)), 0)
    try:
        assert [detail["sha256"] for detail in taken(study)] == [sha256_of(theirs)]
        wanted = torch.load(theirs, weights_only=True)["ema_model"]
        kept = load(study.checkpoint_path(0))
        assert all(torch.equal(kept.tensors[name], tensor) for name, tensor in wanted.items())
        assert kept.config["network"]["dropout"] == study.config.network.dropout
    finally:
        study.store.close()


@pytest.mark.parametrize(
    ("data", "network", "part"),
    [
        ({"dataset": "folder"}, {"width": 64}, "network.width is 32 there and 64 in the study; set network.width=32"),
        ({"dataset": "folder"}, {"depth": 2}, "network.depth is 1 there and 2 in the study"),
        ({"dataset": "digits"}, {"kind": "digits"}, "network.kind is unet there and digits in the study"),
        ({"dataset": "digits"}, {"kind": "resample"}, "network.file is for flows, and network.kind is .resample."),
        ({"dataset": "digits"}, {}, r"samples of shape \(3, 32, 32\), and the study's data \(digits\)"),
        ({"dataset": "folder", "size": 64}, {}, r"are of shape \(3, 64, 64\)"),
    ],
)
def test_what_does_not_go_with_the_study_is_refused(theirs: Path, data: dict, network: dict, part: str):
    settings = {"data": data, "network": {**UNET.model_dump(), "file": str(theirs), **network}}
    with pytest.raises(ValueError, match=part):
        pretrained(build(settings))


def test_a_published_generator_is_downloaded_once(theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    served = tmp_path / "served.pt"
    served.write_bytes(theirs.read_bytes())
    monkeypatch.setitem(PUBLISHED, "torchcfm-otcfm", served.as_uri())
    named, seen = UNET.model_copy(update={"file": "torchcfm-otcfm"}), []
    found = locate(named, lambda done, total: seen.append((done, total)), tmp_path / "cache")
    assert (found.source, found.sha256) == (served.as_uri(), sha256_of(theirs)) and seen
    served.unlink()
    assert locate(named, None, tmp_path / "cache") == found
    insisted = named.model_copy(update={"file_sha256": "0" * 64})
    with pytest.raises(DownloadError, match="delete it to download it anew"):
        locate(insisted, None, tmp_path / "cache")


def test_a_file_must_have_the_sha256_that_is_insisted_on(theirs: Path):
    named = UNET.model_copy(update={"file": str(theirs), "file_sha256": sha256_of(theirs).upper()})
    assert locate(named).sha256 == sha256_of(theirs)
    with pytest.raises(DownloadError, match=r"network\.file_sha256 is 00"):
        locate(named.model_copy(update={"file_sha256": "00"}))


def test_the_published_name_is_an_https_address_of_the_project():
    assert PUBLISHED["torchcfm-otcfm"].startswith("https://github.com/atong01/conditional-flow-matching/releases/")

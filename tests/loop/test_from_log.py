"""A log from elsewhere as a start: imported pairs and verdicts train generation 1 of a new study, which goes on."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data.datasets import digits
from data.records import Pick
from data.store import queries
from loop.evaluation import redrawn
from loop.evidence.study import build
from loop.raters.journey import next_slates
from loop.selfcheck import self_checks
from loop.study import Study, faults
from loop.worker import Worker
from tests.curate_app.command_line import curate

SMALL = (
    "train.pretrain_steps=40", "train.finetune_steps=30", "train.warmup_steps=2", "train.ema_decay=0.9",
    "train.batch_size=32", "train.pair_size=32", "classifier.width=4", "classifier.epochs=1",
    "evaluation.samples=100", "sampling.steps=2", "pool.size=4", "pool.audit=2", "schedule.picks=2",
)  # fmt: skip
DIGITS = ("network.width=32", "network.depth=1", "data.n=300", "reward.kind=ink", "reward.gamma=30", "mix.lam=inf")
Cells = list[tuple[bytes, bytes]]


def flags(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def bright_and_dark(n: int, label: int | None = None) -> Cells:
    """n pairs of real digits (of a class, if one is given), the one with more ink first."""
    real, rng = digits(), np.random.default_rng(0)
    x = real.x[:, :, :, 0] if label is None else real.x[real.labels == label, :, :, 0]
    pairs = x[rng.choice(len(x), (n, 2))]
    order = np.argsort(-pairs.sum(axis=(2, 3), dtype=np.int64), axis=1)
    pairs = pairs[np.arange(n)[:, None], order]
    return [(png(more), png(less)) for more, less in pairs]


def trl(folder: Path, cells: Cells, prompts: Sequence[str] = ()) -> Path:
    """The pairs as TRL has them."""
    columns = {
        f"{name}": [{"bytes": row[i], "path": None} for row in cells] for i, name in enumerate(("chosen", "rejected"))
    }
    more = {"prompt": list(prompts)} if prompts else {}
    pq.write_table(pa.table({**more, **columns}), folder / "pairs.parquet")
    return folder / "pairs.parquet"


def run(*words: object) -> None:
    done = curate(*words)
    assert done.returncode == 0, done.stderr


def refusal(*words: object) -> str:
    done = curate(*words)
    assert done.returncode == 2, (done.stdout, done.stderr)
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def pairs_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported log of 60 pairs of digits, of which the one with more ink was chosen."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run("import", trl(folder, bright_and_dark(60)), folder / "log", "--preset", "digits", *flags((*SMALL, *DIGITS)))
    return folder / "log"


@pytest.mark.slow
def test_a_small_folder_and_pairs_in_csv_become_a_study_that_goes_on(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name, level in (("red", (200, 60, 60)), ("blue", (60, 60, 200))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(24):
            noise = rng.integers(-40, 40, size=(20, 24, 3))
            pixels = np.clip(np.asarray(level) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_0", "image_1", "picked", "rater"])
        for i in range(24):
            both = [f"pictures/red/{i}.png", f"pictures/blue/{i}.png"]
            rows.writerow([*both[:: 1 if i % 2 else -1], int(i % 2 == 0), f"person {i % 3}"])
    settings = (*SMALL, f"data.path={tmp_path / 'pictures'}", "data.size=8", "train.pretrain_lr=2e-3",
                "train.finetune_lr=2e-3", "mix.lam=inf", "network.patch=1")  # fmt: skip
    log, new = tmp_path / "log", tmp_path / "new"
    done = curate("import", tmp_path / "pairs.csv", log, "--preset", "folder-small", *flags(settings))
    assert done.returncode == 0 and "To train on its picks: curate replay" in done.stdout, done.stderr
    run("replay", log, "--out", new)

    study = Study.open(new)
    first, second = study.store.generations()
    assert (first.policy, second.n_curated, second.measurements.curated.human) == ("pretrained on real data", 24, 24)  # pyright: ignore
    training = second.measurements.training
    assert training is not None and training.mean_reward is not None and 0 < training.mean_reward < 5
    Worker(study).run(once=True)
    drawn = {t: redness(study, t) for t in (0, 1)}
    assert drawn[1] > drawn[0] + 30, drawn  # all that was picked is red, a half of the real data

    study.store.admit("later", None, user_agent="", consented=True)
    for _ in range(2):
        slate = next_slates(study.store, study.config, "later")[0]
        assert slate.t == 1 and len(slate.items) == 2  # as many as the log's
        study.store.record_pick("later", Pick(slate.id, "pick", 0))
    Worker(study).run(once=True)
    third = study.store.generations()[2]
    assert third.measurements.curated is not None and third.measurements.curated.human == 2
    assert faults(study) == []
    checks = [*self_checks(study.store, study.config), *redrawn(study, np.random.default_rng(0))]
    assert {check.verdict for check in checks} <= {"pass", "not applicable"}
    study.store.close()


def redness(study: Study, t: int) -> float:
    """Red less blue of a generation's picture of samples, in levels."""
    sha256 = study.store.generations()[t].measurements.grid_sha256
    picture = np.asarray(Image.open(io.BytesIO(study.store.image(sha256 or "") or b""))).astype(float)
    return float((picture[..., 0] - picture[..., 2]).mean())


@pytest.mark.parametrize("learner", ["curate", "dpo", "reward_weighted"])
def test_learners_train_on_imported_pairs_and_nothing_is_predicted(pairs_log: Path, tmp_path: Path, learner: str):
    new = tmp_path / "new"
    run("replay", pairs_log, "--out", new, "--learner", learner, "--set", "learner.beta=1")
    study = Study.open(new)
    assert study.config.curation.k == 2 and study.config.learner.kind == learner
    evidence = build(study)
    assert evidence.imported and not evidence.own_picks and evidence.generations[1].curated.human == 60
    assert evidence.generations[1].predicted is None and evidence.generations[1].transmission is None
    assert {claim.verdict for claim in evidence.claims} == {"not applicable"}
    assert queries.count_shared_samples(study.store) == 0
    study.store.close()
    if learner == "curate":
        report = curate("report", new)
        assert report.returncode == 0 and "starts from the imported log" in " ".join(report.stdout.split())
        assert evidence.generations[1].measured.mean_reward.value > evidence.generations[0].measured.mean_reward.value


def test_an_interrupted_start_goes_on_and_ends_alike(pairs_log: Path, tmp_path: Path):
    from loop.replay import ImportedLog, begin, replayed_config
    from loop.replay import run as train

    source, hashes = Study.open(pairs_log), []
    config = replayed_config(source.config, [], {}, ImportedLog.of(source))
    for name, phase in (("whole", ""), ("before", "pretraining"), ("after", "training")):

        def stop(at: str, done: int, total: int, phase: str = phase) -> None:
            if at == phase and done:
                raise KeyboardInterrupt

        if phase:
            with pytest.raises(KeyboardInterrupt):
                train(begin(source, tmp_path / name, config), tmp_path / name, stop)
            assert not (tmp_path / name).exists()
        train(begin(source, tmp_path / name, config), tmp_path / name, lambda *_: None)
        study = Study.open(tmp_path / name)
        hashes.append([row.checkpoint_sha256 for row in study.store.generations()])
        study.store.close()
    assert hashes[0] == hashes[1] == hashes[2] and len(hashes[0]) == 2
    source.store.close()


def test_prompts_become_conditions(tmp_path: Path):
    cells, prompts = [*bright_and_dark(20, 3), *bright_and_dark(10, 7)], ["a three"] * 20 + ["a seven"] * 10
    asked = "conditions=[{name='a three', label=3}, {name='a seven', label=7}]"
    settings = flags((*SMALL, *DIGITS))
    run("import", trl(tmp_path, cells, prompts), tmp_path / "log", "--preset", "digits", *settings)
    run("replay", tmp_path / "log", "--out", tmp_path / "new", "--set", asked)
    study = Study.open(tmp_path / "new")
    assert study.store.generations()[1].measurements.condition_picks == (20, 10)
    picked = [row["condition"] for row in queries.curation_picks(study.store)]
    assert picked == prompts
    study.store.close()
    other = asked.replace("a seven", "an eight")
    assert "'a seven', which study.toml doesn't name" in refusal(
        "replay", tmp_path / "log", "--out", tmp_path / "other", "--set", other
    )
    assert not [path for path in tmp_path.iterdir() if "other" in path.name]


def test_verdicts_on_single_images_train_by_curate_alone(tmp_path: Path):
    with (tmp_path / "verdicts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label"])
        for i, (more, less) in enumerate(bright_and_dark(20)):
            for name, content in (("good", more), ("bad", less)):
                (tmp_path / f"{name}-{i}.png").write_bytes(content)
                rows.writerow([f"{name}-{i}.png", name])
    run("import", tmp_path / "verdicts.csv", tmp_path / "log", "--preset", "digits", *flags((*SMALL, *DIGITS)))
    for words, why in (
        (("--learner", "dpo"), "learns from whole slates of one size, 2 or more; in log they are of 1"),
        (("--set", "curation.extend=proxy"), "curation.extend = 'proxy' learns from whole slates"),
        (("--set", "data.dataset=moons", "--set", "network.kind=mlp", "--set", "reward.kind=ball"), "import the log"),
    ):
        assert why in refusal("replay", tmp_path / "log", "--out", tmp_path / "no", *words)
    run("replay", tmp_path / "log", "--out", tmp_path / "new")
    study = Study.open(tmp_path / "new")
    assert study.store.generations()[1].n_curated == 20
    study.store.close()


def test_logs_that_cannot_train_are_refused_in_a_sentence(pairs_log: Path, tmp_path: Path):
    run("export", pairs_log, "--format", "long-csv", "--out", tmp_path / "bare.csv")
    run("import", tmp_path / "bare.csv", tmp_path / "bare", "--preset", "digits", *flags((*SMALL, *DIGITS)))
    (tmp_path / "empty.csv").write_text("choice_id,position,sample_id,picked\n1,0,1,0\n1,1,2,0\n")
    run("import", tmp_path / "empty.csv", tmp_path / "empty", "--preset", "digits")
    for name, why in (("bare", "images of .* are known by their hash alone"), ("empty", "Nothing is picked in")):
        done = curate("replay", tmp_path / name, "--out", tmp_path / "no")
        assert done.returncode == 2 and json.dumps(why)[1:-1].split(" .* ")[0] in " ".join(done.stderr.split())
    assert not (tmp_path / "no").exists()
    log = Study.open(pairs_log)
    with pytest.raises(ValueError, match=r"imported log without generators; `curate replay .* --out NEW` makes"):
        Worker(log)
    log.store.close()

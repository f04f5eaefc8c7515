"""Files that hold secrets or people's ids are their owner's alone, whatever the umask and whatever made them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate_app.cli import app
from curate_app.processes import admin_password
from data.secret_file import is_password
from loop.study import Study, configure, open_or_create
from tests.curate_app.journeys import ANN, Rater

SMALL = ("data.n=200", "train.pretrain_steps=2", "train.finetune_steps=2", "evaluation.samples=100")


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """What is created without rights of its own is everyone's to write."""
    before = os.umask(0)
    yield
    os.umask(before)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def assert_private(study: Path) -> None:
    """A folder of mode 0700, in it settings, secrets and database of mode 0600."""
    files = [study / "study.toml", *study.glob("study.db*"), *study.glob("secrets.toml")]
    assert len(files) >= 2
    assert rights(study) == 0o700
    assert {str(file): rights(file) for file in files} == dict.fromkeys(map(str, files), 0o600)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_new_and_simulate_make_studies_for_their_owner(tmp_path: Path):
    run("new", tmp_path / "new", "--preset", "moons")
    settings = [word for one in SMALL for word in ("--set", one)]
    run("simulate", tmp_path / "sim", "--preset", "moons", "--generations", 1, *settings)
    for name in ("new", "sim"):
        assert_private(tmp_path / name)
    held = Study.open(tmp_path / "sim")
    held.store.log("curate", "looked")
    assert {file.name for file in held.path.glob("study.db-*")} == {"study.db-wal", "study.db-shm"}
    assert_private(held.path)
    run("replay", held.path, "--out", tmp_path / "again")
    run("export", held.path, "--out", tmp_path / "log.csv")
    run("import", tmp_path / "log.csv", tmp_path / "copy", "--preset", "moons")
    for name in ("again", "copy"):
        assert_private(tmp_path / name)


def test_exports_with_panels_ids_are_for_their_owner(make_study, tmp_path: Path):
    study = make_study("panel.kind=prolific")
    rater = Rater(study)
    rater.pick(rater.post("session", **ANN))
    run("export", study.path, "--include-panel-ids", "--out", tmp_path / "pay.csv")
    run("export", study.path, "--include-panel-ids", "--out", tmp_path / "pay")
    run("export", study.path, "--out", tmp_path / "log.csv")
    assert ANN["rater_id"] in (tmp_path / "pay.csv").read_text()
    assert (rights(tmp_path / "pay.csv"), rights(tmp_path / "pay"), rights(tmp_path / "log.csv")) == (
        0o600,
        0o700,
        0o666,
    )


def test_a_password_among_the_settings_is_kept_as_a_hash(tmp_path: Path):
    study = Study.create(tmp_path / "s", configure("moons", ["app.password=open sesame"]))
    study.store.close()
    assert not any(b"sesame" in file.read_bytes() for file in study.path.rglob("*") if file.is_file())
    kept = admin_password(study.path, study.config.app.password, "127.0.0.1")
    assert kept and is_password("open sesame", kept)
    open_or_create(study.path, "moons", ["app.password=open sesame"], seed=None, generations=None).store.close()


def test_a_study_of_an_earlier_version_is_closed_when_it_is_served(tmp_path: Path):
    study = Study.create(tmp_path / "s", configure("moons"))
    settings = study.path / "study.toml"
    settings.write_text(settings.read_text().replace('password = ""', 'password = "open sesame"  # ours'))
    for file in (study.path, settings, *study.path.glob("study.db*")):
        file.chmod(0o755)
    study.store.close()
    old = Study.open(study.path)
    assert old.config.app.password == "open sesame"
    said = old.close_to_others()
    assert "hash" in said and "other users" in said and "\n" not in said
    assert_private(study.path)
    again = Study.open(study.path)
    assert again.config == study.config and "# ours" in settings.read_text()
    assert "sesame" not in settings.read_text() + (study.path / "secrets.toml").read_text()
    kept = admin_password(study.path, again.config.app.password, "127.0.0.1")
    assert kept and is_password("open sesame", kept)
    assert again.close_to_others() == ""

"""The `curate` command: one sentence for each mistake, and nothing changed on disk."""

import csv
import io
import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from curate_app.cli import VERBS, Verb
from loop.study import Study, configure
from tests.curate_app.command_line import Done, curate, curate_process

Change = Callable[[Path], None]
ROOT = Path(__file__).parents[2]


def settings(tiny: tuple[str, ...]) -> list[str]:
    return [part for setting in tiny for part in ("--set", setting)]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...]) -> Path:
    """A moons study of one simulated generation, made by the command line; to be copied, not changed."""
    path = tmp_path_factory.mktemp("cli") / "s"
    done = curate("simulate", path, "--preset", "moons", "--generations", 1, "--seed", 7, *settings(tiny_moons))
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def home(simulated: Path, tmp_path: Path) -> Path:
    """A folder with a copy of the simulated study, as `s`."""
    shutil.copytree(simulated, tmp_path / "home" / "s")
    return tmp_path / "home"


def bars_left_out(done: Done) -> Done:
    """The same without the progress bars, which come before a mistake that is found on the way."""
    last = done.stderr.splitlines(keepends=True)[-1:]
    return Done(done.args, done.returncode, done.stdout, "".join(last))


def assert_one_sentence(done: Done, code: int, *parts: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("Error: ") and done.stderr.endswith((".\n", "?\n", "!\n")), done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


FIRST = "s/checkpoints/generation-0000.safetensors"
MISTAKES = {
    "unknown preset": (
        ["new", "x", "--preset", "mnist"],
        ["'mnist'", "digits, flowers, moons, gaussians, cifar10, cifar10-small, folder"],
    ),
    "unknown setting": (["new", "x", "--preset", "digits", "--set", "curation.kk=3"], ["did you mean curation.k?"]),
    "no value": (["new", "x", "--preset", "digits", "--set", "curation.k"], ["key=value"]),
    "bad value": (["new", "x", "--preset", "digits", "--set", "curation.k=0"], ["curation.k"]),
    "bad value, simulated": (["simulate", "x", "--preset", "moons", "--set", "mix.lam=0"], ["mix.lam"]),
    "the study is there": (["new", "s", "--preset", "digits"], ["There is a study at s"]),
    "a file is there": (["new", "s/study.toml", "--preset", "digits"], ["something at s/study.toml"]),
    "other settings": (["simulate", "s", "--preset", "digits"], ["with other settings"]),
    "another K": (["simulate", "s", "--set", "curation.k=5"], ["curation.k is 2 there, and 5 was asked for"]),
    "another seed": (["simulate", "s", "--seed", "8"], ["seed is 7 there, and 8 was asked for"]),
    "no study and no preset": (["simulate", "x"], ["no study at x", "--preset"]),
    "no study to show": (["status", "x"], ["no study at x"]),
    "no study to check": (["check", "x"], ["no study at x"]),
    "no study to export": (["export", "x", "--out", "c.csv"], ["no study at x"]),
    "no study to serve": (["serve", "x", "--no-worker"], ["no study at x"]),
    "no study to work on": (["worker", "x", "--once"], ["no study at x"]),
    "points for people": (["worker", "s", "--once"], ["moons are points"]),
    "a file to export to": (["export", "s", "--out", "s/study.toml"], ["s/study.toml is there already", "--force"]),
    "no folder to export to": (["export", "s", "--out", "no/c.csv"], ["no folder no"]),
    "unknown format": (["export", "s", "--format", "xlsx", "--out", "c.csv"], ["'xlsx'", "long-csv"]),
    "unknown condition": (["export", "s", "--where", "knid=sim", "--out", "c.csv"], ["did you mean kind"]),
    "a folder's format as a file": (["export", "s", "--format", "hf", "--out", "c.parquet"], ["without a suffix"]),
    "panel ids elsewhere": (["export", "s", "--format", "trl", "--include-panel-ids"], ["long-csv or long-parquet"]),
    "no log to import": (["import", "c.csv", "new"], ["no long table at c.csv"]),
    "no checkpoint": (
        ["new", "x", "--preset", "cifar10", "--checkpoint", "no.pt"],
        ["no generator at", "torchcfm-otcfm"],
    ),
    "a checkpoint that is none": (
        ["simulate", "x", "--preset", "cifar10", "--checkpoint", "s/study.toml"],
        ["study.toml is not a PyTorch checkpoint"],
    ),
    "a checkpoint of another kind": (
        ["new", "x", "--preset", "digits", "--checkpoint", FIRST],
        ["network.kind is mlp there and digits in the study"],
    ),
    "a checkpoint of another width": (
        ["simulate", "x", "--preset", "moons", "--checkpoint", FIRST],
        ["network.width is 32 there and 128 in the study", "set network.width=32"],
    ),
    "a checkpoint with another checksum": (
        ["new", "x", "--preset", "moons", "--checkpoint", FIRST, "--set", "network.file_sha256=ab"],
        ["the SHA-256"],
    ),
    "another checkpoint": (["simulate", "s", "--checkpoint", FIRST], ["network.file is "]),
    "no weights to import": (
        ["reward", "import", "--weights", "no.pt", "--out", "c.safetensors"],
        ["no file of weights"],
    ),
    "weights that are none": (
        ["reward", "import", "--weights", "s/study.toml", "--out", "c.safetensors"],
        ["not a PyTorch checkpoint"],
    ),
    "weights into a file that is there": (
        ["reward", "import", "--weights", "no.pt", "--out", FIRST],
        ["--out must be a new file"],
    ),
    "no images to measure on": (
        ["reward", "import", "--weights", "no.pt", "--out", "c.safetensors", "--path", "no"],
        ["no folder no;"],
    ),
    "no image data set": (["reward", "train", "--dataset", "moons", "--out", "c.safetensors"], ["'moons'"]),
}


@pytest.mark.parametrize(("arguments", "parts"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_and_changes_nothing(home: Path, contents, arguments: list[str], parts: list[str]):
    before = contents(home)
    assert_one_sentence(curate(*arguments, cwd=home), 2, *parts)
    assert contents(home) == before


def pickled(content: object, cut: int | None = None) -> bytes:
    """The bytes that torch.save writes, or the beginning of them."""
    import torch

    written = io.BytesIO()
    torch.save(content, written)
    return written.getvalue()[:cut]


@pytest.mark.parametrize(
    ("content", "cut", "part"),
    [
        ({"ema_model": {}}, -100, "truncated"),
        ({"ema_model": Path()}, None, "any code"),
        ({"a": 1}, None, "'ema_model'"),
    ],
    ids=["truncated", "objects", "something else"],
)
def test_a_checkpoint_that_cannot_be_read_is_told(tmp_path: Path, contents, content: object, cut: int, part: str):
    (tmp_path / "c.pt").write_bytes(pickled(content, cut))
    before = contents(tmp_path)
    assert_one_sentence(curate("new", "x", "--preset", "cifar10", "--checkpoint", "c.pt", cwd=tmp_path), 2, part)
    assert contents(tmp_path) == before


def test_a_study_that_could_not_begin_leaves_its_name_free(tmp_path: Path, tiny_moons: tuple[str, ...]):
    folder = ("--preset", "folder", "--set", f"data.path={tmp_path / 'nowhere'}")
    assert_one_sentence(bars_left_out(curate("simulate", "s", *folder, cwd=tmp_path)), 2, "no folder of images")
    assert not (tmp_path / "s").exists()
    right = ("--preset", "moons", "--generations", 0, *settings(tiny_moons))
    assert curate("simulate", "s", *right, cwd=tmp_path).returncode == 0


def test_a_study_that_was_there_stays_when_it_cannot_begin(tmp_path: Path):
    assert curate("new", "s", "--preset", "folder", "--set", "data.path=nowhere", cwd=tmp_path).returncode == 0
    assert curate("simulate", "s", cwd=tmp_path).returncode == 2
    assert {"study.toml", "study.db", "checkpoints"} <= {path.name for path in (tmp_path / "s").iterdir()}


@pytest.mark.parametrize("name", ["classifier.safetensors", "checkpoints/generation-0000.partial"])
def test_a_study_with_something_made_is_not_discarded(tmp_path: Path, name: str):
    study = Study.create(tmp_path / "s", configure("moons"))
    (study.path / name).write_bytes(b"made")
    study.discard_unbegun()
    assert (study.path / name).read_bytes() == b"made"
    study.store.close()


def test_a_study_begins_from_a_checkpoint(home: Path, tiny_moons: tuple[str, ...]):
    begin = ["--preset", "moons", "--seed", 3, "--generations", 1, "--checkpoint", FIRST, *settings(tiny_moons)]
    for _ in range(2):  # the second time it is there, with the same settings
        done = curate("simulate", "y", *begin, "--json", cwd=home)
        assert done.returncode == 0 and len(json.loads(done.stdout)["generations"]) == 2, done.stderr
    assert (home / "y/checkpoints/generation-0000.safetensors").read_bytes() == (home / FIRST).read_bytes()


def test_a_port_in_use_is_told_before_anything_is_started(home: Path, contents):
    before = contents(home)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for verb in (["serve", "s"], ["demo", "fresh", "--no-browser"]):
            assert_one_sentence(curate_process(*verb, "--port", port, cwd=home), 2, f"127.0.0.1:{port}", "--port")
    assert contents(home) == before


def newer(study: Path) -> None:
    with sqlite3.connect(study / "study.db") as connection:
        connection.execute("INSERT INTO _sqlite_migrations(migration_set, name) VALUES ('curate', 'm999_later')")
    connection.close()


def cut(name: str) -> Change:
    def change(study: Path) -> None:
        content = (study / name).read_bytes()
        (study / name).write_bytes(content[: len(content) // 2])

    return change


def flip(name: str) -> Change:
    def change(study: Path) -> None:
        content = bytearray((study / name).read_bytes())
        content[-1] ^= 1
        (study / name).write_bytes(content)

    return change


def text(name: str, content: str) -> Change:
    return lambda study: (study / name).write_text(content) and None


def gone(name: str) -> Change:
    return lambda study: (study / name).unlink()


WEIGHTS = "checkpoints/generation-0001.safetensors"
DAMAGES = {
    "a newer database": (newer, ["status", "s"], 2, ["newer version", "m999_later"]),
    "a newer database, simulated": (newer, ["simulate", "s", "--generations", "2"], 2, ["newer version"]),
    "half a database": (cut("study.db"), ["status", "s"], 1, ["study.db", "backup"]),
    "text for a database": (text("study.db", "hello\n" * 999), ["check", "s"], 1, ["study.db", "backup"]),
    "no database": (gone("study.db"), ["status", "s"], 2, ["no study database"]),
    "no settings": (gone("study.toml"), ["status", "s"], 2, ["no study at s"]),
    "settings that are no TOML": (text("study.toml", "[curation"), ["status", "s"], 2, ["not valid TOML"]),
    "an unknown key": (text("study.toml", "sed = 1"), ["status", "s"], 2, ["study.toml", "did you mean seed?"]),
    "no weights": (gone(WEIGHTS), ["simulate", "s", "--generations", "2", "--json"], 2, ["generation-0001"]),
    "no sidecar": (
        gone(WEIGHTS.replace("safetensors", "json")),
        ["simulate", "s", "--generations", "2", "--json"],
        2,
        ["generation-0001"],
    ),
    "damaged weights": (
        flip(WEIGHTS),
        ["simulate", "s", "--generations", "2", "--json"],
        1,
        ["generation-0001.safetensors is damaged"],
    ),
}


@pytest.mark.parametrize(("damage", "arguments", "code", "parts"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_told_in_one_sentence_and_left_as_it_is(
    home: Path, contents, damage: Change, arguments: list[str], code: int, parts: list[str]
):
    (home / "s" / "worker.lock").touch()
    damage(home / "s")
    before = contents(home)
    assert_one_sentence(curate(*arguments, cwd=home), code, *parts)
    after = contents(home)
    assert {**after, "s/worker.lock": ""} == {**before, "s/worker.lock": ""}


def test_a_traceback_comes_with_debug_only(tmp_path: Path):
    done = curate_process("status", "x", "--debug", cwd=tmp_path)
    assert done.returncode != 0 and "Traceback" in done.stderr
    assert_one_sentence(curate_process("status", "x", cwd=tmp_path), 2, "no study at x")


def test_help_lists_the_verbs_and_each_verb_has_an_example():
    done = curate("--help")
    assert done.returncode == 0
    for verb in ("demo", "new", "serve", "worker", "simulate", "status", "export", "check", "reward", "doctor"):
        assert f" {verb} " in done.stdout
    for verb in (["simulate"], ["reward", "train"]):
        assert "Example" in curate(*verb, "--help").stdout


@pytest.mark.parametrize("name", VERBS)
def test_the_list_of_verbs_says_what_each_verb_says_of_itself(name: str):
    summary = VERBS[name][1]
    command = Verb(name, help=summary).load()
    assert command.name == name and " ".join((command.help or "").split("\n\n")[0].split()) == summary


def test_the_list_of_verbs_comes_without_them():
    code = "import sys; sys.argv = ['curate', '--help']; from curate_app.cli import app\n"
    code += "try: app()\nfinally: print([name for name in sys.modules if name.startswith('curate_app.commands.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert " theory " in done.stdout and done.stdout.splitlines()[-1] == "[]"


def test_everything_that_is_no_code_is_in_the_wheel():
    """Templates, static files and starters lie beside the code, so pyproject.toml has to name them."""
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    wanted = {
        path
        for package in ("curate_app", "data", "loop", "model")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    named = {path for package in packaged for glob in packaged[package] for path in (ROOT / package).glob(glob)}
    assert len(wanted) > 40 and named == wanted


def test_doctor_says_what_is_here_and_what_is_missing(home: Path):
    assert re.fullmatch(r"curate \d+\.\d+\S*\n", curate_process("--version").stdout)
    found = json.loads(curate("doctor", ".", "--json", cwd=home).stdout)
    assert found["versions"]["torch"] and found["device"].startswith(("cpu", "cuda", "mps"))
    assert found["studies"] == ["s"] and set(found["optional"]) == {"datasette", "torch-fidelity", "timm"}
    told = curate("doctor", "nowhere", cwd=home)
    assert told.returncode == 0 and "none in" in told.stdout and "torchcfm" in told.stdout


def test_new_writes_everything_out_and_says_what_comes_next(tmp_path: Path):
    done = curate("new", "mine", "--preset", "digits", "--seed", 3, "--set", "curation.k=6", cwd=tmp_path)
    assert done.returncode == 0 and "curate serve mine" in done.stdout and done.stderr == ""
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["checkpoints", "study.db", "study.toml"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    study = Study.open(tmp_path / "mine")
    assert (study.config.curation.k, study.config.seed, study.config.preset) == (6, 3, "digits")
    study.store.close()


def test_status_is_json_for_programs_and_a_table_for_people(home: Path, contents):
    before = contents(home)
    found = json.loads(curate("status", "s", "--json", cwd=home).stdout)
    assert (found["preset"], found["seed"], found["picks"]) == ("moons", 7, {"sim": 200})
    assert [(row["t"], row["n_curated"]) for row in found["generations"]] == [(0, 0), (1, 200)]
    assert found["worker"]["phase"] == "absent"
    shown = curate("status", "s", cwd=home)
    assert shown.returncode == 0 and "200 sim" in shown.stdout
    assert contents(home) == before


def test_check_is_json_for_programs_and_fails_on_faults(home: Path):
    sound = curate("check", "s", "--json", cwd=home)
    found = json.loads(sound.stdout)
    assert (sound.returncode, found["study"], found["faults"]) == (0, "s", [])
    assert {check["name"] for check in found["checks"]} >= {"pick frequencies", "scale", "positions", "counts"}
    assert {check["verdict"] for check in found["checks"]} <= {"pass", "not applicable"}
    told = curate("check", "s", cwd=home)
    assert told.returncode == 0 and "s is sound." in told.stdout and "Self-check: " in told.stdout
    flip(WEIGHTS)(home / "s")
    faulty = curate("check", "s", "--json", cwd=home)
    assert faulty.returncode == 1 and len(json.loads(faulty.stdout)["faults"]) == 1
    plain = curate("check", "s", cwd=home)
    assert plain.returncode == 1 and "1 fault(s)" in plain.stdout and plain.stderr == ""


def test_check_fails_on_picks_that_do_not_follow_the_rule(home: Path):
    study = Study.open(home / "s")
    study.store.db.conn.execute(
        """UPDATE pick SET position = (SELECT position FROM slate_item JOIN sample ON sample.id = sample_id
        WHERE slate_item.slate_id = pick.slate_id ORDER BY reward LIMIT 1)"""
    )
    study.store.db.conn.commit()
    study.store.close()
    told = curate("check", "s", cwd=home)
    assert told.returncode == 1 and "another reward is at work" in " ".join(told.stdout.split()) and told.stderr == ""
    found = json.loads(curate("check", "s", "--json", cwd=home).stdout)
    assert found["faults"] == [] and "fail" in {check["verdict"] for check in found["checks"]}


def test_export_writes_the_long_table(home: Path):
    done = curate("export", "s", "--out", "c.csv", cwd=home)
    assert done.returncode == 0 and "400 rows" in done.stdout
    with (home / "c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200 * 2 and sum(row["picked"] == "1" for row in rows) == 200
    assert {row["study"] for row in rows} == {"s"}
    assert curate("export", "s", "--out", "c.csv", "--force", cwd=home).returncode == 0


def test_an_export_with_panel_ids_is_logged(home: Path):
    assert curate("export", "s", "--out", "c.csv", cwd=home).returncode == 0
    assert "panel_rater_id" not in (home / "c.csv").read_text()
    done = curate("export", "s", "--out", "p", "--format", "long-csv", "--include-panel-ids", cwd=home)
    assert done.returncode == 0 and "panel_rater_id" in (home / "p" / "choices.csv").read_text()
    database = sqlite3.connect(home / "s" / "study.db")
    assert database.execute("SELECT count(*) FROM event WHERE kind = 'panel_ids_exported'").fetchone() == (1,)
    database.close()
    assert (home / "p" / "README.md").exists() and (home / "p" / "croissant.json").exists()


def test_a_log_goes_out_and_comes_back(home: Path):
    assert curate("export", "s", "--format", "long-parquet", "--out", "p", "--where", "k>=2", cwd=home).returncode == 0
    done = curate("import", "p", "copy", "--preset", "moons", cwd=home)
    assert done.returncode == 0 and "200 answers" in done.stdout, done.stderr
    assert curate("export", "copy", "--format", "long-parquet", "--out", "q.parquet", cwd=home).returncode == 0
    assert (home / "q.parquet").read_bytes() == (home / "p" / "choices.parquet").read_bytes()


def test_simulate_goes_on_where_it_was_and_does_nothing_when_done(home: Path):
    done = curate_process("simulate", "s", "--generations", 1, "--json", cwd=home)
    assert done.returncode == 0 and len(json.loads(done.stdout)["generations"]) == 2
    further = curate("simulate", "s", "--generations", 2, "--json", cwd=home)
    assert [row["t"] for row in json.loads(further.stdout)["generations"]] == [0, 1, 2]
    assert json.loads(further.stdout)["picks"] == {"sim": 400}
    assert json.loads(curate("check", "s", "--json", cwd=home).stdout)["faults"] == []

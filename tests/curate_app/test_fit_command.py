"""`curate fit` and `curate plan` from the command line on: tables, JSON, figures, one sentence for each mistake."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from curate_app.cli import main
from curate_app.report.files import write_report
from data.designs import coordinate_names
from data.records import Pick
from loop.simulate import simulate
from loop.study import Study, configure
from loop.worker import Worker


@dataclass(frozen=True)
class Done:
    """The exit status of a command line, and its output."""

    returncode: int
    stdout: str
    stderr: str


Curate = Callable[..., Done]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...]) -> Path:
    """A moons study of two generations with 800 simulated picks, to be copied."""
    config = configure("moons", [*tiny_moons, "curation.picks=400", "curation.k=4"], seed=5)
    study = Study.create(tmp_path_factory.mktemp("fit") / "s", config)
    simulate(study, 2, lambda phase, done, total: None)
    study.store.close()
    return study.path


@pytest.fixture
def curate(simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Curate:
    """A function: runs the command line in a folder with a copy of the study, as `s`."""
    shutil.copytree(simulated, tmp_path / "s")

    def run(*arguments: object) -> Done:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return Done(int(left.value.code or 0), *capsys.readouterr())

    return run


def test_simulated_picks_follow_the_declared_reward(curate: Curate):
    done = curate("fit", "s", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["picks"] == 800 and found["features"] == ["operative_reward"] and found["left_out"] == {}
    scale = found["scale"]["fit"]["coefficients"][0]
    assert scale["low"] < 1 < scale["high"] and scale["high"] - scale["low"] < 0.6
    assert found["scale"]["declared_gamma"] == Study.open(Path("s")).config.reward.gamma
    tests = {test["name"]: test["verdict"] for test in found["tests"]}
    assert len(tests) == 6 and tests["raters at random"] == tests["tastes unlike the others'"] == "can't tell"


def test_parts_are_of_the_kind_that_by_names(curate: Curate):
    by_flag, by_word = (curate("fit", "s", "--json", *words) for words in (["--by-generation"], ["--by", "generation"]))
    assert by_flag.stdout == by_word.stdout
    parts = json.loads(by_word.stdout)["parts"]
    assert [(part["name"], part["picks"]) for part in parts] == [("generation 0", 400), ("generation 1", 400)]
    assert json.loads(curate("fit", "s", "--json").stdout)["parts"] == []
    for words, why in ((["--by", "condition"], "None of these slates has a condition"), (["--by", "x"], "choose from")):
        done = curate("fit", "s", *words)
        assert done.returncode == 2 and why in " ".join(done.stderr.split()), done.stderr


def test_the_tables_name_features_generations_and_tests(curate: Curate):
    done = curate("fit", "s", "--features", "class, position,x", "--by", "generation")
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "800 picks",
        "position 4",
        "generation 0",
        "generation 1",
        "By class",
        "position bias",
        "(IIA)",
        "γ =",
    ):
        assert part in done.stdout, part


def test_a_ridge_is_told(curate: Curate):
    plain, ridged = (json.loads(curate("fit", "s", "--json", *more).stdout) for more in ((), ("--ridge", 100)))
    values = [found["fit"]["coefficients"][0]["value"] for found in (plain, ridged)]
    assert values[0] > values[1] > 0 and ridged["fit"]["ridge"] == 100
    assert "A ridge of 100" in curate("fit", "s", "--ridge", 100).stdout


def test_separated_picks_are_one_sentence_and_a_ridge_fits_them(curate: Curate, tmp_path: Path):
    store = Study.open(tmp_path / "s").store
    with store.write() as db:
        db.conn.execute(
            """UPDATE pick SET position = (SELECT position FROM slate_item JOIN sample ON sample.id = sample_id
            WHERE slate_id = pick.slate_id ORDER BY reward DESC LIMIT 1)"""
        )
    store.close()
    done = curate("fit", "s")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert "separated by 'operative_reward'" in done.stderr and "--ridge 1" in done.stderr
    ridged = curate("fit", "s", "--ridge", 1, "--features", "operative_reward,class")
    assert (ridged.returncode, ridged.stderr) == (0, "")
    assert "normal prior" in ridged.stdout and "--ridge" not in ridged.stdout and "'x" not in ridged.stdout
    assert "no finite factor is best" in " ".join(ridged.stdout.split())
    found = json.loads(curate("fit", "s", "--ridge", 1, "--json").stdout)
    assert found["fit"]["coefficients"][0]["se"] > 0.1 and found["scale"]["fit"] is None


@pytest.mark.parametrize("name", ["f.png", "f.svg", "f.pdf", "f.json"])
def test_the_file_is_what_its_name_says(curate: Curate, tmp_path: Path, name: str):
    done = curate("fit", "s", "--out", name)
    assert done.returncode == 0 and f"Wrote {name}." in done.stdout
    content = (tmp_path / name).read_bytes()
    if name == "f.png":
        assert Image.open(tmp_path / name).size[0] > 800
    elif name == "f.json":
        assert json.loads(content) == json.loads(curate("fit", "s", "--json").stdout)
    else:
        assert content.startswith(b"<?xml" if name == "f.svg" else b"%PDF")


def test_columns_of_ones_own_are_read_from_a_table(curate: Curate, tmp_path: Path):
    store = Study.open(tmp_path / "s").store
    lines = [f"{row[0]},{row[1]}" for row in store.db.conn.execute("SELECT id, reward FROM sample")]
    store.close()
    (tmp_path / "t.csv").write_text("\n".join(["sample_id,mine", *lines]))
    mine = json.loads(curate("fit", "s", "--features", "mine", "--table", "t.csv", "--json").stdout)["fit"]
    usual = json.loads(curate("fit", "s", "--json").stdout)["fit"]
    assert mine["coefficients"][0]["value"] == pytest.approx(usual["coefficients"][0]["value"])


MISTAKES = {
    "no study": (["x"], "no study at x"),
    "unknown feature": (["s", "--features", "colour"], "no feature 'colour'"),
    "no people": (["s", "--kind", "human"], "no picks of human raters"),
    "unknown kind": (["s", "--kind", "cat"], "--kind can't be 'cat'; choose from human, sim, proxy"),
    "unknown purpose": (["s", "--purpose", "practice2"], "--purpose can't be"),
    "unknown flag": (["s", "--without", "slow"], "--without can't be 'slow'"),
    "no table": (["s", "--table", "t.csv"], "no table t.csv"),
    "no such format": (["s", "--out", "f.doc"], "f.doc must end with .json, .png, .svg or .pdf"),
    "the file is there": (["s", "--out", "s/study.png"], "--force"),
    "no probabilities": (["s", "--features", "probs"], "no class probabilities"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_writes_nothing(curate: Curate, tmp_path: Path, mistake: str):
    (tmp_path / "s" / "study.png").write_bytes(b"mine")
    before = sorted(path.name for path in tmp_path.rglob("*") if not path.name.endswith(("-wal", "-shm")))
    arguments, part = MISTAKES[mistake]
    done = curate("fit", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1 and part in done.stderr
    after = sorted(path.name for path in tmp_path.rglob("*") if not path.name.endswith(("-wal", "-shm")))
    assert after == before and (tmp_path / "s" / "study.png").read_bytes() == b"mine"


def test_a_plan_is_a_table_or_json(curate: Curate):
    done = curate("plan")
    assert (
        done.returncode == 0 and "Audit picks for a win rate of 0.6" in done.stdout and "design effect" in done.stdout
    )
    plan = json.loads(curate("plan", "--effect", 0.6, "--power", 0.8, "--picks-per-rater", 40, "--json").stdout)
    one = plan["plans"][0]
    assert one["power"] >= 0.8 and 20 < one["raters"] < 35
    back = json.loads(curate("plan", "--raters", one["raters"], "--picks-per-rater", 40, "--json").stdout)
    assert back["plans"][0]["power"] == one["power"] and back["smallest_effects"][0] <= 0.6


@pytest.mark.parametrize("arguments", [("--effect", 0.5), ("--icc", 2), ("--raters", 1), ("--power", 1), ("--k", 1)])
def test_a_plan_of_nonsense_is_one_sentence(curate: Curate, arguments: tuple):
    done = curate("plan", *arguments)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("Error: ")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of flowers of two generations, the second trained on picks of ten people who like many petals."""
    settings = (
        "network.kind=resample", "data.picture_size=32", "data.n=300", "schedule.picks=30", "pool.size=50",
        "pool.audit=4", "curation.extend=none", "evaluation.samples=100", "mix.lam=inf",
    )  # fmt: skip
    study = Study.create(tmp_path_factory.mktemp("crowd") / "s", configure("flowers", [*settings], seed=1))
    store, family = study.store, study.config.data.family
    assert family is not None
    petals = coordinate_names(family.factors).index("petals")
    Worker(study).run(once=True)
    for i in range(10):
        session, rater = f"s{i}", store.add_rater("human", panel="test", panel_rater_id=str(i))
        store.add_session(session, rater, panel_session_id=session)
        for _ in range(3):
            slate = store.lease(session, ("curation",), 0, 600)
            assert slate is not None
            rows = store.rows(
                "SELECT point_json AS point FROM slate_item JOIN sample ON sample.id = sample_id WHERE slate_id = ? "
                "ORDER BY position",
                [slate.id],
            )
            many = [json.loads(row["point"])[petals] for row in rows]
            store.record_pick(session, Pick(slate.id, "pick", many.index(max(many)), rt_ms=300))
        store.reach(session, "finished")
    Worker(study).run(once=True)
    store.close()
    return study.path


def test_people_of_a_taste_are_a_group_that_gains(crowd: Path, tmp_path: Path, curate: Curate):
    shutil.copytree(crowd, tmp_path / "c")
    groups = json.loads(curate("fit", "c", "--features", "factors", "--ridge", 1, "--json").stdout)["taste_groups"]
    assert (groups["number"], groups["raters"], groups["picks"]) == (1, 10, 30)
    (group,) = groups["groups"]
    assert "more petals" in group["words"] and [row["t"] for row in group["generations"]] == [0, 1]
    assert group["generations"][1]["gain"]["low"] > 0
    said = " ".join(curate("fit", "c", "--features", "factors", "--ridge", 1).stdout.split())
    assert "Who is optimised? 30 picks of 10 raters show a single taste group" in said
    assert "gains" in said and "of mean utility by generation 1" in said
    study = Study.open(tmp_path / "c")
    try:
        write_report(study, tmp_path / "r.html")
    finally:
        study.store.close()
    html = (tmp_path / "r.html").read_text()
    assert "Who is optimised? Mean utility by taste group" in html and "30 picks of 10 raters" in html


def test_simulated_users_are_no_taste_groups(curate: Curate):
    assert "No taste groups: simulated users have types of their own" in " ".join(curate("fit", "s").stdout.split())

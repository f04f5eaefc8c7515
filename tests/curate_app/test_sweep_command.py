"""`curate sweep`: studies, a failing one, JSON, the figure and the report."""

import json
import math
import sys
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from curate_app.commands.status import status_of
from curate_app.commands.sweep import COPYING, Work, phase_values, run_sweep
from curate_app.console import PHASES
from curate_app.plots.figures import phase_figures, places_on_axis, svg_markup, sweep_figures, swept_settings
from data.images import decode_png
from loop.evidence.schema import Estimate
from loop.simulate import simulate
from loop.study import ERRORS, Study, faults
from loop.sweep import run as running
from loop.sweep.grid import Sweep, label, read, requested_sweep, write
from loop.sweep.results import OverSeeds, Response, phase_diagram
from loop.sweep.run import Ended, Pace, Standing, Step
from tests.curate_app.command_line import curate


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...]) -> tuple[Path, dict]:
    """A folder with a sweep `s`, one of whose three studies fails, and what it said as JSON."""
    home = tmp_path_factory.mktemp("sweep")
    settings = [part for setting in tiny_moons for part in ("--set", setting)]
    grid = ["--grid", "train.finetune_lr=1e30,2e-3,1e-3", "--generations", 1]
    done = curate("sweep", "s", "--preset", "moons", *grid, *settings, "--json", cwd=home)
    assert done.returncode == 1, done.stderr
    return home, json.loads(done.stdout)


def test_each_cell_is_an_ordinary_study(swept: tuple[Path, dict]):
    home, summary = swept
    shas = []
    for row, t in zip(summary["studies"], (0, 1, 1), strict=True):
        study = Study.open(home / row["path"])
        status = status_of(study)
        assert [generation["t"] for generation in status["generations"]] == list(range(t + 1)) and faults(study) == []
        assert (row["generation"], row["seed"], status["seed"]) == (t, 0, 0)
        assert study.config.train.finetune_lr == row["values"]["train.finetune_lr"] and study.config.generations == 1
        shas.append(status["generations"][0]["checkpoint_sha256"])
        study.store.close()
    assert len(set(shas)) == 1  # one pretrained, and the others copied


def test_the_json_tells_what_failed_and_what_came_of_the_others(swept: tuple[Path, dict]):
    home, summary = swept
    assert [row["study"] for row in summary["studies"]] == [
        "finetune_lr=1e+30,seed=0", "finetune_lr=0.002,seed=0", "finetune_lr=0.001,seed=0",
    ]  # fmt: skip
    assert ["loss is nan" in (row["error"] or "") for row in summary["studies"]] == [True, False, False]
    for response, row in zip(summary["responses"], summary["studies"][1:], strict=True):
        with closing(Study.open(home / row["path"]).store) as store:
            mean_reward = store.generations()[1].measurements.mean_reward
        assert mean_reward and response["values"] == row["values"] and response["seeds"] == 1
        assert response["mean_reward"]["value"] == pytest.approx(mean_reward.value)
    names = {"dose-response.svg", "dose-response.png", "report.html", "report.json"}
    assert {Path(file).name for file in summary["files"]} == names
    assert all((home / file).exists() for file in summary["files"])
    page = (home / "s" / "report.html").read_text()
    assert "finetune_lr=0.001,seed=0" in page and "Dose and response" in page and "1e+30" not in page
    assert len(json.loads((home / "s" / "report.json").read_text())["studies"]) == 2


def test_the_same_sweep_goes_on_with_what_failed(
    swept: tuple[Path, dict], contents, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    home, _ = swept
    monkeypatch.chdir(home)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(running, "command", lambda path, last, donor: [sys.executable, "-c", "raise SystemExit(1)"])
    before = contents(home / "s" / "finetune_lr=0.002,seed=0")
    asked = requested_sweep(Path("s"), None, {}, None, (), None)
    assert run_sweep(Path("s"), asked, 2, as_json=False) is False
    output = capsys.readouterr()
    plan = "3 studies in s: train.finetune_lr (3) x 1 seed, moons to generation 1, 2 at a time; 2 done, 1 begun."
    assert plan in " ".join(output.out.split()) and "Wrote s/report.html." in output.out
    assert "1 of 3 studies failed; the same command tries them again:" in output.err
    assert "finetune_lr=1e+30,seed=0: its process ended with code 1. More in s/finetune_lr=1e+30,seed=0/" in output.err
    assert contents(home / "s" / "finetune_lr=0.002,seed=0") == before


MISTAKES = {
    "nothing to vary": (["s", "--preset", "moons"], "--grid curation.k=2,4,8"),
    "no preset": (["s", "--grid", "curation.k=2"], "name a preset"),
    "unknown key": (["s", "--preset", "moons", "--grid", "curation.kk=2"], "did you mean curation.k?"),
    "a bad value, last": (["s", "--preset", "moons", "--grid", "mix.lam=1,inf,-1"], "mix.lam=-1"),
}


@pytest.mark.parametrize(("arguments", "part"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_and_nothing_is_made(tmp_path: Path, arguments: list[str], part: str):
    done = curate("sweep", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert done.stderr.startswith("Error: ") and part in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_in_which_nothing_could_begin_leaves_its_name_free(tmp_path: Path):
    wrong = ["--preset", "folder", "--set", f"data.path={tmp_path / 'nowhere'}"]
    done = curate("sweep", "s", *wrong, "--grid", "curation.k=2,4", cwd=tmp_path)
    assert done.returncode == 1 and "2 of 2 studies failed; nothing of them was kept:" in done.stderr
    assert done.stderr.count("no folder of images") == 2 and "More in" not in done.stderr
    assert list(tmp_path.iterdir()) == []  # from where `swept` begins


def test_a_sweep_that_was_there_stays_when_nothing_can_begin(tmp_path: Path):
    wrong = ["--preset", "folder", "--set", f"data.path={tmp_path / 'nowhere'}"]
    sweep = Sweep("folder", {"curation.k": [2]}, 1, (wrong[-1],))
    write(tmp_path / "s", sweep)
    done = curate("sweep", "s", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("More in") == 1
    assert read(tmp_path / "s") == sweep and (tmp_path / "s" / "k=2,seed=0" / ERRORS).exists()


def response(k: int | str, lam: float, reward: float) -> Response:
    over_seeds = OverSeeds(**Estimate.of(reward, 0.1).model_dump(), each=(reward - 0.1, reward + 0.1))
    return Response({"curation.k": k, "mix.lam": lam}, 2, 5, over_seeds, over_seeds, None, reward + 0.05, reward)


def test_the_figure_has_a_row_for_each_number_that_is_swept(tmp_path: Path):
    responses = [response(k, lam, lam / (1 + lam)) for k in (2, 16, "inf") for lam in (0.5, 1.0)]
    assert swept_settings(responses) == ["curation.k", "mix.lam"]
    svg, png = sweep_figures(tmp_path, responses)
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert decode_png(png.read_bytes()).std() > 0
    assert svg_markup(svg).startswith("<svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dose-response.png", "dose-response.svg"]


def test_a_figure_of_one_value_or_of_words_has_a_row_too(tmp_path: Path):
    assert swept_settings([response(2, 1.0, 0.5)]) == ["curation.k", "mix.lam"]
    words = [
        Response({"reward.kind": kind}, 1, 1, *(response(2, 1.0, 0.5).gain,) * 2, None, None, None) for kind in "ab"
    ]
    assert swept_settings(words) == ["reward.kind"]
    sweep_figures(tmp_path, words)


def test_infinity_stands_beyond_the_largest_value():
    places, is_log = places_on_axis([math.inf, 1.0, 4.0, 16.0])
    assert is_log and places["4"] == pytest.approx(math.log(4)) and places["inf"] > places["16"]
    places, is_log = places_on_axis([2, 4, "inf"])
    assert not is_log and (places["2"], places["4"]) == (2, 4) and places[label(math.inf)] > 4


def test_the_bar_counts_turns_and_ends_at_the_whole():
    cells = Sweep("moons", {"curation.k": [2, 4]}).cells()
    work = Work(cells, {cell.name: Standing(None, exists=False) for cell in cells}, 5)
    train = cells[0].config.train
    first = PHASES["training"][2] * train.pretrain_steps / train.finetune_steps
    assert work.total == pytest.approx(first + 5 + COPYING + 5)
    shown = []
    for step in (Step(0, "preparing", 0), Step(0, "pretraining", 0.5), Step(1, "curating", 0), Step(1, "training", 0.5),
                 Step(1, "publishing", 1.0), Step(2, "curating", 0), Ended(9.0, None)):  # fmt: skip
        work.report(cells[0], step)
        shown.append(work.completed)
    assert shown == sorted(shown) and shown[1] == pytest.approx(first / 2) and shown[-2] == pytest.approx(first + 1)
    work.report(cells[1], Ended(1.0, "it can't be"))
    assert work.completed == pytest.approx(work.total)


def test_the_first_studys_pace_gives_the_time_of_all_that_is_to_be_done():
    cells = Sweep("moons", {"curation.k": [2, 4, 8]}).cells()
    states = {cell.name: Standing(None, exists=False) for cell in cells}
    states[cells[2].name] = Standing(5, exists=True)
    pace = Pace(loading_s=4.0, preparing_s=30.0, round_s=10.0)
    rounds = (5 + COPYING) * 2  # as the last has that generation 0 already
    assert Work(cells, states, 5).seconds(pace, 1) == pytest.approx(2 * 4 + 10 * rounds)
    assert Work(cells, states, 5).seconds(pace, 8) == pytest.approx((2 * 4 + 10 * rounds) / 2)
    states[cells[2].name] = Standing(None, exists=False)
    assert Work(cells, states, 5).seconds(pace, 1) == pytest.approx(3 * 4 + 30 + 10 * (15 + 2 * COPYING))


def test_a_generation_0_that_was_there_already_is_no_work():
    (cell,) = Sweep("digits", {"curation.k": [2]}).cells()
    work = Work([cell], {cell.name: Standing(None, exists=False)}, 2)
    assert work.total > COPYING + 2
    work.report(cell, Step(1, "training", 0.5))
    assert work.total == pytest.approx(COPYING + 2) and work.completed < 0.5 * work.total


@pytest.mark.slow
def test_controls_are_compared_with_each_combination_in_json_and_in_the_report(tmp_path: Path, tiny_moons):
    settings = [part for setting in tiny_moons for part in ("--set", setting)]
    grid = ["--grid", "curation.k=4", "--generations", 1, "--controls", "--seeds", 1]
    done = curate("sweep", "s", "--preset", "moons", *grid, *settings, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert [row["control"] for row in values["studies"]] == ["", "K = 1", "resampler"]
    assert [row["control"] for row in values["responses"]] == ["", "K = 1", "resampler"]
    assert [row["control"] for row in values["contrasts"]] == ["K = 1", "resampler"]
    for row in values["contrasts"]:
        assert row["name"] == "k=4" and row["seeds"] == 1
        assert row["beyond"]["value"] == pytest.approx(row["gain"]["value"] - row["control_gain"]["value"])
    html, plain = (tmp_path / "s" / f"report.{kind}" for kind in ("html", "json"))
    assert "Gain of E[w] beside that of the controls" in html.read_text()
    assert [row["control"] for row in json.loads(plain.read_text())["controls"]] == ["K = 1", "resampler"]


def test_adversaries_turn_improvement_around_where_the_exact_operator_says(tmp_path: Path):
    settings = (
        "network.kind=gaussian", "data.n=500", "curation.picks=1000", "evaluation.samples=500", "reward.kind=linear",
        "reward.center=[1,0]", "reward.gamma=1", "adversary.kind=linear", "adversary.gamma=1",
    )  # fmt: skip
    grid = {"curation.adversarial": [0.0, 0.9], "adversary.center": [[-1, 0], [1, 0.2]]}
    cells = Sweep("moons", grid, 1, settings, generations=1).cells()
    for cell in cells:
        with closing(Study.create(tmp_path / cell.name, cell.config).store):
            pass
        study = Study.open(tmp_path / cell.name)
        simulate(study, 1, lambda phase, done, total: None)
        study.store.close()
    diagram = phase_diagram(tmp_path, cells, 1)
    assert diagram is not None
    # of two that stand face to face the opposite user picks as often the other: half of such users, and nothing moves
    assert diagram.frontier == {1: [pytest.approx((-1, 0.5), abs=1e-3)]}
    ways = {(cell.share, round(cell.covariance)): cell.direction(1) for cell in diagram.cells}
    assert ways == {(0, -1): 1, (0, 1): 1, (0.9, -1): -1, (0.9, 1): 1}
    assert "risen in 3 and fallen in 1, 0 can't be told; 4 of the 4 decided as predicted" in diagram.words(1)
    svg, png = phase_figures(tmp_path, diagram)
    assert ElementTree.fromstring(svg.read_bytes()).tag.endswith("svg") and decode_png(png.read_bytes()).shape[2] >= 3
    values = json.loads(json.dumps(phase_values(diagram), allow_nan=False))
    assert len(values["cells"]) == 4 and [row["t"] for row in values["frontier"]] == [1]
    assert phase_diagram(tmp_path, Sweep("moons", {"curation.k": [2]}, 1, settings).cells(), 1) is None

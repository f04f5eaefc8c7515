"""`curate theory`: the default settings, tables, JSON, figures, and one sentence for each mistake."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from curate_app.cli import main

MODELS = ("linear", "gaussian", "categorical", "curation", "kde", "ngram")
SMALL = ("--generations", 3, "--repetitions", 200)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """The exit status of a command line, and its output."""

    returncode: int
    stdout: str
    stderr: str


Theory = Callable[..., Done]


@pytest.fixture
def theory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Theory:
    """A function: runs `curate theory ...` in an empty folder, from the command line's entry point on."""

    def run(*arguments: object) -> Done:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["curate", "theory", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return Done(int(left.value.code or 0), *capsys.readouterr())

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("model", "points"),
    [
        ("linear", 40),
        ("gaussian", 40),
        ("categorical", 40),
        ("curation", 33),
        ("kde", 40),
        pytest.param("ngram", 40, marks=pytest.mark.slow),
    ],
)
def test_at_its_defaults_every_point_is_within_three_standard_errors(
    model: str, points: int, theory: Theory, tmp_path: Path
):
    done = theory(model, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert len(found["points"]) == points and found["figure"] is None and names(tmp_path) == []
    compared = [point for point in found["points"] if point["z"] is not None]
    assert len(compared) == (30 if model == "linear" else points)
    assert max(abs(point["z"]) for point in compared) == pytest.approx(found["largest_z"])
    assert found["largest_z"] < 3
    if model == "curation":  # finite picks are near the loop with endless ones, too
        assert all(abs(point["simulated"] - point["exact"]) < 3 * point["se"] for point in compared)
    else:
        assert all(
            point["z"] == pytest.approx((point["simulated"] - point["exact"]) / point["se"]) for point in compared
        )
    if model == "linear":
        simulated = {
            name: [p["simulated"] for p in compared if p["policy"] == name] for name in ("replace", "accumulate")
        }
        assert simulated["replace"] == pytest.approx(range(1, 11), rel=0.03)
        assert max(simulated["accumulate"]) < math.pi**2 / 6


@pytest.mark.parametrize("model", MODELS)
def test_a_table_and_a_figure(model: str, theory: Theory, tmp_path: Path):
    few = ("--contexts", 10, "--characters", 20_000) if model == "ngram" else ()
    done = theory(model, *SMALL, *few)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(tmp_path) == [f"theory-{model}.png"]
    for word in (
        "replace",
        "accumulate",
        "mix lam=",
        "simulated",
        "SE",
        "Largest |z|",
        "seed 0",
        f"theory-{model}.png",
    ):
        assert word in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80 and "…" not in done.stdout
    with Image.open(tmp_path / f"theory-{model}.png") as image:
        assert image.size == (1600, 1080)


def test_the_table_and_json_tell_the_same(theory: Theory, tmp_path: Path):
    options = (*SMALL, "--policy", "mix", "--lam", 0.5, "--seed", 3)
    rows = [line.split() for line in theory("gaussian", *options).stdout.splitlines()]
    shown = [row[-7:] for row in rows if len(row) >= 7 and row[-7] in ("1", "2", "3")]
    points = json.loads(theory("gaussian", *options, "--json").stdout)["points"]
    columns = ("exact", "simulated", "se", "z", "median", "drift_squared")
    assert [[float(cell) for cell in row] for row in shown] == [
        pytest.approx([point["n"], *(point[column] for column in columns)], abs=0.006) for point in points
    ]
    assert {(point["policy"], point["lam"]) for point in points} == {("mix", 0.5)}


def test_figures_by_suffix_not_overwritten_and_the_same_each_time(theory: Theory, tmp_path: Path):
    options = ("curation", *SMALL, "--k", "inf", "--policy", "replace")
    for name in ("a.svg", "a.pdf", "a.PNG", "b.svg"):
        assert theory(*options, "--out", name).returncode == 0
    assert names(tmp_path) == ["a.PNG", "a.pdf", "a.svg", "b.svg"]
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    refused = theory(*options, "--seed", 1, "--out", "b.svg")
    assert refused.returncode == 2 and "--force" in refused.stderr and refused.stdout == ""
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert theory(*options, "--seed", 1, "--out", "b.svg", "--force").returncode == 0
    assert (tmp_path / "a.svg").read_bytes() != (tmp_path / "b.svg").read_bytes()


def test_json_may_come_with_a_figure_and_an_infinite_lam(theory: Theory, tmp_path: Path):
    options = ("linear", *SMALL, "--policy", "mix", "--lam", "inf", "--json", "--out", "l.png")
    found = json.loads(theory(*options).stdout)
    assert found["figure"] == "l.png" and names(tmp_path) == ["l.png"]
    assert [(point["lam"], point["exact"]) for point in found["points"]] == [("inf", 1), ("inf", 2), ("inf", 3)]


def test_curated_tokens_come_with_what_endless_rows_would_give(theory: Theory, tmp_path: Path):
    found = json.loads(theory("categorical", *SMALL, "--k", 4, "--json").stdout)
    assert found["largest_z"] is None and all(point["exact"] is None for point in found["points"])
    assert all(0 < point["endless_rows"] < 1 for point in found["points"])
    assert theory("categorical", *SMALL, "--k", 4).returncode == 0


MISTAKES = {
    "few rows": (["linear", "--rows", "12"], "rows for 10 dimensions must be between 14 and 10,000, not 12"),
    "no dimension": (["linear", "--dimension", "0"], "dimension"),
    "one point": (["gaussian", "--rows", "1"], "rows must be between 2"),
    "one token": (["categorical", "--vocabulary", "1"], "vocabulary"),
    "no slate": (["curation", "--k", "0"], "K must be between 1"),
    "half a slate": (["curation", "--k", "2.5"], "K must be a whole number or inf, not '2.5'"),
    "gamma": (["curation", "--gamma", "-1"], "gamma"),
    "unknown policy": (["linear", "--policy", "hoard"], "'hoard'; choose one of mix, replace"),
    "a policy twice": (["linear", "--policy", "mix", "--policy", "mix"], "only once"),
    "no lam": (["gaussian", "--lam", "0"], "lam must be between 0.01 and 100"),
    "lam is no number": (["gaussian", "--lam", "nan"], "lam"),
    "no generations": (["gaussian", "--generations", "0"], "generations must be between 1"),
    "no repetitions": (["gaussian", "--repetitions", "1"], "repetitions must be between 10"),
    "a negative seed": (["gaussian", "--seed", "-1"], "seed must be 0 or more"),
    "no suffix": (["linear", "--out", "figure"], "must end with .png, .svg or .pdf"),
    "no folder": (["linear", "--out", "no/figure.png"], "no folder no"),
    "a file is there": (["linear", "--out", "there.png"], "there.png is there already; add --force"),
}


@pytest.mark.parametrize(("arguments", "part"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_no_figure(
    arguments: list[str], part: str, theory: Theory, tmp_path: Path
):
    (tmp_path / "there.png").write_text("mine")
    done = theory(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1 and part in done.stderr
    assert names(tmp_path) == ["there.png"] and (tmp_path / "there.png").read_text() == "mine"


@pytest.mark.parametrize("model", MODELS)
def test_each_has_an_example(model: str, theory: Theory, tmp_path: Path):
    done = theory(model, "--help")
    assert done.returncode == 0 and f"Example: curate theory {model}" in " ".join(done.stdout.split())


def test_in_a_process_of_its_own(tmp_path: Path):
    command = [sys.executable, "-m", "curate_app", "theory", "gaussian", "--generations", "2"]
    for code in (0, 2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert (
            done.returncode == code and bool(done.stdout) == (code == 0) and names(tmp_path) == ["theory-gaussian.png"]
        )
    assert done.stderr.startswith("Error: theory-gaussian.png is there already")  # pyright: ignore


def test_neither_the_models_nor_their_figures_need_torch():
    code = (
        "import sys, curate_app.commands.theory, curate_app.plots.figures, loop.theory.toy_tokens; "
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "False"]


def test_theorem_3_and_the_times_of_collapse_are_judged(theory: Theory):
    mixed = ("categorical", *SMALL, "--vocabulary", 600, "--rows", 100, "--policy", "mix", "--json")
    verdicts = {}
    for lam in (0.1, 1, 10):
        (judged,) = json.loads(theory(*mixed, "--lam", lam).stdout)["theorem_3"]
        verdicts[judged["synthetic"]] = judged["verdict"]
        assert judged["derived_verdict"] == "holds" and judged["measured"]["value"] < judged["derived"]
    assert verdicts == {10: "vacuous", 100: "vacuous", 1_000: "condition not met"}
    shown = " ".join(theory("categorical", *SMALL, "--lam", 0.5, "--collapse", 200).stdout.split())
    assert "mix lam=0.5: Theorem 3 (N = 20, n = 10, s = 10) condition not met" in shown
    assert "Replace: One token is left after" in shown and "Theorem 1, 18.3 to 312: holds" in shown


def test_times_of_collapse_are_for_rows_that_nobody_picks(theory: Theory):
    done = theory("categorical", *SMALL, "--k", 2, "--collapse", 100)
    assert done.returncode == 2 and "--collapse is for --k 1" in done.stderr


def test_real_rows_and_the_share_of_synthetic_ones_make_a_grid(theory: Theory):
    options = ("--rows", "20,80", "--synthetic", "0,0.5,0.9", "--generations", 4, "--repetitions", 400)
    for model in ("linear", "gaussian", "kde", "categorical"):
        cells = json.loads(theory("mixing", model, *options, "--json").stdout)["cells"]
        assert [(cell["rows"], cell["synthetic"]) for cell in cells] == [
            (20, 0),
            (20, 20),
            (20, 180),
            (80, 0),
            (80, 80),
            (80, 720),
        ]
        known = [cell for cell in cells if cell["exact"] is not None]
        assert len(known) == 6 and all(abs(cell["simulated"] - cell["exact"]) < 4 * cell["se"] for cell in known)
        few, many = ([cell["exact"] for cell in cells if cell["rows"] == n] for n in (20, 80))
        if model != "kde":  # real rows help, whatever the share
            assert all(a > b for a, b in zip(few, many, strict=True))
    shown = theory("mixing", "gaussian", *options).stdout
    assert "90% synthetic" in shown and "exact" in shown and max(map(len, shown.splitlines())) <= 80
    for wrong in (("--rows", "20,x"), ("--synthetic", "1"), ("--rows", "20,20")):
        assert theory("mixing", "gaussian", *wrong).returncode == 2
    assert "There is no model 'x' to mix for" in theory("mixing", "x").stderr

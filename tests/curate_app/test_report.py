"""`curate report`: whole verbs on tiny studies, pages that need nothing else, what they say of each kind of study."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from markupsafe import Markup, escape
from PIL import Image
from playwright.sync_api import Browser
from pydantic import ValidationError
from typer.testing import CliRunner

from benchmarks.simulated_raters import GroupStudy, simulate_groups
from curate_app.cli import app
from curate_app.plots.svg import Chart, Line, Point, draw, number
from curate_app.report import tables
from curate_app.report.charts import study_charts, win_rates, with_error
from curate_app.report.files import check_replaceable, distinct, read, write_comparison, write_report
from curate_app.report.pages import comparison_json, comparison_page, lede, page, pretty, setup_sentence, those_of
from curate_app.report.pictures import Gallery
from curate_app.report.tables import intervals, preferred
from data.records import Pick
from loop.evidence import schema
from loop.evidence.prediction import TypeEvidence, TypeGeneration
from loop.evidence.schema import (
    CheckResult,
    Estimate,
    Evidence,
    UtilityGain,
    WinRate,
)
from loop.simulate import simulate
from loop.study import Study, configure
from loop.worker import Worker
from tests.curate_app.documents import is_alone, reads_aloud

NAME = "<script>alert(1)</script>&"


def make(path: Path, preset: str, tiny: tuple[str, ...], *more: str, generations: int, seed: int = 0) -> Study:
    study = Study.create(path, configure(preset, [*tiny, *more], seed=seed))
    simulate(study, generations, lambda phase, done, total: None)
    return study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_moons, tiny_digits) -> Path:
    """A pure and a mixed study of points, one of images that picked a class; to be read only."""
    root = tmp_path_factory.mktemp("reports")
    make(root / "pure", "moons", tiny_moons, generations=2).store.close()
    make(root / "mixed", "moons", tiny_moons, "mix.lam=1", generations=1, seed=1).store.close()
    sevens = ("curation.extend=none", "reward.kind=class_prob", "reward.target=7")
    make(root / "sevens", "digits", tiny_digits, *sevens, generations=1).store.close()
    return root


@pytest.fixture(scope="module")
def pure(folder: Path) -> Iterator[Study]:
    study = Study.open(folder / "pure")
    yield study
    study.store.close()


@pytest.fixture(scope="module")
def evidence(pure: Study) -> Evidence:
    return read(pure).evidence


@pytest.fixture
def people(tmp_path: Path, tiny_digits) -> Iterator[Study]:
    """A study in which two people picked, a proxy filled up, and both people compared generations."""
    settings = ("schedule.picks=8", "pool.size=12", "pool.audit=12", "curation.extend=proxy")
    study = Study.create(tmp_path / "people", configure("digits", [*tiny_digits, *settings], seed=2))
    for purpose in ("curation", "audit"):
        Worker(study).run(once=True)
        for name in ("ann", "bob"):
            answer(study, name, purpose, 4)
    yield study
    study.store.close()


def answer(study: Study, name: str, purpose, n: int) -> None:
    store, (t, _) = study.store, study.store.latest_cut() or (0, 0)
    session = f"{name}-{purpose}"
    rater = store.add_rater("human", panel="test", panel_rater_id=name)
    store.add_session(session, rater, panel_session_id=session)
    for _ in range(n):
        slate = store.lease(session, (purpose,), t, 600)
        assert slate is not None
        store.record_pick(session, Pick(slate.id, "pick", slate.id % slate.k, rt_ms=300))
    store.reach(session, "finished")


def report(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["report", *map(str, arguments)], env={"NO_COLOR": "1", "COLUMNS": "200"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_the_verb_writes_a_page_and_its_data_into_the_study(folder: Path, tmp_path: Path):
    shutil.copytree(folder / "pure", tmp_path / "pure")
    code, output = report(tmp_path / "pure")
    assert code == 0 and "the mean reward" in output and "C1" in output and "Wrote" in output
    html = (tmp_path / "pure" / "report.html").read_text()
    document = is_alone(html)
    reads_aloud(document)
    evidence = Evidence.model_validate_json((tmp_path / "pure" / "report.json").read_text())
    assert [generation.t for generation in evidence.generations] == [0, 1, 2]
    assert evidence.checks and evidence.software["curate"]
    assert len([image for image in document.all("img") if image["alt"] == "Density of generation 2 in the plane"]) == 2
    assert report(tmp_path / "pure")[0] == 0  # it may be made again
    assert {file.name for file in (tmp_path / "pure").iterdir()} & {".report.html", ".report.json"} == set()
    assert Image.open(tmp_path / "pure" / "report.png").size == (1200, 630)
    taste = evidence.tastes[0]
    assert (taste.rater, taste.kind, taste.by_rater) == (None, "sim", True) and len(taste.leanings) == 2
    assert taste.hits > taste.chance and "picks of simulated users are independent" in html


def test_images_come_as_their_sample_grids(folder: Path, tmp_path: Path):
    assert report(folder / "sevens", "--out", tmp_path / "r.html")[0] == 0
    document = is_alone((tmp_path / "r.html").read_text())
    reads_aloud(document)
    way, *sheets = [image["alt"] for image in document.all("img")]
    assert way.startswith("The way so far") and sheets == ["Samples of generation 0", "Samples of generation 1"]
    assert (tmp_path / "r.json").is_file()


def test_json_is_printed_and_nothing_written(folder: Path, contents, evidence: Evidence):
    before = contents(folder / "pure")
    code, output = report(folder / "pure", "--json")
    assert code == 0 and contents(folder / "pure") == before
    printed = Evidence.model_validate_json(output)
    assert printed.model_dump(exclude={"created_at"}) == evidence.model_dump(exclude={"created_at"})
    with pytest.raises(ValidationError):
        Evidence.model_validate({**json.loads(output), "unknown": 1})


def test_studies_are_compared_on_one_page(folder: Path, tmp_path: Path):
    names = ("pure", "mixed", "sevens")
    code, output = report(*(folder / name for name in names), "--out", tmp_path)
    assert code == 0 and all(name in output for name in names)
    html = (tmp_path / "report.html").read_text()
    document = is_alone(html)
    reads_aloud(document)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["schema_version"] == "curate-comparison/1"
    assert [Evidence.model_validate(study).study for study in data["studies"]] == list(names)
    differ = re.search(r'id="differences".*?</section>', html, re.S)
    assert differ and "mix.lam" in differ[0] and "curation.lapse" not in differ[0]
    assert html.count("Samples of generation") == 2 and html.count("Density of generation") == 8


def test_a_comparison_takes_figures_and_tells_studies_of_one_name_apart(folder: Path, tmp_path: Path, pure: Study):
    shutil.copytree(folder / "pure", tmp_path / "other" / "pure")
    other = Study.open(tmp_path / "other" / "pure")
    svg = Markup('<svg role="img" aria-label="doses"></svg>')
    figures = [("Dose & response", "over <seeds>", svg), ("Raw", "a <png>", b"\x89PNG")]
    write_comparison([pure, other], tmp_path / "c.html", title="<Sweep>", figures=figures)
    other.store.close()
    html = (tmp_path / "c.html").read_text()
    assert "<title>&lt;Sweep&gt;" in html and str(svg) in html and 'alt="a &lt;png&gt;"' in html
    assert "Dose &amp; response" in html and "over &lt;seeds&gt;" in html and "other/pure" in html
    is_alone(html)
    assert distinct([Path("/a/s"), Path("/b/s"), Path("/b/t")]) == ["a/s", "b/s", "b/t"]


def test_everything_from_the_study_is_escaped(evidence: Evidence):
    bad = evidence.model_copy(
        update={
            "study": NAME,
            "preset": NAME,
            "class_names": [NAME, NAME],
            "checks": [CheckResult(name=NAME, verdict="fail", sentence=NAME)],
            "claims": [claim.model_copy(update={"reason": NAME, "statement": NAME}) for claim in evidence.claims],
            "config": {"app": {"title": NAME}},
        }
    )
    html = page(bad, Gallery([]))
    assert NAME not in html and html.count("&lt;script&gt;") > 8
    assert not is_alone(html).all("script")


def test_a_study_of_people_shows_what_they_prefer_and_judges_no_reward(people: Study, tmp_path: Path):
    evidence = write_report(people, tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    assert {claim.verdict for claim in evidence.claims} == {"not applicable"}
    assert evidence.generations[1].curated.human == 8 and evidence.generations[1].curated.proxy == 52
    assert "How often people preferred each generation" in html
    assert "In audit slates people preferred generation 1 to generation 0 in" in html and "by 2 raters" in html
    text = html.replace("&#39;", "'")
    assert "8 by people + 52 by proxy" in html and "Mean simulated reward (not people's preferences)" in text
    assert "E[w], what the theorem is about" not in html and "Transmission:" not in html
    (gain,) = evidence.utility_gains
    assert (gain.t, gain.against, gain.n, gain.gain) == (1, 0, 8, None)
    assert f"Generation 1 over 0: {escape(gain.reason)}" in html and gain.reason
    assert "By the simulated reward (not people's preferences): " in text
    assert "The gains of E[r] and E[w] are of the simulated reward, not of people's preferences." in text
    proxy = evidence.proxy
    assert proxy and [(row.t, row.n, row.raters) for row in proxy.calibrations] == [(1, 8, 2)]
    assert proxy.verdict == "can't tell" and proxy.audits[0].n == 8 and "Too few audit pairs" in html
    assert [gain.t for gain in proxy.gains] == [1] and proxy.calibrations[0].own_picks is not None
    assert "The proxy, and the people it was fitted to" in html
    assert [test.verdict for test in evidence.drift] == ["can't tell", "can't tell"]
    assert "two generations or more" in html
    reads_aloud(is_alone(html))


def test_one_generation_and_none_are_said_to_be_so(evidence: Evidence, tmp_path: Path, tiny_moons):
    first = make(tmp_path / "first", "moons", tiny_moons, generations=0)
    html = page(*_parts(first))
    assert "There is only the first generation" in html and 'id="verdicts"' not in html
    is_alone(html)
    empty = Study.create(tmp_path / "empty", configure("moons", tiny_moons))
    assert "no generation yet" in page(*_parts(empty))
    assert report(tmp_path / "empty")[0] == 0


def test_a_study_of_an_older_version_is_told_and_does_not_fail(folder: Path, tmp_path: Path):
    shutil.copytree(folder / "pure", tmp_path / "old")
    old = Study.open(tmp_path / "old")
    with old.store.write() as db:
        db.conn.execute("DELETE FROM evaluation WHERE t = 2")
    assert "The report ends before the last published generations (1)" in page(*_parts(old))
    with old.store.write() as db:
        db.conn.execute("DELETE FROM evaluation")
    assert "An older version of curate published the generations of this study (3)" in page(*_parts(old))
    code, output = report(tmp_path / "old", folder / "pure", "--out", tmp_path)
    assert code == 0 and "older version" in output
    old.store.close()


def _parts(study: Study) -> tuple[Evidence, Gallery]:
    parts = read(study)
    return parts.evidence, parts.gallery


def test_a_report_can_be_made_while_a_turn_is_published(folder: Path, tmp_path: Path, tiny_moons):
    shutil.copytree(folder / "mixed", tmp_path / "growing")
    study, lengths = Study.open(tmp_path / "growing"), []
    reader = Study.open(tmp_path / "growing")

    def look(phase: str, done: int, total: int) -> None:
        if done == total and len(lengths) < 4:
            lengths.append(len(read(reader).evidence.generations))

    simulate(study, 2, look)
    assert lengths and set(lengths) <= {2, 3} and len(read(reader).evidence.generations) == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere"], "There is no study at nowhere"),
        (["pure", "nowhere"], "There is no study at nowhere"),
        (["pure", "--out", "no/r.html"], "There is no folder no"),
        (["pure", "--out", "no"], "There is no folder no"),
        (["pure", "--out", "notes.html"], "isn't a report"),
    ],
)
def test_a_mistake_changes_nothing(folder: Path, tmp_path: Path, monkeypatch, contents, arguments, error):
    shutil.copytree(folder / "pure", tmp_path / "pure")
    (tmp_path / "notes.html").write_text("<p>mine</p>")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=re.escape(error)):
        report(*arguments)
    assert contents(tmp_path) == before


def test_force_replaces_what_no_report_wrote(folder: Path, tmp_path: Path):
    (tmp_path / "r.html").write_text("<p>mine</p>")
    assert report(folder / "mixed", "--out", tmp_path / "r.html", "--force")[0] == 0
    check_replaceable(tmp_path / "r.html", tmp_path / "r.json")


def test_many_generations_stand_in_tables_that_fit_a_page(evidence: Evidence):
    many = _repeated(evidence, 23)
    blocks = tables.verdict_blocks(many)
    assert [len(block["ts"]) for block in blocks] == [10, 10, 3] and not blocks[0]["roomy"]
    document = is_alone(page(many, Gallery([])))
    assert len([table for table in document.all("table") if "verdicts" in (table.get("class") or "")]) == 3


def _repeated(evidence: Evidence, last: int) -> Evidence:
    generation = evidence.generations[1]
    claims = [claim for claim in evidence.claims if claim.t == 1]
    return evidence.model_copy(
        update={
            "generations": [
                evidence.generations[0],
                *(generation.model_copy(update={"t": t}) for t in range(1, last + 1)),
            ],
            "claims": [claim.model_copy(update={"t": t}) for claim in claims for t in range(1, last + 1)],
        }
    )


def test_failures_are_loud_and_say_what_they_are_made_of(evidence: Evidence):
    failed = {"verdict": "fails", "reason": "mostly learning error"}
    claims = [claim.model_copy(update=failed if claim.claim == "C1" else {}) for claim in evidence.claims]
    checks = [CheckResult(name="scale", verdict="fail", sentence="Half the scale.", t=t) for t in (1, None)]
    html = page(evidence.model_copy(update={"claims": claims, "checks": checks}), Gallery([]))
    assert "2 self-checks did not pass" in html and html.index("Half the scale.") < html.index('id="verdicts"')
    fails = sum(claim.verdict == "fails" for claim in claims)
    assert html.count('class="verdict fails"') == fails + 1  # and the legend's
    assert "C1, t = 2:</b> mostly learning error" in html


def test_the_curves_hold_the_evidence(evidence: Evidence):
    charts = {titled.title: titled.chart for titled in study_charts(evidence)}
    weights = charts["E[w], what the theorem is about"]
    lines = {(line.look, line.name): line.points for line in weights.lines}
    for line, values in {
        ("line", "measured"): [titled.measured.mean_w.value for titled in evidence.generations],
        ("dashed", "from t = 0"): [g.predicted_from_start.mean_w.value for g in evidence.generations],
        ("rings", "one step"): [g.predicted.mean_w.value for g in evidence.generations if g.predicted],
        ("bound", "C1"): [g.floors["C1"] for g in evidence.generations if g.t],
    }.items():
        assert [point.value for point in lines[line]] == values
    assert evidence.real and weights.reference == evidence.real.mean_w.value
    assert len(charts) == 7


def test_marks_have_whiskers_rings_have_no_line_and_the_legend_names_each_once():
    points = [Point(1, 0.9, interval=(0.8, 1.1)), Point(2, 1.0)]
    lines = [Line(str(hue), points, True, look, hue, look) for hue in (0, 1) for look in ("marks", "rings", "dashed")]
    html = draw(Chart("y", "said", lines))  # type: ignore[arg-type]
    assert html.count('class="whisker marks loud hue-0"') == 2  # wide and narrow; the exact one has none
    assert html.count('class="ring rings loud hue-1"') == 4
    assert re.findall(r"</svg>(\w+)</li>", html) == ["marks", "rings", "dashed"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.5, "−0.5"), (2000.0, "2,000"), (0.12345, "0.1235"), (1e-7, "1e−07"), (-1.5e9, "−1.5e+09")],
)
def test_numbers_are_written_short(value: float, text: str):
    assert number(value) == text


def test_an_error_sets_the_decimals_and_formulas_get_their_letters():
    assert with_error(Estimate.of(0.123456, 0.01)) == "0.123 ± 0.020"
    assert with_error(Estimate.of(-2.0)) == "−2"
    pair = Estimate.of(-0.62, 0.051), Estimate.of(-0.7434, 0.0495)  # read beside each other: to the same decimal
    assert with_error(*pair) == "−0.62 ± 0.10" and with_error(*reversed(pair)) == "−0.74 ± 0.10"
    sure = Estimate.of(-0.08712, 0.0023)
    assert sure.beside(Estimate.of(-7.402, 0.0464)) == "-0.087 ± 0.005" and str(sure) == "-0.0871 ± 0.0045"
    assert sure.beside(Estimate.of(120.0, 5.0)) == "-0.087 ± 0.005"  # no error is ever rounded to none
    assert pretty("lam/(1+lam)^3 <b> KL(p_t || p_ref)") == (
        "λ/(1+λ)<sup>3</sup> &lt;b&gt; KL(p<sub>t</sub> ‖ p<sub>ref</sub>)"
    )
    assert pretty("condition not met: C_0 n / e + 2") == "condition not met: C<sub>0</sub> n / e + 2"


def test_what_people_prefer_stands_beside_the_reward(evidence: Evidence):
    rate = WinRate(t=2, against=0, n=90, raters=9, rate=Estimate.of(0.7, 0.05), verdict="holds")
    widths = {"other": Estimate.of(0.7, 0.03), "corrected": Estimate(value=0.7, low=0.57, high=0.83), "level": 0.012}
    decided = rate.model_copy(update=widths)
    gains = [
        UtilityGain(t=1, against=0, n=1, raters=1, reason="One person."),
        UtilityGain(t=2, against=0, n=1_000, raters=9, gain=Estimate.of(-0.5, 0.1), verdict="fails"),
    ]
    shown = evidence.model_copy(update={"win_rates": [rate], "utility_gains": gains})
    first, second = preferred(shown)
    assert first[:8] == ["1", "0", "", "", "", "1 by 1 rater", "", "can't tell"]
    assert second[:5] == ["2", "0", "90 by 9 raters", "70.0% (60.2% to 79.8%)", "holds"]
    assert second[5:8] == ["1,000 by 9 raters", "−0.50 (−0.70 to −0.30)", "fails"]
    change = evidence.generations[2].measured.mean_reward.value - evidence.generations[0].measured.mean_reward.value
    assert float(second[8].split()[0].replace("−", "-")) == pytest.approx(change, abs=0.1)
    (kept,) = intervals(shown.model_copy(update={"utility_gains": [], "win_rates": [decided]}))
    assert kept == ["2", "0", "win rate", "always valid", "0.2", "0.12", "+0.70 (+0.57 to +0.83)", "0.012"]
    html = page(shown, Gallery([]))
    assert "Generation 1 over 0: One person." in html and "of the known reward" in html
    reads_aloud(is_alone(html))


def test_a_single_person_speaks_for_nobody_else(evidence: Evidence):
    rate = WinRate(t=1, against=0, n=8, raters=1, rate=Estimate(value=0.75, se=0.5, low=0, high=1))
    assert "one rater" in " ".join(lede(evidence.model_copy(update={"win_rates": [rate]})))


def test_larger_audit_slates_have_no_line_of_indifference(evidence: Evidence):
    rate = WinRate(t=1, against=0, n=8, raters=3, rate=Estimate.of(0.75, 0.1), slate_sizes=[4])
    larger = rate.model_copy(update={"indifference": None})
    cases = ((rate, "50% is indifference", 0.5), (larger, "in slates of 4, 50% isn't indifference", None))
    for case, words, drawn in cases:
        titled = win_rates([case])
        assert words in " ".join(lede(evidence.model_copy(update={"win_rates": [case]})))
        assert titled is not None and titled.chart.reference == drawn


def test_who_is_optimised_is_said_of_groups_of_people_and_of_types_of_simulated_users(evidence: Evidence):
    groups, _ = simulate_groups(GroupStudy(shares=(0.7, 0.3), alike=-1.0, strength=1.5), 0)
    row = {"predicted_reward": None, "gain_w": None, "predicted_gain_w": None}
    fell = {"gain_w": Estimate.of(-2.0, 0.1), "predicted_gain_w": Estimate.of(-2.1, 0.1), "own_picks": 0.9}
    steps = [
        TypeGeneration(t=0, mean_reward=Estimate.of(1.0, 0.1), **row),
        TypeGeneration(t=1, mean_reward=Estimate.of(0.5, 0.1), **{**row, **fell}, other_picks=-3.0, real_data=0.0),
    ]
    few = TypeEvidence(name="few", share=0.25, generations=steps)
    shown = evidence.model_copy(update={"taste_groups": groups, "user_types": [few]})
    charts = {titled.title: titled.chart for titled in study_charts(shown)}
    lines = charts["Who is optimised? Mean utility by taste group"].lines
    assert [line.points[-1].value for line in lines] == [group.generations[-1].gain.value for group in groups.groups]
    assert [point.value for point in charts["Who is optimised? E[r] of each user type"].lines[0].points] == [1.0, 0.5]
    html = page(shown, Gallery([]))
    is_alone(html)
    gainers = groups.sentences[1].partition(" loses")[0]
    for words in (gainers, "by +0.9 through its own picks and −3 through the others"):
        assert words in html
    assert Evidence.model_validate_json(shown.model_dump_json()) == shown
    assert "Who is optimised?" not in page(evidence, Gallery([]))


def test_the_schema_is_documented_as_it_is():
    assert schema.PATH.read_text(encoding="utf-8") == schema.document(), "run python -m loop.evidence.schema"
    assert all(field.description for model in schema.models() for field in model.model_fields.values())


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_a_wall_and_can_be_read(browser: Browser, evidence: Evidence, pure, tmp_path, scheme):
    (tmp_path / "r.html").write_text(page(_repeated(evidence, 12), read(pure).gallery), encoding="utf-8")
    with browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844}) as context:
        tab, messages, requests = context.new_page(), [], []
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto((tmp_path / "r.html").as_uri())
        for width in (390, 1440, 3840):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.locator("img:visible").count() == len(evidence.generations) + 1  # and the real data
        assert messages == [] and all(url.startswith(("file:", "data:")) for url in requests)
        assert tab.evaluate(CONTRAST) == []
        settings = "lam=inf,finetune_seed=1,control=resampler"  # as a sweep has
        names = [f"adversarial={share},center=-0.87_0.5,{settings},seed=0" for share in (0.15, 0.3)]
        compared = comparison_page([evidence] * 2, [read(pure).gallery] * 2, names, title="two")
        (tmp_path / "c.html").write_text(compared, encoding="utf-8")
        tab.set_viewport_size({"width": 390, "height": 844})
        tab.goto((tmp_path / "c.html").as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") == 390


def test_studies_that_differ_in_their_seeds_alone_are_named_in_few_words():
    names = [f"k={k},seed={seed}" for k in (2, 4) for seed in range(3)]
    assert those_of(range(6), names) == "All studies"
    assert those_of((0, 2), names) == "k=2,seed=0 and k=2,seed=2"
    assert those_of((3, 4, 5), names) == "k=4,seed=0 and 2 more that differ in seeds alone"


CONTRAST = """() => {
  const channel = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (e) => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  } return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), svg = e instanceof SVGElement;
    const a = light(parse(svg ? style.fill : style.color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const who = `${e.tagName}.${e.getAttribute("class")} ${ratio.toFixed(2)} ${e.textContent.trim().slice(0, 30)}`;
    if (ratio < 4.5) low.push(who);
  }
  return [...new Set(low)];
}"""


def test_shares_and_margins_in_tables_have_no_minus_nought_and_no_endless_digits():
    assert [tables.share(share) for share in (-0.001, 0.25, -1.5, 40.0, -40.0)] == [
        "0%", "25%", "−150%", "over 1,000%", "under −1,000%",
    ]  # fmt: skip
    assert tables.margin_cells(Estimate(value=-0.004, se=1.0, low=-2.0, high=2.0))["margin"] == "+0.0"
    assert tables.signed(-0.0) == "+0"


@pytest.mark.parametrize(
    ("policy", "lam", "trained"),
    [
        ("mix lam=inf", "inf", "these picks alone"),
        ("mix lam=1", 1.0, "these picks and real data (mix lam=1)"),
        ("replace", 1.0, "these picks alone"),
        ("recent 1", 1.0, "these picks alone"),
        ("recent 2", 1.0, "these picks and earlier data (recent 2)"),
        ("accumulate", 1.0, "these picks and earlier data (accumulate)"),
    ],
)
def test_the_setup_says_which_data_train(evidence: Evidence, policy: str, lam: float | str, trained: str):
    changed = evidence.model_copy(update={"policy": policy, "lam": lam})
    assert setup_sentence(changed).endswith(
        f"pick the one they like best of 2 samples, and each generation is trained on {trained}."
    )
    unchosen = setup_sentence(changed.model_copy(update={"k": 1}))
    assert "pick the only sample of each slate, which is no choice, and" in unchosen


def test_a_comparison_judges_retraining_without_choice_over_seeds(evidence: Evidence):
    """Studies of one sample a slate that differ in policy and seed alone; no section where people or users choose."""
    studies = []
    for kind in ("replace", "accumulate"):
        for seed in range(3):
            config = {**evidence.config, "seed": seed, "mix": {**evidence.config["mix"], "policy": kind}}
            rows = []
            for row in evidence.generations:
                assert row.divergence.tv is not None
                rising = row.divergence.tv.model_copy(
                    update={"value": (0.1 + 0.01 * seed) * row.t * (kind == "replace")}
                )
                divergence = row.divergence.model_copy(update={"density": None, "tv": rising})
                rows.append(row.model_copy(update={"divergence": divergence}))
            changes = {"config": config, "seed": seed, "k": 1, "generations": rows, "policy": kind}
            studies.append(evidence.model_copy(update=changes))
    galleries, names = [Gallery([])] * 6, [f"s{i}" for i in range(6)]
    text = comparison_page(studies, galleries, names, title="two policies")
    assert "replace: it diverges (total variation, 3 seeds)." in text
    assert "accumulate: it slows the degradation; whether it stops it the seeds can" in text  # too few generations
    claims = json.loads(comparison_json(studies))["retraining"]
    assert [(claim["policy"], claim["verdict"]) for claim in claims] == [("replace", "holds"), ("accumulate", "holds")]
    chosen = [study.model_copy(update={"k": 2}) for study in studies]
    assert "Retraining without choice" not in comparison_page(chosen, galleries, names, title="chosen")

"""Pre-registration: `curate plan --register`, and what a report says of it and of every departure."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curate_app.admin.counts import CrowdCounts
from curate_app.admin.panels import panels
from curate_app.commands.status import status_of
from curate_app.report.files import write_report
from data.records import Pick
from loop import registration
from loop.raters.journey import finish, resume
from loop.registration import analysis_files, flat, register, settings_of, standing_words, stored
from loop.study import Study, configure
from tests.curate_app.command_line import Done, curate


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...]) -> Path:
    """A study of points that was registered for one generation, and simulated as registered."""
    path = tmp_path_factory.mktemp("registered") / "study"
    Study.create(path, configure("moons", tiny_moons, generations=1)).store.close()
    done = curate("plan", "--register", path, "--hypothesis", "E[w] <rises>.", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((path / registration.FILE).read_text())
    assert curate("simulate", path).returncode == 0
    return path


def departures(study: Study) -> list[tuple[str, str]]:
    """The kinds and sentences of a study's departures."""
    known = stored(study)
    assert known is not None
    return [(departure.kind, departure.sentence) for departure in known.departures]


def setting(path: Path, old: str, new: str) -> None:
    """Changes study.toml."""
    text = (path / "study.toml").read_text()
    assert old in text
    (path / "study.toml").write_text(text.replace(old, new))


@pytest.fixture
def study(registered: Path, tmp_path: Path) -> Iterator[Study]:
    """A copy of the registered study."""
    shutil.copytree(registered, tmp_path / "study")
    study = Study.open(tmp_path / "study")
    yield study
    study.store.close()


def test_a_study_that_went_as_registered_has_no_departure_and_its_report_prints_all_of_it(study: Study):
    assert departures(study) == []
    html = study.path / "report.html"
    evidence = write_report(study, html)
    text = html.read_text()
    assert evidence.registration and evidence.registration.sha256 in text and "there is no departure" in text
    assert "E[w] &lt;rises&gt;." in text and "the study ends at generation 1" in text
    assert json.loads(html.with_suffix(".json").read_text())["registration"]["departures"] == []


def test_what_was_registered_is_refused_again_and_after_the_first_pick(registered: Path, tmp_path: Path, tiny_moons):
    assert_refused(curate("plan", "--register", registered), "registered already")
    settings = [part for value in tiny_moons for part in ("--set", value)]
    assert curate("simulate", tmp_path / "late", "--preset", "moons", "--generations", 1, *settings).returncode == 0
    assert_refused(curate("plan", "--register", tmp_path / "late"), "Picks were made")
    said = curate("report", tmp_path / "late").stdout
    assert "begun without a pre-registration" in " ".join(said.split())
    assert "begun without a pre-registration" in (tmp_path / "late" / "report.html").read_text()


def assert_refused(done: Done, why: str) -> None:
    """Checks that a command ended with bad input, and said why in a sentence."""
    assert done.returncode == 2 and why in done.stderr and "Traceback" not in done.stderr


def test_a_hypothesis_needs_a_study_and_numbers_must_be_those_of_study_toml(tmp_path: Path, tiny_moons):
    assert_refused(curate("plan", "--hypothesis", "x"), "--register")
    Study.create(tmp_path / "s", configure("moons", tiny_moons)).store.close()
    assert_refused(curate("plan", "--register", tmp_path / "s", "--raters", 5), "stop.raters is 0, not 5")
    with pytest.raises(ValueError, match="hypothesis is empty"):
        register(Study.open(tmp_path / "s"), ["x", " "])
    assert not (tmp_path / "s" / registration.FILE).exists()


def test_more_generations_and_a_changed_setting_are_departures(study: Study, monkeypatch: pytest.MonkeyPatch):
    setting(study.path, "finetune_steps = 30", "finetune_steps = 20")
    study.store.close()
    assert curate("simulate", study.path, "--generations", 2).returncode == 0
    known = departures(Study.open(study.path))
    assert ("stopping rule", "2 generations, more than the 1 registered.") in known
    changed = "train.finetune_steps is 20 (generation 2, study.toml); registered was 30."
    assert ("settings", changed) in known and len(known) == 2
    monkeypatch.setattr(registration, "analysis_sha256", lambda: "ab" * 32)
    html = study.path / "report.html"
    text = (write_report(Study.open(study.path), html), html.read_text())[1]
    assert "abababababab" in text and "3 departures from it" in text


def test_a_registration_that_was_changed_afterwards_is_a_departure(study: Study):
    status = study.store.status(registration.STATUS)
    text = status["text"].replace("rises", "falls")
    study.store.set_status(registration.STATUS, text=text, sha256=status["sha256"])
    assert [kind for kind, _ in departures(study)] == ["registration", "registration"]  # nor is the copy of it
    study.store.set_status(registration.STATUS, **{key: status[key] for key in ("text", "sha256")})
    assert departures(study) == []
    copy = study.path / registration.FILE
    copy.write_text(copy.read_text().replace("rises", "falls"))
    assert departures(study) == [
        ("registration", "registration.json in the study's folder isn't the copy that was left there.")
    ]
    copy.unlink()  # it was to be taken elsewhere
    assert departures(study) == []


@pytest.fixture
def crowd(tmp_path: Path, fill: Callable[..., list[int]], tiny_digits) -> Iterator[Study]:
    """A registered study for two people, of whom none has come."""
    settings = ("stop.raters=2", "journey.picks=2", 'quality.exclude_picks=["too_fast"]')
    study = Study.create(tmp_path / "crowd", configure("digits", [*tiny_digits, *settings]))
    fill(study.store, n=6)
    done = curate("plan", "--register", study.path, "--picks", 4, "--raters", 2, "--picks-per-rater", 10)
    assert done.returncode == 0, done.stderr
    assert "2 raters have finished and 4 picks are in" in " ".join(done.stdout.split())
    yield study
    study.store.close()


def come(study: Study, name: str, picks: int) -> None:
    """One person comes, picks, and finishes."""
    store = study.store
    session = store.add_session(name, store.add_rater("human", panel="test", panel_rater_id=name))
    for _ in range(picks):
        slate = store.lease(session, ("curation",), 0, 600)
        assert slate is not None
        store.record_pick(session, Pick(slate.id, "pick", 0, rt_ms=900))
    store.reach(session, "finished")


def test_fewer_and_more_people_and_picks_than_registered_are_departures_and_as_many_are_not(crowd: Study):
    come(crowd, "ann", 2)
    fewer = departures(crowd)
    assert ("stopping rule", "2 picks, fewer than the 4 registered.") in fewer
    assert ("stopping rule", "1 rater, fewer than the 2 registered.") in fewer and len(fewer) == 2
    assert "departures so far: 0" in standing_words(crowd)  # the study is under way
    finish(crowd.store)
    assert "departures so far: 2" in standing_words(crowd)
    resume(crowd.store)
    come(crowd, "bob", 2)
    assert departures(crowd) == []
    come(crowd, "eve", 1)
    assert status_of(crowd)["registration"] == standing_words(crowd)
    assert "departures so far: 2" in panels(crowd, CrowdCounts(crowd)).head
    assert {sentence.split(",")[1].split()[0] for _, sentence in departures(crowd)} == {"more"}


def test_other_exclusions_than_registered_are_departures(crowd: Study):
    setting(crowd.path, 'exclude_picks = ["too_fast"]', "exclude_picks = []")
    kinds = [kind for kind, _ in departures(Study.open(crowd.path))]
    assert kinds.count("exclusions") == 1 and "settings" not in kinds


def test_settings_are_the_same_once_they_are_stored_and_large_numbers_keep_their_digits():
    types = 'population=[{name="a", kind="linear", center=[-1,0], gamma=1.5}, {name="b", kind="linear"}]'
    config = configure("moons", [types, "mix.lam=inf", 'curation.k="inf"', "curation.picks=1234567"])
    assert flat(json.loads(json.dumps(settings_of(config)))) == flat(settings_of(config))
    assert flat(settings_of(config))["curation.picks"] == "1234567"


def test_the_hash_of_the_analysis_is_of_what_the_verdicts_follow_from_alone():
    modules = analysis_files()
    assert {"loop.evidence.claims", "loop.evidence.people", "loop.analysis.logit", "loop.theory.bounds"} <= set(modules)
    assert {"model.luce", "loop.policy", "loop.user_types"} <= set(modules)
    assert not {"loop.theory.toy_tokens", "loop.analysis.plan", "loop.analysis.report", "loop.config"} & set(modules)

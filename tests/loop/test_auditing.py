"""Audits of several studies: blind pairs of their samples, never trained on, and who won by people's choices."""

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from curate_app.admin.counts import CrowdCounts
from curate_app.admin.panels import panels
from data.choice_log import Source, find_format
from data.choice_log.export import export
from data.records import Generation, Pick
from data.store import queries
from loop.auditing import Entry, audit_config, check_comparable, make_audit, open_entries
from loop.evaluation import redrawn
from loop.evidence.intervals import LEVEL
from loop.evidence.people import Raters, ranking, rates_of
from loop.evidence.study import build, stored_quick_evidence
from loop.generators import load_generator
from loop.raters.journey import next_slates
from loop.replay import begin, replayed_config
from loop.selfcheck import self_checks
from loop.simulate import simulate
from loop.study import Study, StudyExistsError, configure, faults
from loop.worker import Worker
from tests.curate_app.command_line import curate
from tests.curate_app.journeys import Rater

Make = Callable[..., Study]


def quiet(phase: str, done: int, total: int) -> None:
    """Reports nothing."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, tiny_digits: tuple[str, ...]) -> Iterator[list[Path]]:
    """Folders of three digits studies: two generations of one seed, of another, and of a sampler with more steps."""
    folder, paths = tmp_path_factory.mktemp("audited"), []
    for name, seed, settings in (("A", 1, ()), ("B", 2, ()), ("C", 3, ("sampling.steps=3", "mix.lam=inf"))):
        config = configure("digits", [*tiny_digits, "curation.extend=none", *settings], seed=seed)
        study = Study.create(folder / name, config)
        simulate(study, 1, quiet)
        study.store.close()
        paths.append(study.path)
    yield paths


@pytest.fixture(scope="module")
def filled(studies: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit of the three, its pool filled, to be copied."""
    study = audit_of(studies, tmp_path_factory.mktemp("audit") / "audit", "journey.picks=12")
    Worker(study).run(once=True)
    study.store.close()
    return study.path


@pytest.fixture
def audit(filled: Path, tmp_path: Path) -> Iterator[Study]:
    study = Study.open(shutil.copytree(filled, tmp_path / "audit"))
    yield study
    study.store.close()


def audit_of(studies: list[Path], out: Path, *settings: str) -> Study:
    entries = open_entries(list(map(str, studies)))
    study = make_audit(entries, out, audit_config(entries, settings), quiet)
    for entry in entries:
        entry.study.store.close()
    return study


def rate_all(study: Study, raters: int, prefers: Callable[[int, int], int]) -> None:
    """People who answer all their slates; `prefers` names the source that wins of two."""
    for number in range(raters):
        session = f"rater-{number}"
        study.store.admit(session, None, user_agent="", consented=True)
        for _ in range(study.config.journey.picks):
            slate = next_slates(study.store, study.config, session)[0]
            ts = sources_of(study, slate.id)
            study.store.record_pick(session, Pick(slate.id, "pick", ts.index(prefers(*sorted(ts)))))
        study.store.reach(session, "finished")
        Worker(study).run(once=True)


def sources_of(study: Study, slate_id: int) -> list[int]:
    rows = study.store.rows(
        "SELECT t FROM slate_item JOIN sample ON sample.id = sample_id WHERE slate_id = ? ORDER BY position", [slate_id]
    )
    return [row["t"] for row in rows]


def test_the_pool_pairs_all_studies_equally_often_in_either_order(audit: Study):
    slates = list(audit.store.rows("SELECT id, purpose, k, t FROM slate"))
    assert {(row["purpose"], row["k"], row["t"]) for row in slates} == {("audit", 2, 2)} and len(slates) >= 48
    pairs = [tuple(sources_of(audit, row["id"])) for row in slates]
    unordered = Counter(tuple(sorted(pair)) for pair in pairs)
    assert set(unordered) == {(0, 1), (0, 2), (1, 2)} and max(unordered.values()) - min(unordered.values()) <= 1
    assert 0.25 < np.mean([first < second for first, second in pairs]) < 0.75


def test_generations_are_copies_that_sample_as_in_their_studies(audit: Study, studies: list[Path]):
    assert [source.words for source in audit.sources] == [f"{name}, generation 1" for name in "ABC"]
    assert [row.policy for row in audit.store.generations()] == [f"from {name}, generation 1" for name in "ABC"]
    assert faults(audit) == []
    assert {check.verdict for check in self_checks(audit.store, audit.config)} <= {"pass", "not applicable"}
    assert {check.verdict for check in redrawn(audit, np.random.default_rng(0))} == {"pass"}  # C by its own sampler
    seeds = np.arange(3)
    for t, path in enumerate(studies):
        source = Study.open(path)
        assert audit.checkpoint_path(t).read_bytes() == source.checkpoint_path(1).read_bytes()
        assert (load_generator(audit, t).sample(seeds) == load_generator(source, 1).sample(seeds)).all()
        source.store.close()


def test_people_choose_and_nothing_trains(audit: Study):
    rate_all(audit, 5, lambda first, second: second)  # C beats B beats A
    assert [row.t for row in audit.store.generations()] == [0, 1, 2]
    assert queries.count_curation_picks(audit.store, after=0, rule=audit.config.quality.rule) == 0
    audit.store.log("researcher", "retrain_requested")
    audit.store.log("researcher", "simulate_requested", n=20)
    Worker(audit).run(once=True)
    assert audit.store.value("SELECT count(*) FROM slate WHERE purpose != 'audit'") == 0
    assert len(audit.store.generations()) == 3
    evidence = build(audit)
    assert {(rate.t, rate.against) for rate in evidence.win_rates} == {(1, 0), (2, 0), (2, 1)}
    assert all(rate.rate.value == 1 and rate.level == LEVEL / 3 for rate in evidence.win_rates)
    assert [row.t for row in evidence.ranking] == [2, 1, 0] and evidence.comparisons == 3
    assert {claim.verdict for claim in evidence.claims} == {"not applicable"} and not evidence.utility_gains
    assert {claim.reason for claim in evidence.claims} == {
        "an audit of several studies, whose generations don't come from each other"
    }
    assert not any(row.predicted or row.transmission or row.floors for row in evidence.generations)


def test_raters_are_served_blind_over_http_and_the_report_ranks_the_studies(audit: Study):
    rater = Rater(audit)
    turn, shapes, replies = rater.post("session"), set(), ""
    while turn["state"] == "picking":
        shapes |= {(turn["k"], *sorted(item)) for item in turn["items"]}
        replies += json.dumps(turn)
        assert turn["progress"]["t"] == 2 and turn["progress"]["mine"]["total"] == 12
        ts = sources_of(audit, turn["slate_id"])
        turn = rater.pick(turn, position=ts.index(max(ts)))["next"]
    assert turn["state"] == "finished" and shapes == {(2, "alt", "image", "position")}
    assert not any(word in replies for word in ("generation", "sources", 'audit"', "by-", "purpose"))
    done = curate("report", audit.path)
    assert done.returncode == 0 and "In the order of t: A, generation 1; B, generation 1" in " ".join(
        done.stdout.split()
    )
    html, wide = (audit.path / "report.html").read_text(), json.loads((audit.path / "report.json").read_text())
    assert "Which did people like best?" in html and "C, generation 1" in html
    assert [row["t"] for row in wide["ranking"]] == [2, 1, 0] and {row["best"] for row in wide["ranking"]} == {
        "can't tell"
    }


def test_the_command_makes_an_audit_that_simulate_refuses(studies: list[Path], tmp_path: Path):
    done = curate("audit", studies[0], f"{studies[1]}@0", "--out", tmp_path / "new", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert status["sources"] == ["A, generation 1", "B, generation 0"]
    assert [row["policy"] for row in status["generations"]] == ["from A, generation 1", "from B, generation 0"]
    refused = curate("simulate", tmp_path / "new")
    assert refused.returncode and "is an audit of several studies and trains nothing" in " ".join(
        refused.stderr.split()
    )


def test_exports_name_the_source_by_its_number(audit: Study, tmp_path: Path):
    rate_all(audit, 1, lambda first, second: first)
    export(Source(audit.store, "audit"), find_format("long-csv"), tmp_path / "picks.csv")
    with (tmp_path / "picks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["purpose"] for row in rows} == {"audit"} and {row["sample_generation"] for row in rows} == set("012")


def test_only_served_never_simulated_or_replayed(audit: Study, tmp_path: Path):
    with pytest.raises(ValueError, match=r"is an audit of several studies and trains nothing: .*curate serve"):
        simulate(audit, 3, quiet)
    with pytest.raises(ValueError, match=r"is an audit, whose picks train nothing; replay a study"):
        begin(audit, tmp_path / "again", replayed_config(audit.config, [], {}))
    with pytest.raises(ValueError, match=r"is an audit itself; name the studies that it compares"):
        open_entries([str(audit.path), str(audit.path)])


def test_studies_that_cannot_be_compared_are_refused_in_a_sentence(studies: list[Path], make: Make, tmp_path: Path):
    a, b, _ = map(str, studies)
    points = make("moons", name="points")
    simulate(points, 0, quiet)
    unbegun = make("digits", name="unbegun")
    for sources, why in (
        ([a], "compares two or more studies"),
        ([a, a], "stands there twice with generation 1"),
        ([a, b + "@7"], "has generations 0 to 1, and generation 7 was asked for"),
        ([a, str(points.path)], "moons are points, which people can't be shown"),
        ([a, str(unbegun.path)], "has no generation yet"),
        ([a, str(tmp_path / "nowhere")], "no study at"),
    ):
        with pytest.raises(ValueError, match=why):
            open_entries(sources)
    entries = open_entries([a, b])
    for setting, why in (("curation.k=4", "curation.k is 2 in an audit"), ("journey.picks=0", "must be 1 or more")):
        with pytest.raises(ValueError, match=why):
            audit_config(entries, [setting])
    (tmp_path / "there").mkdir()
    with pytest.raises(StudyExistsError, match="something at"):
        make_audit(entries, tmp_path / "there", audit_config(entries), quiet)


def test_samples_of_other_sizes_or_conditions_are_refused_in_a_sentence(tmp_path: Path):
    def entry(name: str, preset: str, *settings: str) -> Entry:
        study = Study.create(tmp_path / name, configure(preset, settings))
        return Entry(study, name, Generation(0, None, "", "", 0, 0, ""))

    pictures = f"data.path={tmp_path}"
    small, large = (entry(f"{n}", "folder", pictures, f"data.size={n}") for n in (16, 32))
    with pytest.raises(ValueError, match=r"makes folder of shape \(3, 16, 16\), and .* folder of shape \(3, 32, 32\)"):
        check_comparable(small, large)
    plain, classes = entry("plain", "digits"), entry("classes", "digits", "data.conditions=classes")
    three = entry("three", "digits", "conditions=[{name='a three', label=3}]")
    for first, second in ((plain, classes), (classes, three), (plain, three)):
        with pytest.raises(ValueError, match="have other conditions, and the samples of a slate share one"):
            check_comparable(first, second)


def test_pairs_of_conditional_studies_share_their_condition(tmp_path: Path, tiny_digits: tuple[str, ...]):
    asked = "conditions=[{name='a three', label=3}, {name='a seven', label=7, weight=3}]"
    paths = []
    for seed in (1, 2):
        settings = [*tiny_digits, asked, "curation.extend=none", "network.width=16"]
        study = Study.create(tmp_path / f"{seed}", configure("digits", settings, seed=seed))
        simulate(study, 0, quiet)
        study.store.close()
        paths.append(study.path)
    audit = audit_of(paths, tmp_path / "audit", "journey.picks=4")
    Worker(audit).run(once=True)
    slates = Counter(row["condition"] for row in audit.store.rows("SELECT condition FROM slate"))
    assert set(slates) == {"a three", "a seven"} and slates["a seven"] > slates["a three"]
    rate_all(audit, 2, lambda first, second: second)
    evidence = build(audit)
    assert evidence.ranking[0].t == 1 and {claim.verdict for claim in evidence.claims} == {"not applicable"}
    checks = [*self_checks(audit.store, audit.config), *redrawn(audit, np.random.default_rng(0))]
    assert {check.verdict for check in checks} <= {"pass", "not applicable"}
    audit.store.close()


def test_the_researchers_page_says_who_is_ahead_and_by_how_much(audit: Study):
    rate_all(audit, 14, lambda first, second: second)  # C is always preferred, and B to A
    shown = panels(audit, CrowdCounts(audit), stored_quick_evidence(audit))
    words = " ".join(re.sub(r"<[^>]+>", " ", shown.head).split())
    assert "Which do people like best? mean win rate of C, generation 1 100%" in words
    assert "C, generation 1 is preferred to every other, and chance is ruled out." in words
    assert "168" in words and "studies compared 3" in words
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in shown.timeline.split('<tr role="row">')[2:]]
    assert [row[0] for row in rows] == ["C,", "B,", "A,"] and "100%" in rows[0] and "0%" in rows[2]
    assert shown.timeline.count("wins") == 3 and shown.timeline.count("loses") == 3
    assert "<figure>" not in shown.curves and "People preferred C, generation 1 to all others." in shown.curves
    assert not shown.trains
    assert "train" not in shown.crowd and "All answers count in the win rates." in shown.crowd
    titles = re.findall(r"<h3>([^<]*)", shown.sheets)
    assert titles == ["A, generation 1", "B, generation 1", "C, generation 1"] and "policy" not in shown.sheets


def test_an_interrupted_audit_leaves_nothing_behind(studies: list[Path], tmp_path: Path):
    entries = open_entries([str(studies[0]), str(studies[0]) + "@0"])
    assert [entry.words for entry in entries] == ["A, generation 1", "A, generation 0"]

    def stop(phase: str, done: int, total: int) -> None:
        if phase == "evaluating" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_audit(entries, tmp_path / "audit", audit_config(entries), stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("studies", [30, pytest.param(400, marks=pytest.mark.slow)])
def test_win_rates_of_all_pairs_cover_the_truth_and_seldom_name_a_wrong_winner(studies: int):
    rng, n, raters = np.random.default_rng(7), 12, 30
    pairs = [(1, 0), (2, 0), (2, 1)]
    counted = Raters(
        sessions=frozenset(map(str, range(raters))), ids=frozenset(range(raters)), planned=raters, kind="fixed n"
    )
    for strengths in ([0.0, 0.0, 0.0], [0.0, 0.5, 1.0]):
        missed, named = 0, 0
        for _ in range(studies):
            own = np.asarray(strengths) + rng.normal(0, 0.5, (raters, 3))  # raters differ
            wins: dict[tuple[str, int, int, int, int], int] = {}
            for rater in range(raters):
                for t, against in pairs:
                    p = 1 / (1 + np.exp(own[rater, against] - own[rater, t]))
                    won = int(rng.binomial(n // 3, p))
                    wins[str(rater), rater, 2, t, against] = won
                    wins[str(rater), rater, 2, against, t] = n // 3 - won
            rates = rates_of(wins, counted, 2, level=LEVEL, audits=True)
            gaps = np.array([strengths[t] - strengths[against] for t, against in pairs])
            truth = [float(np.mean(1 / (1 + np.exp(-(gap + rng.normal(0, 0.5 * 2**0.5, 4_000)))))) for gap in gaps]
            outside = [
                not rate.corrected.low <= value <= rate.corrected.high
                for rate, value in zip(rates, truth, strict=True)
                if rate.corrected
            ]
            missed += any(outside)
            best = next((row.t for row in ranking(rates, 3) if row.best == "holds"), None)
            named += best is not None and (strengths[2] == 0 or best != 2)
        assert missed / studies < 0.05 + 2.6 * (0.05 * 0.95 / studies) ** 0.5  # of all three at once
        assert named / studies <= 0.05


def test_the_ranking_says_no_more_than_the_intervals_do():
    counted = Raters(sessions=frozenset("ab"), ids=frozenset({0, 1}))
    wins = {("a", 0, 2, 1, 0): 3, ("b", 1, 2, 1, 0): 3}
    rows = ranking(rates_of(wins, counted, 2, audits=True), 3)
    assert all(row.best == "can't tell" and row.mean_rate is None for row in rows)  # too few, and C unseen

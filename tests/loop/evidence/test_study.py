"""The evidence of whole studies. The control copies its training set, so that what theory predicts is what happens."""

from collections.abc import Callable, Iterator

import pytest

from data.choice_log import Source
from loop.analysis.report import type_evidence
from loop.evidence.schema import VERSION, Evidence
from loop.evidence.study import build, read, stored_quick_evidence
from loop.evidence.verdicts import type_sentences
from loop.study import Study, configure


@pytest.fixture(scope="session")
def simulated_moons(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...], run) -> Iterator[Study]:
    """A moons study of two simulated generations, to be looked at only."""
    study = run(Study.create(tmp_path_factory.mktemp("moons") / "study", configure("moons", tiny_moons, seed=3)))
    yield study
    study.store.close()


Make = Callable[..., Study]
CONTROL = (
    "network.kind=resample", "data.n=2000", "curation.picks=3000", "evaluation.samples=5000", "reward.gamma=2",
)  # fmt: skip
TYPES = (
    'population=[{name="right", kind="ball", center=[2.0, 0.5], weight=2}, '
    '{name="left", kind="ball", center=[-1.0, 0.5]}]'
)
OPPOSED = (
    'population=[{name="many", kind="linear", center=[0.5, 0.0], weight=3}, '
    '{name="few", kind="linear", center=[-0.5, 0.0]}]'
)
LOOPS = [
    ("mix.lam=inf",),
    ("mix.lam=0.5", "curation.k=4"),
    ("mix.policy=replace", "curation.k=inf"),
    ("mix.policy=accumulate",),
    ("mix.policy=accumulate_subsample", "curation.k=3"),
    ("mix.policy=recent", "mix.recent=2", "curation.k=3"),
    ("mix.policy=replace_grown", "curation.picks=1000"),
    ("mix.lam=inf", "curation.lapse=0.4", "curation.position_bias=[1.0, 0.0]"),
    ("mix.lam=2", "curation.adversarial=0.3"),
    ("mix.lam=inf", TYPES),
    ("mix.lam=inf", "curation.k=1"),
]


@pytest.mark.parametrize("settings", LOOPS, ids=lambda settings: "+".join(settings)[:70])
def test_the_control_goes_where_theory_says(make: Make, run: Callable[..., Study], settings: tuple[str, ...]):
    study = run(make("moons", *CONTROL, *settings), 2)
    evidence = build(study)
    for generation in evidence.generations[1:]:
        predicted, measured = generation.predicted, generation.measured
        assert predicted and generation.transmission and abs(generation.transmission.z) < 4
        assert measured.mean_reward.value == pytest.approx(predicted.mean_reward.value, abs=0.1)
        for share, expected in zip(measured.class_shares, predicted.class_shares, strict=True):
            assert share.value == pytest.approx(expected.value, abs=0.04)
        assert generation.shares_achieved == pytest.approx(generation.shares_asked, abs=0.01)
    assert evidence.distribution and len(evidence.distribution.laws) == 2
    assert all(test.p and test.p > 0.005 for test in evidence.distribution.laws)
    theorem = [claim for claim in evidence.claims if claim.source != "prediction"]
    assert not [claim for claim in evidence.claims if claim.verdict == "fails"]
    plain = "lapse" not in str(settings) and "adversarial" not in str(settings) and TYPES not in settings
    accumulating = "accumulate" in str(settings) or "recent" in str(settings)
    promised = plain and not accumulating and "curation.k=1" not in settings
    assert any(claim.verdict == "holds" for claim in theorem) == promised


def test_transmission_of_the_control_is_one(make: Make, run: Callable[..., Study]):
    many = ("curation.picks=12000", "evaluation.samples=20000", "mix.lam=inf", "generations=2")
    evidence = build(run(make("moons", *CONTROL, *many), 2))
    overall = next(claim for claim in evidence.claims if claim.claim == "transmission")
    assert overall.verdict == "holds" and overall.margin and overall.bound
    assert abs(overall.margin.value / overall.bound) < 0.03 + 2 * overall.margin.se / overall.bound
    assert any("retraining realised" in sentence for sentence in evidence.summary)


def test_every_pick_tells_its_users_type_and_by_which_reward_it_was_made(make: Make, run: Callable[..., Study]):
    study = run(make("moons", *CONTROL, "curation.picks=600", "curation.adversarial=0.4", TYPES), 1)
    rows = [row for row in Source(study.store, "study").rows() if row["picked"]]
    assert {row["rater_type"] for row in rows} == {"right", "left", "adversary"}
    share = sum(row["rater_type"] == "adversary" for row in rows) / len(rows)
    assert share == pytest.approx(0.4, abs=0.08)
    for row in rows:
        if row["rater_type"] == "adversary":
            assert row["operative_reward"] == pytest.approx(-row["reward"])
    assert any(row["operative_reward"] != row["reward"] for row in rows if row["rater_type"] == "left")


def test_it_is_the_same_after_a_trip_through_json_and_is_kept_for_the_page(simulated_moons: Study):
    evidence = build(simulated_moons)
    assert evidence.schema_version == VERSION and Evidence.model_validate_json(evidence.model_dump_json()) == evidence
    assert [generation.t for generation in evidence.generations] == [0, 1, 2]
    quick = stored_quick_evidence(simulated_moons)
    assert quick and [generation.t for generation in quick.generations] == [0, 1, 2]
    assert quick.generations[2].predicted and not quick.generations[2].predicted_from_start
    assert quick.generations[2].measured == evidence.generations[2].measured  # of few samples, the same intervals
    stored = simulated_moons.store.generations()[2].measurements.mean_reward
    assert stored and evidence.generations[2].measured.mean_reward.value == pytest.approx(stored.value)


def test_a_rule_that_was_changed_between_generations_has_no_verdicts_and_says_which_setting(
    copy_of, simulated_moons: Study
):
    study = copy_of(simulated_moons)
    text = (study.path / "study.toml").read_text()
    assert "\nk = 2 " in text
    (study.path / "study.toml").write_text(text.replace("\nk = 2 ", "\nk = 4 "))
    evidence = build(Study.open(study.path))
    by_samples = [claim for claim in evidence.claims if "curation.k is 4, and was 2 at generation 1" in claim.reason]
    assert by_samples and {claim.verdict for claim in by_samples} == {"not applicable"}
    assert all(generation.predicted is None and generation.transmission is None for generation in evidence.generations)


def test_a_study_that_an_older_version_measured_has_no_evidence_and_says_so(copy_of, simulated_moons: Study):
    study = copy_of(simulated_moons)
    with study.store.write() as db:
        db.conn.execute("DELETE FROM evaluation")
    evidence = build(study)
    assert evidence.generations == [] and evidence.claims == [] and evidence.real is None


def test_a_first_generation_alone_is_evidence_of_nothing_yet(make: Make, run: Callable[..., Study]):
    evidence = build(run(make("moons", *CONTROL, "mix.lam=inf"), 0))
    assert len(evidence.generations) == 1 and evidence.generations[0].transmission is None
    assert all(claim.verdict == "not applicable" for claim in evidence.claims)


def test_picks_of_people_have_no_known_reward(copy_of, simulated_digits: Study):
    study = copy_of(simulated_digits)
    with study.store.write() as db:
        db.conn.execute("UPDATE rater SET kind = 'human'")
        db.conn.execute(
            "UPDATE generation SET metrics_json = json_set(metrics_json, '$.curated.human', n_curated, "
            "'$.curated.sim', 0) WHERE t > 0"
        )
    evidence = build(study)
    assert {claim.verdict for claim in evidence.claims} == {"not applicable"}
    assert all(generation.predicted is None and generation.transmission is None for generation in evidence.generations)


def test_each_type_of_users_has_its_own_gain_and_a_minority_may_lose(make: Make, run: Callable[..., Study]):
    study = run(make("moons", *CONTROL, "reward.gamma=1", "mix.lam=inf", OPPOSED), 1)
    many, few = type_evidence(read(study.store, study.config))
    assert (many.name, many.share, few.share) == ("many", 0.75, 0.25)
    for type_ in (many, few):
        row = type_.generations[1]
        assert row.predicted_reward and row.predicted_gain_w and row.gain_w and row.own_picks and row.other_picks
        assert row.mean_reward.value == pytest.approx(row.predicted_reward.value, abs=0.1)
        assert row.own_picks > 0 > row.other_picks and row.real_data == pytest.approx(0, abs=1e-9)
        parts = row.own_picks + row.other_picks
        assert parts == pytest.approx(row.predicted_gain_w.value)
    assert many.generations[1].gain_w and many.generations[1].gain_w.low > 0
    assert few.generations[1].gain_w and few.generations[1].gain_w.high < 0
    sentences = type_sentences([many, few])
    assert "fall at no generation" in sentences[0]
    assert "fall at generation 1" in sentences[1] and "the others'" in sentences[1]


def test_users_who_are_alike_are_no_types(simulated_moons: Study):
    assert type_evidence(read(simulated_moons.store, simulated_moons.config)) == []

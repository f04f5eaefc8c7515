"""Learners: their population laws against simulation, what they train on, and what is claimed of them."""

import json

import numpy as np
import pytest

from data.store import queries
from loop.evidence.claims import Margin, examine
from loop.evidence.study import analyse, build, described_loop, read
from loop.learners import curated_set
from loop.replay import replayed_config
from loop.selfcheck.study import self_checks
from loop.study import Study, configure
from loop.theory.population import BestOfK, Curators, Tilt, kl
from loop.user_types import target
from model.luce import LuceRule

REWARDS = np.array([0.0, 0.0, 0.5, 1.0, 2.0, 2.0])
MASSES = np.array([0.3, 0.1, 0.2, 0.2, 0.15, 0.05])


def test_best_of_k_is_the_law_of_the_best_and_equals_share():
    rng = np.random.default_rng(0)
    drawn = rng.choice(6, size=(200_000, 3), p=MASSES)
    best = REWARDS[drawn].max(axis=1, keepdims=True)
    ties = rng.random(drawn.shape) * (REWARDS[drawn] == best)
    winners = drawn[np.arange(len(drawn)), ties.argmax(axis=1)]
    counted = np.bincount(winners, minlength=6) / len(winners)
    law = BestOfK(3).pick(REWARDS, MASSES)
    np.testing.assert_allclose(law, counted, atol=0.005)
    fine = np.linspace(0, 1, 2_000)
    uniform = np.full(2_000, 1 / 2_000)
    assert kl(BestOfK(4).pick(fine, uniform), uniform) == pytest.approx(np.log(4) - 3 / 4, abs=1e-3)
    both = BestOfK(3).pick(REWARDS, np.stack([MASSES, MASSES[::-1]], axis=1))
    np.testing.assert_allclose(both[:, 0], law)


def test_reward_weighting_at_one_is_curation_at_infinity():
    infinite = Curators.alike(LuceRule("inf")).pick(REWARDS, MASSES)
    np.testing.assert_allclose(Tilt(1.0).pick(REWARDS, MASSES), infinite)
    tilted = MASSES * np.exp(0.5 * REWARDS)
    np.testing.assert_allclose(Tilt(0.5).pick(REWARDS, MASSES), tilted / tilted.sum())


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, tiny_moons, run):
    """A moons study of one generation by each learner, pure loop."""
    made: dict[str, Study] = {}
    for kind in ("reward_weighted", "best_of_k", "dpo", "luce_dpo"):
        config = configure("moons", [*tiny_moons, "curation.k=4", f"learner.kind={kind}"], seed=4)
        made[kind] = run(Study.create(tmp_path_factory.mktemp("learners") / kind, config), 1)
    yield made
    for study in made.values():
        study.store.close()


def test_each_learner_trains_is_predicted_and_passes_the_checks(studies: dict[str, Study]):
    for kind, study in studies.items():
        evidence = build(study)
        latest = evidence.generations[-1]
        assert latest.predicted is not None and latest.transmission is not None
        assert latest.predicted.mean_reward.value > latest.measured.mean_reward.value - 5
        claims = {claim.claim: claim for claim in evidence.claims}
        assert "the learner is" in claims["C1"].reason, kind
        loop = described_loop(analyse(read(study.store, study.config)))
        notes = {margin.note for margin in examine(loop) if isinstance(margin, Margin)}
        assert all(note.startswith("the gap to p exp(r / 1)") == ("dpo" in kind) for note in notes) and notes
        assert {check.verdict for check in self_checks(study.store, study.config)} <= {"pass", "not applicable"}


def test_best_of_k_and_reward_weighting_train_on_what_they_say(studies: dict[str, Study]):
    for kind in ("best_of_k", "reward_weighted"):
        study = studies[kind]
        turn = study.store.generations()[1].measurements.turn
        assert turn is not None
        picks = list(queries.curation_picks(study.store))
        slates: dict[int, list[float]] = {}
        for row in queries.slate_samples(study.store, [pick["slate_id"] for pick in picks]):
            slates.setdefault(row["slate_id"], []).append(row["reward"])
        learned = curated_set(study, turn, None)  # type: ignore[arg-type] - nobody's utilities are fitted
        if kind == "best_of_k":
            assert sorted(learned.rewards) == sorted(max(rewards) for rewards in slates.values())
            assert learned.weights is None and len(learned.x) == len(picks)
        else:
            assert (
                sorted(learned.rewards) == sorted(reward for rewards in slates.values() for reward in rewards)
                and learned.weights is not None
            )
            ratio = learned.weights / np.exp(learned.rewards)
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_a_replay_may_change_the_learner(make, tiny_moons):
    source = configure("moons", [*tiny_moons, "curation.k=4", "mix.lam=1"])
    config = replayed_config(source, [], {"learner.kind": "dpo"})
    assert config.learner.kind == "dpo" and config.policy.is_pure and config.curation.extend == "none"
    assert replayed_config(source, ["learner.tau=2"], {"learner.kind": "reward_weighted"}).mix.lam == 1.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["learner.kind=dpo", "mix.lam=1"], "set mix.lam = inf"),
        (["learner.kind=best_of_k", "curation.k=inf"], "set curation.k to 2 or more"),
        (["learner.kind=luce_dpo", "network.kind=resample"], "needs a flow"),
        (["learner.kind=dpoo"], "learner.kind"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: list[str], words: str):
    with pytest.raises(ValueError, match=words):
        configure("moons", settings)


def test_users_who_lapse_leave_no_law_to_dpo():
    lapsing = configure("moons", ["learner.kind=dpo", "curation.lapse=0.1"])
    assert target(lapsing) is None and target(configure("moons", ["learner.kind=dpo", "learner.beta=2"])) == Tilt(0.5)
    assert json.loads(json.dumps(lapsing.as_json()))["learner"]["kind"] == "dpo"

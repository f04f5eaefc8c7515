"""Simulated users at the level of single picks: frequencies against the exact operator, for every kind of user."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import chisquare

from loop.config import StudyConfig
from loop.study import configure
from loop.user_types import ADVERSARY, are_alike, curators, luce_rule, user_types
from loop.users import choose, plain

TWO_TYPES = 'population=[{name="near", kind="ball", weight=3}, {name="far", kind="ball", weight=1, gamma=2}]'
USERS = [
    (),
    ("curation.k=1",),
    ("curation.k=4",),
    ("curation.k=inf",),
    ("curation.lapse=0.3",),
    ("curation.position_bias=[0.0, 1.5]",),
    ("curation.k=3", "curation.lapse=0.1", "curation.position_bias=[0.5, 0.0, -1.0]"),
    ("curation.adversarial=0.25",),
    (TWO_TYPES,),
    ("curation.k=inf", "curation.lapse=0.2", TWO_TYPES, "curation.adversarial=0.5"),
]


def config_of(settings: tuple[str, ...]) -> StudyConfig:
    return configure("moons", list(settings))


@pytest.mark.parametrize("settings", USERS, ids=lambda settings: "+".join(settings)[:60] or "alike")
def test_what_users_pick_is_what_the_operator_says(settings: tuple[str, ...]):
    config, rng = config_of(settings), np.random.default_rng(7)
    p, types = np.array([0.15, 0.25, 0.4, 0.2]), user_types(config)
    rewards = rng.normal(scale=1.5, size=(len(types), len(p)))
    n, k = 60_000, config.curation.k
    per_pick = 4 if k == "inf" else k
    at = rng.choice(len(p), size=n * per_pick, p=p)
    found = choose(rewards[:, at], n, config, rng)
    exact = n * curators(config).pick(rewards, p)
    assert exact.sum() == pytest.approx(n)
    assert chisquare(np.bincount(at[found.winners], minlength=len(p)), exact).pvalue > 1e-4
    if len(types) > 1:
        assert chisquare(np.bincount(found.types), [n * type_.share for type_ in types]).pvalue > 1e-4
    assert found.lapsed.mean() == pytest.approx(config.curation.lapse, abs=0.01)
    wrong = n * curators(plain(config)).pick(rewards[0], p)
    if luce_rule(config) != luce_rule(plain(config)) or len(types) > 1:
        assert chisquare(np.bincount(at[found.winners], minlength=len(p)), wrong).pvalue < 1e-6, "the test has no power"


def test_positions_are_favoured_as_declared_when_all_samples_are_alike():
    config = config_of(("curation.k=3", "curation.position_bias=[1.0, 0.0, 0.0]"))
    found = choose(np.zeros((1, 90_000)), 30_000, config, np.random.default_rng(0))
    weights = np.exp([1.0, 0.0, 0.0])
    assert chisquare(np.bincount(found.positions, minlength=3), 30_000 * weights / weights.sum()).pvalue > 1e-4


def test_types_have_shares_and_adversaries_come_off_them_all():
    types = user_types(config_of((TWO_TYPES, "curation.adversarial=0.2")))
    assert [(t.name, round(t.share, 6)) for t in types] == [("near", 0.6), ("far", 0.2), (ADVERSARY, 0.2)]
    assert are_alike(config_of(())) and not are_alike(config_of(("curation.adversarial=0.1",)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('population=[{name="a"}, {name="a"}]', "names must differ"),
        ('population=[{name="adversary"}]', "names must differ"),
        ('population=[{name="a", weight=0}]', "weight"),
        ('population=[{name="a", gama=3}]', "gama"),
        ("population=[{weight=1}]", "name"),
        ("curation.adversarial=2", "adversarial"),
        ("curation.position_bias=[1, 2, 3]", "position_bias has 3 entries"),
    ],
)
def test_users_that_make_no_sense_are_refused(setting: str, message: str):
    with pytest.raises(ValueError, match=message):
        config_of((setting,))


def test_study_toml_keeps_every_kind_of_user():
    from loop.config import parse

    for settings in product((TWO_TYPES, "population=[]"), ("curation.adversarial=0.2", "mix.policy=accumulate")):
        config = configure("moons", ["curation.position_bias=[0.5, 0.25]", *settings])
        assert parse(config.to_toml()) == config


def test_users_of_best_worst_slates_pick_the_best_by_luces_rule_and_another_as_the_worst():
    config = config_of(("slates.kind=best_worst", "curation.k=3", "curation.lapse=0.2"))
    rewards, n = np.array([0.0, 1.0, -0.5]), 60_000
    found = choose(np.tile(rewards, n)[None], n, config, np.random.default_rng(1))
    best = 0.2 / 3 + 0.8 * np.exp(rewards) / np.exp(rewards).sum()
    assert chisquare(np.bincount(found.positions, minlength=3), n * best).pvalue > 1e-4
    worst = found.worst[found.positions == 1]
    given = 0.1 + 0.8 * np.exp([0.0, 0.5]) / np.exp([0.0, 0.5]).sum()
    assert chisquare(np.bincount(worst, minlength=3)[[0, 2]], len(worst) * given).pvalue > 1e-4
    assert (found.worst != found.positions).all()
    assert found.lapsed.mean() == pytest.approx(1 - 0.8**2, abs=0.01)
    assert choose(np.zeros((1, 6)), 2, plain(config), np.random.default_rng(0)).worst is None


def test_a_tie_trains_the_sample_that_the_slates_seed_says():
    config = config_of(("slates.ties=true", "curation.k=2", "curation.tie_theta=3"))
    found = choose(np.zeros((1, 8_000)), 4_000, config, np.random.default_rng(2))
    assert found.tied.mean() == pytest.approx(0.5, abs=0.03)
    seeds = np.random.default_rng(3).integers(2**63, size=4_000).tolist()
    broken = found.with_ties_broken(seeds)
    tied = found.tied
    assert (broken.positions[tied] == [seed & 1 for seed, is_tie in zip(seeds, tied, strict=True) if is_tie]).all()
    assert (broken.positions[~tied] == found.positions[~tied]).all()
    assert (broken.winners == 2 * np.arange(4_000) + broken.positions).all()
    assert broken.positions[tied].mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("slates.ties=true", "curation.k=4"), "slates.ties is for pairs: set curation.k to 2, not 4"),
        (("slates.ties=true", "curation.k=inf"), "set curation.k to 2, not inf"),
        (("slates.kind=best_worst", "curation.k=2"), "set curation.k to 3 or more"),
        (("slates.kind=best_worst", "curation.k=inf"), "set curation.k to 3 or more"),
        (("slates.kind=best_worst", "slates.ties=true", "curation.k=2"), "set curation.k to 3 or more"),
        (("curation.tie_theta=0.5",), "tie_theta"),
        (("slates.kind=worst",), "slates.kind"),
    ],
)
def test_judgements_without_a_meaning_are_refused(settings: tuple[str, ...], words: str):
    with pytest.raises(ValueError, match=words):
        config_of(settings)

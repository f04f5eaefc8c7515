"""Two studies in one market: the Gaussian oracle, what is exchanged, the backfire, and runs that go on."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from loop.market import MarketResult, check_pair, exchanged, result, run
from loop.raters.journey import worker_status
from loop.simulate import simulate
from loop.study import MARKET, Study, configure
from loop.theory.toy_loops import GaussianSide, MarketDraws, backfire, market, market_of_picks, tail
from loop.training_data import CuratedSet

SETTINGS = (
    "network.kind=gaussian", "reward.kind=linear", "reward.gamma=1", 'curation.k="inf"', "curation.picks=1500",
    "data.n=1500", "evaluation.samples=1500", "mix.lam=1",
)  # fmt: skip


def side(taste: tuple[float, float], lam: float = math.inf) -> GaussianSide:
    return GaussianSide(np.zeros(2), np.diag([1.0, 0.5]), np.array(taste), lam, np.zeros(2), np.eye(2))


def test_without_exchange_each_loop_is_tilted_by_its_own_reward_alone():
    first, second = side((0.5, 1.0)), side((-0.3, 0.0))
    rewards = market(first, second, 0.0, 3)
    gains = [float(some.taste @ some.covariance @ some.taste) for some in (first, second)]
    assert rewards == pytest.approx(np.arange(4)[:, None] * gains)


def test_one_round_has_the_moments_of_the_mixture():
    rng, first, second = np.random.default_rng(0), side((0.5, 1.0), 1.0), side((-1.0, 0.2), 1.0)
    means = [some.picked[0] for some in (first, second)]
    next_ = first.fitted(first.picked, second.picked, 0.3)
    n = 400_000
    parts = rng.choice(3, n, p=[0.5, 0.35, 0.15])
    centres = np.stack([np.zeros(2), *means])[parts]
    spreads = np.sqrt(np.stack([np.ones(2), np.array([1, 0.5]), np.array([1, 0.5])]))[parts]
    x = centres + spreads * rng.standard_normal((n, 2))
    assert next_.mean == pytest.approx(x.mean(axis=0), abs=0.01)
    assert next_.covariance == pytest.approx(np.cov(x.T), abs=0.02)


def test_finitely_many_picks_are_near_the_exact_rewards_and_studies_of_one_seed_share_their_noise():
    first, second = side((0.5, 0.2)), side((0.4, 0.2))
    exact, draws = market(first, second, 0.3, 2), MarketDraws((300, 300), (8, 8), chunk=200)
    apart, together = (
        market_of_picks(first, second, 0.3, 2, some, 60) for some in (draws, replace(draws, shared=True))
    )
    for mean, spread in (apart, together):
        assert np.abs(mean - exact)[1:] == pytest.approx(0, abs=0.03) and (spread[1:] > 0.01).all()
    assert (together[1][1:] > 1.1 * apart[1][1:]).all()  # what one draws too high the other does, too


def test_an_exact_law_that_runs_away_is_named_where_too_few_samples_carry_its_picks():
    strong, draws = side((2.5, 0.0)), MarketDraws((1000, 1000), (8, 8), chunk=2500)
    sizes = tail(strong, side((-2.0, 0.0)), 0.5, 30, draws)
    assert sizes[0] == pytest.approx(8000 * math.exp(-6.25)) and sizes[1] < 1e-3 and sizes[-1] == 0
    assert not np.isfinite(market(strong, side((-2.0, 0.0)), 0.5, 30)[-1]).any()
    assert np.isfinite(market_of_picks(strong, side((-2.0, 0.0)), 0.5, 8, draws, 10)[0]).all()


def test_more_curation_of_one_lowers_its_reward_where_much_is_exchanged_and_tastes_are_opposite():
    first, second = side((0.6, 0.0)), side((-1.2, 0.0))
    assert backfire(first, second, 0.0, 4) > 0
    assert backfire(first, second, 0.5, 4) < 0


def test_more_curation_of_one_lowers_its_reward_where_the_other_likes_the_same_more_strongly():
    first, second = side((0.3, 0.0)), side((1.1, 0.0))
    changes = [backfire(first, second, 0.3, t) for t in (1, 3, 7)]
    assert changes[0] > 0 > changes[-1] and backfire(first, second, 0.0, 7) > 0
    measured = [market(some, second, 0.3, 7)[-1, 0] / some.taste[0] for some in (first, side((0.6, 0.0)))]
    assert measured[1] < measured[0]


def test_what_is_exchanged_comes_up_by_its_share_and_is_rewarded_by_ones_own_taste():
    class Judged:
        class evaluator:  # noqa: N801
            class scorer:  # noqa: N801
                @staticmethod
                def score(x: torch.Tensor):
                    return type("Scores", (), {"reward": 10 + x[:, 0].double().numpy()})

    own = CuratedSet(torch.zeros(4, 2), np.zeros(4), {"sim": 4})
    other = CuratedSet(torch.ones(6, 2), np.full(6, 99.0), {"sim": 6})
    joined = exchanged(other, 0.3, Judged, own)  # pyright: ignore[reportArgumentType]
    assert joined.weights is not None and joined.weights[4:].sum() == pytest.approx(0.3)
    assert joined.rewards.tolist() == [0.0] * 4 + [11.0] * 6 and joined.counts == {"sim": 4}
    assert exchanged(other, 0.0, Judged, own) is own  # pyright: ignore[reportArgumentType]
    assert len(exchanged(other, 1.0, Judged, own).x) == 6  # pyright: ignore[reportArgumentType]


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., tuple[Study, Study]]:
    """A function: two new studies of points whose users like opposite directions."""

    def make(*more: str, name: str = "", tastes: tuple[str, str] = ("[0.4,0.0]", "[-1.5,0.0]")) -> tuple[Study, Study]:
        studies = []
        for i, taste in enumerate(tastes):
            config = configure("moons", [*SETTINGS, f"reward.center={taste}", *more], seed=i)
            studies.append(Study.create(tmp_path / f"{name}{'ab'[i]}", config))
        return studies[0], studies[1]

    return make


def silent(phase: str, done: int, total: int) -> None:
    """Reports nothing."""


def rounds(outcome: MarketResult) -> np.ndarray:
    """(t, 2) measured rewards."""
    return np.array([row.rewards for row in outcome.rounds])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exchange", "last", "mild_taste", "strong_taste", "other", "settings"),
    [
        (0.7, 4, 0.4, 1.2, -1.5, ()),
        (0.3, 7, 0.3, 0.6, 1.1, ("mix.lam=inf", "curation.picks=5000", "data.n=5000")),
    ],
    ids=["opposite tastes", "one direction"],
)
def test_measured_rewards_are_within_three_standard_errors_of_the_oracle_at_every_round(
    pair, exchange: float, last: int, mild_taste: float, strong_taste: float, other: float, settings: tuple[str, ...]
):
    first, second = pair(*settings, tastes=(f"[{mild_taste},0.0]", f"[{other},0.0]"))
    run(first, second, exchange, last, silent)
    mild = result(first, second, exchange)
    assert not mild.no_oracle and len(mild.rounds) == last + 1
    assert all(row.z and max(map(abs, row.z)) < 3 for row in mild.rounds)
    first, second = pair(*settings, name="strong-", tastes=(f"[{strong_taste},0.0]", f"[{other},0.0]"))
    run(first, second, exchange, last, silent)
    strong = result(first, second, exchange)
    assert all(row.z and max(map(abs, row.z)) < 3 for row in strong.rounds)
    assert strong.backfires and strong.backfires[0] < 0
    ends = [outcome.rounds[-1] for outcome in (mild, strong)]
    (before, after), exact = (row.rewards[0] for row in ends), [row.exact and row.exact[0] for row in ends]
    assert exact[0] and exact[1] and exact[1] / strong_taste < exact[0] / mild_taste  # as predicted, ...
    # ... curating more strongly lowers the reward by the same taste
    assert after / strong_taste < before / mild_taste - 0.1


def test_a_run_that_was_stopped_between_the_two_goes_on_to_the_same_weights(pair):
    def weights(studies: tuple[Study, Study]) -> list[str]:
        return [row.checkpoint_sha256 for study in studies for row in study.store.generations()]

    whole, parted = pair(name="whole-"), pair(name="parted-")
    run(whole[0], whole[1], 0.3, 2, silent)

    class StoppedError(Exception):
        pass

    published, commands = [], set()

    def stopping(phase: str, done: int, total: int) -> None:
        if phase == "publishing" and done == total:
            published.append(phase)
            commands.update(worker_status(study.store)["command"] for study in parted)
            if len(published) == 3:  # the first study has generation 2, the second has generation 1
                raise StoppedError

    with pytest.raises(StoppedError):
        run(parted[0], parted[1], 0.3, 2, stopping)
    assert commands == {"market"}  # as the pages of both name what runs
    latest = [study.store.latest_cut() for study in parted]
    assert [cut and cut[0] for cut in latest] == [2, 1]
    run(parted[0], parted[1], 0.3, 2, silent)
    assert weights(parted) == weights(whole)


def test_studies_that_cannot_share_a_market_are_refused_and_nothing_is_changed(pair, tmp_path: Path):
    first, second = pair()
    with pytest.raises(ValueError, match="two studies"):
        check_pair(first, first, 0.3)
    with pytest.raises(ValueError, match="share from 0"):
        check_pair(first, second, 1.3)
    digits = Study.create(tmp_path / "digits", configure("digits", []))
    with pytest.raises(ValueError, match="same kind of data"):
        check_pair(first, digits, 0.3)
    first.store.set_status(MARKET, **{"with": "../elsewhere", "exchange": 0.1})
    with pytest.raises(ValueError, match=r"in a market with .*elsewhere already"):
        check_pair(first, second, 0.3)
    assert not second.store.status(MARKET)


def test_studies_in_a_market_go_on_together_alone_and_may_be_moved_together(pair, tmp_path: Path):
    first, second = pair("curation.picks=200", "data.n=200", "evaluation.samples=200")
    run(first, second, 0.3, 1, silent)
    with pytest.raises(ValueError, match=r"goes on with both: `curate market .*a .*b --exchange 0\.3`"):
        simulate(first, 2, silent)
    with pytest.raises(ValueError, match="goes on with both"):
        second.check_people_pick()
    for study in (first, second):
        study.store.close()
    (tmp_path / "moved").mkdir()
    moved = [Study.open(study.path.rename(tmp_path / "moved" / study.path.name)) for study in (first, second)]
    run(moved[0], moved[1], 0.3, 2, silent)
    outcome = result(moved[0], moved[1], 0.3)
    assert len(outcome.rounds) == 3 and outcome.backfires_at == 2 and outcome.few_from is None
    assert all(row.expected and row.spread and row.z for row in outcome.rounds)

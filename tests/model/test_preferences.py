"""Learning from slates: the surrogate of a log-likelihood against exact densities, the loss, and what is drawn."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from model import preferences
from model.config import LearnerConfig, NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.interfaces import Rows
from model.preferences import Preferences, anchor_loss, preference_loss, squared_errors, surrogate


def field(mean: float, std: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The exact velocity that carries a standard normal to a normal, for independent pairs, in one dimension."""

    def v(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        t = t.view(-1, 1)
        variance = (1 - t) ** 2 + (t * std) ** 2
        return mean + (t * std**2 - (1 - t)) / variance * (x - t * mean)

    return v


def test_differences_of_the_surrogate_are_log_ratios_of_densities():
    x, n = torch.tensor([-1.5, 0.0, 1.0]), 200_000
    t = ((torch.arange(n) + 0.5) / n * preferences.LATEST).view(1, n)
    x0 = torch.randn(1, n, 1, generator=torch.Generator().manual_seed(0))
    parent, now = (surrogate(field(*law), x.view(1, 3, 1), t, x0)[0] for law in ((0.0, 1.0), (0.5, 0.8)))
    exact = Normal(0.5, 0.8).log_prob(x) - Normal(0.0, 1.0).log_prob(x)
    torch.testing.assert_close(parent - now, exact, atol=0.02, rtol=0)


def test_the_loss_is_luces_and_of_two_the_logistic():
    margins = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.0, 0.0]])
    expected = -(margins[:, 0] - margins.logsumexp(1)).mean()
    torch.testing.assert_close(preference_loss(margins), expected)
    pairs = margins[:, :2]
    torch.testing.assert_close(preference_loss(pairs), -torch.sigmoid(pairs[:, 0] - pairs[:, 1]).log().mean())


class Slates:
    """Slates whose items say where they stand: x = 10 * slate + position."""

    k, conditions = 3, None
    won = np.array([2, 0, 1, 1])
    kinds, generations = np.full(4, "sim"), np.zeros(4, dtype=np.int64)

    def __len__(self) -> int:
        return 4

    def read(self, index: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(10.0 * index[:, None] + np.arange(3)).float()[..., None].expand(-1, -1, 2)


@pytest.mark.parametrize(("kind", "shown"), [("dpo", 2), ("luce_dpo", 3)])
def test_the_picked_item_stands_first_and_times_are_stratified(kind: str, shown: int):
    learner = LearnerConfig(kind=kind, draws=4)  # type: ignore[arg-type]
    objective = Preferences(Slates(), torch.nn.Identity(), learner, TrainConfig(batch_size=600))
    batch = next(objective.batches(1, np.random.default_rng(0)))
    slate, position = (batch.items[..., 0] // 10).long(), (batch.items[..., 0] % 10).long()
    assert batch.items.shape[1:] == (shown, 2) and len(batch.items) == 2 * 600 // (shown * 4)
    assert (slate == slate[:, :1]).all() and (position[:, 0].numpy() == Slates.won[slate[:, 0]]).all()
    assert all(len(set(row)) == shown for row in position.tolist())
    assert {row[1] for row, s in zip(position.tolist(), slate[:, 0].tolist(), strict=True) if s == 0} == {0, 1}
    strata = (batch.t / preferences.LATEST * 4).long().sort(1).values
    assert (strata == torch.arange(4)).all() and batch.x0.shape == (len(batch.items), 4, 2)


def test_the_anchor_is_the_error_on_the_law_that_the_flow_claims():
    n, draws, rng = 40_000, 32, torch.Generator().manual_seed(0)
    t = (torch.argsort(torch.rand(n, draws, generator=rng)) + torch.rand(n, draws, generator=rng)) / draws
    t, x0 = t * preferences.LATEST, torch.randn(n, draws, 1, generator=rng)
    parent, flow = field(0.0, 1.0), field(0.5, 0.8)
    x = torch.randn(n, 1, 1, generator=rng)
    weighted = anchor_loss(squared_errors(flow, x, t, x0)[:, 0], squared_errors(parent, x, t, x0)[:, 0], t)
    own = squared_errors(flow, 0.5 + 0.8 * x, t, x0)[:, 0]
    assert weighted == pytest.approx(float(own.mean()), rel=0.05)
    same = anchor_loss(own, own, t)
    assert same == pytest.approx(float(own.mean()), rel=1e-5)


class Drawn(Rows):
    """The parent's samples in slates of four, of which users with the reward x[0] picked; a training set, too."""

    k = 4

    @property
    def slates(self) -> "Drawn":
        return self

    @property
    def won(self) -> np.ndarray:
        noise = np.random.default_rng(1).gumbel(size=(len(self), self.k))
        return (self.x[..., 0].numpy() + noise).argmax(1)

    def read(self, index: np.ndarray) -> torch.Tensor:
        return self.x[torch.from_numpy(index)]


def test_luce_dpo_reaches_the_tilted_law_of_a_normal_parent_trained_by_optimal_transport():
    train = TrainConfig(pretrain_steps=400, finetune_steps=400, batch_size=128, pair_size=128, ema_decay=0.98,
                        pretrain_lr=4e-3, finetune_lr=2e-3)  # fmt: skip
    data = Rows(torch.randn(5_000, 2, generator=torch.Generator().manual_seed(0)))
    flow = Flow.build((2,), NetworkConfig(width=32, depth=2), train, SamplingConfig(steps=6, batch_size=512))
    parent = flow.fit(data, None, 0)
    slates = Drawn(parent.sample(np.arange(8_000)).unflatten(0, (2_000, 4)))
    learner, shifts = LearnerConfig(kind="luce_dpo", beta=2.0), []
    before = parent.sample(np.arange(10**6, 10**6 + 4_000))
    for settings in ({}, {"reference_steps": 0, "anchor": 0.0}):
        child = parent.fit(slates, parent, 3, learner=learner.model_copy(update=settings))
        after = child.sample(np.arange(10**6, 10**6 + 4_000))
        shifts.append((after - before).mean(0))
        if not settings:
            assert after.std(0) == pytest.approx(before.std(0), abs=0.12)  # tilting moves a normal law and no more
    wanted = float(before[:, 0].var()) / 2
    assert shifts[0].tolist() == pytest.approx([wanted, 0.0], abs=0.12)
    assert abs(shifts[1][0] - wanted) > abs(shifts[0][0] - wanted)

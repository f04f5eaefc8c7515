"""Weights side by side are the network's, and train as they would apart."""

import pytest
import torch
from torch import nn

from model.flat import ROW, Flat, clip


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 5, 3), nn.SiLU(), nn.Conv2d(5, 7, 3), nn.Flatten(), nn.Linear(7, 2))
    return made.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def loss(of: nn.Module) -> torch.Tensor:
    return of(torch.linspace(-1, 1, 2 * 3 * 25).reshape(2, 3, 5, 5)).square().sum()


def test_the_network_keeps_its_weights_and_their_layout():
    made, apart = network(), network()
    flat = Flat(made)
    assert len(flat.weights) % ROW == 0
    for p, own in zip(made.parameters(), apart.parameters(), strict=True):
        assert torch.equal(p, own) and p.stride() == own.stride()
        assert p.data_ptr() % 64 == flat.weights.data_ptr() % 64
    assert flat.weights.sum().item() == pytest.approx(sum(p.sum().item() for p in apart.parameters()), abs=1e-5)


@pytest.mark.parametrize("most", [1e-3, 1e9])
def test_it_trains_as_it_would_apart(most: float):
    made, apart = network(), network()
    flat = Flat(made)
    grad = flat.weights.grad = flat.gradients(made)
    one = torch.optim.AdamW([flat.weights], lr=1e-2, fused=True)
    other = torch.optim.AdamW(apart.parameters(), lr=1e-2, fused=True)
    for _ in range(4):
        grad.zero_()
        loss(made).backward()
        clip(grad, most)
        one.step()
        other.zero_grad()
        loss(apart).backward()
        nn.utils.clip_grad_norm_(apart.parameters(), most)
        other.step()
    for p, own in zip(made.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(p, own, rtol=1e-5, atol=1e-6)

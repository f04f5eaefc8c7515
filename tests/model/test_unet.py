"""The UNet with torch's own group norm and attention against torchcfm's own, in float32 and bfloat16."""

import copy

import pytest
import torch
from torchcfm.models.unet.unet import UNetModelWrapper

from model.compute import autocast
from model.config import NetworkConfig
from model.networks import Patched, build_network


def both(side: int, width: int, depth: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """torchcfm's UNet and ours with the same weights, none of which is zero."""
    torch.manual_seed(0)
    heads = 64 if (width if side == 16 else 2 * width) % 64 == 0 else 32
    theirs = UNetModelWrapper(
        dim=(3, side, side), num_res_blocks=depth, num_channels=width, channel_mult=[1, 2, 2, 2], num_heads=4,
        num_head_channels=heads, attention_resolutions="16", dropout=0.1,
    ).eval()  # fmt: skip
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    ours = build_network((3, side, side), NetworkConfig(kind="unet", width=width, depth=depth, dropout=0.1)).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize(("side", "width", "depth"), [(32, 32, 1), (16, 32, 2), (32, 64, 1)])
@torch.inference_mode()
def test_the_velocity_is_torchcfms(side: int, width: int, depth: int):
    theirs, ours = both(side, width, depth)
    t, x = torch.rand(3), torch.randn(3, 3, side, side)
    torch.testing.assert_close(ours(t, x), theirs(t, x), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_bfloat16_gives_the_same_to_its_precision():
    _, ours = both(16, 32, 1)
    t, x = torch.rand(4), torch.randn(4, 3, 16, 16)
    exact = ours(t, x)
    with autocast("bf16"):
        found = ours(t, x).float()
    assert (found - exact).norm() / exact.norm() < 0.02


def test_gradients_are_torchcfms():
    theirs, ours = both(16, 32, 1)
    t, x = torch.rand(2), torch.randn(2, 3, 16, 16)
    for network in (theirs, ours):
        network(t, x).square().mean().backward()
    for (name, a), b in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_a_copy_works_with_its_own_weights():
    _, ours = both(16, 32, 1)
    copied = copy.deepcopy(ours)
    t, x = torch.rand(2), torch.randn(2, 3, 16, 16)
    before = ours(t, x)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert torch.equal(copied(t, x), before) and not torch.equal(ours(t, x), before)


@torch.inference_mode()
def test_a_patched_unet_sees_each_square_of_pixels_as_one_place():
    network = build_network((3, 32, 32), NetworkConfig(kind="unet", width=32, depth=1, patch=2)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    t, x = torch.rand(2), torch.randn(2, 3, 32, 32)
    squares = torch.cat([x[:, c : c + 1, i::2, j::2] for c in range(3) for i in range(2) for j in range(2)], 1)
    assert isinstance(network, Patched)
    inner = network.unet(t, squares)
    velocity = network(t, x)
    for c in range(3):
        for i in range(2):
            for j in range(2):
                torch.testing.assert_close(velocity[:, c, i::2, j::2], inner[:, 4 * c + 2 * i + j])


def test_sides_that_squares_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 16, not 24; set data\.size .* or network\.patch=1"):
        build_network((3, 24, 24), NetworkConfig(kind="unet", width=32, depth=1, patch=2))

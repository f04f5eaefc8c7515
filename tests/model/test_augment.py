"""The mild augmentation of real images."""

import numpy as np
import pytest
import torch

from model.training import SHIFT_PIXELS, augment


def images(n: int = 64, size: int = 8) -> torch.Tensor:
    rng = np.random.default_rng(0)
    x = torch.full((n, 1, size, size), -1.0)
    x[:, :, 2:-2, 2:-2] = torch.from_numpy(rng.uniform(-1, 1, (n, 1, size - 4, size - 4)).astype(np.float32))
    return x


def changed(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    return (x - y).abs().flatten(1).amax(1).numpy() > 1e-4


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_images_changes_and_the_rest_stays(share: float):
    x = images(2_000)
    found = changed(x, augment(x, share, np.random.default_rng(1))).mean()
    assert found == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(x)) + 1e-3)


def test_changes_are_small_and_stay_in_range():
    x = images(500)
    y = augment(x, 1.0, np.random.default_rng(2))
    assert y.shape == x.shape and y.min() >= -1 and y.max() <= 1
    mass, moved = (image.add(1).sum((1, 2, 3)) for image in (x, y))
    assert ((moved / mass - 1).abs() < 0.25).all()
    columns = torch.arange(8.0)
    centre, after = ((image.add(1).sum((1, 2)) * columns).sum(1) / image.add(1).sum((1, 2, 3)) for image in (x, y))
    assert ((after - centre).abs() < SHIFT_PIXELS + 0.3).all()
    assert (after - centre).abs().max() > 0.5 * SHIFT_PIXELS


def test_background_comes_in_at_the_border():
    blank = torch.full((20, 3, 8, 8), -1.0)
    torch.testing.assert_close(augment(blank, 1.0, np.random.default_rng(3)), blank)


def test_the_same_generator_state_gives_the_same_images():
    x = images()
    first, again, other = (augment(x, 1.0, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)

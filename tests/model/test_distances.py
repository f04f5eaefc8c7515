"""Distances against prdc and torch-fidelity on the same features, closed forms, and what must not matter."""

import math
from dataclasses import replace

import numpy as np
import prdc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kernel_mmd
from torch_fidelity.metric_prc import prc_features_to_metric

from model.judging.fidelity import (
    Distances,
    FeatureMoments,
    Reference,
    frechet_distance,
    frechet_error,
)

FIGURES = ("fd", "kd", "precision", "recall", "density", "coverage")


def features(n: int, d: int = 12, *, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    """Skewed and correlated, as the activations of a network are."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n, d)) @ np.random.default_rng(99).standard_normal((d, d))
    return torch.from_numpy(np.maximum(scale * mixed + shift, 0.0).astype(np.float32))


def figures(found: Distances) -> list[float]:
    return [getattr(found, name) for name in FIGURES]


PAIRS = [
    (features(300, seed=1), features(250, seed=2, shift=0.3)),
    (features(200, seed=3), features(500, seed=4, scale=1.3)),
    (features(400, d=40, seed=5), features(400, d=40, seed=6, scale=0.7)),
]


@pytest.mark.parametrize(("real", "x"), PAIRS)
def test_frechet_is_what_torch_fidelity_gives(real: torch.Tensor, x: torch.Tensor):
    statistics = [fid_features_to_statistics(one.double()) for one in (real, x)]
    wanted = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert Reference(real).compare(x).fd == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("real", "x"), PAIRS)
@pytest.mark.parametrize("k", [1, 5, 9])
def test_neighbourhoods_are_what_prdc_gives(real: torch.Tensor, x: torch.Tensor, k: int):
    wanted = prdc.compute_prdc(real.double().numpy(), x.double().numpy(), k)
    found = Reference(real, k).compare(x)
    assert {name: getattr(found, name) for name in wanted} == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("real", "x"), PAIRS)
def test_precision_and_recall_are_what_torch_fidelity_gives(real: torch.Tensor, x: torch.Tensor):
    wanted = prc_features_to_metric(x.double(), real.double(), prc_neighborhood=5, verbose=False)
    found = Reference(real, 5).compare(x)
    assert (found.precision, found.recall) == pytest.approx((wanted["precision"], wanted["recall"]), rel=1e-6)


def test_kernel_distance_is_what_torch_fidelity_gives_for_all_data():
    real, x = features(300, seed=7), features(300, seed=8, shift=0.2)
    wanted = kernel_mmd(*(one.double().numpy() for one in (x, real)))
    assert Reference(real).compare(x).kd == pytest.approx(wanted, rel=1e-9)


def gaussian(mean: list[float], covariance: torch.Tensor) -> FeatureMoments:
    return FeatureMoments(100, torch.tensor(mean, dtype=torch.float64), covariance.double())


def test_frechet_of_gaussians_with_known_distances():
    turn = torch.linalg.qr(torch.from_numpy(np.random.default_rng(0).standard_normal((3, 3)))).Q
    a = gaussian([0, 0, 0], turn @ torch.diag(torch.tensor([1.0, 4.0, 9.0]).double()) @ turn.T)
    b = gaussian([3, 0, 4], turn @ torch.diag(torch.tensor([4.0, 4.0, 1.0]).double()) @ turn.T)
    assert frechet_distance(a, b) == pytest.approx(25 + 1 + 0 + 4)
    flat = gaussian([0, 0, 0], torch.zeros(3, 3))
    assert frechet_distance(a, flat) == pytest.approx(14)
    assert frechet_distance(flat, flat) == 0
    # (C_a C_b)^(1/2) of two 2 x 2 matrices has the trace sqrt(tr(C_a C_b) + 2 sqrt(det(C_a C_b)))
    c, d = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double(), torch.tensor([[5.0, -2.0], [-2.0, 1.0]]).double()
    root = torch.sqrt((c @ d).trace() + 2 * torch.linalg.det(c @ d).sqrt())
    assert frechet_distance(gaussian([0, 0], c), gaussian([0, 0], d)) == pytest.approx(float(5 + 6 - 2 * root))


def test_a_set_is_at_no_distance_from_itself():
    x = features(300, d=20)
    found = Reference(x).compare(x.clone())
    assert found.fd == pytest.approx(0, abs=1e-6 * float(FeatureMoments.of(x).covariance.trace()))
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density is not None and found.density >= 1


def test_two_halves_of_one_set_are_at_no_kernel_distance_but_for_chance():
    values = [Reference(features(200, seed=s)).compare(features(200, seed=s + 1)).kd for s in range(0, 40, 2)]
    known = np.array([value for value in values if value is not None])
    assert len(known) == 20 and abs(known.mean()) < 3 * known.std(ddof=1) / math.sqrt(20)
    assert known.min() < 0 < known.max()  # unbiased, so not bounded by 0


def test_far_apart_sets_share_nothing():
    found = Reference(features(100)).compare(features(100, seed=1) + 1_000)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)
    assert found.fd is not None and found.fd > 12 * 999**2


@settings(max_examples=25, deadline=None)
@given(n=st.integers(20, 60), m=st.integers(20, 60), seed=st.integers(0, 10**6), k=st.integers(1, 6))
def test_distances_are_symmetric_and_fidelity_and_diversity_change_places(n: int, m: int, seed: int, k: int):
    a, b = features(n, d=4, seed=seed), features(m, d=4, seed=seed + 1, shift=0.4)
    there, back = Reference(a, k).compare(b), Reference(b, k).compare(a)
    assert there.fd == pytest.approx(back.fd, rel=1e-7, abs=1e-7)
    assert there.kd == pytest.approx(back.kd, rel=1e-9, abs=1e-9)
    assert (there.precision, there.recall) == (back.recall, back.precision)
    assert there.fd is not None and there.fd >= 0


@settings(max_examples=15, deadline=None)
@given(chunk=st.integers(20, 300), order=st.integers(0, 10**6))
def test_neither_the_chunks_nor_the_order_matter(chunk: int, order: int):
    real, x = PAIRS[0]
    whole = figures(Reference(real).compare(x))
    shuffled = torch.from_numpy(np.random.default_rng(order).permutation(len(x)))
    assert figures(Reference(real, chunk=chunk).compare(x[shuffled])) == pytest.approx(whole, rel=1e-9)
    moments = FeatureMoments.of(x, chunk)
    assert frechet_distance(moments, FeatureMoments.of(x)) == pytest.approx(0, abs=1e-6)


def test_moments_lose_nothing_to_a_large_offset():
    x = features(500, d=5)
    near, far = FeatureMoments.of(x), FeatureMoments.of(x.double() + 1e6)
    torch.testing.assert_close(near.covariance, far.covariance, rtol=1e-6, atol=1e-8)


def test_too_few_samples_leave_out_what_they_cannot_tell():
    found = Reference(features(100)).compare(features(12, seed=1))
    assert found.fd is None and found.kd is not None and found.density is not None
    found = Reference(features(100)).compare(features(5, seed=1))
    assert found.precision is found.recall is found.density is found.coverage is None and found.kd is not None
    found = Reference(features(3)).compare(features(100, seed=1))
    unknown = Distances(None, found.kd, None, None, None, None, 100, 3, kd_interval=found.kd_interval)
    assert found == unknown and found.kd is not None and found.kd_interval is not None
    assert Reference(features(100)).compare(features(1)).kd is None
    with pytest.raises(ValueError, match=r"12 samples are too few for the covariance of 12 features.*13 or more"):
        FeatureMoments.of(features(12))


def test_intervals_cover_what_other_samples_give():
    real = features(200, d=6, seed=1, scale=0.4)
    reference = Reference(real)
    others = [reference.compare(features(150, d=6, seed=100 + i, shift=0.1, scale=0.4)) for i in range(120)]
    for name in FIGURES:
        values = np.array([getattr(one, name) for one in others])
        low, high = np.array([getattr(one, f"{name}_interval") for one in others]).T
        assert np.mean((low <= values.mean()) & (values.mean() <= high)) >= 0.88, name
        assert 0.7 < np.mean(high - low) / (2 * 1.96 * values.std()) < 2.2, name  # wide near 1


def test_the_error_of_a_frechet_distance_is_its_gradient():
    """One sample counted twice moves the distance by its influence over n."""
    real, x = features(400, d=4, seed=1), features(4_000, d=4, seed=2, shift=0.3).double()
    moments, n = FeatureMoments.of(x), 4_000
    here = frechet_distance(FeatureMoments.of(real), moments)
    moved = [
        frechet_distance(FeatureMoments.of(real), FeatureMoments.of(torch.cat([x, x[i : i + 1]]))) - here
        for i in range(400)
    ]
    wanted = np.std(moved) * math.sqrt(n)
    assert frechet_error(FeatureMoments.of(real), moments, x) == pytest.approx(wanted, rel=0.1)


def test_wrong_features_are_named():
    bad = features(50)
    bad[[3, 7], 2] = torch.tensor([math.nan, math.inf])
    for use in (Reference, FeatureMoments.of, Reference(features(50)).compare):
        with pytest.raises(ValueError, match="2 of 50 samples have features that aren't finite"):
            use(bad)
    with pytest.raises(ValueError, match="of 3 and of 12 numbers can't be compared"):
        Reference(features(50)).compare(features(50, d=3))
    with pytest.raises(ValueError, match="not of shape"):
        Reference(torch.zeros(3))
    with pytest.raises(ValueError, match="0 neighbours"):
        Reference(features(50), 0)


def test_a_matrix_that_is_no_covariance_is_refused():
    good = FeatureMoments.of(features(100, d=3))
    with pytest.raises(ValueError, match="it is none"):
        frechet_distance(replace(good, covariance=-good.covariance), good)
    with pytest.raises(ValueError, match="of 3 and of 4 numbers"):
        frechet_distance(good, FeatureMoments.of(features(100, d=4)))

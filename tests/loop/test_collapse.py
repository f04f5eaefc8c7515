"""Retraining without choice (K = 1), through the loop: what Gaussians, kernel densities and autoencoders lose."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from loop.generators import load_generator
from loop.policy import DataPolicy
from loop.study import Study
from loop.theory.toy_models import spread
from loop.training_data import Mixture, read_curated, real_only
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.generators import estimators
from model.generators.estimators import Gaussian, KernelDensity
from model.interfaces import Rows
from model.sampling import derive_seeds

Make = Callable[..., Study]
NO_CHOICE = ("curation.k=1", "generations=3")
POINTS = ("data.n=10", "curation.picks=0", "evaluation.samples=100", *NO_CHOICE)
POLICIES = [DataPolicy("replace"), DataPolicy("accumulate"), DataPolicy("replace_grown"), DataPolicy("recent"),
            DataPolicy("uniform"), DataPolicy("mix", 1.0)]  # fmt: skip


def variances(
    kind: type[Gaussian] | type[KernelDensity], policy: DataPolicy, rows: int, generations: int
) -> np.ndarray:
    """(loops, generations) sample variances of one-dimensional loops, made of the loop's own parts."""
    tables = NetworkConfig(bandwidth=0.3), TrainConfig(), SamplingConfig()
    found = []
    for loop in range(160):
        rng = np.random.default_rng([loop, rows])
        real = torch.from_numpy(rng.standard_normal((rows, 8)).astype(np.float32))  # 8 loops, a coordinate each
        generator, sets, own = kind.build((8,), *tables).fit(real_only(real), None, loop), [], []
        for t in range(generations):
            own.append(moments(generator, loop))
            sets.append(generator.sample(derive_seeds(policy.asked(rows, t + 1), loop, t)))
            composition = policy.compose(rows, [len(x) for x in sets], rng)
            mixture = Mixture.compose(Rows(real), list(map(Rows, sets)), composition, rng)
            generator = generator.fit(mixture, generator, loop)
        found.append(own)
    return np.array(found).transpose(0, 2, 1).reshape(-1, generations)


def moments(generator: Gaussian | KernelDensity, loop: int) -> np.ndarray:
    if isinstance(generator, Gaussian):
        return generator.covariance.diagonal().numpy()
    return generator.rows.double().var(0, correction=0).numpy() + generator.bandwidth**2


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_gaussians_lose_what_theory_says(policy: DataPolicy, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimators, "MOST_ROWS", 4_000)
    found = variances(Gaussian, policy, 8, 4)
    error = found.std(axis=0, ddof=1) / math.sqrt(160 * 4)  # coordinates of one loop share its rows' numbers alone
    assert (np.abs(found.mean(axis=0) - spread(policy, 8, 4)) < 4 * error + 0.002).all()


def test_a_kernel_density_gains_the_square_of_its_bandwidth_each_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimators, "MOST_ROWS", 4_000)
    found, expected = variances(KernelDensity, DataPolicy("replace"), 8, 4), [1 - 1 / 8 + 0.09]
    for _ in range(3):  # V_{t+1} = (1 - 1/N) V_t + h^2: derived for this project
        expected.append((1 - 1 / 8) * expected[-1] + 0.09)
    error = found.std(axis=0, ddof=1) / math.sqrt(160 * 4)
    assert (np.abs(found.mean(axis=0) - expected) < 4 * error + 0.002).all()


@pytest.mark.parametrize("policy", ["replace", "accumulate"])
def test_a_study_fits_the_moments_of_its_training_set(make: Make, run, policy: str):
    study = run(make("moons", "network.kind=gaussian", f"mix.policy={policy}", *POINTS), 3)
    sets = [torch.from_numpy(study.real.x)]
    for generation in study.store.generations()[1:]:
        assert generation.measurements.turn is not None
        sets.append(read_curated(study, generation.measurements.turn).x)
        assert len(sets[-1]) == 10
        rows = torch.cat(sets if policy == "accumulate" else sets[-1:]).double()
        fitted = load_generator(study, generation.t)
        assert isinstance(fitted, Gaussian)
        assert fitted.mean.numpy() == pytest.approx(rows.mean(0).numpy(), abs=0.01)
        assert fitted.covariance.numpy() == pytest.approx(np.cov(rows.numpy().T, bias=True), rel=0.02, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["replace", "accumulate"])
def test_whole_studies_lose_what_theory_says(make: Make, run, policy: str):
    ratios = []
    for seed in range(40):
        settings = ("data.dataset=gaussians", "network.kind=gaussian", f"mix.policy={policy}", *POINTS)
        study = run(make("moons", *settings, seed=seed), 3)
        traces = [float(load_generator(study, t).covariance.trace()) for t in range(4)]  # pyright: ignore
        ratios.append(np.array(traces) / traces[0])
    expected = spread(DataPolicy(policy), 10, 4) / (1 - 1 / 10)
    found, error = np.mean(ratios, axis=0), np.std(ratios, axis=0, ddof=1) / math.sqrt(40)
    assert (np.abs(found - expected) <= 4 * error + 1e-9).all()


def test_an_autoencoder_goes_round_the_loop(make: Make, run):
    tiny = ("network.kind=vae", "network.width=8", "network.latent=4", "train.restart=true", "mix.policy=recent")
    study = run(make("digits", *tiny, *NO_CHOICE, "curation.extend=none"), 2)
    assert [generation.n_curated for generation in study.store.generations()] == [0, 60, 60]
    assert load_generator(study, 2).sample(np.arange(3)).shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        ("digits", ["network.kind=kde"], "'kde' is for points"),
        ("digits", ["network.kind=gaussian"], "'gaussian' is for points"),
        ("moons", ["network.kind=vae"], "'vae' is for images"),
    ],
)
def test_kinds_that_do_not_go_with_the_data_are_refused(make: Make, preset: str, settings: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        make(preset, *settings)


def test_weights_from_a_file_are_for_flows(make: Make, run, tmp_path):
    with pytest.raises(ValueError, match=r"network\.file is for flows"):
        run(make("moons", "network.kind=kde", f"network.file={tmp_path / 'x.safetensors'}"), 1)

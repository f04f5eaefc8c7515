"""The flow: a sample depends on its seed alone, a seed gives the same weights, and training learns."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model import training as module
from model.checkpoint import Checkpoint, CorruptCheckpointError, MissingCheckpointError, load, save
from model.flow import Flow
from model.interfaces import Samples
from model.training import NonFiniteLossError, ema_decay, learning_rate

Build = Callable[..., Flow]
SEEDS = np.arange(1_000, 1_037)


def weights(flow: Flow) -> dict[str, torch.Tensor]:
    return flow.network.state_dict()


def same(a: Flow, b: Flow) -> bool:
    return all(torch.equal(tensor, weights(b)[name]) for name, tensor in weights(a).items())


def data(gaussian, images: bool):
    return gaussian([[[0.2] * 8] * 8] if images else [1.0, -2.0])


@pytest.mark.parametrize("images", [False, True], ids=["points", "images"])
def test_a_seeds_sample_is_exactly_the_same_in_any_order_and_company(build: Build, gaussian, images: bool):
    flow = build(images, pretrain_steps=5).fit(data(gaussian, images), None, seed=0)
    together = flow.sample(SEEDS)  # two whole batches of 16 and a part
    order = np.random.default_rng(0).permutation(len(SEEDS))
    assert torch.equal(flow.sample(SEEDS[order]), together[torch.from_numpy(order)])
    for n in (1, 5, 16, 17):
        assert torch.equal(flow.sample(SEEDS[-n:]), together[-n:])
    assert torch.equal(flow.sample(np.repeat(SEEDS[:1], 3)), together[:1].expand(3, *together.shape[1:]))
    assert together.dtype == torch.float32 and len(torch.unique(together, dim=0)) == len(SEEDS)


def test_images_are_clamped_and_points_are_not(build: Build, gaussian):
    far = build(True, pretrain_steps=1).fit(gaussian([[[1.5] * 8] * 8], 1.0), None, 0).sample(SEEDS)
    assert far.min() >= -1 and far.max() == 1
    assert build(pretrain_steps=1).fit(gaussian([9.0, 9.0]), None, 0).sample(SEEDS).max() > 8


def test_no_seeds_give_no_samples(build: Build):
    assert build().sample(np.array([], dtype=np.int64)).shape == (0, 2)


@pytest.mark.parametrize("images", [False, True], ids=["points", "images"])
def test_the_same_seed_gives_the_same_weights_and_another_one_others(build: Build, gaussian, images: bool):
    untrained = build(images, dropout=0.1, augment=0.5)
    first, again, other = (untrained.fit(data(gaussian, images), None, seed) for seed in (1, 1, 2))
    assert same(first, again) and not same(first, other)
    child, twin = (first.fit(data(gaussian, images), first, 3) for _ in range(2))
    assert same(child, twin) and not same(child, first)


def test_training_leaves_torchs_own_generator_as_it_was(build: Build, gaussian):
    untrained = build(dropout=0.5)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    untrained.fit(gaussian([0.0, 0.0]), None, 1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_learns_a_shifted_gaussian_and_then_its_move(build: Build, gaussian):
    untrained = build(width=64, pretrain_steps=200, finetune_steps=200, ema_decay=0.99, batch_size=128)
    first = untrained.fit(gaussian([3.0, -2.0], 0.4), None, 0)
    x = first.sample(np.arange(2_000))
    np.testing.assert_allclose(x.mean(0), [3.0, -2.0], atol=0.1)
    np.testing.assert_allclose(x.std(0), 0.4, atol=0.1)
    moved = first.fit(gaussian([2.0, -1.0], 0.4), first, 1).sample(np.arange(2_000))
    np.testing.assert_allclose(moved.mean(0), [2.0, -1.0], atol=0.25)


def test_it_learns_two_modes_that_no_gaussian_has(build: Build):
    class TwoModes:
        def draw(self, n: int, rng: np.random.Generator) -> Samples:
            side = rng.choice([-2.0, 2.0], size=(n, 1))
            x = (side * [[1, 0]] + 0.2 * rng.standard_normal((n, 2))).astype(np.float32)
            return Samples(torch.from_numpy(x))

    flow = build(width=64, pretrain_steps=200, batch_size=128, ema_decay=0.99, pretrain_lr=4e-3)
    fine = replace(flow, sampling=flow.sampling.model_copy(update={"steps": 20}))
    across = fine.fit(TwoModes(), None, 0).sample(np.arange(500))[:, 0]
    assert ((across.abs() - 2).abs() < 0.8).float().mean() > 0.9  # 0.4 where features of t drown the point
    assert 0.4 < (across > 0).float().mean() < 0.6


def test_an_untrained_field_is_the_exact_one_of_the_datas_gaussian_fit(build: Build, gaussian):
    flow = build(pretrain_steps=1, pretrain_lr=1e-12).fit(gaussian([5.0, 1.0], 0.3), None, 0)
    fine = replace(flow, sampling=flow.sampling.model_copy(update={"steps": 60, "batch_size": 1_000}))
    x = fine.sample(np.arange(5_000))
    np.testing.assert_allclose(x.mean(0), [5.0, 1.0], atol=0.03)
    np.testing.assert_allclose(x.std(0), 0.3, atol=0.02)


def test_a_child_starts_at_its_parents_weights_and_records_its_sha256(build: Build, gaussian, tmp_path: Path):
    parent = build(finetune_lr=1e-12, finetune_steps=1).fit(gaussian([1.0, 1.0]), None, 0)
    parent.save(tmp_path / "0.safetensors")
    loaded = Flow.load(tmp_path / "0.safetensors", parent.train, parent.sampling)
    child = loaded.fit(gaussian([1.0, 1.0]), loaded, 1)
    for name, tensor in weights(child).items():
        torch.testing.assert_close(tensor, weights(parent)[name], atol=1e-6, rtol=0)
    assert child.parent == loaded.sha256 == load(tmp_path / "0.safetensors").sha256
    child.save(tmp_path / "1.safetensors")
    assert load(tmp_path / "1.safetensors").parent == loaded.sha256
    assert (parent.parent, parent.sha256, child.seed) == (None, None, 1)


def test_a_saved_flow_samples_the_same(build: Build, gaussian, tmp_path: Path):
    flow = build(True).fit(data(gaussian, True), None, 4)
    sha256 = flow.save(tmp_path / "g.safetensors")
    loaded = Flow.load(tmp_path / "g.safetensors", flow.train, flow.sampling)
    assert torch.equal(loaded.sample(SEEDS), flow.sample(SEEDS))
    assert (loaded.sha256, loaded.seed, loaded.shape) == (sha256, 4, (1, 8, 8))


def test_what_is_no_flow_or_has_other_weights_is_refused(build: Build, tmp_path: Path):
    flow, path = build(), tmp_path / "g.safetensors"
    save(path, Checkpoint("classifier", weights(flow), {}, 0))
    with pytest.raises(MissingCheckpointError, match="classifier"):
        Flow.load(path, flow.train, flow.sampling)
    config = {"shape": [2], "network": flow.network_config.model_dump() | {"width": 8}}
    save(path, Checkpoint("flow", weights(flow), config, 0))
    with pytest.raises(CorruptCheckpointError):
        Flow.load(path, flow.train, flow.sampling)


def test_a_loss_that_is_not_finite_stops_training(build: Build, gaussian):
    with pytest.raises(NonFiniteLossError, match="learning rate"):
        build(pretrain_lr=1e30).fit(gaussian([1.0, 0.0]), None, 0)


def test_progress_ends_at_the_last_step_and_may_stop_the_work(build: Build, gaussian):
    heard: list[tuple[int, int]] = []
    build(pretrain_steps=45).fit(gaussian([0.0, 0.0]), None, 0, lambda done, n: heard.append((done, n)))
    assert heard == [(step, 45) for step in (1, 2, 4, 8, 20, 40, 45)]  # the first ones, by which the pace is known

    def stop(done: int, n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(pretrain_steps=45).fit(gaussian([0.0, 0.0]), None, 0, stop)


@pytest.mark.parametrize(
    ("step", "steps", "warmup", "factor"),
    [
        (0, 100, 0, 1.0), (50, 100, 0, 0.5), (100, 100, 0, 0.0), (25, 100, 0, 0.5 + 0.5 * np.cos(np.pi / 4)),
        (0, 100, 4, 0.25), (3, 100, 4, 1.0), (4, 100, 4, 1.0), (52, 100, 4, 0.5),
        (0, 100, 90, 0.1), (10, 100, 90, 1.0), (0, 5, 50, 1.0),
    ],
)  # fmt: skip
def test_the_learning_rate_rises_then_falls_as_a_cosine(step: int, steps: int, warmup: int, factor: float):
    assert learning_rate(step, steps, warmup) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(
    ("step", "decay", "kept"), [(1, 0.999, 2 / 11), (90, 0.999, 0.91), (90, 0.5, 0.5), (9, 0.0, 0.0)]
)
def test_the_running_average_keeps_the_smaller_of_decay_and_a_growing_share(step: int, decay: float, kept: float):
    assert ema_decay(step, decay) == pytest.approx(kept, abs=1e-12)


def test_what_is_sampled_is_the_running_average(build: Build, gaussian, monkeypatch: pytest.MonkeyPatch):
    parent = build(finetune_steps=1).fit(gaussian([1.0, 0.0]), None, 0)
    data = gaussian([3.0, 0.0])
    monkeypatch.setattr(module, "ema_decay", lambda step, decay: 0.0)  # the average is the trained weights
    trained = weights(parent.fit(data, parent, 1))
    monkeypatch.setattr(module, "ema_decay", lambda step, decay: 0.75)
    averaged = weights(parent.fit(data, parent, 1))
    for name, before in weights(parent).items():
        torch.testing.assert_close(averaged[name], 0.75 * before + 0.25 * trained[name])
    assert any(not torch.equal(tensor, trained[name]) for name, tensor in averaged.items())


@pytest.mark.parametrize(("kind", "shape"), [("mlp", (1, 8, 8)), ("digits", (2,)), ("digits", (3, 8, 8)), ("x", (2,))])
def test_a_network_that_does_not_fit_the_samples_is_refused(build: Build, kind: str, shape: tuple[int, ...]):
    flow = build()
    with pytest.raises(ValueError, match=r"network\.kind"):
        Flow.build(shape, flow.network_config.model_copy(update={"kind": kind}), flow.train, flow.sampling)


def test_the_unet_samples_images_of_its_shape(build: Build):
    config = build().network_config.model_copy(update={"kind": "unet", "width": 64, "depth": 1})
    flow = Flow.build((3, 16, 16), config, build().train, build(batch=2).sampling)
    x = flow.sample(np.arange(3))
    assert x.shape == (3, 3, 16, 16) and torch.equal(flow.sample(np.arange(2, 3)), x[2:])

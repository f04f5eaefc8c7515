"""A training that is interrupted goes on to the same weights; what is kept is whole, and of this training alone."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model.flow import Flow
from model.interfaces import Samples, TrainingData
from model.training import Snapshotter, holding_interrupts

Build = Callable[..., Flow]


def untrained(build: Build) -> Flow:
    return build(True, pretrain_steps=100, dropout=0.1, augment=0.5)


def data(gaussian):
    return gaussian([[[0.2] * 8] * 8])


def interrupt(flow: Flow, gaussian, snapshotter: Snapshotter, at: int) -> None:
    def stop(done: int, total: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow.fit(data(gaussian), None, 1, stop, snapshotter)


class PressesCtrlC:
    """Data that presses Ctrl-C as it is drawn from for the nth time."""

    def __init__(self, data: TrainingData, at: int):
        self.data, self.left = data, at

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return self.data.draw(n, rng)


def weights(flow: Flow) -> list[torch.Tensor]:
    return list(flow.network.state_dict().values())


@pytest.mark.parametrize("at", [40, 100])
def test_an_interrupted_training_ends_with_the_same_weights(build: Build, gaussian, tmp_path: Path, at: int):
    flow = untrained(build)
    snapshotter = Snapshotter(tmp_path / "g.partial", "this one", every_s=0)
    interrupt(flow, gaussian, snapshotter, at)
    steps = []
    found = flow.fit(data(gaussian), None, 1, lambda done, total: steps.append(done), snapshotter)
    straight = flow.fit(data(gaussian), None, 1)
    assert steps == [*(at - 20 + n for n in (1, 2, 4, 8)), *range(at, 101, 20)]  # the first few tell the pace
    assert all(torch.equal(a, b) for a, b in zip(weights(found), weights(straight), strict=True))
    snapshotter.remove()
    assert not list(tmp_path.iterdir())


def test_ctrl_c_at_any_step_keeps_what_is_done(build: Build, gaussian, tmp_path: Path):
    flow = untrained(build)
    told = []
    snapshotter = Snapshotter(tmp_path / "g.partial", "this one", on_snapshot=lambda step, network: told.append(step))
    straight = flow.fit(data(gaussian), None, 1)
    with pytest.raises(KeyboardInterrupt):
        flow.fit(PressesCtrlC(data(gaussian), at=33), None, 1, None, snapshotter)
    state = snapshotter.read()
    assert state is not None and 20 < state.step < 100 and not told
    size = sum(x.nbytes for x in (*state.network.values(), *state.average.values()))
    assert snapshotter.path.stat().st_size < 2.5 * size  # weights, average, and two numbers for each weight
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    found = flow.fit(data(gaussian), None, 1, None, snapshotter)
    assert all(torch.equal(a, b) for a, b in zip(weights(found), weights(straight), strict=True))


def test_a_second_ctrl_c_is_not_held_back():
    with pytest.raises(KeyboardInterrupt), holding_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_another_training_kept_is_not_gone_on_from(build: Build, gaussian, tmp_path: Path):
    flow = untrained(build)
    interrupt(flow, gaussian, Snapshotter(tmp_path / "g.partial", "lr = 1", every_s=0), 60)
    assert Snapshotter(tmp_path / "g.partial", "lr = 2").read() is None
    assert Snapshotter(tmp_path / "g.partial", "lr = 1").read() is not None
    assert Snapshotter(tmp_path / "none.partial", "lr = 1").read() is None


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"nonsense" * 99])
def test_a_damaged_file_is_named(build: Build, gaussian, tmp_path: Path, damage):
    path = tmp_path / "g.partial"
    interrupt(untrained(build), gaussian, Snapshotter(path, "this one", every_s=0), 40)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"g\.partial is damaged; remove it"):
        Snapshotter(path, "this one").read()


def test_it_is_told_of_each_time(build: Build, gaussian, tmp_path: Path):
    told = []
    snapshotter = Snapshotter(
        tmp_path / "g.partial", "this one", every_s=0, on_snapshot=lambda step, network: told.append(step)
    )
    untrained(build).fit(data(gaussian), None, 1, snapshotter=snapshotter)
    assert told == [20, 40, 60, 80, 100]

"""Two processes do what one does, to the bit, and neither waits for one that is gone. Real processes, real gloo."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import ranks
from model.classifier import BATCH, Classifier
from model.config import ClassifierConfig, NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.keeping import Keeper
from model.vgg import vgg11

SHAPE = (3, 8, 8)
SEEDS = np.arange(50, 61)  # two whole batches of 4 and a part


class Images:
    """Noisy images of one grey."""

    def draw(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """(n, 3, 8, 8)."""
        return torch.from_numpy(0.3 * rng.standard_normal((n, *SHAPE), dtype=np.float32) + 0.2)


def flow(**train: Any) -> Flow:
    """A small UNet with dropout; a batch of 5 doesn't divide evenly."""
    torch.manual_seed(0)
    recipe = TrainConfig(batch_size=5, pair_size=5, warmup_steps=2, **train)
    network = NetworkConfig(kind="unet", width=32, depth=1, dropout=0.2, precision="fp32")
    return Flow.build(SHAPE, network, recipe, SamplingConfig(solver="euler", steps=1, batch_size=4))


def classifier(mirror: bool) -> Classifier:
    torch.manual_seed(1)
    config = ClassifierConfig(width=4, mirror=mirror)
    return Classifier(SHAPE, vgg11(SHAPE, config, 3), config, ("a", "b", "c"), None, 0)


def sampled() -> list[torch.Tensor]:
    """Samples of more networks than a follower holds, of one whose weights changed, and of the first again."""
    networks = [replace(flow(), seed=seed) for seed in range(ranks.HELD + 2)]
    for i, made in enumerate(networks):
        with torch.no_grad():
            for weight in made.network.parameters():
                weight += 0.01 * (i + 1)
    found = [made.sample(SEEDS) for made in networks]
    with torch.no_grad():
        next(networks[-1].network.parameters()).mul_(2)
    return [*found, networks[-1].sample(SEEDS), networks[0].sample(SEEDS), networks[0].sample(SEEDS[:3])]


def judged() -> list[torch.Tensor]:
    x = torch.randn(2 * BATCH + 7, *SHAPE, generator=torch.Generator().manual_seed(2))
    found = [classifier(mirror).judge(part) for mirror in (False, True) for part in (x, x[:9])]
    return [torch.from_numpy(part) for judgement in found for part in (judgement.probs, judgement.features)]


def trained() -> list[torch.Tensor]:
    parent = flow(pretrain_steps=4, finetune_steps=3).fit(Images(), None, 3)
    child = parent.fit(Images(), parent, 4)
    return [*parent.network.state_dict().values(), *child.network.state_dict().values()]


def interrupted(folder: Path) -> list[torch.Tensor]:
    """Pretraining that is kept at step 20, stops later and goes on; samples are asked for on the way."""
    untrained, keeper = flow(pretrain_steps=24), Keeper(folder / "kept", "this", every_s=0)

    def stop(done: int, _total: int) -> None:
        untrained.sample(SEEDS)
        if done > 20:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        untrained.fit(Images(), None, 5, stop, keeper)
    assert keeper.path.exists()
    return list(untrained.fit(Images(), None, 5, None, keeper).network.state_dict().values())


def on_two(work: Callable[..., object], *args: object) -> list[int]:
    """Runs the work on rank 0 of two forked processes while the other follows; their exit codes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=as_rank, args=(rank, port, work, args), daemon=True) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    return [process.exitcode for process in both]


def as_rank(rank: int, port: int, work: Callable[..., object], args: tuple[object, ...]) -> None:
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    group = ranks.join()
    if rank:
        ranks.follow(group)
    else:
        work(*args)
        ranks.leave(group)


def keep(path: Path, work: Callable[..., list[torch.Tensor]], *args: object) -> None:
    assert ranks.led() is not None
    torch.save(work(*args), path)


@pytest.mark.parametrize("work", [sampled, judged, trained])
def test_two_processes_do_what_one_does_to_the_bit(work: Callable[[], list[torch.Tensor]], tmp_path: Path):
    assert on_two(keep, tmp_path / "two", work) == [0, 0]
    for one, two in zip(work(), torch.load(tmp_path / "two"), strict=True):
        assert torch.equal(one, two)


def test_an_interrupted_training_goes_on_on_two(tmp_path: Path):
    assert on_two(keep, tmp_path / "two", interrupted, tmp_path) == [0, 0]
    whole = flow(pretrain_steps=24).fit(Images(), None, 5).network.state_dict()
    for one, two in zip(whole.values(), torch.load(tmp_path / "two"), strict=True):
        assert torch.equal(one, two)


def die(_group: ranks.Group) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(_group: ranks.Group) -> None:
    raise ArithmeticError


@pytest.mark.parametrize(("act", "code"), [(die, -signal.SIGKILL), (fail, 1)])
def test_a_follower_that_is_gone_is_told_of(act: Callable[[ranks.Group], None], code: int):
    def work() -> None:
        group = ranks.led()
        assert group is not None
        group.tell(act)
        with pytest.raises(ranks.LostRankError, match=r"ended or can't be reached.*Nothing is lost"):
            for _ in range(3):  # the first may still be under way when it goes
                group.add_up(torch.ones(1_000))
        os._exit(3)

    assert on_two(work) == [3, code]


@pytest.mark.parametrize("told", [False, True])
def test_a_follower_ends_when_rank_0_is_gone_whatever_it_waits_for(told: bool):
    def work() -> None:
        group = ranks.led()
        assert group is not None
        if told:
            group.lend("x", np.zeros, 3)
        os.kill(os.getpid(), signal.SIGKILL)

    assert on_two(work) == [-signal.SIGKILL, 0]


@pytest.mark.parametrize(("n", "batch", "size"), [(0, 4, 2), (3, 4, 2), (11, 4, 2), (17, 4, 3), (12, 4, 8)])
def test_the_rows_of_all_ranks_are_all_rows_in_whole_batches(n: int, batch: int, size: int):
    found = [ranks.rows(n, batch, rank, size) for rank in range(size)]
    assert sorted(np.concatenate(found).tolist()) == list(range(n))
    for mine in found:
        for start in range(0, len(mine), batch):
            together = mine[start : start + batch]
            assert len(set(together // batch)) == 1 and (len(together) == batch or together[-1] == n - 1)

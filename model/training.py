"""Training by optimal-transport conditional flow matching: its batches, the loop `train`, and snapshots of it on disk.

`batches` turns data into pairs of noise and data, `train` turns batches into weights. A long training is written to a
file now and then, so that an interrupted one continues to the same weights; the classifier's is too.

Source: Tong et al. 2024 (arXiv 2302.00482), with the exact plan of each group of a batch (`pair`).
"""

import copy
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.nn.functional import affine_grid, grid_sample

from model.checkpoint import write_whole
from model.compute import accelerator, autocast, device, from_main, mean, precision_of, processes, rank, velocity_field
from model.config import NetworkConfig, TrainConfig
from model.interfaces import OnStep, TrainingData
from model.networks import build_network
from model.preferences import Preferences
from model.sampling import Velocity, derive_seed

T = TypeVar("T")
Tensors = dict[str, torch.Tensor]
ROTATION_DEGREES = 5.0  # of augmentation, as are the next two
ZOOM = 0.04
SHIFT_PIXELS = 0.25
HELD = 0.4
REPORT_STEPS, FIRST_REPORTS = 20, (1, 2, 4, 8)
SHORT_S = 20.0  # work that needn't be measured well, as it's over soon; the next ones are of measuring, too
MEASURED_S, FEWEST_RUNS, MOST_RUNS = 0.8, 2, 20
FEW, LONG_STEP_S = 8, 1.0
FORMAT = 4  # of a snapshot, the order of the optimiser's state within it included
_END = object()


class NonFiniteLossError(RuntimeError):
    """Training diverged; its weights are discarded."""


def augment(x: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """Turns, scales and shifts a share of the images a little; the rest stay as they are.

    Args:
        x: (n, channels, height, width) in [-1, 1], with -1 the background that comes in at the border.
        share: of the images that change; how far is drawn evenly up to the constants above.
        rng: the source of randomness.
    """
    n, _, height, width = x.shape
    changed = (rng.random(n) < share).astype(np.float64)
    angle = np.deg2rad(ROTATION_DEGREES) * rng.uniform(-1, 1, n) * changed
    zoom = 1 + ZOOM * rng.uniform(-1, 1, n) * changed
    across, down = SHIFT_PIXELS * rng.uniform(-1, 1, (2, n)) * changed * 2 / np.array([[width], [height]])
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    matrix = np.stack([np.stack([cosine, -sine, across], 1), np.stack([sine, cosine, down], 1)], 1)
    grid = affine_grid(torch.from_numpy(matrix.astype(np.float32)), list(x.shape), align_corners=False)
    grid = grid.to(x.device)
    moved = grid_sample(x + 1, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    return moved.clamp(0, 2) - 1


def mirrored(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(n, channels, height, width) images, each mirrored left to right with probability one half."""
    turned = torch.from_numpy(rng.random(len(x)) < 0.5).to(x.device)
    return torch.where(turned[:, None, None, None], x.flip(3), x)


def pair_within(x0: torch.Tensor, x1: torch.Tensor, conditions: torch.Tensor, group: int) -> torch.Tensor:
    """As `pair`, but data change places only with data of the same of (n,) conditions.

    Pairing across conditions would make the noise of a condition other than normal, and samples are drawn from normal
    noise under any condition.
    """
    paired = x1.clone()
    for condition in conditions.unique():
        rows = torch.nonzero(conditions == condition)[:, 0]
        paired[rows] = pair(x0[rows], x1[rows], group)
    return paired


def pair(x0: torch.Tensor, x1: torch.Tensor, group: int) -> torch.Tensor:
    """x1 in the order that makes the sum of squared distances to x0 the least there is, in each group of the batch.

    With equal weights the optimal plan between two batches of equal size is a permutation, so the assignment is the
    exact coupling and needs no random numbers, unlike sampling from the plan. Its time grows with the cube of the
    group, so that a large batch is better paired in several.

    Args:
        x0: (n, *shape) noise.
        x1: (n, *shape) data.
        group: how many are paired with each other; the last group may be smaller. Of 1 all pairs stay as they are.

    Source: Tong et al. 2024 (arXiv 2302.00482), OT-CFM.
    """
    if group == 1:
        return x1
    paired = []
    for noise, data in zip(x0.split(group), x1.split(group), strict=True):
        noise_rows, data_rows = noise.flatten(1), data.flatten(1)
        # |a-b|^2 = |a|^2 - 2ab + |b|^2, and |a|^2 is the same along a row: it can't change the assignment
        cost = torch.addmm(data_rows.square().sum(1), noise_rows, data_rows.T, alpha=-2)
        _, order = linear_sum_assignment(cost.cpu().numpy())
        paired.append(data[torch.from_numpy(order).to(data.device)])
    return torch.cat(paired)


def ahead(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """The same items in the same order, up to `depth` of them prepared in advance by another thread.

    An exception while an item is prepared is raised where the item would have come.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(1, "batches", lambda: torch.set_num_threads(1)) as thread:
            pending = deque(thread.submit(next, items, _END) for _ in range(depth))
            while (item := pending.popleft().result()) is not _END:
                pending.append(thread.submit(next, items, _END))
                yield item  # type: ignore[misc]
    finally:
        torch.set_num_threads(threads)  # new threads begin with the number that was set last


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of paired training data, on the CPU.

    Attributes:
        t: (n,) times in [0, 1].
        x0: (n, *shape) noise.
        x1: (n, *shape) data, in the order that pairs them with x0.
        rng_state: of NumPy's generator after the batch was drawn.
        y: (n,) int64 conditions of the data; empty in a study without.
    """

    t: torch.Tensor
    x0: torch.Tensor
    x1: torch.Tensor
    rng_state: dict[str, Any]
    y: tuple[torch.Tensor, ...] = ()


def batches(
    data: TrainingData, shape: tuple[int, ...], train: TrainConfig, steps: int, rng: np.random.Generator,
    *, pretraining: bool,
) -> Iterator[Batch]:  # fmt: skip
    """`steps` batches; t is spread evenly over [0, 1], which lowers the loss's variance."""
    n, images = train.batch_size, len(shape) == 3
    for _ in range(steps):
        drawn = data.draw(n, rng)
        x1, y = drawn.x, () if drawn.conditions is None else (drawn.conditions,)
        if images and pretraining and train.augment > 0:
            x1 = augment(x1, train.augment, rng)
        if images and train.flip:
            x1 = mirrored(x1, rng)
        x0 = torch.from_numpy(rng.standard_normal((n, *shape), dtype=np.float32))
        t = torch.from_numpy(((rng.permutation(n) + rng.random(n)) / n).astype(np.float32))
        x1 = pair_within(x0, x1, *y, train.pair_size) if y else pair(x0, x1, train.pair_size)
        if device().type == "cuda":  # pinned, so that the copy to the GPU needn't be waited for
            t, x0, x1, *y = (tensor.pin_memory() for tensor in (t, x0, x1, *y))
        yield Batch(t, x0, x1, dict(rng.bit_generator.state), tuple(y))


@dataclass(frozen=True, slots=True)
class TrainingState:
    """All that the training of a generator or a classifier continues from.

    Attributes:
        step: done so far.
        network: weights.
        average: their running average; empty for a classifier, which has none.
        optimiser: its state.
        rng_state: of the NumPy generator that draws the batches; torch's own is seeded anew at each step.
        order: (n,) of the images in the current epoch; empty for a generator, which has no epochs.
    """

    step: int
    network: Tensors
    average: Tensors
    optimiser: dict[str, Any]
    rng_state: dict[str, Any]
    order: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def restore(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, rng: np.random.Generator,
        average: nn.Module | None = None,
    ) -> None:  # fmt: skip
        """Sets all that a training changes to this state."""
        network.load_state_dict(self.network)
        if average is not None:
            average.load_state_dict(self.average)
        optimiser.load_state_dict(self.optimiser)
        rng.bit_generator.state = self.rng_state


class Snapshotter:
    """Writes the state of a training to a file every so often; of several processes rank 0 writes.

    Args:
        path: the file, which goes once the training is done and its result is safe.
        training: names it (data, settings, seed); a file of another training is ignored.
        every_s: seconds between two snapshots.
        on_snapshot: called with each, with the step and the network that training would end with now.
    """

    def __init__(
        self, path: Path, training: str, every_s: float = 120,
        on_snapshot: Callable[[int, nn.Module], None] | None = None,
    ):  # fmt: skip
        self.path, self.every_s, self.on_snapshot = path, every_s, on_snapshot
        self._training = f"{training}, format {FORMAT}"
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """True if the last snapshot is `every_s` old."""
        return from_main(lambda: time.monotonic() - self._last >= self.every_s)

    def write(self, state: TrainingState, network: nn.Module, *, report: bool = True) -> None:
        """Writes the file, whole or not at all, and calls `on_snapshot` unless `report` is False."""
        content = {item.name: getattr(state, item.name) for item in fields(state)}  # asdict would copy tensors
        from_main(lambda: write_whole(self.path, lambda file: torch.save({"what": self._training, **content}, file)))
        self._last = time.monotonic()
        if self.on_snapshot and report:
            self.on_snapshot(state.step, network)

    def read(self) -> TrainingState | None:
        """The state in the file; None where there is none, or it is another training's, or an earlier version's.

        Raises:
            ValueError: the file is damaged.
        """

        def read_file() -> TrainingState | None:
            if not self.path.exists():
                return None
            try:
                content = torch.load(self.path, map_location="cpu", weights_only=True)
                training = content.pop("what")
                return TrainingState(**content) if training == self._training else None
            except (RuntimeError, OSError, EOFError, KeyError, TypeError, UnpicklingError) as error:
                raise ValueError(f"{self.path} is damaged; remove it to start the training again.") from error

        return from_main(read_file)

    def remove(self) -> None:
        """Removes the file."""
        from_main(lambda: self.path.unlink(missing_ok=True))


@contextmanager
def holding_interrupts() -> Iterator[Callable[[], bool]]:
    """While the block runs, a Ctrl-C waits until the work can stop without loss; a second one is let through.

    Yields:
        A function that is True once Ctrl-C was pressed: the block is to raise KeyboardInterrupt soon. Where another
        part of the program handles Ctrl-C, nothing is changed.
    """
    usual, pressed = signal.default_int_handler, threading.Event()
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield pressed.is_set
        return

    def hold(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            usual(number, frame)
        pressed.set()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # launchers send it after Ctrl-C, and kill half a minute later

    signal.signal(signal.SIGINT, hold)
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, usual)
        signal.signal(signal.SIGTERM, on_term)


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """The factor on the learning rate: rises over `warmup` steps (a tenth of all at the most), then a cosine to 0."""
    warmup = min(warmup, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup)))


def held_rate(step: int, steps: int) -> float:
    """The factor on the learning rate: 1 for two fifths of the steps, then a straight line to 0.

    Source: the constant rate with a cooldown of Hägele et al. 2024 (arXiv 2405.18392).
    """
    return min(1.0, (steps - step) / max(1, steps - HELD * steps))


def is_reported(step: int, steps: int, done: int = 0) -> bool:
    """True of a step after which a training reports: every `REPORT_STEPS`-th, the last, and the first few.

    Args:
        step: from 1.
        steps: in all.
        done: that an earlier run took; the pace is known from the first ones of this.
    """
    return step % REPORT_STEPS == 0 or step == steps or step - done in FIRST_REPORTS


def ema_decay(step: int, decay: float) -> float:
    """The running average's decay after a step; it grows gradually, so that a short fine-tune forgets its parent."""
    return min(decay, (1 + step) / (10 + step))


def train(
    network: nn.Module, data: TrainingData, shape: tuple[int, ...], config: NetworkConfig, train: TrainConfig,
    steps: int, lr: float, seed: int, rng: np.random.Generator, *, pretraining: bool,
    on_step: OnStep | None = None, snapshotter: Snapshotter | None = None, preferences: Preferences | None = None,
) -> nn.Module:  # fmt: skip
    """Trains a network in place, from its last snapshot if there is one, and returns its running average.

    Several processes draw the same batches, and each learns from its part of every batch; gradients are averaged.

    Args:
        network: v(t, x), on the device.
        data: to learn.
        shape: of one sample.
        config: what the network is.
        train: the recipe.
        steps: in all.
        lr: the highest learning rate.
        seed: of the dropout of each step.
        rng: draws data, noise and times.
        pretraining: whether images are augmented.
        on_step: called with (done, total) after the steps of `is_reported`.
        snapshotter: writes snapshots of the training on the way, and on Ctrl-C.
        preferences: what is learned from slates; without it, data are learned by flow matching.

    Raises:
        NonFiniteLossError: training diverged.
        ValueError: a batch has fewer data than there are processes.
    """
    if train.batch_size < processes():
        raise ValueError(f"train.batch_size = {train.batch_size} can't be divided among {processes()} processes.")
    network.train()
    average = copy.deepcopy(network).requires_grad_(False)
    weights, averaged = list(network.parameters()), list(average.parameters())
    optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=train.weight_decay, fused=True)
    state = snapshotter.read() if snapshotter else None
    if state:
        state.restore(network, optimiser, rng, average)
    done = state.step if state else 0
    engine = accelerator()
    pieces = engine.gradient_accumulation_steps
    parallel = engine.prepare(network) if processes() > 1 else network
    velocity, precision = velocity_field(parallel, config, train), precision_of(config)

    upcoming: Iterator[Any]
    learn: Callable[..., tuple[torch.Tensor, int]]
    if preferences is None:
        upcoming, learn = ahead(batches(data, shape, train, steps - done, rng, pretraining=pretraining)), backward
    else:
        upcoming, learn = ahead(preferences.batches(steps - done, rng)), preferences.backward
    with holding_interrupts() if snapshotter else nullcontext(lambda: False) as interrupted:
        for step, batch in enumerate(upcoming, start=done + 1):
            for group in optimiser.param_groups:
                group["lr"] = lr * learning_rate(step - 1, steps, train.warmup_steps)
            if config.dropout:
                torch.manual_seed(derive_seed(seed, step, rank()))
            loss, pieces = learn(velocity, batch, precision, optimiser, pieces)
            nn.utils.clip_grad_norm_(weights, train.grad_clip)
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(averaged, weights, 1 - ema_decay(step, train.ema_decay))  # pyright: ignore

            reporting = step % REPORT_STEPS == 0 or step == steps
            stopping = from_main(interrupted) if reporting or processes() == 1 else False
            if stopping or reporting:
                loss = mean(loss)
                if not torch.isfinite(loss):
                    raise NonFiniteLossError(
                        f"The loss is {loss:g} at step {step}; lower the learning rate in [train]."
                    )
                if on_step:
                    on_step(step, steps)
                if snapshotter and (stopping or snapshotter.is_due()):
                    states = network.state_dict(), average.state_dict(), optimiser.state_dict()
                    snapshotter.write(TrainingState(step, *states, batch.rng_state), average, report=not stopping)
            elif on_step and is_reported(step, steps, done):
                on_step(step, steps)
            if stopping:
                raise KeyboardInterrupt
    return average.eval()


def step_seconds(shape: tuple[int, ...], config: NetworkConfig, settings: TrainConfig) -> float:
    """Seconds that a step of pretraining takes on this device, measured on noise, without the optimiser's update.

    That is a small part of it, and torch's optimisers take over a second to load (torch._dynamo with them).
    Of a large network a few samples are measured, and the rest of the batch is taken to last as long in proportion.
    """
    network = build_network(shape, config).to(device()).train()
    rng = np.random.default_rng(0)

    def step_of(n: int) -> float:
        begun = time.perf_counter()
        x = torch.from_numpy(rng.standard_normal((2, n, *shape), dtype=np.float32))
        paired = pair(x[0], x[1], settings.pair_size)
        batch = Batch(torch.from_numpy(rng.random(n, dtype=np.float32)), x[0], paired, {})
        loss, _ = backward(network, batch, precision_of(config), network, 1)
        loss.item()  # waits for the device
        return time.perf_counter() - begun

    whole, few = settings.batch_size, min(settings.batch_size, FEW)
    step_of(few)  # the first is slower
    n = few if step_of(few) * whole / few > LONG_STEP_S else whole
    return typical_seconds(lambda: step_of(n), settings.pretrain_steps) * whole / n


def typical_seconds(work: Callable[[], object], times: int) -> float:
    """Seconds that a piece of work takes: the median of a few runs after the first, which is slower.

    Args:
        work: to be done.
        times: that it will be done; where even the first run's time means no more than `SHORT_S` in all, that is given.
    """
    begun = time.perf_counter()
    work()
    first = time.perf_counter() - begun
    if first * times < SHORT_S:
        return first
    runs = [first]
    while len(runs) <= FEWEST_RUNS or (len(runs) < MOST_RUNS and sum(runs[1:]) < MEASURED_S):
        begun = time.perf_counter()
        work()
        runs.append(time.perf_counter() - begun)
    return float(np.median(runs[1:]))


def backward(
    velocity: Velocity, batch: Batch, precision: str, optimiser: torch.optim.Optimizer | nn.Module, pieces: int
) -> tuple[torch.Tensor, int]:
    """Leaves the gradient of the batch's mean loss in the parameters; in smaller pieces where memory is short.

    On several processes each takes its part of the batch, and the mean over them is that of the whole batch.

    Args:
        velocity: of the network whose parameters the optimiser has.
        batch: to learn from.
        precision: 'auto', 'bf16' or 'fp32', of the network.
        optimiser: whose gradients are cleared first; or the network.
        pieces: that the batch is cut into.

    Returns:
        The loss, and the pieces that the batch had to be cut into.
    """
    optimiser.zero_grad(set_to_none=True)
    n, total = len(batch.t) / processes(), torch.zeros((), device=device())
    own = batch.t, batch.x0, batch.x1, *batch.y
    if processes() > 1:
        own = tuple(x.tensor_split(processes())[rank()] for x in own)
    parts = [x.to(device(), non_blocking=True).tensor_split(pieces) for x in own]
    try:
        for t, x0, x1, *y in zip(*parts, strict=True):
            moment = t.view(-1, *[1] * (x0.ndim - 1))
            xt, ut = torch.lerp(x0, x1, moment), x1 - x0
            with autocast(precision):
                vt = velocity(t, xt, *y)
            loss = (vt.float() - ut).square().mean() * (len(t) / n)
            loss.backward()
            total += loss.detach()
        return total, pieces
    except torch.OutOfMemoryError:
        if pieces >= n or processes() > 1:  # the others go on with whole batches
            raise
    warnings.warn(
        f"The device has too little memory for {-(-len(batch.t) // pieces)} at once: going on in {2 * pieces} pieces.",
        stacklevel=2,
    )
    return backward(velocity, batch, precision, optimiser, 2 * pieces)

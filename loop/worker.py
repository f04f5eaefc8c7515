"""The worker: keeps the slate pool full, retrains when the picks are in, and can be killed at any instant.

Everything it decides is in the database before it acts on it: the picks of a turn ('turn' in the status table), a
generation with its requests answered (one transaction). After a kill it goes on from there.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from data.records import Generation
from data.store import queries
from data.store.connection import LockWait, steady_now
from loop.generators import load_generator
from loop.raters.journey import WORKER, control_state
from loop.raters.quality import refresh
from loop.round import latest_t, next_generation, open_requests, stored_turn
from loop.setup import Plan, plan, prepare_evaluator, prepare_first_generation
from loop.slates import Pool, make_templates
from loop.study import Study, only_worker
from loop.users import People, draw_picks, sim_sessions, store_picks
from model.compute import LARGE, alone, from_main, is_main, processes, using_threads
from model.interfaces import Generator

PAINTED_AT_ONCE = 4  # slates of designs: painting takes longer than drawing, and raters wait for the first
POLL_S = 0.25
HEARTBEAT_S = 1.0
BEAT_S = 4.0
FLAG_S = 5.0
REASON = 500  # characters of an error in the event log


@dataclass
class Reporter:
    """Reports the worker's progress to the pages, once a second at the most, and lets it tend the pool meanwhile.

    Attributes:
        study: whose status table is written.
        command: that works on the study: the worker, or another that does the worker's part, such as `simulate`.
        tend: called with every heartbeat of a long phase.
        say: called with the phase and the share done at every heartbeat of a phase whose share is known.
    """

    study: Study
    command: str = WORKER
    tend: Callable[[], object] | None = None
    say: Callable[[str, float], object] | None = None
    phase: str = ""
    _since: float = 0.0
    _first: float = 0.0
    _beat: float = field(default=0.0)
    _latest: dict[str, Any] = field(default_factory=dict)

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Reports that `done` of `total` of a phase is done."""
        now = time.monotonic()
        share = done / total if total else None
        if phase != self.phase:
            self.phase, self._since, self._first, self._beat = phase, now, share or 0.0, 0.0
        if now - self._beat < HEARTBEAT_S or not is_main():
            return
        self._beat = now
        gained = (share or 0.0) - self._first  # of a training that goes on, only what is new tells the pace
        left = round((now - self._since) * (1 - share) / gained, 1) if share and gained > 0 else None
        self._latest = {"phase": phase, "done": share, "left_s": left, "command": self.command}
        self.study.store.set_status("worker", **self._latest, steady=steady_now())
        if self.say and share is not None:
            self.say(phase, share)
        if self.tend and phase in ("training", "curating"):
            with alone():
                self.tend()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Repeats the last report while the block runs, whose steps may be longer than the pages wait for a sign."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_S):
                with suppress(sqlite3.OperationalError):  # locked: the next beat will do
                    self.study.store.set_status("worker", **self._latest, steady=steady_now())

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        if is_main():
            thread.start()
        try:
            yield
        finally:
            over.set()
            if is_main():
                thread.join()

    def end(self) -> None:
        """Reports that nobody works any more, unless another process has the database locked just now."""
        store = self.study.store
        store.lock_wait = LockWait(lambda *_: None, limit_s=5.0)
        with suppress(sqlite3.OperationalError):  # the pages see for themselves after a while
            store.set_status("worker", phase="absent")


class Worker:
    """The generator's owner. Make one, then `run`.

    Args:
        study: a study whose raters are people; K must be finite, the data images or texts.
        announce: called with the plan before generation 0 is prepared.
        preparing_threads: of torch until then, for large networks, as nobody can pick yet; 0: as many as later.

    Raises:
        ValueError: such a study can't be shown to people.
    """

    def __init__(
        self, study: Study, announce: Callable[[Plan], object] = lambda plan: None, preparing_threads: int = 0
    ):
        from_main(study.check_people_pick)
        self.study, self.announce, self.preparing_threads = study, announce, preparing_threads
        self.report = Reporter(study)
        self._stop = threading.Event()
        self._flagged = 0.0
        self._published = -1, 0.0  # the generation whose age was read last, and when it was published

    def run(self, once: bool = False) -> None:
        """Works until `stop` (or, with `once`, until there is nothing to do at the moment).

        Raises:
            WorkerRunningError: another worker has the study.
        """
        with only_worker(self.study.path) if is_main() else nullcontext():
            from_main(lambda: self.study.store.log("worker", "worker_started"))
            try:
                self.prepare()
                while not from_main(self._stop.is_set):
                    busy = self.tick()
                    if once and not busy:
                        return
                    if not busy:
                        self._stop.wait(POLL_S)
            except (ValueError, OSError, RuntimeError) as error:
                if is_main():
                    self.report_failure(error)
                raise
            finally:
                if is_main():
                    self.report_end()

    def stop(self) -> None:
        """Asks `run` to return after the step at hand. Safe from any thread."""
        self._stop.set()

    def report_failure(self, error: Exception) -> None:
        """Tells the researcher's page why the worker ended, where the database can be written."""
        reason = " ".join(str(error).split())[:REASON] or type(error).__name__
        with suppress(sqlite3.Error):
            self.study.store.log("worker", "worker_failed", reason=reason)

    def report_end(self) -> None:
        """Tells the pages that the worker has ended, unless another process has the database locked just now."""
        store = self.study.store
        store.lock_wait = LockWait(lambda *_: None, limit_s=5.0)
        with suppress(sqlite3.OperationalError), store.write():  # the pages see for themselves after a while
            store.set_status("worker", phase="absent")
            store.log("worker", "worker_stopped")

    def tick(self) -> bool:
        """Does the most urgent thing there is; False when there was none.

        Several processes divide a turn among them; all else is done by rank 0 while the others wait.
        """
        busy, due = from_main(self.tend)
        if due is not None:
            self.take_turn(due)
        return busy

    def tend(self) -> tuple[bool, int | None]:
        """Does all but a turn, on rank 0: True if there was anything to do, and the generation whose turn is due."""
        latest = self.study.store.latest_generation()
        assert latest is not None
        if not self.audits and self.answer_simulate_request(latest):
            return True, None
        if stored_turn(self.study, latest.t + 1) or self.settle(latest):
            return True, latest.t
        self.report("idle", 0, 0)
        if time.monotonic() - self._flagged > FLAG_S:
            refresh(self.study.store, self.study.config.quality)
            self._flagged = time.monotonic()
        return self.tend_pool(latest.t), None

    def prepare(self) -> None:
        """Trains or loads the classifier and generation 0, and retires the slates of earlier generations."""
        self.report("preparing", 0, 0)
        config = self.study.config
        with self.report.beating(), using_threads(self.preparing_threads if config.network.kind in LARGE else 0):
            planned = from_main(lambda: plan(config, self.study))
            from_main(lambda: self.announce(planned))
            preparing = planned.overall(self.report)
            self.evaluator = prepare_evaluator(self.study, preparing)
            self.scorer = self.evaluator.scorer
            prepare_first_generation(self.study, self.evaluator, preparing)
        assert isinstance(config.curation.k, int)
        k, audit_k, batch = config.curation.k, config.pool.audit_k, config.sampling.batch_size
        at_once = None if config.data.family is None else PAINTED_AT_ONCE
        conditions = self.study.conditions
        self.pool = Pool(self.study.store, self.scorer, config.seed, k, batch, audit_k, at_once, conditions)
        self.people = People(self.study, self.scorer)
        self._generators: dict[int, Generator] = {}
        self.audits = from_main(lambda: bool(self.study.sources))
        from_main(lambda: self.study.store.retire_slates(latest_t(self.study)))

    def is_due(self, latest: Generation) -> bool:
        """True if the schedule, or the researcher, calls for a new generation."""
        store, schedule, rule = self.study.store, self.study.config.schedule, self.study.config.quality.rule
        if self.audits or 0 < self.study.config.stop.generations <= latest.t:
            return False
        picks = queries.count_picks_since(store, latest.pick_cut, rule)
        if picks >= schedule.picks:
            refresh(store, self.study.config.quality)
            picks = queries.count_curation_picks(store, after=latest.pick_cut, rule=rule)
        if picks == 0:
            return False
        if open_requests(self.study):
            return True
        if control_state(store).stopped:
            return False
        if picks >= schedule.picks:
            return True
        if self._published[0] != latest.t:  # from then on by the monotonic clock
            age = datetime.now(UTC) - datetime.fromisoformat(latest.published_at)
            self._published = latest.t, time.monotonic() - age.total_seconds()
        return 0 < schedule.interval_s <= time.monotonic() - self._published[1]

    def settle(self, latest: Generation) -> bool:
        """Settles the next turn if it is due; what is in it can't be taken back from then on."""
        if not self.is_due(latest):
            return False
        with self.study.store.write():  # since the picks were counted someone may have taken one back, or withdrawn
            if due := self.is_due(latest):
                self.people.settle(latest.t)
        return due

    def take_turn(self, t: int) -> None:
        """Has generation t + 1 trained from generation t and published, the pool tended meanwhile."""
        generator = self._generator(t) if processes() == 1 else load_generator(self.study, t)
        from_main(lambda: self.tend_pool(t))
        self.report.tend = lambda: self.tend_audit(t) and self.tend_audit(t)  # a first slate where none is, then more
        self.report("curating", 0, 0)
        turn = self.people.curate(generator, t, lambda done, total: self.report("curating", done, total))
        next_generation(self.study, self.evaluator, generator, turn, self.report)
        self.report.tend = None

    def answer_simulate_request(self, latest: Generation) -> bool:
        """Lets as many simulated users pick as the researcher asked for; their picks count like people's."""
        store = self.study.store
        answered = store.status("simulated").get("request", 0)
        for request in store.events(kinds=("simulate_requested",), after=answered)[:1]:
            generator, n = self._generator(latest.t), int(request["detail"]["n"])
            self.report("curating", 0, 0)
            drawn = draw_picks(
                self.study.config, self.scorer, generator, latest.t, n, "request", request["id"], all_images=True,
                conditions=self.study.conditions,
            )  # fmt: skip
            with store.write():  # picks and the request's answer together: a kill leaves neither or both
                store_picks(store, sim_sessions(store, self.study.config), drawn)
                store.set_status("simulated", request=request["id"])
            return True
        return False

    def tend_pool(self, t: int) -> bool:
        """Fills the pool with slates of generation t; True if any were missing."""
        pool = self.study.config.pool
        templates = make_templates(self.study.config, self.pool, self._generator(t), t)
        size = 0 if self.audits else pool.size
        slates = self.pool.top_up("curation", size, {t: self._generator(t)}, t)
        return bool(templates + slates + self.tend_audit(t))

    def tend_audit(self, t: int) -> int:
        """Fills the pool with audit slates, and returns the number that were missing."""
        sources = {source: self._generator(source) for source in self._compared(t)}
        return self.pool.top_up("audit", self.study.config.pool.audit, sources, t, all_pairs=self.audits)

    def _compared(self, t: int) -> set[int]:
        """The generations that audit slates compare while generation t is served."""
        return set(range(t + 1)) if self.audits else {0, max(0, t - 1), t}

    def _generator(self, t: int) -> Generator:
        """Generation t; only those that audit slates need stay in memory."""
        if t not in self._generators:
            latest = latest_t(self.study)
            compared = self._compared(latest) & self._generators.keys()
            needed = {source: self._generators[source] for source in compared}
            self._generators = {**needed, t: load_generator(self.study, t)}
        return self._generators[t]

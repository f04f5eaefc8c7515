"""The processes of a served study: the app in this one; the worker in another, restarted by it, that ends with it."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from curate_app.console import PlainLines, err, plan_line
from data.secret_file import chosen_password, kept_secret

if TYPE_CHECKING:
    from curate_app.web.monitoring import Health
    from data.store import Store
    from loop.study import Study

RESTART_S, LONGEST_RESTART_S = 5.0, 300.0  # before the first restart and, after doubling, any
HEALTHY_S = 600.0  # a worker that ran so long wasn't failing
REPEAT_S = 60.0  # between two lines on a database that stays locked


def check_port(host: str, port: int) -> None:
    """Tries to listen, so that a port in use is reported before anything is started.

    Raises:
        ValueError: the port is taken, or the host isn't this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise ValueError(f"Can't listen on {host}:{port} ({error}); choose another with --port.") from error


def is_loopback(host: str) -> bool:
    """True if only this machine can reach the host's address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def admin_password(study_path: Path, configured: str, host: str, *, proxied: bool = False) -> str | None:
    """The researcher's password: study.toml's, else the hash of one chosen earlier, else one generated once.

    The last two are in secrets.toml. None where no password was chosen and only this machine can connect: on loopback,
    with no proxy in front.
    """
    chosen = configured or chosen_password(study_path)
    if chosen or (is_loopback(host) and not proxied):
        return chosen or None
    return kept_secret(study_path, "admin_password", length=12)


class WorkerSupervisor:
    """Restarts a study's worker whenever it ends, for as long as the app runs, with growing delays.

    Args:
        study: the study; each death of its worker is one of its events.
        health: counts the worker's deaths in a row.
        start: starts the worker.
        say: prints a line for the researcher.
    """

    def __init__(
        self,
        study: "Study",
        health: "Health",
        *,
        start: Callable[[Path], subprocess.Popen] | None = None,
        say: Callable[[str], object] = err.print,
    ):
        self._study = study
        self._health = health
        self._start = start or start_worker
        self._say = say
        self._stopping = threading.Event()
        self._worker: subprocess.Popen | None = None

    def supervise(self) -> None:
        """Runs the worker again and again, until `stop`, or until someone else asked the worker to end."""
        refused = False
        while not self._stopping.is_set():
            try:
                code = self.run_once()
            except OSError as error:  # no memory, or no more processes allowed: that may pass
                code = str(error)
            if self._stopping.is_set():
                return
            if code == 0:
                self._say("The worker was asked to end and is not restarted; `curate worker` starts another.")
                self.log("worker_left")
                return
            if code == 2 and self.another_works():  # the new worker was refused; it takes over when the other ends
                if not refused:
                    self._say("Another worker is running on this study, so this server starts none.")
                refused, delay_s = True, LONGEST_RESTART_S
            else:
                refused, delay_s = False, self.note_death(code)
            if self.pause(delay_s):
                return

    def run_once(self) -> int:
        """The exit code of one run of the worker; a run that lasts long enough clears the count of deaths."""
        worker = self._worker = self._start(self._study.path)
        if self._stopping.is_set():
            worker.terminate()
        try:
            return worker.wait(HEALTHY_S)
        except subprocess.TimeoutExpired:
            if self._health.worker_failing:
                self._say("The worker is well again.")
                self.log("worker_recovered", deaths=self._health.worker_deaths)
            self._health.worker_deaths = 0
            return worker.wait()

    def another_works(self) -> bool:
        """True if some worker reports a heartbeat; False where the database can't be asked."""
        from loop.raters.journey import worker_status

        try:
            return worker_status(self._study.store)["phase"] not in ("absent", "starting")
        except sqlite3.Error:
            return False

    def note_death(self, code: int | str) -> float:
        """Counts, prints and logs a death; returns the seconds until the next start."""
        self._health.worker_deaths += 1
        deaths = self._health.worker_deaths
        delay_s = min(RESTART_S * 2 ** min(deaths - 1, 20), LONGEST_RESTART_S)
        again = f"restarting it in {delay_s:.0f} s"
        if self._health.worker_failing:
            self._say(
                f"THE WORKER HAS DIED {deaths} TIMES IN A ROW (the last time with {code}; its message is above); "
                f"{again}. Raters get the slates left in the pool, and no generation is trained until this is fixed."
            )
        else:
            self._say(f"The worker ended with code {code}; {again}.")
        self.log("worker_died", deaths=deaths, code=code)
        return delay_s

    def log(self, kind: str, **detail: object) -> None:
        """Adds an event to the study; where the database fails, health takes note instead."""
        try:
            self._study.store.together(lambda: self._study.store.log("server", kind, **detail))
        except sqlite3.Error as error:
            self._health.note(error)

    def pause(self, seconds: float) -> bool:
        """Waits; True if the app is stopping."""
        return self._stopping.wait(seconds)

    def stop(self) -> None:
        """Ends the worker, for good."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.terminate()


@contextmanager
def worker_beside(study: "Study", health: "Health") -> Iterator[None]:
    """Runs the study's worker as a process of its own while the block runs; it is restarted if it fails."""
    supervisor = WorkerSupervisor(study, health)
    thread = threading.Thread(target=supervisor.supervise, name="worker-supervisor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        supervisor.stop()
        thread.join(timeout=10)


def start_worker(study_path: Path) -> subprocess.Popen:
    """A worker process that ends with this one."""
    return subprocess.Popen(
        [sys.executable, "-m", "curate_app", "worker", str(study_path), "--with-parent"],
        stdin=subprocess.PIPE,  # it ends when this pipe does, however this process ends
        env={**os.environ, "OMP_NUM_THREADS": str(worker_threads(beside_app=True))},
    )


def run_worker(study: "Study", device: str, *, once: bool, with_parent: bool) -> None:
    """Runs the worker in this process until SIGTERM, Ctrl-C, or the end of its parent.

    Args:
        study: opened.
        device: that it works on, in words.
        once: ends when there is nothing to do at the moment.
        with_parent: standard input is a pipe from the process that serves; the worker ends when it closes.
    """
    from curate_app.launch import is_launched
    from data.store.connection import LockWait
    from loop.compute import is_main
    from loop.setup import Plan
    from loop.study import SAMPLES
    from loop.worker import Worker

    def announce(plan: Plan) -> None:
        if line := plan_line(plan, study.config.train.pretrain_steps):
            err.print(f"{line} Samples along the way: {study.path / SAMPLES}.", markup=False)

    worker = Worker(study, announce, worker_threads(beside_app=False))
    lines = PlainLines(wanted=True, early=err.is_terminal)
    worker.report.say = lambda phase, share: lines.show(phase, phase, share)
    if is_main():
        study.store.lock_wait = LockWait(LockReport(study.store))
    if not is_launched():
        signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(0))
    if with_parent:
        os.nice(15)  # picks are answered first
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when
        threading.Thread(target=end_with_parent, daemon=True).start()
    elif is_main():
        err.print(f"Working on {study.path}, on {device}. Ctrl-C stops; nothing is lost.")
    worker.run(once)


def end_with_parent() -> None:
    """Waits until standard input closes, which it does when the parent ends, then ends this process by SIGTERM."""
    while os.read(0, 1):  # not through sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class LockReport:
    """Says on stderr, once a minute, that another process keeps the worker waiting, and logs it when that is over."""

    def __init__(self, store: "Store", say: Callable[[str], object] = err.print):
        self._store = store
        self._say = say
        self._last_line_s = -REPEAT_S

    def __call__(self, waited_s: float, acquired: bool) -> None:
        """Takes a report of `LockWait`."""
        if acquired:
            self._say(f"The database was locked for {waited_s:.0f} s; the worker continues.")
            self._store.log("worker", "waited_for_lock", seconds=round(waited_s, 1))
            self._last_line_s = -REPEAT_S
        elif waited_s - self._last_line_s >= REPEAT_S:
            self._say(f"The database is locked by another process; the worker has waited {waited_s:.0f} s so far.")
            self._last_line_s = waited_s


def worker_threads(*, beside_app: bool) -> int:
    """The number of torch's threads: all cores, less one for an app beside it, divided among the ranks of a launch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (cores - 1 if beside_app else cores) // ranks_here())


def use_threads(*, beside_app: bool, small: bool = False) -> None:
    """Sets the number of OpenMP threads; to be called before torch is imported, which reads it then.

    Args:
        beside_app: one core is left to the app.
        small: the network is too small for several threads to pay.
    """
    if ranks_here() > 1 and os.environ.get("OMP_NUM_THREADS") == "1":
        del os.environ["OMP_NUM_THREADS"]  # launchers set it where nobody else has
    os.environ.setdefault("OMP_NUM_THREADS", str(1 if small else worker_threads(beside_app=beside_app)))


def ranks_here() -> int:
    """The number of ranks that a launch has on this machine; 1 without a launch."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

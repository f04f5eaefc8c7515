"""Serving a study: the app in this process, the worker in another that ends when this one does."""

import os
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

from curate_app.console import err
from data.secret_file import chosen_password, kept_secret

if TYPE_CHECKING:
    from curate_app.web.failures import Health
    from loop.study import Study

RESTART_S, LONGEST_RESTART_S = 5.0, 300.0  # before the first restart and, after doubling, any
HEALTHY_S = 600.0  # a worker that ran so long wasn't failing


def check_port(host: str, port: int) -> None:
    """Tries to listen, so that a port in use is told before anything is started.

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
    """The researcher's password: study.toml's, else the hash of the one chosen before, else one generated once.

    The last two stand in secrets.toml. None where none was chosen and only this machine can ask: on loopback, and with
    no proxy in front that speaks for others.
    """
    chosen = configured or chosen_password(study_path)
    if chosen or (is_loopback(host) and not proxied):
        return chosen or None
    return kept_secret(study_path, "admin_password", length=12)


class WorkerKeeper:
    """Keeps a study's worker running beside the app, for weeks: it is started again whenever it ends, ever more seldom.

    Args:
        study: the study; each death of its worker is one of its events.
        health: told how often in a row the worker has died.
        start: starts the worker.
        say: tells the researcher.
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
        self._leaving = threading.Event()
        self._worker: subprocess.Popen | None = None

    def keep_running(self) -> None:
        """Runs the worker again and again, until `leave`, or until the worker was asked to end by someone else."""
        refused = False
        while not self._leaving.is_set():
            try:
                code = self._run()
            except OSError as error:  # no memory or no process to be had: that may pass
                code = str(error)
            if self._leaving.is_set():
                return
            if code == 0:
                self._say("The worker was asked to end and is not started again; `curate worker` starts another.")
                self._log("worker_left")
                return
            if code == 2 and self._another_works():  # it was refused; should the other end, this one takes over
                if not refused:
                    self._say("Another worker is at work on this study; this server leaves it to that one.")
                refused, delay_s = True, LONGEST_RESTART_S
            else:
                refused, delay_s = False, self._note_death(code)
            if self.pause(delay_s):
                return

    def pause(self, seconds: float) -> bool:
        """Waits; whether the app is leaving."""
        return self._leaving.wait(seconds)

    def leave(self) -> None:
        """Ends the worker, for good."""
        self._leaving.set()
        if self._worker is not None:
            self._worker.terminate()

    def _run(self) -> int:
        """Runs the worker once; its exit code."""
        worker = self._worker = self._start(self._study.path)
        if self._leaving.is_set():
            worker.terminate()
        try:
            return worker.wait(HEALTHY_S)
        except subprocess.TimeoutExpired:
            if self._health.worker_failing:
                self._say("The worker is well again.")
                self._log("worker_recovered", deaths=self._health.worker_deaths)
            self._health.worker_deaths = 0
            return worker.wait()

    def _another_works(self) -> bool:
        from loop.raters.journey import worker_status

        try:
            return worker_status(self._study.store)["phase"] != "absent"
        except sqlite3.Error:
            return False

    def _note_death(self, code: int | str) -> float:
        """Counts, tells and logs a death; seconds until the next start."""
        self._health.worker_deaths += 1
        deaths = self._health.worker_deaths
        delay_s = min(RESTART_S * 2 ** min(deaths - 1, 20), LONGEST_RESTART_S)
        again = f"starting it again in {delay_s:.0f} s"
        if self._health.worker_failing:
            self._say(
                f"THE WORKER HAS DIED {deaths} TIMES IN A ROW (the last time with {code}; what it said stands above); "
                f"{again}. Raters get what the pool still holds, and no generation is made until it is mended."
            )
        else:
            self._say(f"The worker ended with code {code}; {again}.")
        self._log("worker_died", deaths=deaths, code=code)
        return delay_s

    def _log(self, kind: str, **detail: object) -> None:
        try:
            self._study.store.together(lambda: self._study.store.log("server", kind, **detail))
        except sqlite3.Error as error:
            self._health.note(error)


@contextmanager
def worker_beside(study: "Study", health: "Health") -> Iterator[None]:
    """Runs the study's worker as a process of its own while the block runs; it is started again if it fails."""
    snapshotter = WorkerKeeper(study, health)
    thread = threading.Thread(target=snapshotter.keep_running, name="worker-keeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        snapshotter.leave()
        thread.join(timeout=10)


def start_worker(study_path: Path) -> subprocess.Popen:
    """A worker process that ends with this one."""
    return subprocess.Popen(
        [sys.executable, "-m", "curate_app", "worker", str(study_path), "--with-parent"],
        stdin=subprocess.PIPE,  # it ends when this pipe does, however this process ends
        env={**os.environ, "OMP_NUM_THREADS": str(worker_threads(beside_app=True))},
    )


def worker_threads(*, beside_app: bool) -> int:
    """The number of torch's threads: all cores, less one for an app beside it, divided among the ranks of a launch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (cores - 1 if beside_app else cores) // _local_ranks())


def use_threads(*, beside_app: bool, small: bool = False) -> None:
    """Sets the number of OpenMP threads, before torch is imported.

    Args:
        beside_app: one core is left to the app.
        small: the network is too small for several threads to pay.
    """
    if _local_ranks() > 1 and os.environ.get("OMP_NUM_THREADS") == "1":
        del os.environ["OMP_NUM_THREADS"]  # launchers set it where nobody else has
    os.environ.setdefault("OMP_NUM_THREADS", str(1 if small else worker_threads(beside_app=beside_app)))


def _local_ranks() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

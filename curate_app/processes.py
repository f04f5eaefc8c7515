"""Serving a study: the app in this process, the worker in another that ends when this one does."""

import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from curate_app.console import err
from data.secret_file import chosen_password, kept_secret

RESTART_S = 5.0
SPINS = "20000"
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt
GIVE_UP = 5  # restarts


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
    """Whether only this machine can reach the host's address."""
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


@contextmanager
def worker_beside(study_path: Path) -> Iterator[None]:
    """Runs the study's worker as a process of its own while the block runs; it is started again if it fails."""
    leaving = threading.Event()
    running: list[subprocess.Popen] = []

    def keep_running() -> None:
        for attempt in range(GIVE_UP):
            worker = subprocess.Popen(
                [sys.executable, "-m", "curate_app", "worker", str(study_path), "--with-parent"],
                stdin=subprocess.PIPE,  # it ends when this pipe does, however this process ends
                env={**os.environ, "OMP_NUM_THREADS": str(worker_threads(beside_app=True))},
            )
            running[:] = [worker]
            code = worker.wait()
            if leaving.is_set() or code in (0, 2):  # 2: a sentence was printed, and trying again would not help
                return
            err.print(f"The worker ended with code {code}; starting it again in {RESTART_S:.0f} s ({attempt + 1}).")
            if leaving.wait(RESTART_S):
                return

    thread = threading.Thread(target=keep_running, name="worker-keeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        for worker in running:
            worker.terminate()
        thread.join(timeout=10)


def worker_threads(*, beside_app: bool) -> int:
    """How many threads torch gets: all cores, less one for an app beside it, divided among the ranks of a launch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (cores - 1 if beside_app else cores) // _local_ranks())


def use_threads(*, beside_app: bool, small: bool = False) -> None:
    """Sets the number of OpenMP threads before torch is imported, and what suits its work.

    A waiting thread spins for a fraction of a millisecond, which spares most waits between two operations the way
    through the system; then it sleeps, so that processes that share cores don't hold each other up.

    Args:
        beside_app: one core is left to the app.
        small: the network is too small for several threads to pay.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    _keep_freed_memory()
    if _local_ranks() > 1 and os.environ.get("OMP_NUM_THREADS") == "1":
        del os.environ["OMP_NUM_THREADS"]  # launchers set it where nobody else has
    os.environ.setdefault("OMP_NUM_THREADS", str(1 if small else worker_threads(beside_app=beside_app)))


def _keep_freed_memory() -> None:
    """Lets glibc keep what is freed: each training step takes the same memory again, page by page if given back."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most that it takes
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(M_TOP_PAD, 64 << 20)  # a thread's comes in pieces of 64 MB, which would go back


def _local_ranks() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

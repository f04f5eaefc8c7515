"""One worker per study: a lock that the operating system lets go of when the process ends, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class WorkerRunningError(ValueError):
    """Another process works on the study."""


@contextmanager
def only_worker(study_path: Path) -> Iterator[None]:
    """Holds the study's worker lock; weights that an earlier holder was killed over half-way are removed.

    Raises:
        WorkerRunningError: another process holds it.
    """
    lock = FileLock(study_path / "worker.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkerRunningError(
            f"A worker is running on {study_path} already; stop it first, or leave this study to it."
        ) from None
    try:
        for pattern in ("checkpoints/.*", ".classifier.*", ".judge.*"):
            for draft in study_path.glob(pattern):
                draft.unlink(missing_ok=True)
        yield
    finally:
        lock.release()

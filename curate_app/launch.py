"""A command under `accelerate launch` or `torchrun`, which start it several times and say so in the environment."""

import os
import signal
from collections.abc import Callable


class _LaunchEndedError(KeyboardInterrupt):
    """The launcher asked this process to end."""


def on_ranks(command: Callable[[], object]) -> None:
    """Runs the command, on all processes of the launch if there is one.

    Raises:
        RuntimeError: another process of the launch ended.
    """
    rank = os.environ.get("RANK")
    if rank is None or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        command()
        return
    from curate_app.processes import use_threads

    use_threads(beside_app=False)
    from loop.ranks import on_all

    if rank == "0":
        signal.signal(signal.SIGTERM, _leave)
    try:
        on_all(command)
    except _LaunchEndedError:
        raise RuntimeError(
            "The launch was ended, most likely since another of its processes failed. Nothing is lost: the same "
            "command goes on from here."
        ) from None
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher passes Ctrl-C on, after the terminal did
        raise


def _leave(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _LaunchEndedError

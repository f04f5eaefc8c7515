"""A command under `accelerate launch` or `torchrun`, which start it several times and say so in the environment."""

import os
import signal
from collections.abc import Callable


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

    asked = _Asked()
    if rank == "0":
        signal.signal(signal.SIGTERM, asked)
    try:
        on_all(command)
    except BaseException as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher passes Ctrl-C on, after the terminal did
        if not asked.to_end:
            raise
        raise RuntimeError(
            "The launch was ended, most likely since another of its processes failed. Nothing is lost: the same "
            "command goes on from here."
        ) from error


class _Asked:
    """Stops the command when the launcher asks for it, which it does when another process failed."""

    to_end = False

    def __call__(self, _signal: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.to_end = True
        raise KeyboardInterrupt

"""The loop on the processes of one launch: rank 0 runs the command, the others lend it their processors."""

from collections.abc import Callable

from model import ranks


def on_all(command: Callable[[], object]) -> None:
    """Runs the command on rank 0 while the other ranks follow; for each process of a launch to call.

    Raises:
        LostRankError: a process of the launch ended; what was stored is whole.
    """
    group = ranks.join()
    if group.rank:
        ranks.follow(group)
        return
    command()
    ranks.leave(group)  # not where the command failed: its followers may be anywhere, and end when this process does

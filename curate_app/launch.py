"""A command that `accelerate launch`, `torchrun` or `mpirun` started several times, as the environment says."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loop.config import StudyConfig
    from loop.study import Study

DIVIDED = frozenset({"simulate", "worker", "pretrain", "replay", "reward"})  # verbs; the others are rank 0's alone
OF_LAUNCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK")
# names of Open MPI, of MPICH and Intel's, of MVAPICH; `accelerate launch --cpu --mpirun_hostfile FILE` starts these
MPI_NAMES = {
    "RANK": ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"),
    "WORLD_SIZE": ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"),
    "LOCAL_RANK": ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK"),
    "LOCAL_WORLD_SIZE": ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE"),
}
PATIENCE_S = 3.0  # for rank 0 to say what went wrong, which most likely went wrong there too
LOST = (
    "Another process of this launch ended or can't be reached. Nothing is lost: the same command resumes from the last "
    "snapshot."
)


def is_launched() -> bool:
    """True if this process is one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def adopt_mpi() -> None:
    """Names the ranks that MPI's launcher started as torchrun does, for everything that asks for them later."""
    values = {
        name: next((os.environ[other] for other in others if other in os.environ), None)
        for name, others in MPI_NAMES.items()
    }
    if "RANK" in os.environ or None in values.values() or values["WORLD_SIZE"] == "1":
        return
    os.environ.update({name: value for name, value in values.items() if value is not None})
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")


def on_ranks(command: Callable[[], object], verb: str) -> None:
    """Runs the command; of a launch, on all processes that have a part in it. Only rank 0 prints.

    Raises:
        RuntimeError: another process of the launch ended.
    """
    adopt_mpi()
    if not is_launched():
        if verb in DIVIDED:
            start_processes()
        command()
        return
    rank = int(os.environ["RANK"])
    if verb not in DIVIDED:
        for name in OF_LAUNCH:
            os.environ.pop(name, None)
        if rank == 0:
            command()
        return
    from curate_app.processes import use_threads

    use_threads(beside_app=False)
    termination = Termination()
    signal.signal(signal.SIGTERM, termination)
    try:
        if rank == 0:
            command()
        else:
            with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
                command()
    except BaseException as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher passes Ctrl-C on, after the terminal did
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        from loop.compute import LostProcessError, is_first_to_say, is_lost

        another_failed = termination.requested or is_lost(error)
        if rank:
            time.sleep(PATIENCE_S)
        if not is_first_to_say():
            sys.exit(1)
        raise (LostProcessError(LOST) if another_failed else error) from error


class Termination:
    """A handler of SIGTERM, by which the launcher ends the command when another process failed."""

    requested = False

    def __call__(self, _signal: int, _frame: object) -> None:
        """Takes the signal, once."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.requested = True
        raise KeyboardInterrupt


def open_on_ranks(path: Path, make: Callable[[], "Study"], device: str | None) -> "Study":
    """The study that `make` opens or makes, on rank 0 of a launch alone; the others get its settings.

    Args:
        path: its folder.
        make: opens or makes it.
        device: as given on the command line.
    """
    if not is_launched():
        return make()
    from loop.compute import open_study

    return open_study(path, make, device)


def use_device(config: "StudyConfig", requested: str | None, *, quiet: bool = False) -> str:
    """Chooses the device, the command line's before study.toml's; prints which, unless `quiet`, and returns it.

    Raises:
        ValueError: there is no such device here.
    """
    from curate_app.console import err
    from loop.compute import choose_device, is_main

    device = choose_device(config, requested)
    if not quiet and is_main():
        err.print(f"Working on {device}.")
    return device


def start_processes() -> None:
    """Starts, by torchrun, the processes that `accelerate launch --cpu --num_processes N` leaves unstarted.

    Without MPI that launcher starts one process and tells it nothing of the number, which its own command line has.
    """
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true" or "MASTER_PORT" not in os.environ:
        return
    import argparse

    import psutil

    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, default in (("num_processes", 0), ("num_machines", 1), ("machine_rank", 0)):
        flags.add_argument(f"--{name}", f"--{name.replace('_', '-')}", type=int, default=default)
    given, _ = flags.parse_known_args(psutil.Process(os.getppid()).cmdline())
    n = given.num_processes // given.num_machines
    if n < 2:
        from curate_app.console import err

        err.print("`accelerate launch --cpu` started a single process; give it --num_processes N, or use torchrun.")
        return
    where = ["--standalone"]
    if given.num_machines > 1:
        there = [f"--master-addr={os.environ['MASTER_ADDR']}", f"--master-port={os.environ['MASTER_PORT']}"]
        where = [f"--nnodes={given.num_machines}", f"--node-rank={given.machine_rank}", *there]
    launcher = ["-m", "torch.distributed.run", *where, f"--nproc-per-node={n}"]
    os.execv(sys.executable, [sys.executable, *launcher, *sys.orig_argv[1:]])

"""Processes that run a script and have imported torch before they begin: forked from a server that has."""

import multiprocessing
import runpy
import sys

import torch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "hypothesis", "torch", "loop.simulate", "loop.worker", __name__])


def run_script(*command: str) -> int:
    """Runs a script with its arguments on one thread, and gives its exit code: minus the number of what killed it."""
    process = _CONTEXT.Process(target=begin, args=command)
    process.start()
    process.join(600)  # a busy machine is no fault
    assert process.exitcode is not None, "it doesn't end"
    return process.exitcode


def begin(*command: str) -> None:
    """The new process's work."""
    torch.set_num_threads(1)
    sys.argv = list(command)
    runpy.run_path(command[0], run_name="__main__")

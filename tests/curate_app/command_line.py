"""The command line as tests call it: in their own process, which has imported torch already, or in another one."""

import contextlib
import gc
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from curate_app.cli import main

Done = subprocess.CompletedProcess[str]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100"}


def warn(message: Warning | str, category: type[Warning], path: str, line: int, *_: object) -> None:
    """Writes a warning to stderr, as a process does; pytest would collect it."""
    sys.stderr.write(warnings.formatwarning(message, category, path, line))


def curate(*arguments: object, cwd: Path | None = None) -> Done:
    """Runs a command line in this process; the study is closed afterwards, as it is when a process ends."""
    command = ["curate", *map(str, arguments)]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "stdin", io.StringIO())
        patch.setattr(warnings, "showwarning", warn)
        if cwd:
            patch.chdir(cwd)
        gc.freeze()  # what was there before is of no interest to gc.collect(), which takes long over it
        code = None
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    gc.collect()
    gc.unfreeze()
    assert code is not None
    return Done(command, code, out.getvalue(), err.getvalue())


def curate_process(*arguments: object, cwd: Path | None = None) -> Done:
    """Runs a command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "curate_app", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

"""`curate doctor`: the device, the versions, the optional parts, and where studies and downloads lie."""

import json
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

PACKAGES = ("curate", "torch", "torchvision", "torchcfm", "accelerate", "gradio", "sqlite-utils", "numpy")
OPTIONAL = {
    "datasette": "`curate browse`; pip install 'curate[browse]'",
    "torch-fidelity": "features by Inception; pip install 'curate[fidelity]'",
    "timm": "features by DINOv2; pip install 'curate[fidelity]'",
}


def doctor(
    folder: Annotated[Path, typer.Argument(help="Where to look for studies.")] = Path("studies"),
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")] = False,
) -> None:
    """Print what a report of a problem needs: device, versions, optional parts, where studies and downloads lie.

    Example: `curate doctor`
    """
    from curate_app.console import out
    from data.datasets import default_cache
    from loop.compute import hardware

    studies = sorted(str(path.parent) for path in folder.glob("*/study.toml"))
    report: dict[str, Any] = {
        "device": hardware(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
        "optional": {name: _version(name) for name in OPTIONAL},
        "studies": studies,
        "downloads": str(default_cache()),
    }
    if json_:
        out.print_json(json.dumps(report))
        return
    lines = [
        f"Device:     {report['device']}",
        f"Python:     {report['python']}, SQLite {report['sqlite']}, {report['platform']}",
        *(f"{name + ':':<16}{found or 'not installed'}" for name, found in report["versions"].items()),
        *(
            f"{name + ':':<16}{found or f'not installed ({OPTIONAL[name]})'}"
            for name, found in report["optional"].items()
        ),
        f"Studies:    {len(studies)} in {folder.resolve()}" if studies else f"Studies:    none in {folder.resolve()}",
        *(f"            {path}" for path in studies),
        f"Downloads:  {report['downloads']}",
    ]
    out.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

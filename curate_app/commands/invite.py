"""`curate invite`: one-time links. Only their hashes are kept, so they can't be printed again."""

import csv
import os
import secrets
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, TextIO

import typer

MOST = 100_000
OWN_EYES = 0o600  # whoever has a link takes its place in the study


def invite(
    study: Annotated[Path, typer.Argument(help="The study's folder.")],
    n: Annotated[int, typer.Option("--n", min=1, max=MOST, help="How many links.")],
    base_url: Annotated[
        str, typer.Option("--base-url", help="The address at which raters reach the study.")
    ] = "http://localhost:7860",
    out: Annotated[Path | None, typer.Option(help="A new file to write; left out: print.")] = None,
) -> None:
    """Make one-time links for a study whose `panel.kind` is "link": a CSV file, one link for each person.

    Example: `curate invite my-study --n 50 --base-url https://picks.example.org --out links.csv`
    """
    from loop.study import Study

    if not base_url.startswith(("http://", "https://")) or "?" in base_url or "#" in base_url:
        raise ValueError(f"--base-url must be an address such as https://picks.example.org, not {base_url}.")
    opened = Study.open(study)
    if opened.config.panel.kind != "link":
        kind = opened.config.panel.kind
        raise ValueError(f'This study\'s panel.kind is "{kind}"; set it to "link" in study.toml to use one-time links.')
    file = nullcontext(sys.stdout) if out is None else _new_file(out)
    tokens = [secrets.token_urlsafe(24) for _ in range(n)]
    opened.store.add_invites(tokens)
    opened.store.log("researcher", "invited", n=n)
    opened.store.close()
    with file as text:
        writer = csv.writer(text)
        writer.writerow(("number", "link"))
        writer.writerows((i + 1, f"{base_url.rstrip('/')}/?token={token}") for i, token in enumerate(tokens))


def _new_file(path: Path) -> TextIO:
    """Opens a file that wasn't there, for its owner alone.

    Raises:
        ValueError: it is there already, or has no folder.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWN_EYES)
    except FileExistsError:
        raise ValueError(f"{path} is there already; choose another --out.") from None
    except FileNotFoundError:
        raise ValueError(f"There is no folder {path.parent} to write {path.name} into.") from None
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")

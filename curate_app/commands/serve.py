"""`curate demo`, `serve`, `worker` and `invite`: a study put before people."""

import csv
import os
import secrets
import sys
import threading
import webbrowser
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, TextIO

import typer

from curate_app.commands.options import Device, Host, Port, StudyPath
from curate_app.console import out
from curate_app.launch import is_launched, open_on_ranks, use_device
from curate_app.processes import admin_password, check_port, is_loopback, run_worker, use_threads, worker_beside
from data.secret_file import is_hash
from loop.raters.journey import starting
from loop.study import Study, configure

MOST_LINKS = 100_000
OWNER_ONLY = 0o600  # whoever has a link takes its place in the study
BROWSER_DELAY_S = 1.0


def demo(
    study: Annotated[Path, typer.Argument(help="Where the demo's study is stored.")] = Path("studies/demo"),
    host: Host = "127.0.0.1",
    port: Port = 7860,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """The flowers study in your browser: pick, and watch the generator follow.

    Example: `curate demo --port 8000`
    """
    check_port(host, port)
    if not study.exists():
        Study.create(study, configure("flowers", ["app.reveal=true"])).store.close()
    serve_pages(study, host, port, worker=True, browser=browser)


def serve(
    study: StudyPath,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    worker: Annotated[bool, typer.Option(help="Start the worker too.")] = True,
) -> None:
    """Serve a study's pages, with its worker beside them.

    Example: `curate serve my-study --host 0.0.0.0`
    """
    check_port(host, port)
    serve_pages(study, host, port, worker=worker, browser=False)


def serve_pages(path: Path, host: str, port: int, *, worker: bool, browser: bool) -> None:
    """Serves a study until Ctrl-C, and prints its addresses and the researcher's password.

    Args:
        path: the study's folder.
        host: address to listen on.
        port: port to listen on.
        worker: runs the study's worker, too.
        browser: opens the raters' page.
    """
    from curate_app.web.monitoring import Health  # fastapi, which the other verbs here needn't wait for

    study = Study.open(path)
    if worker:
        study.check_alone()
    if hardened := study.close_to_others():
        out.print(hardened, highlight=False, markup=False)
    settings = study.config.app
    password = admin_password(path, settings.password, host, proxied=bool(settings.trusted_proxies))
    health = Health(path)
    with worker_beside(study, health) if worker else nullcontext():
        from curate_app.web import app as site  # gradio takes seconds to import, in which the worker starts

        url = f"http://{'localhost' if is_loopback(host) else host}:{port}"
        out.print(f"Raters:      [bold]{url}/[/bold]\nResearcher:  [bold]{url}/admin[/bold]")
        if password and (settings.password or is_hash(password)):
            out.print(f"Password:    the one you chose   (to change it, set app.password in {path / 'study.toml'})")
        elif password:
            out.print(f"Password:    {password}   (The password is in {path / 'secrets.toml'}, too.)")
        out.print("Ctrl-C stops; nothing is lost.")
        if browser:
            threading.Timer(BROWSER_DELAY_S, webbrowser.open, [url]).start()
        app = site.build_app(study, admin_open=password is None, password=password, health=health)
        site.serve(app, host, port, trusted_proxies=settings.trusted_proxies)


def worker(
    study: StudyPath,
    once: Annotated[bool, typer.Option(help="Do what there is to do, then end.")] = False,
    device: Device = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Run a study's worker alone: it fills the slate pool and retrains.

    Example, in the GPU's terminal: `curate worker my-study`
    """
    opened = open_on_ranks(study, lambda: Study.open(study), device)
    if opened.store:  # rank 0 has it
        opened.check_people_pick()
    use_threads(beside_app=with_parent)
    with nullcontext() if is_launched() else starting(opened.store):
        run_worker(opened, use_device(opened.config, device, quiet=True), once=once, with_parent=with_parent)


def invite(
    study: StudyPath,
    n: Annotated[int, typer.Option("--n", min=1, max=MOST_LINKS, help="How many links.")],
    base_url: Annotated[
        str, typer.Option("--base-url", help="The address at which raters reach the study.")
    ] = "http://localhost:7860",
    out: Annotated[Path | None, typer.Option(help="A new file to write; left out: print.")] = None,
) -> None:
    """Make one-time links for a study whose `panel.kind` is "link": a CSV file, one link for each person.

    The study stores only their hashes, so they can't be printed again.

    Example: `curate invite my-study --n 50 --base-url https://picks.example.org --out links.csv`
    """
    if not base_url.startswith(("http://", "https://")) or "?" in base_url or "#" in base_url:
        raise ValueError(f"--base-url must be an address such as https://picks.example.org, not {base_url}.")
    opened = Study.open(study)
    if opened.config.panel.kind != "link":
        kind = opened.config.panel.kind
        raise ValueError(f'This study\'s panel.kind is "{kind}"; set it to "link" in study.toml to use one-time links.')
    file = nullcontext(sys.stdout) if out is None else create_file(out)
    tokens = [secrets.token_urlsafe(24) for _ in range(n)]
    opened.store.add_invites(tokens)
    opened.store.log("researcher", "invited", n=n)
    opened.store.close()
    with file as text:
        writer = csv.writer(text)
        writer.writerow(("number", "link"))
        writer.writerows((i + 1, f"{base_url.rstrip('/')}/?token={token}") for i, token in enumerate(tokens))


def create_file(path: Path) -> TextIO:
    """Opens a new file that only its owner can read.

    Raises:
        ValueError: the file is there already, or its folder isn't.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        raise ValueError(f"{path} is there already; choose another --out.") from None
    except FileNotFoundError:
        raise ValueError(f"There is no folder {path.parent} to write {path.name} into.") from None
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")

"""`curate browse`."""

from pathlib import Path
from typing import Annotated

import typer


def browse(
    study: Annotated[Path, typer.Argument(help="The study's folder.")],
    host: Annotated[str, typer.Option(help="Address; everyone who reaches it can read the study.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8001,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """Look at a study's tables in Datasette: read-only, with pictures, descriptions and ready-made queries.

    Example: `curate browse my-study --port 8001`
    """
    import threading
    import webbrowser

    import uvicorn

    from curate_app.console import out
    from curate_app.processes import check_port
    from loop.study import Study

    try:
        from curate_app.commands.datasette_site import build_site
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] != "datasette":
            raise
        raise ValueError("curate browse needs Datasette; install it with: pip install 'curate[browse]'") from None
    Study.open(study).store.close()  # an older database is brought up to date, and what is no study is refused
    check_port(host, port)
    site = build_site(study)
    url = f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{port}/study"
    out.print(f"The study's tables: [bold]{url}[/bold]\nCtrl-C stops; nothing is changed.")
    if browser:
        threading.Timer(1.0, webbrowser.open, [url]).start()
    uvicorn.run(site.app(), host=host, port=port, log_level="warning")

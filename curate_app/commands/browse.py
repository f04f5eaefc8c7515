"""`curate browse`: a study's tables in Datasette, which is optional; without it this import is a ValueError."""

import sqlite3
import threading
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from markupsafe import Markup

from curate_app.commands.options import Port, StudyPath
from curate_app.console import out
from curate_app.processes import check_port
from data.schema import ABOUT, COLUMNS
from loop.study import Study

try:
    from datasette.app import Datasette
    from datasette.hookspecs import hookimpl
    from datasette.plugins import pm
    from datasette.utils.asgi import NotFound, Request, Response
except ModuleNotFoundError as missing:
    if (missing.name or "").split(".")[0] != "datasette":
        raise
    raise ValueError("curate browse needs Datasette; install it with: pip install 'curate[browse]'") from None

HIDDEN = ("identity", "invite")  # the ids by which panels know raters, and one-time links
QUERIES = {
    "picks_by_generation": (
        "Picks and reward by generation",
        """SELECT generation, rater_kind, count(*) AS picks, avg(reward) AS mean_reward_of_picked FROM v_choice_long
        WHERE picked = 1 AND undone = 0 AND purpose = 'curation' GROUP BY 1, 2 ORDER BY 1, 2""",
    ),
    "picks_by_position": (
        "How often each position was picked",
        """SELECT rater_kind, k, position, sum(picked) AS picks, count(*) AS shown, avg(picked) AS share
        FROM v_choice_long WHERE outcome = 'pick' AND undone = 0 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
    ),
    "picks_by_class": (
        "How often each class was picked where it was shown",
        """SELECT generation, label, sum(picked) AS picks, count(*) AS shown, avg(picked) AS share FROM v_choice_long
        WHERE outcome = 'pick' AND undone = 0 GROUP BY 1, 2 ORDER BY 1, 2""",
    ),
    "one_slate": (
        "The samples of a slate, and the one that was picked",
        """SELECT slate_id, condition, position, image_sha256, text, point, label, reward, picked, undone, rater, rt_ms
        FROM v_choice_long WHERE slate_id = cast(:slate_id AS INTEGER) ORDER BY choice_id, position""",
    ),
    "flagged_answers": (
        "Answers with a flag",
        """SELECT choice_id, rater, session, flags, session_flags, rt_ms, outcome FROM v_choice_long
        WHERE position = 0 AND undone = 0 AND (flags != '{}' OR session_flags != '{}') ORDER BY choice_id""",
    ),
    "audit_wins": (
        "Audit slates: how often each generation was picked where it was shown",
        """SELECT sample_generation, sum(picked) AS picks, count(*) AS shown, avg(picked) AS share FROM v_choice_long
        WHERE purpose = 'audit' AND outcome = 'pick' AND withdrawn = 0 AND undone = 0 GROUP BY 1 ORDER BY 1""",
    ),
}
SHA256_LENGTH = 64


def browse(
    study: StudyPath,
    host: Annotated[str, typer.Option(help="Address; everyone who reaches it can read the study.")] = "127.0.0.1",
    port: Port = 8001,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """Look at a study's tables in Datasette: read-only, with pictures, descriptions and ready-made queries.

    Example: `curate browse my-study --port 8001`
    """
    Study.open(study).store.close()  # brings an older database up to date, and refuses what is no study
    check_port(host, port)
    site = build_site(study)
    url = f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{port}/study"
    out.print(f"The study's tables: [bold]{url}[/bold]\nCtrl-C stops; nothing is changed.")
    if browser:
        threading.Timer(1.0, webbrowser.open, [url]).start()
    uvicorn.run(site.app(), host=host, port=port, log_level="warning")


def build_site(study: Path) -> Datasette:
    """Datasette on a study's database, opened read-only; the study may be running."""
    if not pm.is_registered(plugin):
        pm.register(plugin, name="curate")
    settings = {"allow_download": False, "default_cache_ttl": 0, "num_sql_threads": 2, "sql_time_limit_ms": 20_000}
    return Datasette([str(study / "study.db")], metadata=metadata(study.resolve().name), settings=settings)


def metadata(study: str) -> dict[str, Any]:
    """Datasette's metadata of the database `study`."""
    tables: dict[str, Any] = {name: {"description": ABOUT[name], "columns": COLUMNS[name]} for name in ABOUT}
    for name in HIDDEN:
        tables[name]["allow"] = False
    queries = {name: {"title": title, "sql": " ".join(sql.split())} for name, (title, sql) in QUERIES.items()}
    return {
        "title": f"The study {study}",
        "description": "Read-only. Start with v_choice_long, v_rater and v_generation, or with a query below.",
        "databases": {"study": {"tables": tables, "queries": queries}},
    }


class Plugin:
    """Shows images in place of their hashes, and hides raters' panel ids from every query."""

    __name__ = "curate"

    @hookimpl
    def prepare_connection(self, conn: sqlite3.Connection) -> None:
        """Makes columns of the hidden tables NULL, also in a reader's own SQL."""

        def allow(action: int, table: str | None, *_: str | None) -> int:
            return sqlite3.SQLITE_IGNORE if action == sqlite3.SQLITE_READ and table in HIDDEN else sqlite3.SQLITE_OK

        conn.set_authorizer(allow)

    @hookimpl
    def render_cell(self, value: object, column: str) -> Markup | None:
        """An image's hash as the image."""
        if column not in ("image_sha256", "sha256") or not isinstance(value, str) or len(value) != SHA256_LENGTH:
            return None
        return Markup('<img src="/-/image/{0}.png" alt="" height="64" loading="lazy"><br><small>{1}</small>').format(
            value, value[:12]
        )

    @hookimpl
    def register_routes(self) -> list[tuple[str, object]]:
        """The address of an image, as `render_cell` gives it."""
        return [(r"^/-/image/(?P<sha256>[0-9a-f]{64})\.png$", image)]


async def image(datasette: Datasette, request: Request) -> Response:
    """An image by its hash."""
    sql = "SELECT png FROM image WHERE sha256 = ?"
    row = (await datasette.get_database("study").execute(sql, [request.url_vars["sha256"]])).first()
    if row is None:
        raise NotFound("There is no such image.")
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(row["png"], content_type="image/png", headers=headers)


plugin = Plugin()

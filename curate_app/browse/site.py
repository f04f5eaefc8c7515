"""The Datasette site of a study. Imported only where Datasette is installed."""

import sqlite3
from pathlib import Path

from datasette.app import Datasette
from datasette.hookspecs import hookimpl
from datasette.plugins import pm
from datasette.utils.asgi import NotFound, Request, Response
from markupsafe import Markup

from curate_app.browse.queries import HIDDEN, metadata

SHA256_LENGTH = 64


class Plugin:
    """Shows images where their hashes stand, and keeps from every query who raters are to their panel."""

    __name__ = "curate"

    @hookimpl
    def prepare_connection(self, conn: sqlite3.Connection) -> None:
        """Columns of the hidden tables read as NULL, also in a reader's own SQL."""

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
    found = (await datasette.get_database("study").execute(sql, [request.url_vars["sha256"]])).first()
    if found is None:
        raise NotFound("There is no such image.")
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(found["png"], content_type="image/png", headers=headers)


def build_site(study: Path) -> Datasette:
    """Datasette on a study's database, opened read-only; the study may be running."""
    if not pm.is_registered(plugin):
        pm.register(plugin, name="curate")
    settings = {"allow_download": False, "default_cache_ttl": 0, "num_sql_threads": 2, "sql_time_limit_ms": 20_000}
    return Datasette([str(study / "study.db")], metadata=metadata(study.resolve().name), settings=settings)


plugin = Plugin()

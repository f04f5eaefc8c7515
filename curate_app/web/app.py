"""The app of one study, put together and served: its routes, images, static files and two Gradio pages. No torch."""

import gc
import logging
import re
import sys
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import fastapi
import gradio as gr
import uvicorn
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curate_app.admin.page import build_admin_page, build_export_routes
from curate_app.assets import STATIC, STATIC_URL, head, theme
from curate_app.rater.page import FILES, build_rater_page, unknown_page
from curate_app.rater.routes import Service, build_routes
from curate_app.web.admin_auth import AdminAuth, build_login_routes
from curate_app.web.monitoring import (
    FailureMiddleware,
    Health,
    RequestMetrics,
    build_health_routes,
    build_metrics_routes,
    handle_failures,
)
from curate_app.web.security import DeadlineProtocol, Limits, SecurityMiddleware
from data.store import Store
from loop.study import Study

GRACE_S = 5
SWITCH_S = 0.0005  # a thread back from SQLite waits so long for the one that runs; by default ten times longer
KEEP_ALIVE_S = 30  # longer than the page waits between two polls
IMAGE_PREFIX = "/img/"
IMAGE_PATH = re.compile(r"/img/([0-9a-f]{64})\.png", re.ASCII)
CACHED_BYTES = 64 * 2**20
FOR_GOOD = "public, max-age=31536000, immutable"
IMAGE_HEADERS = [
    (b"content-type", b"image/png"),
    (b"cache-control", FOR_GOOD.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
ERROR_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]


class ImageMiddleware:
    """ASGI middleware that answers GET and HEAD of /img/<sha256>.png.

    It comes before the rest of the app, since most requests of a crowd are for images. An image's name is the hash of
    its bytes, so nothing about it can change: it stays in memory as long as there is room, and browsers and proxies may
    store it for good. Nothing in an answer tells which generation drew the image.

    Args:
        app: gets all other requests.
        store: of the images.
    """

    def __init__(self, app: ASGIApp, store: Store):
        self.app = app
        self.store = store
        self._cache: OrderedDict[str, bytes] = OrderedDict()  # path: PNG
        self._bytes = 0
        self._lock = Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers requests for images, passes on the rest."""
        if scope["type"] != "http" or not scope["path"].startswith(IMAGE_PREFIX):
            await self.app(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            status, headers, body = 405, ERROR_HEADERS, b"Method not allowed"
        elif png := self.png(scope["path"]):
            status, headers, body = 200, IMAGE_HEADERS, png
        else:
            status, headers, body = 404, ERROR_HEADERS, b"No such image."
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def png(self, path: str) -> bytes | None:
        """The image of a path, from memory or from the store; None if there is none."""
        if png := self._cache.get(path):
            return png
        match = IMAGE_PATH.fullmatch(path)
        png = self.store.image(match[1]) if match else None  # 30 µs; handing it to a thread would take more
        if png is not None:
            with self._lock:
                if path not in self._cache:
                    self._cache[path] = png
                    self._bytes += len(png)
                while self._bytes > CACHED_BYTES:
                    self._bytes -= len(self._cache.popitem(last=False)[1])
        return png


class UnknownAddresses:
    """ASGI middleware: a page for browsers, and JSON for programs, in place of a bare 404.

    Args:
        app: gets every request.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on everything but a 404 that says nothing."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        by_browser = scope["method"] in ("GET", "HEAD") and "text/html" in Headers(scope=scope).get("accept", "")
        replaced = False

        async def send_page(message: Message) -> None:
            nonlocal replaced
            if message["type"] != "http.response.start" or message["status"] != 404:
                if not replaced:
                    await send(message)
                return
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            replaced = by_browser or headers.get("content-type", "").startswith("text/plain")
            if not replaced:
                await send(message)
                return
            body = unknown_page(scope).encode() if by_browser else b'{"detail": "Not found"}'
            del headers["content-encoding"]
            headers["content-type"] = "text/html; charset=utf-8" if by_browser else "application/json"
            headers["content-length"] = str(len(body))
            headers["cache-control"] = "no-store"
            await send({**message, "headers": headers.raw})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

        await self.app(scope, receive, send_page)


class ImmutableFiles(StaticFiles):
    """Static files under a path that names their version: a browser need never ask again."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Starlette's answer, to be stored for good if it is a file."""
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["Cache-Control"] = FOR_GOOD
        return response


def build_app(study: Study, *, admin_open: bool, password: str | None, health: Health | None = None) -> ASGIApp:
    """The app of one study.

    Args:
        study: opened; the app only ever touches its store and its configuration.
        admin_open: the researcher's page asks for no password.
        password: the researcher's; needed unless `admin_open`.
        health: for /healthz, shared with whatever else notes failures; a new one by default.

    Raises:
        ValueError: neither open nor a password.
    """
    if not admin_open and not password:
        raise ValueError("The researcher's page needs a password: set app.password, or serve on this machine only.")
    config = study.config.app
    auth = AdminAuth(None if admin_open else password)
    limits = Limits.of(config.requests_per_session, config.requests_per_address)
    app = fastapi.FastAPI(
        title="curate",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # looking for it takes a tenth of the time
    )
    health = health or Health(study.path)
    handle_failures(app, health)
    service = Service.of(study, limits.whereabouts)
    secured = SecurityMiddleware(app, auth, limits, service.sessions.signer)
    outermost = RequestMetrics(FailureMiddleware(ImageMiddleware(UnknownAddresses(secured), study.store), health))
    app.include_router(build_routes(service))
    app.include_router(build_health_routes(study.store, health))
    app.include_router(build_login_routes(auth, study.path.name))
    app.include_router(build_export_routes(study))
    app.include_router(build_metrics_routes(study.store, outermost, limits, auth))
    app.mount(STATIC_URL, ImmutableFiles(directory=STATIC))
    admin_page = build_admin_page(study, closed=not auth.is_open)
    mount_page(app, admin_page, "/admin", head("charts.css", "admin.css", "panels.css"))
    mount_page(app, build_rater_page(study), "/", head(*FILES))
    return outermost


def mount_page(app: fastapi.FastAPI, blocks: gr.Blocks, path: str, head_tags: str) -> None:
    """Mounts a Gradio page without Gradio's footer, monitoring, error messages and other extras."""
    gr.mount_gradio_app(
        app,
        blocks,
        path=path,
        theme=theme(),
        head=head_tags,
        footer_links=[],
        run_history=False,
        show_error=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
    )


def serve(app: ASGIApp, host: str, port: int, *, trusted_proxies: Sequence[str] = ()) -> None:
    """Serves the app until the process is asked to stop; answers under way get five seconds to end.

    Args:
        app: see `build_app`.
        host: the address to listen on.
        port: and its port.
        trusted_proxies: addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after the server has closed.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.set_threshold(20_000, 20, 20)
    gc.freeze()  # what is there at the start stays: a full collection would hold up every rater for half a second
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_level="error",  # a warning is a line for each request that is no HTTP: many fill the log
        http=DeadlineProtocol,
        ws="none",
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    uvicorn.Server(config).run()

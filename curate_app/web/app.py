"""The composition root of the app: the routes, the static files and the two Gradio pages of one study. No torch."""

import gc
import logging
import sys
from collections.abc import Sequence

import fastapi
import gradio as gr
import uvicorn
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from curate_app.admin.page import build_admin_page, build_export_routes
from curate_app.assets import STATIC, STATIC_URL, head, theme
from curate_app.rater.page import FILES, UnknownAddresses, build_rater_page
from curate_app.rater.routes import build_routes
from curate_app.rater.sessions import Service
from curate_app.web.admin_auth import AdminAuth, build_login_routes
from curate_app.web.failures import Failures, Health, handle_failures
from curate_app.web.images import Pictures
from curate_app.web.limits import Limits
from curate_app.web.metrics import RequestMetrics, build_metrics_routes
from curate_app.web.security import DeadlineProtocol, SecurityMiddleware
from loop.study import Study

GRACE_S = 5
SWITCH_S = 0.0005  # a thread back from SQLite waits so long for the one that runs; by default ten times longer
KEEP_ALIVE_S = 30  # longer than the page waits between two polls


class _Immutable(StaticFiles):
    """Static files under a path that names their version: a browser need never ask again."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def build_app(study: Study, *, admin_open: bool, password: str | None, health: Health | None = None) -> ASGIApp:
    """The app of one study.

    Args:
        study: opened; the app only ever touches its store and its configuration.
        admin_open: the researcher's page asks for no password.
        password: the researcher's; needed unless `admin_open`.
        health: told of failures, and asked by /healthz; one of its own by default.

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
    service = Service.of(study, health, limits.whereabouts)
    guarded = SecurityMiddleware(app, auth, limits, service.sessions.signer)
    request_metrics = RequestMetrics(Failures(Pictures(UnknownAddresses(guarded), study.store), health))
    app.include_router(build_routes(service))
    app.include_router(build_login_routes(auth, study.path.name))
    app.include_router(build_export_routes(study))
    app.include_router(build_metrics_routes(study.store, request_metrics, limits, auth))
    app.mount(STATIC_URL, _Immutable(directory=STATIC))
    admin_page = build_admin_page(study, closed=not auth.is_open)
    _mount(app, admin_page, "/admin", head("charts.css", "admin.css", "panels.css"))
    _mount(app, build_rater_page(study), "/", head(*FILES))
    return request_metrics


def serve(app: ASGIApp, host: str, port: int, *, trusted_proxies: Sequence[str] = ()) -> None:
    """Serves the app until the process is told to stop; answers under way get five seconds to end.

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


def _mount(app: fastapi.FastAPI, blocks: gr.Blocks, path: str, head_tags: str) -> None:
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

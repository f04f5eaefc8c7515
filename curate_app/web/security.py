"""The middleware before every route: headers, limits, deadlines, the researcher's login."""

import asyncio
import math
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from curate_app.rater.sessions import COOKIE
from curate_app.web.admin_auth import AdminAuth, is_local
from curate_app.web.limits import Limits
from curate_app.web.signing import Signer

REQUEST_S = 15.0  # for headers and body together, of 64 KiB at the most
ADMIN = "/admin"
MAX_BODY = 64 * 1024
SESSION_COST = 20.0  # opening a session writes a person into the database
WAYS_IN = ("/api/session", "/api/consent")
PAGE_FILES = ("", "/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json")
PAGE_FOLDERS = ("/assets/", "/static/")
OURS = ("/healthz", "/metrics")
LOGIN, LOGOUT, EXPORTS = "/login", "/logout", "/export/"
GRADIO_READS = ("info", "startup-events", "theme.css", "app_id")
GRADIO_CALLS = ("queue/join", "queue/data", "run/", "call/", "cancel", "reset")
# Gradio evaluates its templates, hence 'unsafe-eval'; everything comes from this origin, so the pages work offline.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class DeadlineProtocol(HttpToolsProtocol):
    """HTTP/1.1 that closes a connection on which no whole request arrives in time.

    The time runs from when the connection is made, and from the first byte of each later request; it says nothing of
    how long an answer may take.
    """

    request_s = REQUEST_S

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time of the first request."""
        super().connection_made(transport)
        self._start_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the time."""
        self._stop_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Starts a request's time with its first byte, unless it runs since the connection was made."""
        self._start_time()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Starts the time of a request that came together with the end of another."""
        super().on_message_begin()
        self._start_time()

    def on_message_complete(self) -> None:
        """Ends a request's time."""
        self._stop_time()
        super().on_message_complete()

    def _start_time(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_s, self._close)

    def _stop_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.abort()  # what it still had to say is nothing


class SecurityMiddleware:
    """ASGI middleware; plain ASGI, so that streams pass through untouched."""

    def __init__(self, app: ASGIApp, auth: AdminAuth, limits: Limits, signer: Signer):
        self.app = app
        self.auth = auth
        self.limits = limits
        self.signer = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers in place of the app where the request may not pass."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Gradio lets other sites' scripts read its answers, cookies and all; nobody needs that here
                own = [one for one in message["headers"] if not one[0].startswith(b"access-control-")]
                there = {name for name, _ in own}
                message["headers"] = [*own, *(one for one in HEADERS if one[0] not in there)]
            await send(message)

        answer = self._instead(scope) or self.app
        await answer(scope, receive, send_with_headers)

    def _instead(self, scope: Scope) -> Response | None:
        path, method, headers = scope["path"], scope["method"], Headers(scope=scope)
        return (
            _too_large(headers)
            or self._too_often(path, scope)
            or _forged(path, method, headers)
            or self._closed(path, method, headers, scope)
            or _fence(path, method)
        )

    def _too_often(self, path: str, scope: Scope) -> Response | None:
        if path in OURS or path.startswith(PAGE_FOLDERS) or _at_admin(path):
            return None
        client = scope.get("client")
        cost = SESSION_COST if path.rstrip("/") in WAYS_IN else 1.0
        cookie = HTTPConnection(scope).cookies.get(COOKIE)  # as the routes read it: twice, in quotes, in two headers
        session = self.signer.opened(cookie) or ""  # one that was made up is nobody's
        wait = self.limits.wait(session, client[0] if client else "", cost)
        if not wait:
            return None
        return _refuse(429, "Too many requests; ask again a little later.", {"Retry-After": str(math.ceil(wait))})

    def _closed(self, path: str, method: str, headers: Headers, scope: Scope) -> Response | None:
        if not _at_admin(path):
            return None
        if self.auth.is_open and not is_local(headers, scope["http_version"]):
            return _refuse(403, "Without a password this page opens at http://localhost alone; set app.password.")
        if path != f"{ADMIN}/login" and not self.auth.lets_in(headers):
            if method == "GET" and path in (ADMIN, f"{ADMIN}/"):
                return RedirectResponse(f"{ADMIN}/login", 303)
            return _refuse(401, "Log in at /admin/login first.")
        return RedirectResponse(f"{ADMIN}/", 307) if path == ADMIN else None


def _at_admin(path: str) -> bool:
    return path == ADMIN or path.startswith(f"{ADMIN}/")


def _too_large(headers: Headers) -> Response | None:
    text = headers.get("content-length", "0")
    # the length first: Python refuses to read a number of thousands of digits
    if "transfer-encoding" in headers or len(text) > 9 or not text.isdecimal() or int(text) > MAX_BODY:
        return _refuse(413, "The request is too large.")
    return None


def _forged(path: str, method: str, headers: Headers) -> Response | None:
    """Refuses what another site may have made a browser send in its owner's name."""
    if method in ("GET", "HEAD"):
        return None
    origin = headers.get("origin")
    if origin is not None and _place(origin) != _place(f"//{headers.get('host', '')}"):
        return _refuse(403, "This request comes from another site.")
    kind = headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if path.startswith("/api/") and kind != "application/json":
        nothing = not kind and headers.get("content-length", "0") == "0"
        return None if nothing else _refuse(415, "Send JSON, with Content-Type: application/json.")
    return None


def _place(url: str) -> tuple[str, int | None]:
    """Host and port; a scheme's own port counts as none, as a Host header may leave it out."""
    try:
        parts = urlsplit(url.lower())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", -1
    return host, None if port in (80, 443) else port


def _fence(path: str, method: str) -> Response | None:
    """Keeps Gradio to what the two pages use: the researcher's calls functions, the rater's has none."""
    at_admin = _at_admin(path)
    path = path.removeprefix(ADMIN) if at_admin else path
    if path.startswith("/gradio_api/"):
        name = path.removeprefix("/gradio_api/")
        if name.startswith("heartbeat/"):
            # An open stream per tab would use up the browser's six connections and hold up a shutdown; 204 ends it.
            return Response(status_code=204)
        allowed = GRADIO_READS + (GRADIO_CALLS if at_admin else ())
        return None if name.startswith(allowed) else _refuse(404, "Not found")
    reads, writes = path in PAGE_FILES or path.startswith(PAGE_FOLDERS), path.startswith("/api/")
    if at_admin:
        reads, writes = reads or path == LOGIN or path.startswith(EXPORTS), path in (LOGIN, LOGOUT)
    elif path.startswith("/api/") or path in OURS:
        reads = True
    if not (reads or writes):
        return _refuse(404, "Not found")
    return None if (reads if method in ("GET", "HEAD") else writes) else _refuse(405, "Method not allowed")


def _refuse(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(why, status, headers)

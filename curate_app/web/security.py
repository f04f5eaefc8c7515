"""The middleware before every route: limits, headers, deadlines, and raters' signed cookies.

Limits are token buckets, one for each session and one for each address. Addresses stay in memory, and only for as long
as they are needed to tell which sessions share one.
"""

import asyncio
import hashlib
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from itsdangerous import BadData, Signer
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from curate_app.web.admin_auth import AdminAuth

COOKIE = "curate_session"
SHORTEST_KEY = 16
MOST_BUCKETS = 20_000
MOST_SESSIONS = 100_000
BURST_S = 5.0  # what may come at once: this many seconds' worth
SPARE = 0.5  # share of an address's burst that only those with a session may use, however many newcomers there are
SESSION_COST = 20.0  # opening a session writes a person into the database
SESSION_ROUTES = ("/api/session", "/api/consent")
REQUEST_S = 15.0  # for headers and body together, of 64 KiB at the most
MAX_BODY = 64 * 1024
ADMIN = "/admin"
PAGE_FILES = ("", "/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json")
PAGE_FOLDERS = ("/assets/", "/static/")
MONITORING = ("/healthz", "/metrics")
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


class SessionSigner:
    """Signatures of session ids in cookies: a forged or altered cookie is refused before the database is asked.

    Args:
        key: secret text of the study's, 16 characters or more; with the same key cookies outlive the server.

    Raises:
        ValueError: a shorter key.
    """

    def __init__(self, key: str):
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"A key to sign with needs {SHORTEST_KEY} characters or more.")
        self._signer = Signer(key, salt=COOKIE, key_derivation="hmac", digest_method=hashlib.sha256)

    def sign(self, session_id: str) -> str:
        """`session_id.signature`: the value of the cookie, in which the id stays readable."""
        return self._signer.sign(session_id).decode()

    def unsign(self, cookie: str | None) -> str | None:
        """The session id in a cookie; None without a cookie, or if any of its characters was made up or changed."""
        if not cookie or not cookie.isascii():
            return None
        try:
            session_id = self._signer.unsign(cookie).decode()
        except BadData:
            return None
        return session_id if self.sign(session_id) == cookie else None  # base 64 has several spellings of a signature


class Buckets:
    """A bucket of tokens for each key, refilled steadily; the longest unused is forgotten when there are too many.

    Args:
        rate: tokens a second; 0 for no limit.
        clock: seconds, never going back.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic):
        self._rate = rate
        self._most = max(1.0, rate * BURST_S)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key: tokens, and when they were counted

    def take(self, key: str, cost: float = 1.0, *, spare: float = 0.0) -> float:
        """Takes tokens from the key's bucket.

        Args:
            key: whose bucket.
            cost: tokens to take; a request that costs more than a bucket holds passes when its bucket is full.
            spare: share of a full bucket that has to be left.

        Returns:
            0.0 if there were enough; else nothing is taken, and this is the time in seconds until there will be.
        """
        if not self._rate:
            return 0.0
        now = self._clock()
        tokens, at = self._left.pop(key, (self._most, now))
        tokens = min(self._most, tokens + (now - at) * self._rate)
        cost = min(cost, self._most)
        needed = min(cost + spare * self._most, self._most)
        enough = tokens >= needed
        self._left[key] = (tokens - cost if enough else tokens, now)
        if len(self._left) > MOST_BUCKETS:
            self._left.popitem(last=False)
        return 0.0 if enough else (needed - tokens) / self._rate


class Addresses:
    """The network of each session's last request; the longest silent are forgotten when there are too many."""

    def __init__(self):
        self._networks: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def saw(self, session_id: str, address: str) -> None:
        """Notes that a session sent a request from an address."""
        with self._lock:
            self._networks[session_id] = network(address)
            self._networks.move_to_end(session_id)
            if len(self._networks) > MOST_SESSIONS:
                self._networks.popitem(last=False)

    def share(self, session_id: str, other_id: str) -> bool:
        """True if the last requests of two sessions came from one network."""
        where = self._networks.get(session_id)
        return where is not None and where == self._networks.get(other_id)


@dataclass
class Limits:
    """The limits of one app, and how often they were met.

    Attributes:
        sessions: buckets by session.
        addresses: buckets by the client's address; of IPv6 by the /64 network, which is one customer's.
        met: number of requests that each of the two refused.
        whereabouts: networks of the sessions.
    """

    sessions: Buckets
    addresses: Buckets
    met: Counter[str]
    whereabouts: Addresses = field(default_factory=Addresses)

    @classmethod
    def of(cls, per_session: float, per_address: float) -> "Limits":
        """Limits in requests a second; 0 for none."""
        return cls(Buckets(per_session), Buckets(per_address), Counter(session=0, address=0))

    def wait(self, session_id: str, address: str, cost: float) -> float:
        """Seconds that a request has to wait; 0.0 lets it pass.

        Args:
            session_id: of a session whose cookie is good; "" without one.
            address: the client's.
            cost: in usual requests, for the address; a session always pays 1.
        """
        if session_id:
            if wait := self.sessions.take(session_id):
                self.met["session"] += 1
                return wait
            self.whereabouts.saw(session_id, address)
        if wait := self.addresses.take(network(address), cost, spare=0.0 if session_id else SPARE):
            self.met["address"] += 1
        return wait


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """The part of an address that stands for one customer of a provider: IPv4 whole, of IPv6 the first 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or int(parsed) >> 64)
    return address


class DeadlineProtocol(HttpToolsProtocol):
    """HTTP/1.1 that closes a connection on which no whole request arrives in time.

    The deadline runs from the start of the connection, and from the first byte of each later request. It sets no limit
    to the time that an answer takes.
    """

    request_s = REQUEST_S

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the deadline of the first request."""
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drops the deadline."""
        self._drop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Starts a request's deadline at its first byte, unless it has been running since the connection was made."""
        self._start_deadline()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Starts the deadline of a request that came together with the end of another."""
        super().on_message_begin()
        self._start_deadline()

    def on_message_complete(self) -> None:
        """Drops the deadline of a request that is whole."""
        self._drop_deadline()
        super().on_message_complete()

    def close_late(self) -> None:
        """Closes the connection at the deadline; an answer under way is not cut off."""
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_s, self.close_late)

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class SecurityMiddleware:
    """Plain ASGI middleware, so that streams pass through untouched: refuses requests, and adds headers to answers.

    Args:
        app: gets the requests that may pass.
        auth: the login of /admin.
        limits: on the number of requests.
        signer: of the raters' cookies.
    """

    def __init__(self, app: ASGIApp, auth: "AdminAuth", limits: Limits, signer: SessionSigner):
        self.app = app
        self.auth = auth
        self.limits = limits
        self.signer = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers in place of the app if the request may not pass."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Gradio lets other sites' scripts read its answers, cookies and all; nobody needs that here
                own = [header for header in message["headers"] if not header[0].startswith(b"access-control-")]
                present = {name for name, _ in own}
                message["headers"] = [*own, *(header for header in HEADERS if header[0] not in present)]
            await send(message)

        path, method, headers = scope["path"], scope["method"], Headers(scope=scope)
        refusal = (
            check_size(headers)
            or self.check_rate(scope)
            or check_origin(path, method, headers)
            or (self.auth.check_login(path, method, headers, scope["http_version"]) if is_admin_path(path) else None)
            or check_route(path, method)
        )
        await (refusal or self.app)(scope, receive, send_with_headers)

    def check_rate(self, scope: Scope) -> Response | None:
        """429 for a request that comes too soon after others of its session or address; None lets it pass."""
        path, client = scope["path"], scope.get("client")
        if path in MONITORING or path.startswith(PAGE_FOLDERS) or is_admin_path(path):
            return None
        cost = SESSION_COST if path.rstrip("/") in SESSION_ROUTES else 1.0
        cookie = HTTPConnection(scope).cookies.get(COOKIE)  # as the routes read it: twice, in quotes, in two headers
        session_id = self.signer.unsign(cookie) or ""  # a made-up cookie belongs to no session
        wait = self.limits.wait(session_id, client[0] if client else "", cost)
        if not wait:
            return None
        retry = {"Retry-After": str(math.ceil(wait))}
        return PlainTextResponse("Too many requests; try again a little later.", 429, retry)


def is_admin_path(path: str) -> bool:
    """True for /admin and everything below it."""
    return path == ADMIN or path.startswith(f"{ADMIN}/")


def check_size(headers: Headers) -> Response | None:
    """413 for a body of more than 64 KiB, or of a length that isn't stated; None lets it pass."""
    text = headers.get("content-length", "0")
    # the length first: Python refuses to read a number of thousands of digits
    if "transfer-encoding" in headers or len(text) > 9 or not text.isdecimal() or int(text) > MAX_BODY:
        return PlainTextResponse("The request is too large.", 413)
    return None


def check_origin(path: str, method: str, headers: Headers) -> Response | None:
    """403 or 415 for what another site may have made a browser send in its owner's name; None lets it pass."""
    if method in ("GET", "HEAD"):
        return None
    origin = headers.get("origin")
    if origin is not None and host_and_port(origin) != host_and_port(f"//{headers.get('host', '')}"):
        return PlainTextResponse("This request comes from another site.", 403)
    type_ = headers.get("content-type", "").split(";", 1)[0].strip().lower()
    is_empty = not type_ and headers.get("content-length", "0") == "0"
    if path.startswith("/api/") and type_ != "application/json" and not is_empty:
        return PlainTextResponse("Send JSON, with Content-Type: application/json.", 415)
    return None


def host_and_port(url: str) -> tuple[str, int | None]:
    """Host and port of a URL; a scheme's own port counts as none, as a Host header may leave it out."""
    try:
        parts = urlsplit(url.lower())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", -1
    return host, None if port in (80, 443) else port


def check_route(path: str, method: str) -> Response | None:
    """404 or 405 for whatever the two pages don't use, of Gradio's routes above all; None lets the request pass.

    The researcher's page calls functions of Gradio's; the rater's has none.
    """
    is_admin = is_admin_path(path)
    path = path.removeprefix(ADMIN) if is_admin else path
    if path.startswith("/gradio_api/"):
        name = path.removeprefix("/gradio_api/")
        if name.startswith("heartbeat/"):
            # An open stream per tab would use up the browser's six connections and hold up a shutdown; 204 ends it.
            return Response(status_code=204)
        allowed = GRADIO_READS + (GRADIO_CALLS if is_admin else ())
        return None if name.startswith(allowed) else PlainTextResponse("Not found", 404)
    reads, writes = path in PAGE_FILES or path.startswith(PAGE_FOLDERS), path.startswith("/api/")
    if is_admin:
        reads, writes = reads or path == LOGIN or path.startswith(EXPORTS), path in (LOGIN, LOGOUT)
    elif path.startswith("/api/") or path in MONITORING:
        reads = True
    if not (reads or writes):
        return PlainTextResponse("Not found", 404)
    return None if (reads if method in ("GET", "HEAD") else writes) else PlainTextResponse("Method not allowed", 405)

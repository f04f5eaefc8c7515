"""The researcher's login: a password, a login page, and a cookie with a random token that this process alone knows."""

import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from curate_app.assets import STATIC_URL, TEXT, render
from curate_app.web.limits import network
from data.secret_file import is_hash, is_password

COOKIE = "curate_admin"
LOGIN_S = 12 * 3600  # a login is good for so long, whatever the browser keeps
LOGINS_KEPT = 50
TRIES, TRIES_WITHIN_S = 10, 60.0
ADDRESSES_KEPT = 20_000
HASHING = 2  # checks of a hash at one time: each takes 16 MB and most of a core
BUSY_S = 1.0
PROXY_HEADERS = frozenset(
    ("forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "client-ip",
     "cf-connecting-ip", "cf-ray", "fastly-client-ip", "fly-client-ip", "x-original-host", "x-proxyuser-ip")
)  # fmt: skip


class TooManyTriesError(Exception):
    """No password is looked at now.

    Attributes:
        headers: of the answer; they say when to try again.
    """

    def __init__(self, wait_s: float):
        super().__init__(f"No password is looked at for {wait_s:.0f} s.")
        self.headers = {"Retry-After": str(math.ceil(wait_s))}


class AdminAuth:
    """The login of /admin.

    Args:
        password: as text or as the hash of `data.secret_file`; None leaves the door open (a study served to this
            machine alone).
        clock: seconds, never going back.

    Raises:
        ValueError: an empty password.
    """

    def __init__(self, password: str | None, clock: Callable[[], float] = time.monotonic):
        if password is not None and not password.strip():
            raise ValueError("The researcher's page needs a password that isn't empty; set app.password.")
        self._password = password
        self._clock = clock
        self._tokens: OrderedDict[str, float] = OrderedDict()  # token: when it ends
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()
        self._hashing = threading.BoundedSemaphore(HASHING)

    @property
    def is_open(self) -> bool:
        """True if no password is asked for."""
        return self._password is None

    def lets_in(self, headers: Headers) -> bool:
        """True if the request carries the token of a login that hasn't ended."""
        return self.is_open or self._token(headers) is not None

    def is_locked_out(self, address: str) -> bool:
        """True if the address gave ten wrong passwords within a minute."""
        with self._lock:
            return self._wait(network(address)) > 0

    def knows(self, password: str, address: str) -> bool:
        """True if the password is right; a wrong one counts against its address, of IPv6 against the /64 network.

        The time it takes tells nothing about the password.

        Raises:
            TooManyTriesError: ten wrong ones came from there within a minute, or too many are being checked.
        """
        if self._password is None:
            return False
        who, now = network(address), self._clock()
        with self._lock:
            if wait := self._wait(who):
                raise TooManyTriesError(wait)
            tries = self._failures.setdefault(who, deque(maxlen=TRIES))
            tries.append(now)  # before it is looked at, so that guesses sent side by side count as well
            self._failures.move_to_end(who)
            if len(self._failures) > ADDRESSES_KEPT:
                self._failures.popitem(last=False)
        wrong = False
        try:
            wrong = not self._is_right(password)
        finally:
            if not wrong:
                with self._lock, suppress(ValueError):  # others came meanwhile and pushed it out
                    tries.remove(now)
        return not wrong

    def login(self, password: str, address: str) -> str | None:
        """A new token for the right password, else None.

        Raises:
            TooManyTriesError: see `knows`.
        """
        if not self.knows(password, address):
            return None
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[token] = self._clock() + LOGIN_S
            while len(self._tokens) > LOGINS_KEPT:
                self._tokens.popitem(last=False)
        return token

    def logout(self, headers: Headers) -> None:
        """Ends the login whose token the request carries."""
        token = self._token(headers)
        with self._lock:
            self._tokens.pop(token or "", None)

    def _wait(self, who: str) -> float:
        failures = self._failures.get(who)
        if not failures or len(failures) < TRIES:
            return 0.0
        return max(0.0, TRIES_WITHIN_S - (self._clock() - failures[0]))

    def _is_right(self, password: str) -> bool:
        assert self._password is not None
        if not is_hash(self._password):
            return secrets.compare_digest(password.encode("utf-8", "surrogatepass"), self._password.encode())
        if not self._hashing.acquire(blocking=False):  # who waits here would hold a thread that raters need
            raise TooManyTriesError(BUSY_S)
        try:
            return is_password(password, self._password)
        finally:
            self._hashing.release()

    def _token(self, headers: Headers) -> str | None:
        # not by http.cookies, which reads nothing after a cookie that it dislikes: another app's, on localhost
        cookies = HTTPConnection({"type": "http", "headers": headers.raw}).cookies
        given, now = cookies.get(COOKIE, "").encode(), self._clock()
        with self._lock:
            known = list(self._tokens.items())
        good = [token for token, until in known if now < until and secrets.compare_digest(token.encode(), given)]
        return good[0] if good else None


def is_local(headers: Headers, http_version: str = "1.1") -> bool:
    """True if a client on this machine asks by this machine's own name, with no sign of a proxy between.

    HTTP/1.0 is such a sign: neither a browser nor Prometheus speaks it, and some proxies do.
    """
    if http_version == "1.0" or any(name in PROXY_HEADERS or name.startswith("x-forwarded") for name in headers):
        return False
    try:
        return urlsplit(f"//{headers.get('host', '').lower()}").hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False


def build_login_routes(auth: AdminAuth, study_name: str) -> APIRouter:
    """GET and POST /admin/login, POST /admin/logout."""
    router = APIRouter()

    @router.get("/admin/login")
    def ask(request: Request) -> Response:
        if auth.lets_in(request.headers):
            return RedirectResponse("/admin/", 303)
        return _page(study_name)

    @router.post("/admin/login")
    def enter(request: Request, password: Annotated[str, Form(max_length=400)] = "") -> Response:
        address = request.client.host if request.client else ""
        try:
            token = auth.login(password, address)
        except TooManyTriesError as error:
            return _page(study_name, TEXT["login"]["too_many"], 429, error.headers)
        if token is None:
            return _page(study_name, TEXT["login"]["wrong"], 401)
        response = RedirectResponse("/admin/", 303)
        response.set_cookie(COOKIE, token, max_age=LOGIN_S, httponly=True, samesite="lax", **_scope(request))
        return response

    @router.post("/admin/logout")
    def leave(request: Request) -> Response:
        auth.logout(request.headers)
        response = RedirectResponse("/admin/login", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="lax", **_scope(request))
        return response

    return router


def _scope(request: Request) -> dict[str, Any]:
    return {"path": "/admin", "secure": request.url.scheme == "https"}


def _page(study_name: str, error: str = "", status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    page = render("login.html", study=study_name, error=error, static=STATIC_URL, text=TEXT["login"])
    return HTMLResponse(page, status, headers={"Cache-Control": "no-store", **(headers or {})})

"""The researcher's access to /admin and /metrics: the password, the login page, and a cookie with a random token.

Tokens are only in this process's memory, so all logins end with it.
"""

import base64
import binascii
import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from curate_app.assets import STATIC_URL, TEXT, render
from curate_app.web.security import ADMIN, network
from data.secret_file import is_hash, is_password

COOKIE = "curate_admin"
LOGIN_S = 12 * 3600  # a login is valid for so long, however long the browser stores its cookie
MOST_LOGINS = 50
TRIES, TRIES_WITHIN_S = 10, 60.0
MOST_ADDRESSES = 20_000
HASHING = 2  # checks of a hash at one time: each takes 16 MB and most of a core
BUSY_S = 1.0
PROXY_HEADERS = frozenset(
    ("forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "client-ip",
     "cf-connecting-ip", "cf-ray", "fastly-client-ip", "fly-client-ip", "x-original-host", "x-proxyuser-ip")
)  # fmt: skip


class TooManyTriesError(Exception):
    """No password is checked for now.

    Attributes:
        headers: of the answer; they say when to try again.
    """

    def __init__(self, wait_s: float):
        super().__init__(f"No password is checked for the next {wait_s:.0f} s.")
        self.headers = {"Retry-After": str(math.ceil(wait_s))}


class AdminAuth:
    """The researcher's password, the logins that it opened, and the wrong passwords that were tried.

    Args:
        password: as text or as the hash of `data.secret_file`; None lets everyone in (a study served to this machine
            alone).
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
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()  # network: times of its wrong passwords
        self._lock = threading.RLock()
        self._hashing = threading.BoundedSemaphore(HASHING)

    @property
    def is_open(self) -> bool:
        """True if no password is asked for."""
        return self._password is None

    def lets_in(self, headers: Headers) -> bool:
        """True if the request carries the token of a login that hasn't ended."""
        return self.is_open or self.token_of(headers) is not None

    def is_locked_out(self, address: str) -> bool:
        """True if the address gave ten wrong passwords within a minute."""
        return self.wait_s(address) > 0

    def wait_s(self, address: str) -> float:
        """Seconds until a password from the address is checked again; 0.0 if it is checked at once."""
        with self._lock:
            failures = self._failures.get(network(address))
            if not failures or len(failures) < TRIES:
                return 0.0
            return max(0.0, TRIES_WITHIN_S - (self._clock() - failures[0]))

    def knows(self, password: str, address: str) -> bool:
        """True if the password is right; a wrong one counts against its address, of IPv6 against the /64 network.

        The time it takes says nothing about the password.

        Raises:
            TooManyTriesError: ten wrong ones came from there within a minute, or too many are being checked.
        """
        if self._password is None:
            return False
        source, now = network(address), self._clock()
        with self._lock:
            if wait := self.wait_s(address):
                raise TooManyTriesError(wait)
            tries = self._failures.setdefault(source, deque(maxlen=TRIES))
            tries.append(now)  # before the password is checked, so that guesses sent side by side count as well
            self._failures.move_to_end(source)
            if len(self._failures) > MOST_ADDRESSES:
                self._failures.popitem(last=False)
        is_wrong = False
        try:
            is_wrong = not self._is_right(password)
        finally:
            if not is_wrong:
                with self._lock, suppress(ValueError):  # others came meanwhile and pushed it out
                    tries.remove(now)
        return not is_wrong

    def _is_right(self, password: str) -> bool:
        assert self._password is not None
        if not is_hash(self._password):
            return secrets.compare_digest(password.encode("utf-8", "surrogatepass"), self._password.encode())
        if not self._hashing.acquire(blocking=False):  # waiting here would hold a thread that raters need
            raise TooManyTriesError(BUSY_S)
        try:
            return is_password(password, self._password)
        finally:
            self._hashing.release()

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
            while len(self._tokens) > MOST_LOGINS:
                self._tokens.popitem(last=False)
        return token

    def logout(self, headers: Headers) -> None:
        """Ends the login whose token the request carries."""
        token = self.token_of(headers)
        with self._lock:
            self._tokens.pop(token or "", None)

    def token_of(self, headers: Headers) -> str | None:
        """The token in a request's cookie, if it is of a login that hasn't ended; else None."""
        # not by http.cookies, which reads nothing after a cookie that it dislikes: another app's, on localhost
        cookies = HTTPConnection({"type": "http", "headers": headers.raw}).cookies
        given, now = cookies.get(COOKIE, "").encode(), self._clock()
        with self._lock:
            logins = list(self._tokens.items())
        valid = [token for token, end in logins if now < end and secrets.compare_digest(token.encode(), given)]
        return valid[0] if valid else None

    def check_login(self, path: str, method: str, headers: Headers, http_version: str) -> Response | None:
        """Answer in place of a page of /admin: a redirect to the login or to /admin/, 401 or 403; None lets it pass."""
        if self.is_open and not is_local(headers, http_version):
            return PlainTextResponse(
                "Without a password this page opens only at http://localhost; set app.password to open it elsewhere.",
                403,
            )
        if path != f"{ADMIN}/login" and not self.lets_in(headers):
            if method == "GET" and path in (ADMIN, f"{ADMIN}/"):
                return RedirectResponse(f"{ADMIN}/login", 303)
            return PlainTextResponse("Log in at /admin/login first.", 401)
        return RedirectResponse(f"{ADMIN}/", 307) if path == ADMIN else None

    def check_scraper(self, request: Request) -> Response | None:
        """401 or 429 for a request from elsewhere without the password as basic authentication; None lets it pass.

        The user name may be anything. Requests from this machine need no password.
        """
        address = request.client.host if request.client else ""
        with suppress(ValueError):
            if ip_address(address).is_loopback and is_local(request.headers, request.scope["http_version"]):
                return None
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                password = base64.b64decode(credentials, validate=True).decode().partition(":")[2]
                if self.knows(password, address):
                    return None
            except (binascii.Error, UnicodeDecodeError):
                pass  # no password at all
            except TooManyTriesError as error:
                text = "Too many wrong passwords; try again a little later.\n"
                return PlainTextResponse(text, 429, error.headers)
        text = "Send the request from this machine, or with the researcher's password.\n"
        return PlainTextResponse(text, 401, {"WWW-Authenticate": 'Basic realm="metrics"'})


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
        return RedirectResponse("/admin/", 303) if auth.lets_in(request.headers) else login_page(study_name)

    @router.post("/admin/login")
    def enter(request: Request, password: Annotated[str, Form(max_length=400)] = "") -> Response:
        try:
            token = auth.login(password, request.client.host if request.client else "")
        except TooManyTriesError as error:
            return login_page(study_name, TEXT["login"]["too_many"], 429, error.headers)
        if token is None:
            return login_page(study_name, TEXT["login"]["wrong"], 401)
        response = RedirectResponse("/admin/", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, token, max_age=LOGIN_S, path=ADMIN, httponly=True, samesite="lax", secure=secure)
        return response

    @router.post("/admin/logout")
    def leave(request: Request) -> Response:
        auth.logout(request.headers)
        response = RedirectResponse("/admin/login", 303)
        response.delete_cookie(COOKIE, ADMIN, httponly=True, samesite="lax", secure=request.url.scheme == "https")
        return response

    return router


def login_page(
    study_name: str, error: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """The page that asks for the password, with a sentence on the last try if that failed; never cached."""
    page = render("login.html", study=study_name, error=error, static=STATIC_URL, text=TEXT["login"])
    return HTMLResponse(page, status, headers={"Cache-Control": "no-store", **(headers or {})})

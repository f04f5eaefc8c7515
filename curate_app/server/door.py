"""The researcher's door: a password, a login page, and a cookie with a random token that this process alone knows."""

import secrets
import time
from collections import OrderedDict, deque
from http.cookies import CookieError, SimpleCookie
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import Headers

from curate_app.assets import STATIC_URL, TEXT, render

COOKIE = "curate_admin"
LOGINS_KEPT = 50
TRIES, TRIES_WITHIN_S = 10, 60.0
ADDRESSES_KEPT = 1_000


class Door:
    """Who may see /admin.

    Args:
        password: None leaves the door open (a study served to this machine alone).

    Raises:
        ValueError: an empty password.
    """

    def __init__(self, password: str | None):
        if password is not None and not password.strip():
            raise ValueError("The researcher's page needs a password that isn't empty; set app.password.")
        self._password = password
        self._tokens: deque[str] = deque(maxlen=LOGINS_KEPT)
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """Whether no password is asked for."""
        return self._password is None

    def lets_in(self, headers: Headers) -> bool:
        """Whether the request carries the token of a login."""
        if self.is_open:
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        given = cookie.value.encode() if cookie else b""
        return any(secrets.compare_digest(token.encode(), given) for token in list(self._tokens))

    def knows(self, password: str) -> bool:
        """Whether the password is right; the time it takes tells nothing about it."""
        return self._password is not None and secrets.compare_digest(password.encode(), self._password.encode())

    def login(self, password: str, address: str) -> str | None:
        """A new token for the right password, else None."""
        if not self.knows(password):
            self._failures.setdefault(address, deque(maxlen=TRIES)).append(time.monotonic())
            if len(self._failures) > ADDRESSES_KEPT:
                self._failures.popitem(last=False)
            return None
        token = secrets.token_urlsafe(32)
        self._tokens.append(token)
        return token

    def tired_of(self, address: str) -> bool:
        """Whether the address gave ten wrong passwords within a minute."""
        failures = self._failures.get(address)
        return bool(failures) and len(failures) == TRIES and time.monotonic() - failures[0] < TRIES_WITHIN_S


def build_door_routes(door: Door, study_name: str) -> APIRouter:
    """GET and POST /admin/login."""
    router = APIRouter()

    @router.get("/admin/login")
    def ask(request: Request) -> Response:
        if door.lets_in(request.headers):
            return RedirectResponse("/admin/", 303)
        return _page(study_name)

    @router.post("/admin/login")
    def enter(request: Request, password: Annotated[str, Form(max_length=400)] = "") -> Response:
        address = request.client.host if request.client else ""
        if door.tired_of(address):
            return _page(study_name, TEXT["login"]["too_many"], 429)
        token = door.login(password, address)
        if token is None:
            return _page(study_name, TEXT["login"]["wrong"], 401)
        response = RedirectResponse("/admin/", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, token, httponly=True, samesite="lax", secure=secure, path="/admin")
        return response

    return router


def _page(study_name: str, error: str = "", status: int = 200) -> HTMLResponse:
    page = render("login.html", study=study_name, error=error, static=STATIC_URL, text=TEXT["login"])
    return HTMLResponse(page, status, headers={"Cache-Control": "no-store"})

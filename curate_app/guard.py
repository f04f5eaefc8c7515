"""What stands before every route: security headers, the researcher's door, and a fence around Gradio's own endpoints.

Gradio brings uploads, a proxy, file serving and more; neither page needs them, so they are not reachable at all.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curate_app.door import Door

ADMIN = "/admin"
MAX_BODY = 64 * 1024
GRADIO_READS = ("info", "startup-events", "theme.css", "app_id")
GRADIO_CALLS = ("queue/join", "queue/data", "run/", "call/", "cancel", "reset")
# Gradio evaluates its templates, hence 'unsafe-eval'; everything comes from this origin, so the pages work offline.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """ASGI middleware; plain ASGI, so that streams pass through untouched."""

    def __init__(self, app: ASGIApp, door: Door):
        self.app = app
        self.door = door

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
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._instead(scope) or self.app
        await answer(scope, receive, send_with_headers)

    def _instead(self, scope: Scope) -> Response | None:
        path, method, headers = scope["path"], scope["method"], Headers(scope=scope)
        at_admin = path == ADMIN or path.startswith(f"{ADMIN}/")
        if "transfer-encoding" in headers or _length(headers) > MAX_BODY:
            return PlainTextResponse("The request is too large.", 413)
        if at_admin and path != f"{ADMIN}/login" and not self.door.lets_in(headers):
            if method == "GET" and path in (ADMIN, f"{ADMIN}/"):
                return RedirectResponse(f"{ADMIN}/login", 303)
            return PlainTextResponse("Log in at /admin/login first.", 401)
        if path == ADMIN:
            return RedirectResponse(f"{ADMIN}/", 307)
        return _fence(path.removeprefix(ADMIN) if at_admin else path, method, at_admin)


def _fence(path: str, method: str, at_admin: bool) -> Response | None:
    """Keeps Gradio to what the two pages use: the researcher's calls functions, the rater's has none."""
    if path.startswith("/gradio_api/"):
        name = path.removeprefix("/gradio_api/")
        if name.startswith("heartbeat/"):
            # An open stream per tab would use up the browser's six connections and hold up a shutdown; 204 ends it.
            return Response(status_code=204)
        allowed = GRADIO_READS + (GRADIO_CALLS if at_admin else ())
        return None if name.startswith(allowed) else PlainTextResponse("Not found", 404)
    ours = path.startswith("/api/") or (at_admin and path == "/login")
    if method not in ("GET", "HEAD") and not ours:
        return PlainTextResponse("Method not allowed", 405)
    return None


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() else MAX_BODY + 1

"""Images by content, before anything else of the app is asked: most requests of a crowd are for these.

A picture's name is the hash of its bytes, so nothing about it can change: it is kept in memory as long as there is
room, and browsers and proxies may keep it for good. Nothing in an answer tells which generation drew it.
"""

import re
from collections import OrderedDict
from threading import Lock

from starlette.types import ASGIApp, Receive, Scope, Send

from data.store import Store

PREFIX = "/img/"
KEPT_BYTES = 64 * 2**20
_NAME = re.compile(r"/img/([0-9a-f]{64})\.png", re.ASCII)
_HEADERS = [
    (b"content-type", b"image/png"),
    (b"cache-control", b"public, max-age=31536000, immutable"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_PLAIN = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]


class Pictures:
    """ASGI middleware: answers GET and HEAD of /img/<sha256>.png.

    Args:
        app: gets everything else.
        store: where the images are.
    """

    def __init__(self, app: ASGIApp, store: Store):
        self.app = app
        self._store = store
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers for images, passes on the rest."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self.app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, _PLAIN, b"Method not allowed")
        else:
            png = self._png(scope["path"])
            if png is None:
                await _answer(send, 404, _PLAIN, b"No such image.")
            else:
                await _answer(send, 200, _HEADERS, png, head=scope["method"] == "HEAD")

    def _png(self, path: str) -> bytes | None:
        png = self._kept.get(path)
        if png is not None:
            return png
        match = _NAME.fullmatch(path)
        png = self._store.image(match[1]) if match else None  # 30 µs; handing it to a thread would take more
        if png is not None:
            self._keep(path, png)
        return png

    def _keep(self, path: str, png: bytes) -> None:
        with self._lock:
            if path not in self._kept:
                self._kept[path] = png
                self._bytes += len(png)
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])


async def _answer(send: Send, status: int, headers: list, body: bytes, *, head: bool = False) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": b"" if head else body})

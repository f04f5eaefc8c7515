"""Counts and times every request by route and status, for /metrics."""

import time
from bisect import bisect_left
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ROUTES = frozenset(
    f"/api/{name}" for name in ("session", "consent", "step", "slate", "pick", "withdraw", "generations")
) | {"/", "/healthz", "/metrics"}
FOLDERS = ("/img/", "/static/", "/admin/")


@dataclass(slots=True)
class Times:
    """How long some requests took.

    Attributes:
        counts: requests by time: one number for each of `BOUNDS_S`, and one for those that took longer.
        seconds: of all together.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    seconds: float = 0.0


class Meter:
    """ASGI middleware around everything else.

    Attributes:
        times: by route and status. Routes are few and fixed, whatever paths are asked for.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        self.times: dict[tuple[str, int], Times] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on; an app that raises counts as status 500."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_look)
        finally:
            self._add(route_of(scope["path"]), status, time.perf_counter() - began)

    def _add(self, route: str, status: int, seconds: float) -> None:
        times = self.times.setdefault((route, status), Times())
        times.counts[bisect_left(BOUNDS_S, seconds)] += 1
        times.seconds += seconds


def route_of(path: str) -> str:
    """A path's route, without anything of the path that a client made up."""
    if path in ROUTES:
        return path
    return next((folder for folder in FOLDERS if path.startswith(folder)), "other")

"""The HTTP protocol of the server, with a time limit on how long a client may take to send a request.

uvicorn limits how long a connection idles between requests and nothing else, so a few hundred clients that send a
header now and then, or half a body, would hold their connections for good.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_S = 15.0  # for headers and body together, of 64 KiB at the most


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

"""Connections on which no whole request arrives in time are closed; those that wait for a slow answer are not."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from curate_app.web.security import DeadlineProtocol

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


class Short(DeadlineProtocol):
    request_s = 0.3


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers when the body is there; /slow, twice the time of a request later."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * Short.request_s)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """A real server with a short time for requests."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=Short, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join(timeout=20)
    listening.close()


def read_to_the_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes; a server that never does fails the test after a while."""
    connection.settimeout(30)
    found = b""
    try:
        while part := connection.recv(4096):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize(
    ("begun", "answers"),
    [(b"", 0), (b"G", 0), (GET, 0), (GET + b"X-A: ", 0), (POST, 0), (POST + b"abc", 0), (GET + b"\r\n" + GET, 1)],
)
def test_a_request_that_never_ends_is_closed(address: tuple[str, int], begun: bytes, answers: int):
    with socket.create_connection(address) as connection:
        connection.sendall(begun)
        assert read_to_the_end(connection).count(b"200 OK") == answers


def test_a_header_now_and_then_buys_no_time(address: tuple[str, int]):
    with socket.create_connection(address) as connection:
        connection.sendall(GET)
        connection.settimeout(0.05)
        for number in range(600):  # thirty seconds' worth
            try:
                connection.sendall(f"X-{number}: 1\r\n".encode())
                if connection.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:  # closed by the server
                break
        else:
            pytest.fail("the server held the connection")


def test_a_slow_answer_is_waited_for(address: tuple[str, int]):
    with socket.create_connection(address) as connection:
        connection.settimeout(30)
        for _ in range(2):
            connection.sendall(POST + b"abcd")
            found = b""
            while not found.endswith(b"ok"):
                part = connection.recv(4096)
                assert part, "the server closed the connection"
                found += part

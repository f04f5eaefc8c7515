"""Downloads: whole and verified, or not there; against a real server that may break off."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data.downloads import DownloadError, fetch, pin_path, sha256_of

BODY = bytes(range(256)) * 10_000  # 2.56 MB: three chunks
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Server:
    """A file on an HTTP server: what it is, how much of it is sent, how often it was asked for."""

    url: str = ""
    body: bytes = BODY
    sent: int = len(BODY)
    lengthless: bool = False
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    about = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            about.asked.append(self.path)
            if self.path != "/weights.pt":
                self.send_error(404)
                return
            self.send_response(200)
            if not about.lengthless:
                self.send_header("Content-Length", str(len(about.body)))
            self.end_headers()
            self.wfile.write(about.body[: about.sent])

        def log_message(self, *_: object, **__: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        about.url = f"http://127.0.0.1:{http.server_port}/weights.pt"
        yield about
        http.shutdown()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights.pt"


def kept(path: Path) -> list[str]:
    """What lies in the cache, less locks."""
    return sorted(file.name for file in path.parent.iterdir() if file.suffix != ".lock")


def test_a_file_is_downloaded_once_with_its_progress_and_its_sha256_kept(server: Server, path: Path):
    seen: list[tuple[int, int]] = []
    assert fetch(server.url, path, on_bytes=lambda done, total: seen.append((done, total))) == SHA256
    assert path.read_bytes() == BODY and sha256_of(path) == SHA256
    assert pin_path(path).read_text() == f"{SHA256}  weights.pt\n"
    assert seen[-1] == (len(BODY), len(BODY)) and seen == sorted(seen) and len(seen) >= 3
    assert fetch(server.url, path) == SHA256 and len(server.asked) == 1
    assert kept(path) == ["weights.pt", "weights.pt.sha256"]


@pytest.mark.parametrize("sha256", [SHA256, SHA256.upper()])
def test_an_expected_sha256_is_held_to_whatever_its_case(server: Server, path: Path, sha256: str):
    assert fetch(server.url, path, sha256) == SHA256 == fetch(server.url, path, sha256)


def test_another_sha256_than_expected_keeps_nothing(server: Server, path: Path):
    with pytest.raises(DownloadError, match=f"{SHA256}, and {'0' * 64} was expected"):
        fetch(server.url, path, "0" * 64)
    assert kept(path) == []


@pytest.mark.parametrize("sent", [0, 1, len(BODY) - 1])
def test_a_broken_connection_keeps_nothing_and_the_next_try_succeeds(server: Server, path: Path, sent: int):
    server.sent = sent
    with pytest.raises(DownloadError, match=r"(ended after|can't be downloaded)"):
        fetch(server.url, path)
    assert kept(path) == []
    server.sent = len(BODY)
    assert fetch(server.url, path) == SHA256


def test_a_server_that_does_not_tell_the_length_is_not_believed(server: Server, path: Path):
    server.lengthless = True
    with pytest.raises(DownloadError, match="unknown number"):
        fetch(server.url, path)
    assert kept(path) == []


def test_an_interruption_keeps_nothing_and_the_next_try_succeeds(server: Server, path: Path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.url, path, on_bytes=interrupt)
    assert kept(path) == []
    assert fetch(server.url, path) == SHA256


def test_what_a_killed_process_left_is_overwritten(server: Server, path: Path):
    path.parent.mkdir()
    (path.parent / ".weights.pt.part").write_bytes(b"half of something else" * 999_999)
    assert fetch(server.url, path) == SHA256 and path.read_bytes() == BODY
    assert kept(path) == ["weights.pt", "weights.pt.sha256"]


def test_a_file_that_is_not_there_is_said_to_be_missing(server: Server, path: Path):
    with pytest.raises(DownloadError, match=r"nothing\.pt can't be downloaded: the server answers 404"):
        fetch(server.url.replace("weights", "nothing"), path)
    assert kept(path) == []


def test_a_server_that_is_not_there_is_told(path: Path):
    with pytest.raises(DownloadError, match="can't be downloaded"):
        fetch("http://127.0.0.1:1/weights.pt", path)


def test_a_file_changed_after_its_download_is_noticed(server: Server, path: Path):
    fetch(server.url, path)
    path.write_bytes(BODY[:-1])
    with pytest.raises(DownloadError, match="delete it to download it anew"):
        fetch(server.url, path)
    path.unlink()
    server.body = BODY[::-1]
    with pytest.raises(DownloadError, match=f"and {SHA256} was expected"):
        fetch(server.url, path)
    assert kept(path) == ["weights.pt.sha256"]


def test_two_at_once_download_it_once(server: Server, path: Path):
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(server.url, path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SHA256, SHA256] and len(server.asked) == 1

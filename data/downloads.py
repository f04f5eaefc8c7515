"""Files from the web, each fetched once into a cache: whole, or not there at all.

A file is verified by its SHA-256. Where none was published, the first download's is stored beside the file, in the
format of sha256sum, and later ones must have the same.
"""

import hashlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from filelock import FileLock

CHUNK = 1 << 20
TIMEOUT_S = 60.0  # without a byte
OnBytes = Callable[[int, int], None]
"""Called now and then with (bytes there, bytes in all)."""


def default_cache() -> Path:
    """The folder of downloads unless a study says otherwise."""
    from platformdirs import user_cache_path

    return user_cache_path("curate", ensure_exists=True)


class DownloadError(OSError):
    """A file couldn't be downloaded, or isn't the right one; nothing of it is kept."""


def fetch(url: str, path: Path, sha256: str = "", on_bytes: OnBytes | None = None) -> str:
    """Downloads a file unless it is there, verifies it, and returns its SHA-256.

    Args:
        url: its address.
        path: where it goes; two processes that ask at once download it once.
        sha256: what it has to be; empty: the same as at the first download.
        on_bytes: called as the download proceeds.

    Raises:
        DownloadError: the server hasn't got it, the connection broke, or its SHA-256 is another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        pin = pin_path(path)
        expected = (sha256 or (pin.read_text().split(maxsplit=1)[0] if pin.exists() else "")).lower()
        if path.exists():
            actual = sha256_of(path)
            if expected and actual != expected:
                raise DownloadError(
                    f"{path} has the SHA-256 {actual}, and {expected} was expected; delete it to download it anew."
                )
            return actual
        draft = path.with_name(f".{path.name}.part")
        try:
            actual = download(url, draft, on_bytes)
            if expected and actual != expected:
                raise DownloadError(f"{url} has the SHA-256 {actual}, and {expected} was expected; it was not kept.")
            pin.write_text(f"{actual}  {path.name}\n")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return actual


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pin_path(path: Path) -> Path:
    """The file beside a downloaded one that holds its SHA-256."""
    return path.with_name(f"{path.name}.sha256")


def download(url: str, draft: Path, on_bytes: OnBytes | None) -> str:
    """Writes the body of a URL to a file and returns its SHA-256.

    Raises:
        DownloadError: the server hasn't got it, the connection broke, or the body is shorter than announced.
    """
    digest, done = hashlib.sha256(), 0
    try:
        with urlopen(url, timeout=TIMEOUT_S) as response, draft.open("wb") as file:
            total = int(response.headers.get("Content-Length", -1))
            while chunk := response.read(CHUNK):
                digest.update(chunk)
                done += file.write(chunk)
                if on_bytes:
                    on_bytes(done, max(total, done))
    except HTTPError as error:
        raise DownloadError(f"{url} can't be downloaded: the server answers {error.code} ({error.reason}).") from error
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url} can't be downloaded ({error}); try again, or give a file of your own.") from error
    if done != total:
        announced = f"{total:,}" if total >= 0 else "an unknown number of"
        raise DownloadError(f"{url} ended after {done:,} of {announced} bytes; nothing was kept, try again.")
    return digest.hexdigest()

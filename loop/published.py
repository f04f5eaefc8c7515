"""Generators that others have published, by the name that `network.file` may give, and where such a file lies."""

from dataclasses import dataclass
from pathlib import Path

from data.downloads import DownloadError, OnBytes, fetch, sha256_of
from data.real import default_cache
from model.config import NetworkConfig


@dataclass(frozen=True, slots=True)
class Located:
    """A file of weights.

    Attributes:
        path: where it lies.
        source: where it came from: its path or URL.
        sha256: of its bytes.
    """

    path: Path
    source: str
    sha256: str


# torchcfm's OT-CFM after 400,000 steps on CIFAR-10; its project publishes no checksum: see data.downloads
PUBLISHED = {
    "torchcfm-otcfm": "https://github.com/atong01/conditional-flow-matching/releases/download/1.0.4/"
    "otcfm_cifar10_weights_step_400000.pt"
}


def locate(network: NetworkConfig, on_bytes: OnBytes | None = None, cache: Path | None = None) -> Located:
    """The file that `network.file` names; a published one is downloaded once.

    Args:
        network: the [network] table.
        on_bytes: told how far a download is.
        cache: where downloads go; the user's cache folder by default.

    Raises:
        ValueError: no such file or name, or its SHA-256 isn't `network.file_sha256`.
        DownloadError: the download failed, or isn't the file that it was.
    """
    url = PUBLISHED.get(network.file)
    if url:
        path = (cache or default_cache()) / url.rsplit("/", 1)[-1]
        return Located(path, url, fetch(url, path, network.file_sha256, on_bytes))
    path = Path(network.file)
    if not path.is_file():
        raise ValueError(f"There is no generator at '{network.file}': name a file, or {' or '.join(PUBLISHED)}.")
    found = sha256_of(path)
    if network.file_sha256 and found != network.file_sha256.lower():
        raise DownloadError(f"{path} has the SHA-256 {found}, and network.file_sha256 is {network.file_sha256}.")
    return Located(path, str(path), found)

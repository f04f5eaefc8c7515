"""Signed values for cookies: a forged or altered one is refused before the database is asked."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode

_SIGNED = re.compile(r"([A-Za-z0-9_-]{16,64})\.([A-Za-z0-9_-]{43})", re.ASCII)


class Signer:
    """HMAC-SHA256 with a key of the study's, so that cookies outlive the server.

    Args:
        key: secret text, 16 characters or more.

    Raises:
        ValueError: a shorter key.
    """

    def __init__(self, key: str):
        if len(key) < 16:
            raise ValueError("A key to sign with needs 16 characters or more.")
        self._key = key.encode()

    def sign(self, value: str) -> str:
        """`value.mac`; the value itself stays readable."""
        return f"{value}.{self._mac(value)}"

    def opened(self, signed: str | None) -> str | None:
        """The value that was signed; None when anything about it was changed or made up."""
        match = _SIGNED.fullmatch(signed or "")
        if match is None or not hmac.compare_digest(match[2], self._mac(match[1])):
            return None
        return match[1]

    def _mac(self, value: str) -> str:
        digest = hmac.new(self._key, b"session:" + value.encode(), hashlib.sha256).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()

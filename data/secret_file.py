"""A study's secrets.toml: values that the server needs and nobody else may read; each is made once.

The file has mode 0600 from its first byte and is replaced whole, so a reader never sees half of it. A password that
somebody chose is stored as a salted scrypt hash alone: the same person may use it elsewhere too.
"""

import hashlib
import os
import secrets
import tempfile
import tomllib
from base64 import b64decode, b64encode
from pathlib import Path

import tomlkit
from filelock import FileLock

NAME = "secrets.toml"
MODE, FOLDER_MODE = 0o600, 0o700
CHOSEN = "admin_password_hash"
SCRYPT = {"n": 2**14, "r": 8, "p": 5}  # OWASP's weakest, 16 MB and about 0.2 s: logins are limited as well
PREFIX = "scrypt$"


def kept_secret(study_path: Path, name: str, *, length: int = 32) -> str:
    """The study's secret called `name`; `length` random bytes from its first use on, in whichever process that is.

    Raises:
        ValueError: the file is there but can't be understood.
    """
    file = study_path / NAME
    secret = _read(file).get(name)
    if secret is None:
        with FileLock(study_path / f".{NAME}.lock", mode=MODE):
            known = _read(file)  # another process may have been first
            secret = known.get(name)
            if secret is None:
                secret = secrets.token_urlsafe(length)
                replace_file(file, tomlkit.dumps({**known, name: secret}))
    return _text(file, name, secret)


def keep_password(study_path: Path, password: str) -> None:
    """Stores the hash of the password that the researcher chose, in place of an earlier one.

    Raises:
        ValueError: the file is there but can't be understood.
    """
    file, hashed = study_path / NAME, password_hash(password)
    with FileLock(study_path / f".{NAME}.lock", mode=MODE):
        replace_file(file, tomlkit.dumps({**_read(file), CHOSEN: hashed}))


def chosen_password(study_path: Path) -> str | None:
    """The hash of the password that the researcher chose; None without one.

    Raises:
        ValueError: the file is there but can't be understood.
    """
    file = study_path / NAME
    hashed = _read(file).get(CHOSEN)
    if hashed is None:
        return None
    if not is_hash(_text(file, CHOSEN, hashed)):
        raise ValueError(f"{file}: {CHOSEN} is no hash; remove its line and write the password into study.toml.")
    return str(hashed)


def password_hash(password: str) -> str:
    """scrypt$n$r$p$salt$hash of a password, salt and hash in base 64."""
    salt = secrets.token_bytes(16)
    numbers = "$".join(str(SCRYPT[name]) for name in "nrp")
    return f"{PREFIX}{numbers}${b64encode(salt).decode()}${b64encode(_scrypt(password, salt, SCRYPT)).decode()}"


def is_hash(text: str) -> bool:
    """True if a text is what `password_hash` makes."""
    parts = text.removeprefix(PREFIX).split("$")
    return text.startswith(PREFIX) and len(parts) == 5 and all(part.isdecimal() for part in parts[:3])


def is_password(password: str, hashed: str) -> bool:
    """True if a hash is of this password; takes about 0.2 s and 16 MB."""
    n, r, p, salt, digest = hashed.removeprefix(PREFIX).split("$")
    numbers = {"n": int(n), "r": int(r), "p": int(p)}
    return secrets.compare_digest(_scrypt(password, b64decode(salt), numbers), b64decode(digest))


def _scrypt(password: str, salt: bytes, numbers: dict[str, int]) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, maxmem=2**26, dklen=32, **numbers)


def _text(file: Path, name: str, value: object) -> str:
    """A value of the file, which must be a text that isn't empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{file}: {name} must be a text that isn't empty; remove its line to have a new one made.")
    return value


def _read(file: Path) -> dict[str, object]:
    """The values of the file, by name; makes it unreadable to others."""
    try:
        if file.stat().st_mode & 0o077:
            file.chmod(MODE)  # copied or restored with other rights
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ValueError(f"{file} is not valid TOML; mend it, or remove it to have new secrets made.") from None


def replace_file(file: Path, text: str) -> None:
    """Writes a text file for its owner alone, whole or not at all."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # mode 0600 from the start
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
            writing.write(text)
            writing.flush()
            os.fsync(writing.fileno())
        Path(draft).replace(file)
    finally:
        Path(draft).unlink(missing_ok=True)

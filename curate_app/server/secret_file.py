"""A study's secrets.toml: what the server must know and nobody else may read; each secret is made once and kept.

The file has mode 0600 from its first byte and is replaced whole, so a reader never sees half of it.
"""

import os
import secrets
import tempfile
import tomllib
from pathlib import Path

import tomlkit
from filelock import FileLock

NAME = "secrets.toml"
MODE = 0o600


def kept_secret(study_path: Path, name: str, *, length: int = 32) -> str:
    """The study's secret called `name`; made of `length` random bytes when first asked for, by whichever process.

    Raises:
        ValueError: the file is there but can't be understood.
    """
    file = study_path / NAME
    found = _read(file).get(name)
    if found is None:
        with FileLock(study_path / f".{NAME}.lock", mode=MODE):
            known = _read(file)  # another process may have been first
            found = known.get(name)
            if found is None:
                found = secrets.token_urlsafe(length)
                _replace(file, {**known, name: found})
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"{file}: {name} must be a text that isn't empty; remove its line to have a new one made.")
    return found


def _read(file: Path) -> dict[str, object]:
    try:
        if file.stat().st_mode & 0o077:
            file.chmod(MODE)  # copied or restored with other rights
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ValueError(f"{file} is not valid TOML; mend it, or remove it to have new secrets made.") from None


def _replace(file: Path, values: dict[str, object]) -> None:
    descriptor, draft = tempfile.mkstemp(prefix=f".{NAME}.", dir=file.parent)  # mode 0600 from the start
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
            writing.write(tomlkit.dumps(values))
            writing.flush()
            os.fsync(writing.fileno())
        Path(draft).replace(file)
    finally:
        Path(draft).unlink(missing_ok=True)

"""Where a verb may write a file."""

from pathlib import Path


def check_destination(path: Path, force: bool) -> None:
    """Refuses a path that can't be written, or that mustn't be.

    Raises:
        ValueError: a folder, a file that is there (unless `force`), or no folder for it.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; choose another --out.")
    if path.exists() and not force:
        raise ValueError(f"{path} is there already; add --force to replace it, or choose another --out.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} into.")

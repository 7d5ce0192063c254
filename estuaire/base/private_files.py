"""What this account writes is its own: folders of mode 0700, files of mode 0600. Landing and lake hold patients' records."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

UMASK = 0o077


def start() -> None:
    """At the beginning of every process of ours: nothing that it or a child of it makes can be read by another account."""
    os.umask(UMASK)


def folder(path: Path) -> None:
    """Make a folder and those above it that are missing, each of mode 0700 (``Path.mkdir`` gives the mode to the last one alone)."""
    missing = []
    for one in (path, *path.parents):
        if one.exists():
            break
        missing.append(one)
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


def closed_folder(path: Path) -> None:
    """``folder``, and mode 0700 where it was there before: what is shown to those alone who log in lies behind no open folder."""
    folder(path)
    path.chmod(0o700)


def new_file(path: Path) -> None:
    """Make an empty file of mode 0600, to be opened and written by name."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def write_synced(path: Path, data: str | bytes) -> None:
    """A new file of mode 0600, on the disk when this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: str | bytes) -> None:
    """Write a file whole or not at all, with mode 0600: a reader sees the old one or the new one, also after a power cut. Folders above
    it that are missing are made.

    Raises:
        OSError: no room, or no right.
    """
    folder(path.parent)
    draft = draft_beside(path)
    try:
        write_synced(draft, data)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def draft_beside(path: Path) -> Path:
    """A name that nobody else takes, in the same folder: what is renamed from it appears at once."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")

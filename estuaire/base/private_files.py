"""What this account writes is its own: folders of mode 0700, files of mode 0600. Landing and lake hold patients' records."""

from __future__ import annotations

import os
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


def new_file(path: Path) -> None:
    """Make an empty file of mode 0600, to be opened and written by name."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

"""Closes to other accounts what a version before, or a copy from elsewhere, left open: home, secrets, landing, lake, logs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from estuaire.base.settings import Settings
from estuaire.stack import account
from estuaire.storage.object_store import FOLDERS


@dataclass
class Repaired:
    """How many files and folders were closed, and how many cannot be (they are another account's)."""

    closed: int = 0
    foreign: int = 0

    def sentence(self) -> str:
        """What a person should know; empty where all was well."""
        said = []
        if self.closed:
            said.append(f"Closed {self.closed} files and folders that other accounts could read")
        if self.foreign:
            said.append(
                f"{self.foreign} files and folders are open and belong to another account: only it, or root, can close them"
            )
        return "; ".join(said)


def repair(settings: Settings, server: int | None) -> Repaired:
    """Take every right of other accounts away, from the top down. Links are not followed.

    Args:
        server: uid of the account that runs PostgreSQL, where it is another: it keeps its way to its own folders.
    """
    repaired = Repaired()
    ways = (
        {settings.root, *settings.postgres_data.parents, *settings.socket_dir.parents} if server is not None else set()
    )
    for top in _tops(settings):
        for path, mode in _tree(top, skip={settings.postgres_data, settings.socket_dir}):
            if path in ways and mode & 0o077 == stat.S_IXOTH:
                continue  # the way in, on a file system without ACLs
            if not account.open_to_others(path, mode, server):
                continue
            try:
                account.close(path, mode)
                repaired.closed += 1
            except FileNotFoundError:
                continue
            except OSError:
                repaired.foreign += 1
    return repaired


def _tops(settings: Settings) -> list[Path]:
    """The folders that are the platform's alone; a store's root may hold others' folders, too."""
    return [settings.root, settings.secrets_path, *(settings.store_path / name for name in FOLDERS)]


def _tree(top: Path, skip: set[Path]) -> Iterator[tuple[Path, int]]:
    """Folders and plain files from ``top`` down, each folder before what it holds; (path, permission bits).

    Not by recursion: a delivery may be as deep as its hospital likes.
    """
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            mode = path.lstat().st_mode
        except OSError:  # it is gone, or its path is longer than the system takes: the folders above it are closed
            continue
        if path in skip or not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            continue
        yield path, stat.S_IMODE(mode)
        if stat.S_ISDIR(mode):
            waiting += [path / name for name in _names(path)]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:  # it is gone, or another account's: then it was counted
        return []

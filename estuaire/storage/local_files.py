"""Files of the store on this machine's disk, for code that reads or writes them by path.

In a folder as store they are the objects themselves. Elsewhere they are copies in a folder of this process's own, removed at the end;
what a killed process left is removed by the next stage.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from estuaire.base import private_files, process_identity
from estuaire.base.settings import Settings
from estuaire.storage.object_store import ObjectStore

# pid, start in clock ticks since boot, and what makes it unique; without the ticks as a version before named them
_OWN_FOLDER = re.compile(r"(?P<pid>[0-9]{1,10})-((?P<ticks>[0-9]{1,19})-)?[a-z0-9_]{8}")


class LocalFiles:
    """Objects as local files; see the module."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store, self._folder = store, folder

    def fetched(self, key: str) -> Path:
        """The object as a file to read. Raises FileMissing, StoreUnavailable."""
        local = self._store.local_path(key)
        if local is not None:
            return local
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._store.open(key) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        return path

    def path(self, key: str) -> Path:
        """Where the object's file is, or is to be written. Nobody reads it under its key before ``keep``, but in a folder as store."""
        return self._store.local_path(key) or self._folder / key

    def keep(self, key: str) -> None:
        """Put the file that was written into the store, whole."""
        if self._store.local_path(key) is None:
            self._store.put_file(key, self._folder / key)


@contextmanager
def local_files(settings: Settings, store: ObjectStore) -> Iterator[LocalFiles]:
    """Local files for as long as a piece of work takes."""
    if store.local_path("work") is not None:
        yield LocalFiles(store, settings.scratch)
        return
    private_files.folder(settings.scratch)
    ticks = process_identity.start_ticks(os.getpid())
    with tempfile.TemporaryDirectory(dir=settings.scratch, prefix=f"{os.getpid()}-{ticks}-") as folder:
        yield LocalFiles(store, Path(folder))


def sweep(settings: Settings) -> None:
    """Remove the folders of processes that have ended without doing so. What has another name than such a folder is not ours: it stays."""
    if not settings.scratch.is_dir():
        return
    for folder in settings.scratch.iterdir():
        match = _OWN_FOLDER.fullmatch(folder.name)
        if match is None or folder.is_symlink() or not folder.is_dir():
            continue
        started = process_identity.start_ticks(int(match["pid"]))
        if started is None or match["ticks"] not in (None, str(started)):
            shutil.rmtree(folder, ignore_errors=True)

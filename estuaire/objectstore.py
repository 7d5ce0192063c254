"""One interface to the object store; the local-directory implementation. Keys are POSIX paths such as ``landing/h01/...``.

``estuaire.s3`` is the other implementation; both pass the same tests (tests/s3/test_store.py).
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from estuaire.errors import FileMissing, PathOutsideDelivery
from estuaire.plain_files import open_plain
from estuaire.settings import Settings


@dataclass(frozen=True)
class ObjectInfo:
    """A stored object: its key, its size in bytes, and a version that changes when its bytes do (mtime or ETag)."""

    key: str
    size: int
    version: str


class ObjectStore(Protocol):
    """What Estuaire asks of a store. Objects appear whole or not at all; nothing overwrites by accident."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix``, in key order."""
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """The object, or None where there is none."""
        ...

    def open(self, key: str) -> BinaryIO:
        """A stream of the object's bytes. Raises FileMissing."""
        ...

    def put_file(self, key: str, source: Path) -> None:
        """Store a local file, of any size."""
        ...

    def put_bytes(self, key: str, data: bytes, *, if_none_match: bool = False) -> bool:
        """Store bytes; False (and nothing done) if ``if_none_match`` and the key exists."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        ...

    def url(self, key: str) -> str:
        """The name under which Spark and DuckDB read it."""
        ...

    def local_path(self, key: str) -> Path | None:
        """A path on this machine where the object can be read or written directly, or None (then see ``estuaire.scratch``)."""
        ...

    def open_to(self, connection: Any) -> None:
        """Let a DuckDB connection read the objects by their ``url``."""
        ...


def checked_key(key: str) -> PurePosixPath:
    """The key as a path below the store's root.

    Raises:
        PathOutsideDelivery: it leads out, or is no key.
    """
    pure = PurePosixPath(key)
    if pure.is_absolute() or ".." in pure.parts or "\x00" in key:
        raise PathOutsideDelivery("a key leaves the store", remedy="use keys relative to the store's root")
    return pure


class DirectoryStore:
    """A folder as object store."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def _path(self, key: str) -> Path:
        path = self.root / checked_key(key)
        # a symbolic link inside landing/ must not lead a reader out of the store
        if not path.resolve().is_relative_to(self.root):
            raise PathOutsideDelivery("a link leads out of the store", remedy="deliver plain files, no links")
        return path

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        base = self._path(prefix if prefix.endswith("/") else str(PurePosixPath(prefix).parent))
        if not base.is_dir():
            return
        found = ((p.relative_to(self.root).as_posix(), p) for p in base.rglob("*") if not p.name.startswith(".tmp-"))
        for key, path in sorted((k, p) for k, p in found if k.startswith(prefix) and p.is_file()):
            yield self._info(key, path)

    @staticmethod
    def _info(key: str, path: Path) -> ObjectInfo:
        stat = path.stat()
        return ObjectInfo(key, stat.st_size, str(stat.st_mtime_ns))

    def stat(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        return self._info(key, path) if path.is_file() else None

    def open(self, key: str) -> BinaryIO:
        path = self._path(key)
        try:
            if path.is_dir():
                raise FileNotFoundError(key)
            return open_plain(path)
        except FileNotFoundError as error:
            raise FileMissing("the store has no such object", file=key, remedy="deliver the file again") from error

    @contextmanager
    def _written(self, path: Path) -> Iterator[Path]:
        """A file beside ``path`` to write first: what is listed is whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".tmp-{uuid.uuid4().hex}"
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def put_file(self, key: str, source: Path) -> None:
        path = self._path(key)
        with self._written(path) as temporary:
            with open_plain(source) as plain, temporary.open("xb") as target:
                shutil.copyfileobj(plain, target, 1 << 20)
            temporary.replace(path)

    def put_bytes(self, key: str, data: bytes, *, if_none_match: bool = False) -> bool:
        path = self._path(key)
        with self._written(path) as temporary:
            temporary.write_bytes(data)
            if not if_none_match:
                temporary.replace(path)
                return True
            try:
                os.link(temporary, path)  # atomic, fails if the key exists
            except FileExistsError:
                return False
            return True

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def url(self, key: str) -> str:
        return str(self._path(key))

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def open_to(self, connection: Any) -> None:
        """Nothing to do: a folder's files are DuckDB's own."""


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings name."""
    if settings.store == "s3":
        from estuaire.s3 import S3Store

        return S3Store(settings)
    return DirectoryStore(settings.store_path)

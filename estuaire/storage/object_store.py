"""One interface to the object store; the local-directory implementation. Keys are POSIX paths such as ``landing/h01/...``.

``estuaire.storage.s3`` is the other implementation; both pass the same tests (tests/s3/test_store.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from estuaire.base import private_files
from estuaire.base.errors import EntryRefused, FileMissing, FileNotReadable, PathOutsideDelivery
from estuaire.base.plain_files import open_plain

FOLDERS = ("landing", "lake", "work")  # the first parts of all keys
MAX_DEPTH = 32  # folders below the root: ours are six deep, and what reads a tree must not fall on its depth
_DRAFT = ".tmp-"  # what is being written begins with it
_LINK, _DEEP = "a link", f"below more than {MAX_DEPTH} folders"


@dataclass(frozen=True)
class ObjectInfo:
    """A stored object: its key, its size in bytes, and a version that changes when its bytes do (mtime or ETag).

    ``modified``: when it was last written, in seconds since 1970; 0 where the store does not say. ``strange``: why it is no object at
    all (a link, a pipe, a name that is not UTF-8); empty for one. Only ``walk`` gives such entries, under a key to be shown.
    """

    key: str
    size: int
    version: str
    modified: float = field(default=0.0, compare=False)  # a list of S3 is more precise than its answer about one object
    strange: str = ""


@dataclass(frozen=True)
class Unfinished:
    """What there is of an object that was never written to its end. ``size``: bytes that it holds, 0 where the store does not say."""

    key: str
    upload: str
    size: int = 0


class ObjectStore(Protocol):
    """What Estuaire asks of a store. Objects appear whole or not at all; nothing overwrites by accident."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix``, in key order."""
        ...

    def walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """As ``list``, and whatever else stands there: see ``ObjectInfo.strange``."""
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

    def unfinished(self, prefix: str, before: float) -> Iterator[Unfinished]:
        """Uploads that were begun before a moment (seconds since 1970) and never ended: what a killed process left. Nobody lists them."""
        ...

    def abandon(self, upload: Unfinished) -> None:
        """Remove what there is of such an upload."""
        ...

    def url(self, key: str) -> str:
        """The name under which Spark and DuckDB read it."""
        ...

    def local_path(self, key: str) -> Path | None:
        """A path on this machine where the object can be read or written directly, or None (then see ``estuaire.storage.local_files``)."""
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


def sha256_of(store: ObjectStore, key: str) -> str:
    """sha256 (hex) of an object's bytes."""
    digest = hashlib.sha256()
    with store.open(key) as stream:
        while data := stream.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result | None, str]]:
    """What stands below a folder, in order: (path below it, its status, empty) of a plain file, (path to be shown, None, why it is
    none) of anything else. No link is followed, nothing is opened, and no depth of folders is too much for it."""
    below: list[tuple[Path, str, int]] = [(folder, "", 1)]
    contents: list[tuple[str, os.stat_result | None, str]] = []
    while below:
        path, prefix, depth = below.pop()
        try:
            with os.scandir(path) as entries:
                listed = list(entries)
        except FileNotFoundError:
            continue  # it went away meanwhile
        except OSError as error:
            contents.append((prefix.rstrip("/"), None, f"a folder that cannot be read ({error.strerror})"))
            continue
        for entry in listed:
            if entry.name.startswith(_DRAFT):
                continue
            key, why = prefix + entry.name, _strange(entry.name)
            if why:
                key = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            elif entry.is_symlink():
                why = _LINK
            elif entry.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH:
                    below.append((path / entry.name, f"{key}/", depth + 1))
                    continue
                why = _DEEP
            status = None
            if not why:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                why = "" if stat.S_ISREG(status.st_mode) else "no plain file"
            contents.append((key, None if why else status, why))
    return iter(sorted(contents, key=lambda one: one[0]))


def _strange(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        return "a name that is not UTF-8"
    return ""


class DirectoryStore:
    """A folder as object store."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def _path(self, key: str) -> Path:
        path = self.root / checked_key(key)
        # a symbolic link must lead a reader neither out of the store nor into another hospital's folder
        if path.resolve() != path:
            raise PathOutsideDelivery(
                "a link leads out of the store, or elsewhere in it", remedy="deliver plain files, no links", file=key
            )
        return path

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (item for item in self.walk(prefix) if not item.strange)

    def walk(self, prefix: str) -> Iterator[ObjectInfo]:
        base = prefix if prefix.endswith("/") else str(PurePosixPath(prefix).parent)
        folder = self._path(base)
        start = "" if folder == self.root else folder.relative_to(self.root).as_posix() + "/"
        for name, status, why in walk(folder):
            key = (start + name).rstrip("/")  # the folder itself, where it cannot be read
            if not key.startswith(prefix) and not (why and prefix.startswith(key)):
                continue
            yield self._info(key, status) if status else ObjectInfo(key, 0, why, strange=why)

    @staticmethod
    def _info(key: str, status: os.stat_result) -> ObjectInfo:
        return ObjectInfo(key, status.st_size, str(status.st_mtime_ns), status.st_mtime)

    def stat(self, key: str) -> ObjectInfo | None:
        try:
            status = self._path(key).stat(follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return self._info(key, status) if stat.S_ISREG(status.st_mode) else None

    def open(self, key: str) -> BinaryIO:
        try:
            return open_plain(self._path(key))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileMissing("the store has no such object", file=key, remedy="deliver the file again") from error
        except FileNotReadable as error:
            raise FileMissing(
                "what stands there is no plain file", file=key, remedy="deliver the file again"
            ) from error
        except OSError as error:
            raise EntryRefused(
                f"the platform's account cannot read it ({error.strerror})",
                file=key,
                remedy="let that account read it, or deliver it again as a plain file",
            ) from error

    @contextmanager
    def _written(self, path: Path) -> Iterator[Path]:
        """A file beside ``path`` to write first: what is listed is whole."""
        private_files.folder(path.parent)
        temporary = path.parent / f"{_DRAFT}{uuid.uuid4().hex}"
        try:
            private_files.new_file(temporary)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def put_file(self, key: str, source: Path) -> None:
        path = self._path(key)
        with self._written(path) as temporary:
            with open_plain(source) as plain, temporary.open("wb") as target:
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

    def unfinished(self, prefix: str, before: float) -> Iterator[Unfinished]:
        for folder, _, names in os.walk(self._path(prefix)):
            for name in names:
                if not name.startswith(_DRAFT):
                    continue
                path = Path(folder) / name
                with suppress(FileNotFoundError):
                    status = path.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_mtime < before:
                        yield Unfinished(path.relative_to(self.root).as_posix(), name, status.st_size)

    def abandon(self, upload: Unfinished) -> None:
        self._path(upload.key).unlink(missing_ok=True)

    def url(self, key: str) -> str:
        return str(self._path(key))

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def open_to(self, connection: Any) -> None:
        """Nothing to do: a folder's files are DuckDB's own."""

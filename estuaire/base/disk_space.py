"""Disks that are full or not to be written, as typed errors: whoever reads one learns the path, what is free, and what to do.

Python, Arrow, DuckDB and PostgreSQL each say it their own way, and through Spark only as text.
"""

from __future__ import annotations

import errno
import re
import shutil
from contextlib import suppress
from pathlib import Path

import psycopg2

from estuaire.base.errors import DatabaseFull, DiskFull, EstuaireError, StoreNotWritable

KINDS = (
    DiskFull,
    DatabaseFull,
    StoreNotWritable,
)  # nobody's delivery is at fault: the stage stops, what is served stays
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_FULL_TEXT = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|\[errno (28|27|122)\]", re.IGNORECASE
)
_CLOSED_TEXT = re.compile(r"Read-only file system|Permission denied|\[errno (30|13|1)\]", re.IGNORECASE)
_PATH = re.compile(r"[\"'](/[^\"'\n]{1,400})[\"']")


def typed(error: BaseException) -> EstuaireError | None:
    """The typed error of a disk that is full or not to be written; None of any other.

    Looks at the causes, too: an error on the way may have wrapped it.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        typed_error = _typed(current)
        if typed_error is not None:
            return typed_error
        current = current.__cause__ or current.__context__
    return None


def _typed(error: BaseException) -> EstuaireError | None:
    if isinstance(error, KINDS):
        return error
    if isinstance(error, EstuaireError):
        return None
    if isinstance(error, psycopg2.Error):
        full = isinstance(error, psycopg2.errors.DiskFull) or _FULL_TEXT.search(str(error))
        return database_full() if full else None
    text = str(error)
    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    io = isinstance(error, OSError) or type(error).__module__.startswith(("duckdb", "_duckdb"))
    if not io:
        return None
    if "postgres" in text.lower() and _FULL_TEXT.search(text):  # DuckDB tells what PostgreSQL said
        return database_full()
    if number in _FULL or (number is None and _FULL_TEXT.search(text)):
        return disk_full(_path(error, text))
    if number in _CLOSED or (number is None and _CLOSED_TEXT.search(text)):
        return not_writable(_path(error, text))
    return None


def _path(error: BaseException, text: str) -> str:
    named = getattr(error, "filename", None)
    if isinstance(named, str | bytes | Path):
        return str(named if not isinstance(named, bytes) else named.decode("utf-8", "replace"))
    match = _PATH.search(text)
    return match[1] if match else ""


def free(path: str) -> str:
    """What is free on the disk of a path, for a sentence; empty where nobody can tell."""
    for folder in (Path(path), *Path(path).parents) if path else ():
        with suppress(OSError):
            return f" ({shutil.disk_usage(folder).free / 2**20:,.0f} MiB are free there)"
    return ""


def disk_full(path: str) -> DiskFull:
    """A file could not be written for want of space."""
    where = f" at {path}" if path else ""
    return DiskFull(
        f"there is no space left to write{where}{free(path)}, or a quota or limit of file size is reached",
        remedy="free space on that disk or enlarge it (`estuaire up` says how much should be free), then run again; "
        "nothing was committed, what was served stays served",
    )


def not_writable(path: str) -> StoreNotWritable:
    """A file could not be written or opened for want of the right to."""
    where = f": {path}" if path else ""
    return StoreNotWritable(
        f"the disk is read-only, or this account may not read or write there{where}",
        remedy="mount it for writing, or give the folder to the account that runs Estuaire (mode 0700), then run again; "
        "nothing was committed, what was served stays served",
    )


def database_full() -> DatabaseFull:
    """PostgreSQL could not write for want of space."""
    return DatabaseFull(
        "PostgreSQL has no space left on its disk, or a limit of the role's temporary files is reached",
        remedy="free space on the disk of the database or enlarge it, then run again; nothing was committed, what was served stays served",
    )

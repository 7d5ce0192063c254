"""A full disk, a read-only store and a full database are typed errors that name the path and what to do, wherever they are met."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from estuaire.base import disk_space
from estuaire.base.errors import DatabaseFull, DiskFull, FileMissing, StoreNotWritable
from estuaire.storage.object_store import DirectoryStore
from spark_jobs.session import TaskFailed, guarded


@pytest.fixture
def small_files() -> Any:
    """No file of this process grows beyond 64 kB: what a full disk does to a writer, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def _python(path: Path) -> None:
    DirectoryStore(path.parent).put_bytes(path.name, os.urandom(1 << 20))


def _arrow(path: Path) -> None:
    pq.write_table(pa.table({"x": [os.urandom(1000) for _ in range(1000)]}), path)


def _duckdb(path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"copy (select random() as x from range(200000)) to '{path}' (format parquet)")


@pytest.mark.parametrize("write", [_python, _arrow, _duckdb])
def test_each_writer_of_the_store_says_that_there_is_no_space(small_files: Any, tmp_path: Path, write: Any) -> None:
    with pytest.raises(DiskFull) as met:
        guarded(write, tmp_path / "file.parquet")
    assert "no space left" in met.value.what
    assert "free space" in met.value.remedy


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EFBIG, DiskFull), (errno.EROFS, StoreNotWritable),
        (errno.EACCES, StoreNotWritable), (errno.EPERM, StoreNotWritable),
    ],
)  # fmt: skip
def test_the_error_names_the_path(tmp_path: Path, number: int, kind: Any) -> None:
    path = str(tmp_path / "lake" / "x.parquet")
    found = disk_space.typed(OSError(number, os.strerror(number), path))
    assert isinstance(found, kind)
    assert path in found.what
    if kind is DiskFull:
        assert "MiB are free" in found.what
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 - as a task of Spark hands it on
    assert type(again) is kind
    assert again.fields == found.fields


def test_duckdb_and_what_wraps_it() -> None:
    try:
        raise duckdb.IOException('IO Error: Cannot open file "/mnt/lake/a.parquet": Read-only file system')
    except duckdb.IOException as inner:
        wrapped = RuntimeError("wrapped")
        wrapped.__cause__ = inner
    found = disk_space.typed(wrapped)
    assert isinstance(found, StoreNotWritable)
    assert "/mnt/lake/a.parquet" in found.what
    assert isinstance(
        disk_space.typed(
            duckdb.IOException(
                "IO Error: Failed to execute query on postgres: could not extend file: No space left on device"
            )
        ),
        DatabaseFull,
    )


def test_a_full_database() -> None:
    assert isinstance(disk_space.typed(psycopg2.errors.DiskFull("x")), DatabaseFull)
    assert isinstance(
        disk_space.typed(psycopg2.OperationalError('could not extend file "base/1/2": No space left on device')),
        DatabaseFull,
    )


def test_other_errors_stay_what_they_are() -> None:
    assert disk_space.typed(ValueError("No space left on device")) is None
    assert disk_space.typed(FileMissing("x", remedy="y")) is None
    assert disk_space.typed(OSError(errno.ECONNRESET, "reset")) is None

    def broken(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(TaskFailed):
        guarded(broken, None)

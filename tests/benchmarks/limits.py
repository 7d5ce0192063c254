"""What this machine can do, beside which a stage's unit costs are read: one thread each, best of three, made-up administrations.

The disk is written and synced, then read after the system was asked to forget the file; PostgreSQL is one of its own, with the settings of
the platform's. MB = 1,000,000 bytes of the text, whatever it is packed to.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from estuaire.storage.database import Database
from tests.benchmarks.kernel import csv_bytes
from tests.benchmarks.own_server import own_server

ROWS = 500_000
DISK_BYTES = 1 << 30
HASHES = 300_000


def best(work: Callable[[], Any], rounds: int = 3) -> float:
    """The shortest wall time of the rounds, in seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def _disk(folder: Path) -> tuple[float, float]:
    """MB/s of a sequential write with fsync, and of reading it back from the disk."""
    path, block = folder / "disk", os.urandom(1 << 23)

    def write() -> None:
        with path.open("wb", buffering=0) as out:
            for _ in range(DISK_BYTES // len(block)):
                out.write(block)
            os.fsync(out.fileno())

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while file.read(1 << 23):
                pass

    return DISK_BYTES / 1e6 / best(write, 2), DISK_BYTES / 1e6 / best(read, 2)


def _hashes() -> float:
    key, messages = os.urandom(32), [f"IPP{n:09d}".encode() for n in range(HASHES)]
    return HASHES / best(lambda: [hmac.digest(key, m, hashlib.sha256) for m in messages])


def _copy(text: bytes) -> float:
    """Seconds of one COPY of the records as text columns, on a server of its own."""
    columns = text[: text.index(b"\n")].decode().lower().split(";")
    with own_server() as settings, Database.of(settings).session() as session, session.cursor() as cursor:

        def once() -> None:
            cursor.execute(f"drop table if exists copied; create table copied ({' text, '.join(columns)} text)")
            cursor.copy_expert("copy copied from stdin (format csv, header, delimiter ';')", io.BytesIO(text))
            session.commit()

        cursor.execute("create schema limits; set search_path to limits")
        return best(once)


def measured() -> dict[str, tuple[float, str]]:
    """What was measured -> (figure, unit)."""
    text = csv_bytes(ROWS)
    size = len(text) / 1e6
    packed = gzip.compress(text, 6)
    parse = pacsv.ParseOptions(delimiter=";")
    single = pacsv.ReadOptions(use_threads=False)
    table = pacsv.read_csv(io.BytesIO(text), single, parse)
    figures: dict[str, tuple[float, str]] = {}
    with tempfile.TemporaryDirectory(prefix="estuaire-limits-") as name:
        folder = Path(name)
        (folder / "a.csv").write_bytes(text)
        duck = duckdb.connect(config={"threads": 1})
        figures["sha256"] = size / best(lambda: hashlib.sha256(text).digest()), "MB/s"
        figures["gunzip"] = size / best(lambda: gzip.decompress(packed)), "MB/s"
        figures["parse CSV (pyarrow)"] = size / best(lambda: pacsv.read_csv(io.BytesIO(text), single, parse)), "MB/s"
        asked = f"select count(columns(*)) from read_csv('{folder}/a.csv', delim = ';', all_varchar = true)"
        figures["parse CSV (DuckDB)"] = size / best(lambda: duck.execute(asked).fetchall()), "MB/s"
        seconds = best(lambda: pq.write_table(table, folder / "a.parquet", compression="zstd"))
        figures["write Parquet, zstd"] = size / seconds, "MB/s"
        figures["write Parquet, zstd, records"] = ROWS / seconds, "per s"
        written, read = _disk(folder)
        figures["disk, sequential write"] = written, "MB/s"
        figures["disk, sequential read"] = read, "MB/s"
    figures["HMAC-SHA256 of one identifier (Python)"] = _hashes(), "per s"
    seconds = _copy(text)
    figures["PostgreSQL COPY"] = size / seconds, "MB/s"
    figures["PostgreSQL COPY, records"] = ROWS / seconds, "per s"
    return figures


def main() -> None:
    print("| one thread | figure |\n|---|---|")
    for what, (figure, unit) in measured().items():
        print(f"| {what} | {figure:,.0f} {unit} |")

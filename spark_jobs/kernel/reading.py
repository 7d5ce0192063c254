"""Opens a delivered file: hashes its raw bytes while they are read, decompresses, and maps its header to the contract."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from typing import BinaryIO, cast

from estuaire.contracts import OPERATION_COLUMN, UPDATED_COLUMN, Table
from estuaire.errors import ChecksumMismatch, ColumnMissing, FileTruncated
from estuaire.registry import Dialect, Hospital

_MAX_HEADER_BYTES = 64 << 10


class HashingReader(io.RawIOBase):
    """A raw stream that hashes what passes through it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        data = self._raw.read(len(view))
        view[: len(data)] = data
        self._hash.update(data)
        self.count += len(data)
        return len(data)

    def drain(self) -> None:
        """Hash what is left."""
        while data := self._raw.read(1 << 20):
            self._hash.update(data)
            self.count += len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Header:
    """Columns of a file: contract name by position (None where the contract has no such column)."""

    names: tuple[str | None, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a file stands, for errors."""

    hospital: str
    delivery: str
    file: str


def read_header(line: bytes, *, table: Table, hospital: Hospital, dialect: Dialect, place: Place) -> Header:
    """The header line against the contract; the hospital's own names come from its registry file, case is ignored.

    Raises:
        ColumnMissing: a required column is not there (all missing ones are named).
    """
    text = line.decode(dialect.encoding, errors="replace").lstrip("\ufeff").rstrip("\r\n")
    own = next(csv.reader([text], delimiter=dialect.delimiter), [])
    renamed = {k.casefold(): v for k, v in hospital.columns_of(table.name).items()}
    known = {c.name for c in table.columns} | {OPERATION_COLUMN, UPDATED_COLUMN}
    names: list[str | None] = []
    extra: list[str] = []
    for name in own:
        folded = name.strip().casefold()
        target = renamed.get(folded, folded)
        if target in known and target not in names:
            names.append(target)
        else:
            names.append(None)
            extra.append(name.strip()[:64])
    missing = [c for c in table.required if c not in names]
    if missing:
        back = {v: k for k, v in hospital.columns_of(table.name).items()}
        listed = ", ".join(f"{c} ({back[c]})" if c in back else c for c in missing)
        raise ColumnMissing(
            f"required columns are not in the header: {listed}",
            remedy="deliver the file again with these columns, or correct the hospital's column names in the registry",
            hospital=place.hospital,
            delivery=place.delivery,
            file=place.file,
        )
    return Header(tuple(names), tuple(extra))


class DeliveredFile:
    """A delivered file while it is read: ``stream`` gives decompressed bytes; ``finish`` checks what was read."""

    def __init__(self, raw: BinaryIO, dialect: Dialect, place: Place) -> None:
        self._raw = HashingReader(raw)
        self._place = place
        buffered = io.BufferedReader(self._raw, 1 << 20)
        self.stream: BinaryIO = (
            cast(BinaryIO, gzip.GzipFile(fileobj=buffered)) if dialect.compression == "gzip" else buffered
        )

    def header_line(self) -> bytes:
        return self.stream.readline(_MAX_HEADER_BYTES)

    def check(self, *, sha256: str, size: int) -> None:
        """Read to the end and compare with the manifest.

        Raises:
            ChecksumMismatch: other bytes than declared.
        """
        self._raw.drain()
        if self._raw.sha256 != sha256 or self._raw.count != size:
            raise ChecksumMismatch(
                f"the file's sha256 or size is not the manifest's ({self._raw.count} bytes read, {size} declared)",
                remedy="upload the file again, or write a new manifest with `estuaire deliver`",
                hospital=self._place.hospital,
                delivery=self._place.delivery,
                file=self._place.file,
            )

    def measured(self) -> tuple[str, int]:
        """(sha256 in hex, bytes) of the whole raw file, read to its end."""
        self._raw.drain()
        return self._raw.sha256, self._raw.count

    def truncated(self) -> FileTruncated:
        return FileTruncated(
            "the compressed file ends before its end mark, or is not gzip",
            remedy="compress and upload the file again, with its new checksum",
            hospital=self._place.hospital,
            delivery=self._place.delivery,
            file=self._place.file,
        )


TRUNCATION_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)

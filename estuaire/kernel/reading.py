"""Opens a delivered file: hashes its raw bytes while they are read, says what it is, decompresses, and maps its header to the contract.

What a file is, is told by its first bytes: Parquet whatever its dialect says, else delimited text in the dialect's compression; anything
else (a workbook, UTF-16, gzip in gzip) is refused and named. A header's own names are never repeated in an error: a header that is really
a record would put a patient's values there. Columns outside the contract are told by their numbers.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import tempfile
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from estuaire.base.errors import (
    BeyondLimit,
    ChecksumMismatch,
    ColumnMissing,
    EstuaireError,
    FileNotReadable,
    FileTruncated,
)
from estuaire.contract.registry import Dialect, Hospital
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Table
from estuaire.kernel.limits import LIMITS, Limits

PARQUET_MARK = b"PAR1"
_GZIP_MARK = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_MARK_BYTES = 8
_FOREIGN = (
    (_GZIP_MARK, "gzip"),
    (b"PK\x03\x04", "a ZIP archive or a workbook (xlsx)"),
    (b"\xd0\xcf\x11\xe0", "an Office document (xls)"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"(\xb5/\xfd", "zstd"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"%PDF", "PDF"),
)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


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
    """Columns of a file: contract name by position (None where the contract has no such column); ``extra``: numbers of those, from 1."""

    names: tuple[str | None, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a file stands, for errors."""

    hospital: str
    delivery: str
    file: str

    def of(self, error: EstuaireError) -> EstuaireError:
        """The error, told where it happened."""
        error.hospital, error.delivery, error.file = self.hospital, self.delivery, self.file
        error.args = (error.sentence(),)
        return error


def _folded(name: str) -> str:
    """A column's name as names are compared: one normal form, no invisible characters, single spaces, case ignored."""
    text = "".join(c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c) != "Cf")
    return " ".join(text.split()).casefold()


def header_of(delivered_names: Iterable[str], *, table: Table, hospital: Hospital, place: Place) -> Header:
    """A file's own column names against the contract; the hospital's names come from its registry file, case is ignored.

    A registered name wins over the contract's own name in the same file; of two columns of one name the first is taken.

    Raises:
        ColumnMissing: a required column is not there (all missing ones are named).
    """
    folded = [_folded(name) for name in delivered_names]
    renamed = {_folded(k): v for k, v in hospital.columns_of(table.name).items()}
    known = {c.name for c in table.columns} | {OPERATION_COLUMN, UPDATED_COLUMN}
    registered = {renamed[name] for name in folded if name in renamed}
    names: list[str | None] = []
    extra: list[str] = []
    for number, name in enumerate(folded, start=1):
        target = renamed.get(name, None if name in registered else name)
        if target in known and target not in names:
            names.append(target)
        else:
            names.append(None)
            extra.append(str(number))
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


def read_header(line: bytes, *, table: Table, hospital: Hospital, dialect: Dialect, place: Place) -> Header:
    """The header line against the contract (``header_of``).

    Raises:
        ColumnMissing: a required column is not there.
        FileNotReadable: no reader makes fields of it.
    """
    text = line.removeprefix(_UTF8_MARK).decode(dialect.encoding, errors="replace").rstrip("\r\n")
    try:
        delivered_names = next(csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter), [])
    except csv.Error:
        raise place.of(_unreadable("the header line cannot be read")) from None
    return header_of(delivered_names, table=table, hospital=hospital, place=place)


def _unreadable(what: str) -> FileNotReadable:
    return FileNotReadable(
        what,
        remedy="export the table again in the encoding and compression of your dialect, or as Parquet (`estuaire guide`)",
    )


def _foreign(mark: bytes) -> str | None:
    """What bytes that are no delimited text begin, or None."""
    return next((name for start, name in _FOREIGN if mark.startswith(start)), None)


def _first_line(data: bytes, delimiter: str) -> bytes:
    """The first record with its line end, if its quotes are right; else the first physical line."""
    start = len(_UTF8_MARK) if data.startswith(_UTF8_MARK) else 0
    mark = re.escape(delimiter.encode())
    field = rb'(?:"(?:[^"]|"")*+"|[^"\r\n' + mark + rb"]*+)"
    record = re.compile(field + rb"(?:" + mark + field + rb")*+(?:\r\n|\n|\r|\Z)").match(data, start)
    line = record or re.compile(rb"[^\r\n]*+(?:\r\n|\n|\r|\Z)").match(data, start)
    return data[: line.end()] if line else data


class _Content:
    """What a file holds, decompressed, with what was read ahead put back; counts it against the limits."""

    def __init__(self, stream: BinaryIO, raw: HashingReader, place: Place, limits: Limits) -> None:
        self._stream, self._raw, self._place, self._limits = stream, raw, place, limits
        self._ahead = b""
        self.count = 0

    def put_back(self, data: bytes) -> None:
        self._ahead = data + self._ahead

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end only.

        Raises:
            BeyondLimit: the file grows too much, or to too much, as it is decompressed.
        """
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        chunk = self._stream.read(size - len(ahead)) if len(ahead) < size else b""
        self.count += len(chunk)
        limits = self._limits
        if self.count > limits.decompressed_bytes:
            raise self._place.of(
                BeyondLimit(
                    f"the file holds more than {limits.decompressed_bytes >> 20} MiB, decompressed",
                    remedy="split the table over several files",
                )
            )
        if self.count > limits.ratio_from and self.count > limits.ratio * max(self._raw.count, 1):
            raise self._place.of(
                BeyondLimit(
                    f"the file grows more than {limits.ratio} times as it is decompressed",
                    remedy="look at what the export repeats, or deliver the table without compression",
                )
            )
        return ahead + chunk if ahead else chunk

    def ahead(self, size: int) -> bytes:
        """The first ``size`` bytes, or all there are; they are read again."""
        head = b""
        while len(head) < size and (more := self.read(size - len(head))):
            head += more
        self.put_back(head)
        return head


class DeliveredFile:
    """A delivered file while it is read: ``stream`` gives decompressed bytes; ``check`` or ``measured`` ends it.

    Attributes:
        returns: a lone carriage return ends its lines (known once the header was read).
        header_lines: physical lines of the header.
    """

    def __init__(self, raw: BinaryIO, dialect: Dialect, place: Place, limits: Limits = LIMITS) -> None:
        self._raw = HashingReader(raw)
        self._place = place
        self._dialect = dialect
        self._limits = limits
        self._buffered = io.BufferedReader(self._raw, 1 << 20)
        self._content: _Content | None = None
        self._mark: bytes | None = None
        self.returns = False
        self.header_lines = 1

    @property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet, by its first bytes."""
        if self._mark is None:
            self._mark = self._buffered.read(_MARK_BYTES)
        return self._mark.startswith(PARQUET_MARK)

    @property
    def stream(self) -> BinaryIO:
        """What the file holds, decompressed as its dialect says.

        Raises:
            FileNotReadable: the file is empty, or something that no dialect describes.
            FileTruncated: its compression is not its dialect's.
        """
        if self._content is None:
            self._content = self._opened()
        return cast(BinaryIO, self._content)

    def _opened(self) -> _Content:
        packed = self._dialect.compression == "gzip"
        if self._mark is None:
            self._mark = self._buffered.read(_MARK_BYTES)
        mark = self._mark
        if not mark:
            raise self._place.of(_unreadable("the file is empty"))
        if mark.startswith(_GZIP_MARK) != packed:
            raise self._place.of(
                FileTruncated(
                    f"the file is {'not ' if packed else ''}gzip, its dialect {self._dialect.name} says {self._dialect.compression}"
                    + (f": it is {_foreign(mark)}" if packed and _foreign(mark) else ""),
                    remedy="deliver it as the guide says (`estuaire guide`), or correct the dialect in the registry",
                )
            )
        raw = _Content(cast(BinaryIO, self._buffered), self._raw, self._place, self._limits)
        raw.put_back(mark)
        if not packed:
            content = raw
        else:
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=cast(BinaryIO, raw), mode="rb"))
            content = _Content(stream, self._raw, self._place, self._limits)
        mark = content.ahead(_MARK_BYTES)
        if not mark:
            raise self._place.of(_unreadable("the file holds nothing once it is decompressed"))
        inside = _foreign(mark)
        if inside:
            twice = "compressed twice: it holds gzip" if inside == "gzip" else f"no delimited text: it holds {inside}"
            raise self._place.of(_unreadable(f"the file is {twice}" if packed else f"the file is {inside}"))
        if mark.startswith(_UTF16_MARKS):
            raise self._place.of(_unreadable(f"the file is in UTF-16, its dialect says {self._dialect.encoding}"))
        return content

    def header_line(self) -> bytes:
        """The header with its line end: line breaks within its quotes belong to it.

        Raises:
            FileNotReadable: no header, or one that is no text of the dialect.
            FileTruncated: see ``stream``.
        """
        limit = self._limits.header_bytes
        content = cast(_Content, self.stream)
        data = content.ahead(limit)
        line = _first_line(data, self._dialect.delimiter)
        if not line.endswith((b"\n", b"\r")) and len(data) >= limit:
            raise self._place.of(_unreadable(f"the first line is longer than {limit >> 10} KiB: no header ends there"))
        if b"\x00" in line:
            half = line.count(0) * 3 > len(line)
            what = "is in UTF-16 or UTF-32 without a mark" if half else "holds NUL bytes in its header"
            raise self._place.of(_unreadable(f"the file {what}, its dialect says {self._dialect.encoding}"))
        if not line.removeprefix(_UTF8_MARK).strip():
            raise self._place.of(_unreadable("the first line is blank, where the header is expected"))
        self.returns = line.endswith(b"\r")
        self.header_lines = len(re.findall(rb"\r\n|\n|\r" if self.returns else rb"\n", line)) or 1
        taken = content.read(len(line))
        assert taken == line  # noqa: S101 - it was read ahead
        return line

    @property
    def count(self) -> int:
        """Raw bytes read so far."""
        return self._raw.count

    def spooled(self) -> IO[bytes]:
        """The raw bytes in a nameless file of this machine, for a format that is read from its end."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it; it has no name to be left behind
        file.write(self._mark or b"")
        while data := self._buffered.read(1 << 20):
            file.write(data)
        file.seek(0)
        return file

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

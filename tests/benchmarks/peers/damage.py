"""Deliveries with everything that goes wrong, made of a simulated hospital's own: odd values in any column, deletions, corrections, keys that stand
twice, merges in a circle, damaged bytes; and a full delivery of one year that omits records.

Seeded: the same world and seed give the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from estuaire.contract.registry import Dialect, Hospital, load_registry
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Table, load_contract

Row = list[str]
_NUMBERS = (
    "1.000", "12.345", "0.5", "0,5", "1e3", "1,5e-2", "1.5E2", "1e-9", "-3", "+4", ".5", ",5", "5.", "", "abc", "123456789012", "1234567890123", "0,0000001",
    "0.1234560", "0.12345600", "1 000", "\u0661\u0662", "NaN", "inf", "1_0", " 7 ", "\u00a07", "7\u200b", "--1", "1.234.567", "0x1F", "99999999999999999999", ">24h",
)  # fmt: skip
_TEXTS = (
    "", " ", "NULL", "null", " NULL", "\u00a0NULL", "de\u0301finitif", "d\u00e9finitif", "a\u00a0b", "a\u200bb", "\ufeffx", "so\u00adft", "tab\tin", "  lead", "trail  ",
    'with "quotes"', "two\nlines", "semi;colon|pipe,comma", "\u00bf", "\u20ac", "1,23457E+11", "#N/A", "12E4", "#REF!", "ANONYME", "sans ipp", "Inconnue", "0", "xxx",
    "999999", "1 85 05 78 006 084 91", "185057800608491", "nir 1.85.05.78.006.084.91 fin", "18505780060849", "2 99 02 2A 123 456 76", "E. coli", "ESCCOL", "I21.9", "0000009308952",
    "< 0.5 S", "=>", "SFP", "\x0bx", "x\x7f", "x\x1f y", "x\r\ny", "\u2028line",
)  # fmt: skip
_OPERATIONS = ("upsert", "delete", "DELETE ", " Upsert", "", "remove")
_DAYS = (
    "1849-12-31", "1850-01-01", "1899-12-31", "1969-12-31", "1970-01-01", "2024-02-29", "2034-01-12", "9999-12-31", "2250-01-01", "0999-01-01", "2023-06-15",
)  # fmt: skip
_TIMES = (
    "2024-03-31T02:30:00", "2024-10-27T02:30:00", "2024-10-27T02:10:00", "2024-10-27T02:59:59", "2024-10-27T03:00:00", "2024-03-31T03:00:00",
    "2034-01-12T00:00:00", "1969-12-31T23:59:59", "1970-01-01T00:00:00", "9999-12-31T23:59:59", "0999-01-01T00:00:00", "2023-06-15T12:00:00",
)  # fmt: skip
_WRONG_TIMES = (
    "16/03/25", "1/2/2023", "01/02/2023", "2023-02-30", "20230201", "2023-02-01 10:00", "01/02/2023 9:05:00", "2023-06-15T12:00:00Z", "2023-06-15T12:00:00+01", "16/03/2011 08:00",
    "2023-06-15T12:00:00+0200", "2023-06-15T12:00:00-11:30", "2024-10-27T02:30:00+01:00", "2024-10-27T02:30:00+02:00", "01JAN1996:00:00:00", "01jan1996", ">24h", "",
    "2023-06-15 25:00:00", " 15/06/2023 12:00:00 ", "15/06/2023\u00a012:00:00",
)  # fmt: skip


def _text(moment: str, pattern: str) -> str:
    """A moment in a dialect's format."""
    text = datetime.fromisoformat(moment).strftime(pattern.replace("%Y", moment[:4]))
    return text + ("+01:00" if pattern.endswith("%z") else "")


class _Damager:
    """Changes the rows of one delivered file."""

    def __init__(self, random: Random, hospital: Hospital, table: Table, dialect: Dialect, names: Row) -> None:
        self.random, self.hospital, self.table, self.dialect = random, hospital, table, dialect
        renamed = hospital.columns_of(table.name)
        self.columns = [renamed.get(name.lstrip("\ufeff"), name.lstrip("\ufeff")) for name in names]

    def value(self, column: str, rows: list[Row], at: int) -> str:
        """An odd value of a column."""
        pick, formats = self.random.choice, self.dialect
        kinds = {c.name: c.type for c in self.table.columns} | {UPDATED_COLUMN: "datetime", OPERATION_COLUMN: "op"}
        kind = kinds.get(column, "string")
        if kind == "op":
            return pick(_OPERATIONS)
        if self.random.random() < 0.3:
            return pick(rows)[at]  # another record's: keys stand twice, references change
        if kind in ("decimal", "integer"):
            return pick(_NUMBERS)
        if kind == "date":
            return pick((_text(pick(_DAYS), pick(formats.date_formats)), pick(_WRONG_TIMES)))
        if kind == "datetime":
            return pick((_text(pick(_TIMES), pick(formats.datetime_formats)), pick(_WRONG_TIMES)))
        return pick(_TEXTS)

    def rows(self, rows: list[Row], share: float) -> list[Row]:
        """The rows, some with an odd value, some twice, some left out."""
        changed: list[Row] = []
        for row in rows:
            row = list(row)
            while self.random.random() < share:
                at = self.random.randrange(len(row))
                row[at] = self.value(self.columns[at], rows, at)
            kept = self.random.random()
            changed += [] if kept < 0.03 else [row, list(row)] if kept > 0.97 else [row]
        return changed


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode("utf-8" if encoding == "utf-8-sig" else encoding, "ignore")


def _lines(rows: list[Row], dialect: Dialect, end: str) -> list[bytes]:
    """Each row as it is written, line end included."""
    written = []
    for row in rows:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, delimiter=dialect.delimiter, lineterminator=end).writerow(row)
        written.append(_encoded(buffer.getvalue(), dialect.encoding))
    return written


def _hurt(line: bytes, random: Random, delimiter: bytes, another: bytes) -> bytes:
    """A line with damaged bytes, or behind another one that a lone carriage return ends."""
    at = random.randrange(max(len(line) - 1, 1))
    what = random.choice(("quote", "quote", "quote", "nul", "byte", "more", "fewer", "return", "blank", "returns"))
    if what == "fewer":
        return line.replace(delimiter, b"", 1)
    if what == "returns":
        return another.rstrip(b"\r\n") + b"\r" + line
    if what == "blank":
        return line + random.choice((b"\n", b"\r\n"))
    inserted = {"quote": b'"', "nul": b"\0", "byte": b"\x81", "more": delimiter, "return": b"\r"}[what]
    return line[:at] + inserted + line[at:]


def _content(path: Path, dialect: Dialect) -> tuple[Row, list[Row]]:
    """Header and rows of a sound file; lines that are none are left out."""
    raw = path.read_bytes()
    data = gzip.decompress(raw) if dialect.compression == "gzip" else raw
    text = data.decode(dialect.encoding, "replace").replace("\0", "")
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter)
    return header, [row for row in rows if len(row) == len(header)]


def _deliver(
    landing: Path,
    hospital: str,
    like: str,
    told: dict[str, Any],
    change: Callable[[str, Dialect, Row, list[Row]], bytes],
) -> None:
    """Another delivery, of what ``change`` makes of each file of one that is there."""
    source, target = landing / hospital / like, landing / hospital / told["delivery_id"]
    target.mkdir()
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8")) | told
    entry = load_registry().get(hospital)
    for file in manifest["files"]:
        dialect = entry.dialects[file["dialect"]]
        data = change(file["table"], dialect, *_content(source / file["path"], dialect))
        lines = data.count(b"\n") - 1
        data = gzip.compress(data, mtime=0) if dialect.compression == "gzip" else data
        (target / file["path"]).write_bytes(data)
        file |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "rows": lines}
    (target / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def add_damaged(landing: Path, hospital: str, *, like: str, sequence: int, seed: int, share: float = 0.15) -> None:
    """A delivery like another one, with odd values and damaged lines in each file."""
    random, entry = Random(seed), load_registry().get(hospital)  # noqa: S311 - no secret

    def change(name: str, dialect: Dialect, header: Row, rows: list[Row]) -> bytes:
        damager = _Damager(random, entry, load_contract().table(name), dialect, header)
        end = random.choice(("\n", "\r\n"))
        first, *lines = _lines([header, *damager.rows(rows, share)], dialect, end)
        mark = dialect.delimiter.encode()
        hurt = [_hurt(line, random, mark, random.choice(lines)) if random.random() < 0.05 else line for line in lines]
        # one at least, so that the manifest's count of rows is no matter
        return first + b"".join(hurt) + _encoded("no record" + end, dialect.encoding)

    told = {"delivery_id": f"damaged-{sequence}-{seed}", "sequence": sequence}
    _deliver(landing, hospital, like, told, change)


def add_full(
    landing: Path, hospital: str, *, like: str, sequence: int, seed: int, year: int, left: float = 0.8
) -> None:
    """A full delivery of one year that holds a share of another one's records, some of them with an odd value."""
    random, entry = Random(seed), load_registry().get(hospital)  # noqa: S311 - no secret

    def change(name: str, dialect: Dialect, header: Row, rows: list[Row]) -> bytes:
        damager = _Damager(random, entry, load_contract().table(name), dialect, header)
        kept = [row for row in rows if random.random() < left]
        return b"".join(_lines([header, *damager.rows(kept, 0.02), ["no record"]], dialect, "\n"))

    extracted = datetime.fromisoformat(f"{year + 1}-01-03T03:00:00+01:00")
    told = {
        "delivery_id": f"full-{year}-{seed}", "sequence": sequence, "kind": "full", "extracted_at": (extracted + timedelta(hours=seed)).isoformat(),
        "period": {"from": date(year, 1, 1).isoformat(), "to": date(year + 1, 1, 1).isoformat()},
    }  # fmt: skip
    _deliver(landing, hospital, like, told, change)

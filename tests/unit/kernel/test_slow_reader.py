"""The kernel against an independent slow reader: what it accepts is what Python's csv, datetime, zoneinfo and decimal read there.

Random dialects, zones, encodings and damage. Each accepted record is read again by itself, from its first physical line on. Without damage
every record that the slow reader finds sound is accepted too. 600 files are tried, the same ones each time (tests/conftest.py);
``ESTUAIRE_FUZZ_ROUNDS`` (``make test-fuzz``: 50) says how many rounds of 2,000 other ones.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import hmac
import io
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_file import KEY, Landed, land

from estuaire.contract.registry import Dialect, Hospital, load_registry
from estuaire.contract.tables import Column, load_contract
from estuaire.kernel import engine

ROUNDS = int(os.environ.get("ESTUAIRE_FUZZ_ROUNDS", "1"))
EXAMPLES = 2_000 if "ESTUAIRE_FUZZ_ROUNDS" in os.environ else 600  # of a round
TABLE = load_contract().table("administration")
EXTRACTED = datetime(2025, 11, 1, tzinfo=UTC)  # as tests/one_file.py says
ZONES = (
    "Europe/Paris", "Australia/Sydney", "America/Santiago", "Africa/Casablanca", "Asia/Kathmandu", "Pacific/Apia", "America/St_Johns",
    "Australia/Lord_Howe", "UTC",
)  # fmt: skip
DATETIMES = (
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%d%b%Y:%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z",
)  # fmt: skip


@dataclass(frozen=True)
class File:
    """A file as a hospital would write it, its lines' end, and whether bytes were damaged."""

    hospital: Hospital
    dialect: Dialect
    data: bytes
    end: str
    damaged: bool
    rows: int


_DIALECTS = st.builds(
    Dialect,
    name=st.just("d"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "iso8859-15"]),
    delimiter=st.sampled_from([";", ",", "|", "\t"]),
    decimal=st.sampled_from([".", ","]),
    date_formats=st.just(("%d/%m/%Y",)),
    datetime_formats=st.lists(st.sampled_from(DATETIMES), min_size=1, max_size=2, unique=True).map(tuple),
    compression=st.sampled_from(["none", "gzip"]),
    null_values=st.sampled_from([("",), ("", "NULL"), ("", "-", "9999")]),
)


_LETTERS = "abcXYZ 0189éàœ€'\\%_/<>="


_PLAIN = st.text(st.sampled_from("abcXYZ0189"), min_size=1, max_size=6)
_CHANGES = [  # local times around the changes of clocks of 2021 and 2024
    datetime(year, month, day, hour, minute)
    for year in (2021, 2024)
    for month in (3, 4, 5, 9, 10)
    for day in (1, 3, 5, 26, 27, 28, 30, 31)
    for hour in (1, 2, 3)
    for minute in (15, 30)
    if not (month in (4, 9) and day == 31)
]
_TIMES = (
    st.sampled_from(_CHANGES)
    | st.datetimes(datetime(2021, 1, 1), datetime(2025, 10, 30)).map(lambda t: t.replace(microsecond=0))
    | st.sampled_from(["", "inconnu", "30/02/2025 10:00", "2025-13-01T00:00:00"])
)
_DOSES = st.integers(0, 99_999_999_999) | st.sampled_from(["", "x", " 1", "1 amp", "-1", "null"])
_OPTIONAL = _PLAIN | st.just("")
_UNITS, _ROUTES, _COUNTS, _PLACES = (
    st.sampled_from(["g", "mg"]),
    st.sampled_from(["IV", "", "NULL"]),
    st.integers(1, 5),
    st.integers(0, 6),
)


@lru_cache
def _text(encoding: str) -> st.SearchStrategy[str]:
    alphabet = [c for c in _LETTERS + '"\n\r;,|' if c.encode(encoding, "ignore")]
    return st.text(st.sampled_from(alphabet), max_size=8)


@lru_cache
def _patients(encoding: str) -> st.SearchStrategy[str]:
    return _PLAIN | _text(encoding)


def _time_text(moment: datetime | str, dialect: Dialect) -> str:
    if isinstance(moment, str):
        return moment
    form = dialect.datetime_formats[moment.second % len(dialect.datetime_formats)]
    return moment.replace(tzinfo=UTC).strftime(form) if "%z" in form else moment.strftime(form)


def _dose_text(dose: int | str, places: int, dialect: Dialect) -> str:
    """A number of up to 99,999 with so many decimals, or a text."""
    if isinstance(dose, str):
        return dialect.null_values[-1] if dose == "null" else dose
    whole = Decimal(dose % (100_000 * 10**places)).scaleb(-places)
    return format(whole, "f").replace(".", dialect.decimal)


@st.composite
def _records(draw: st.DrawFn, dialect: Dialect) -> list[list[str]]:
    text, patients, places = _text(dialect.encoding), _patients(dialect.encoding), draw(_PLACES)
    return [
        [
            f"{number}{draw(_PLAIN)}", draw(patients), draw(_OPTIONAL), draw(_PLAIN), draw(text),
            _dose_text(draw(_DOSES), places, dialect), draw(_UNITS), draw(_ROUTES), _time_text(draw(_TIMES), dialect), "F",
        ]
        for number in range(draw(_COUNTS))
    ]  # fmt: skip


_PIECES = st.sampled_from(
    [b'"', b'""', b";", b",", b"\n", b"\r\n", b"\r", b"\x00", b"\xff", b"\x81", b"\xef\xbb\xbf", b'"\n', b';"', b"1;2\n", b""]
)  # fmt: skip
_HITS = st.lists(st.tuples(st.integers(0, 10_000), _PIECES, st.integers(0, 3)), max_size=3)
_ZONES, _ENDS = st.sampled_from(ZONES), st.sampled_from(["\n", "\r\n", "\r"])
_QUOTING: st.SearchStrategy[Any] = st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])


@st.composite
def files(draw: st.DrawFn) -> File:
    zone = draw(_ZONES)
    dialect = draw(_DIALECTS)
    hospital = replace(
        load_registry().get("h01"),
        timezone=zone,
        dialects={"d": dialect},
        table_dialect={"administration": "d"},
        table_columns={},
    )
    end = draw(_ENDS)
    rows = draw(_records(dialect))
    names = [c.name for c in TABLE.columns]
    text = io.StringIO(newline="")
    # Python's writer leaves a line end of another kind bare otherwise: not well formed
    quoting = draw(_QUOTING)
    if any("\r" in value or "\n" in value for row in rows for value in row):
        quoting = csv.QUOTE_ALL
    csv.writer(text, delimiter=dialect.delimiter, lineterminator=end, quoting=quoting).writerows([names, *rows])
    data = bytearray(text.getvalue().encode(dialect.encoding))
    header = len(data) - len(
        "".join(_written(r, dialect, end, quoting) for r in rows).encode(dialect.encoding.removesuffix("-sig"))
    )
    hits = draw(_HITS)
    for at, piece, gone in hits:
        place = header + at % max(len(data) - header, 1)
        data[place : place + gone] = piece
    return File(hospital, dialect, bytes(data), end, bool(hits), len(rows))


def _written(row: list[str], dialect: Dialect, end: str, quoting: int) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=dialect.delimiter, lineterminator=end, quoting=quoting).writerow(row)  # type: ignore[arg-type]
    return text.getvalue()


# ---------------------------------------------------------------- the slow reader


def physical_lines(data: bytes, returns: bool) -> list[bytes]:
    return re.findall(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+" if returns else rb"[^\n]*\n|[^\n]+", data)


def returns_end_lines(file: File) -> bool:
    """Whether a lone carriage return ends the header, and so every line (damage may have put a line feed behind it)."""
    found = re.search(rb"\r\n|\n|\r", file.data)
    return found is not None and found.group() == b"\r"


def fields_at(file: File, line: int, nth: int) -> list[str]:
    """The ``nth`` record of those that begin on a physical line, as Python's csv reads it there."""
    lines = physical_lines(file.data, returns_end_lines(file))[line - 1 :]
    encoding = file.dialect.encoding.removesuffix("-sig")
    head = lines[0].decode(encoding, "replace").rstrip("\r\n")
    if "\r" in head and not returns_end_lines(file):
        # carriage returns that end a line, or stand within quotes: as csv reads the parts of this line
        lines = [*physical_lines(lines[0], True), *lines[1:]]
        parts = csv.reader(
            (x.decode(encoding, "replace") for x in lines), delimiter=file.dialect.delimiter, strict=True
        )
        return [row for _, row in zip(range(nth + 1), (r for r in parts if r), strict=False)][nth]
    return next(
        csv.reader((x.decode(encoding, "replace") for x in lines), delimiter=file.dialect.delimiter, strict=True)
    )


def _value(text: str, dialect: Dialect) -> str | None:
    """What a text says: without what nobody sees (docs/decisions/0015-values.md), which is no part of an identifier, number, date or label."""
    if text in dialect.null_values:
        return None
    if text.isascii() and text.isprintable():
        return text.strip(" ") or None
    seen = [c for c in text if c in "\t\n\r" or unicodedata.category(c) not in ("Cc", "Cf")]
    value = " ".join(unicodedata.normalize("NFC", "".join(seen)).split())
    return None if value in dialect.null_values else value or None


def _moment(text: str, file: File) -> tuple[datetime, datetime] | None:
    """(UTC, local) of a text, or None: no time, or an hour that the zone's clocks skip."""
    zone = ZoneInfo(file.hospital.timezone)
    for aware in (True, False):  # of two formats that read a text, the one with an offset says more
        for form in file.dialect.datetime_formats:
            if ("%z" in form) != aware:
                continue
            whole = (
                re.sub(r"[+-]\d\d$", r"\g<0>00", text) if aware else text
            )  # ISO 8601: hours alone, which Python refuses
            try:
                read = datetime.strptime(whole, form)
            except ValueError:
                continue
            if aware:
                return read.astimezone(UTC), read.astimezone(zone).replace(tzinfo=None)
            moment = read.replace(tzinfo=zone, fold=0).astimezone(UTC)
            return (moment, read) if moment.astimezone(zone).replace(tzinfo=None) == read else None
    return None


def _number(text: str, dialect: Dialect) -> Decimal | None:
    try:
        return Decimal(text.replace(",", ".") if dialect.decimal == "," else text)
    except InvalidOperation:
        return None


def _pseudonym(column: Column, text: str) -> str:
    assert column.pseudonym is not None
    scope = "h01" if column.pseudonym.scope == "hospital" else ""
    message = "\x1f".join((column.pseudonym.domain, scope, "".join(text.split()).upper()))
    return hmac.new(KEY, message.encode(), hashlib.sha256).hexdigest()[:32]


def _shown(text: str | None) -> str | None:
    """A text without what may be normalised away: invisible characters, kinds of spaces, the way accents are written."""
    if text is None:
        return None
    seen = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) not in ("Cf", "Cc"))
    return "".join(seen.split()) or None


def sound(fields: list[str], file: File) -> bool:
    """Whether the slow reader finds a record sound: what is required is there, what is typed can be read and may be."""
    dialect = file.dialect
    values = {c.name: _value(t, dialect) for c, t in zip(TABLE.columns, fields, strict=True)}
    if any(not (values[c] or "").strip() for c in TABLE.required):
        return False
    moment = _moment(values["given_at"] or "", file)
    if moment is None or moment[0] > EXTRACTED + timedelta(days=1):
        return False
    number = None if values["dose"] is None else _number(values["dose"], dialect)
    return values["dose"] is None or (number is not None and 0 <= number < 10**12)


def in_another_encoding(file: File) -> bool:
    """Declared as a single-byte encoding, and UTF-8 throughout with a letter of several bytes ("é€€" of cp1252 is such a letter)."""
    try:
        text = file.data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not file.dialect.encoding.startswith("utf-8") and not text.replace("\ufeff", "").isascii()


def check_accepted(landed: Landed, file: File) -> None:
    starts: Counter[int] = Counter()
    places = {(r["record_number"]): r["line_number"] for r in (*landed.rows, *landed.rejects)}
    nth = {}
    for number in sorted(places):
        nth[number] = starts[places[number]]
        starts[places[number]] += 1
    for row in landed.rows:
        fields = fields_at(file, row["line_number"], nth[row["record_number"]])
        assert len(fields) == len(TABLE.columns)
        for column, text in zip(TABLE.columns, fields, strict=True):
            value, read = _value(text, file.dialect), row[column.name]
            if value is None or not value.strip():
                assert read is None, column.name
            elif column.pseudonym is not None:
                assert read == _pseudonym(column, value), column.name
            elif column.type == "datetime":
                assert (read, row[f"{column.name}_local"]) == _moment(value, file), column.name
            elif column.type == "decimal":
                assert read == _number(value, file.dialect), column.name
            else:
                assert _shown(read) == _shown(value), column.name


@pytest.mark.thorough
@pytest.mark.parametrize("nth_round", range(ROUNDS))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(file=files(), block=st.sampled_from([400, 1 << 20]), planned=st.sampled_from([False, False, False, True]))
def test_what_is_accepted_is_what_a_slow_reader_reads(
    tmp_path_factory: Any, nth_round: int, file: File, block: int, planned: bool
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    data = gzip.compress(file.data, mtime=0) if file.dialect.compression == "gzip" else file.data
    with mock.patch.object(engine, "FEW_RECORDS", 0 if planned else engine.FEW_RECORDS):
        landed = land(folder, "administration", data, hospital=file.hospital, rows=file.rows, block_bytes=block)
    try:
        if landed.error is not None:
            if landed.error == "E_ENCODING":
                assert in_another_encoding(file), landed.outcome.error
                return
            assert landed.error in ("E_ROW_COUNT", "E_FILE_FORM"), landed.outcome.error
            assert file.damaged, landed.outcome.error
            return
        outcome = landed.outcome
        assert outcome.rows_in == len(landed.rows) + outcome.rows_quarantined + outcome.rows_unparseable
        check_accepted(landed, file)
        if not file.damaged:
            start = 1 + len(physical_lines(file.data.split(file.end.encode())[0] + b"\n", False)) - 1
            text = file.data.decode(file.dialect.encoding)
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=file.dialect.delimiter, strict=True))[
                start:
            ]
            broken = {r["record_number"]: r["rule_ids"] for r in landed.rejects}
            # a record that may be two stray quotes is set apart by the framing, and said so
            wanted = [
                i for i, r in enumerate(rows, start=1) if sound(r, file) and ".record.quote" not in broken.get(i, "")
            ]
            if outcome.rows_in == len(rows):
                assert [r["record_number"] for r in landed.rows] == wanted
            else:
                assert outcome.rows_unparseable, "records appeared or went without a damaged one"
    finally:
        for path in (landed.outcome.output, landed.outcome.rejects):
            if path:
                Path(path).unlink(missing_ok=True)

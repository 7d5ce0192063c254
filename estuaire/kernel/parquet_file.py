"""Reads a delivered Parquet file as text columns, so that it lands through the same rules as delimited text.

A record's number is its row's, and so is its line; it has no byte range. Texts are the hospital's own and follow its dialect (formats of
dates, decimal sign, null texts). A typed value is written so that it is read back exactly: numbers with the dialect's decimal sign and
without zeros at their end (a float 77.0 that is an identifier is 77), dates and times as ISO 8601. A time with a zone is a moment; one
without is a time of the hospital's clock, whatever its unit; INT96 has no zone and is the hospital's clock too, unless Spark wrote it: Spark's
are UTC. Nested columns are refused.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from estuaire.base.errors import BeyondLimit, ColumnRetyped, FileTruncated
from estuaire.contract.registry import Dialect, Hospital
from estuaire.contract.tables import Table
from estuaire.kernel.framing import REASONS, Damaged, Frame
from estuaire.kernel.limits import Limits
from estuaire.kernel.reading import DeliveredFile, Header, Place, header_of


class Read(Protocol):
    """Reads the sound records of a block as text columns named by the contract, all or ``only`` some."""

    def __call__(self, *, only: frozenset[str] | None = None) -> pa.Table: ...


_BATCH_ROWS = 1 << 16
_NAIVE, _AWARE = "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f%z"
_SPARK = b"org.apache.spark.version"
_BROKEN = (pa.ArrowException, OSError, ValueError)


def rendered(dialect: Dialect) -> Dialect:
    """The dialect with the formats in which typed dates and times are written here, in front of the hospital's own."""
    return replace(
        dialect,
        date_formats=("%Y-%m-%d", *dialect.date_formats),
        datetime_formats=(_NAIVE, _AWARE, *dialect.datetime_formats),
    )


def blocks(
    delivered: DeliveredFile, table: Table, hospital: Hospital, dialect: Dialect, place: Place, limits: Limits
) -> tuple[Header, Iterator[tuple[Frame, Read]]]:
    """The header of a Parquet file, and per block where its records stand and how to read the sound ones as text columns.

    Raises:
        FileTruncated: the file is cut short or damaged.
        ColumnMissing: a required column is not there.
        ColumnRetyped: a column of the contract is nested, or of a type that has no text.
        BeyondLimit: it holds more than a file may.
    """
    spooled = delivered.spooled()
    try:
        # INT96 reaches further than 64 bits of nanoseconds do: a year 9999 would come out as another
        file = pq.ParquetFile(spooled, coerce_int96_timestamp_unit="us")
        names = list(file.schema_arrow.names)
    except _BROKEN:
        raise _damaged(place) from None
    header = header_of(names, table=table, hospital=hospital, place=place)
    wanted = {delivered_name: name for delivered_name, name in zip(names, header.names, strict=True) if name}
    for delivered_name, name in wanted.items():
        kind = file.schema_arrow.field(names.index(delivered_name)).type
        if not _has_text(kind):
            raise ColumnRetyped(
                f"column {name} is nested or has no text (Parquet type {_named(kind)})",
                remedy="deliver one plain value a row: text, number, date, time or boolean",
                hospital=place.hospital,
                delivery=place.delivery,
                file=place.file,
            )
    _check_size(file.metadata, len(wanted), delivered.count, limits, place)
    moments = _int96_moments(file)

    def read_all() -> Iterator[tuple[Frame, Read]]:
        done = 0
        try:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted)):
                texts = {}
                bad = np.full(batch.num_rows, -1, np.int64)
                for delivered_name, name in wanted.items():
                    column = batch.column(batch.schema.names.index(delivered_name))
                    kind = table.column(name).type if name in {c.name for c in table.columns} else "datetime"
                    texts[name] = _text(column, kind, dialect, hospital.timezone, delivered_name in moments, bad)
                yield _block(texts, bad, done)
                done += batch.num_rows
        except _BROKEN:
            raise _damaged(place) from None
        finally:
            spooled.close()

    return header, read_all()


def _damaged(place: Place) -> FileTruncated:
    return FileTruncated(
        "the Parquet file is cut short or damaged",
        remedy="export and upload the file again, with its new checksum",
        hospital=place.hospital,
        delivery=place.delivery,
        file=place.file,
    )


def _check_size(metadata: Any, columns: int, size: int, limits: Limits, place: Place) -> None:
    held = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    held = max(held, metadata.num_rows * max(columns, 1))  # equal values take no bytes in Parquet, and time here
    if held > limits.decompressed_bytes or (held > limits.ratio_from and held > limits.ratio * max(size, 1)):
        raise BeyondLimit(
            f"the file grows to more than {min(limits.decompressed_bytes, limits.ratio * size) >> 20} MiB as it is read",
            remedy="split the table over several files, or look at what the export repeats",
            hospital=place.hospital,
            delivery=place.delivery,
            file=place.file,
        )


def _int96_moments(file: Any) -> frozenset[str]:
    """Names of the INT96 columns that are moments: Spark wrote them, or Arrow noted their zone beside them (which its reader forgets)."""
    noted = file.metadata.metadata or {}
    spark = _SPARK in noted
    try:
        written = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(noted[b"ARROW:schema"])))
    except (KeyError, *_BROKEN):
        written = pa.schema([])
    columns = (file.schema.column(i) for i in range(len(file.schema)))
    names = {c.path for c in columns if c.physical_type == "INT96"}
    return frozenset(
        n for n in names if spark or any(f.name == n and getattr(f.type, "tz", None) is not None for f in written)
    )


def _named(kind: pa.DataType) -> str:
    """A type's name without the names of its fields, which come from outside."""
    return str(kind).split("<")[0].split("[")[0]


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    checks = (
        "is_string", "is_large_string", "is_string_view", "is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary",
        "is_boolean", "is_integer", "is_floating", "is_decimal", "is_date", "is_timestamp", "is_time", "is_null",
    )  # fmt: skip
    return any(getattr(pa.types, check)(kind) for check in checks)


def _text(
    values: pa.Array, target: str, dialect: Dialect, timezone: str, moment: bool, bad: npt.NDArray[np.int64]
) -> pa.Array:
    """A column as text for a contract column of type ``target``; rows that no text can hold are noted in ``bad`` (index of REASONS)."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_timestamp(kind):
        text = _time_text(values, target, timezone, moment)
    elif pa.types.is_date(kind):
        text = pc.cast(pc.cast(values, pa.date32()), pa.string())
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        text = _number_text(values, dialect.decimal if target == "decimal" else ".")
    elif pa.types.is_null(kind):
        text = pa.nulls(len(values), pa.string())
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_time(kind):
        text = pc.cast(values, pa.string())
    else:
        text = _checked(values, bad)
    nothing = pc.is_in(text, value_set=pa.array(dialect.null_values, pa.string()))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), text)


def _checked(values: pa.Array, bad: npt.NDArray[np.int64]) -> pa.Array:
    """Texts, of which those that are no UTF-8 or hold a NUL are null and noted."""
    if pa.types.is_fixed_size_binary(values.type) or pa.types.is_binary_view(values.type):
        values = pc.cast(values, pa.binary())
    try:
        values.validate(full=True)
        text = pc.cast(values, pa.string())
    except pa.ArrowInvalid:
        decoded: list[str | None] = []
        for row, raw in enumerate(pc.cast(values, pa.binary(), safe=False).to_pylist()):
            try:
                decoded.append(None if raw is None else raw.decode())
            except UnicodeDecodeError:
                decoded.append(None)
                bad[row] = REASONS.index("encoding")
        text = pa.array(decoded, pa.string())
    nul = pc.fill_null(pc.match_substring(text, "\x00"), False).to_numpy(zero_copy_only=False)
    bad[nul & (bad < 0)] = REASONS.index("nul")
    return text


def _number_text(values: pa.Array, decimal: str) -> pa.Array:
    """Numbers without exponent and without zeros at their end; what is no number (NaN) is nothing."""
    if pa.types.is_floating(values.type):
        if pa.types.is_float16(values.type):
            values = pc.cast(values, pa.float32())
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    text = pc.cast(values, pa.string())
    exponent = pc.fill_null(pc.match_substring_regex(text, "[0-9][eE]"), False)
    if pc.any(exponent).as_py():
        text = pa.array([None if t is None else _plain(t) for t in text.to_pylist()], pa.string())
    text = pc.replace_substring_regex(text, r"^(-?[0-9]+\.[0-9]*?)0+$", r"\1")
    text = pc.replace_substring_regex(text, r"\.$", "")
    return pc.replace_substring(text, ".", ",") if decimal == "," else text


def _plain(text: str) -> str:
    number = Decimal(text)
    return format(number, "f") if number.is_finite() else text


def _time_text(values: pa.Array, target: str, timezone: str, moment: bool) -> pa.Array:
    aware = values.type.tz is not None or moment
    # nanoseconds are cut to microseconds
    naive = pc.cast(values, pa.timestamp("us", values.type.tz), safe=False)
    if values.type.tz is not None:
        naive = pc.cast(naive, pa.timestamp("us"))  # of a time with a zone: UTC
    if target != "date":
        text = pc.strftime(naive, "%Y-%m-%dT%H:%M:%S")
        return pc.binary_join_element_wise(text, "+00:00", "") if aware else text
    if aware:
        zone = ZoneInfo(timezone)
        moments = pc.cast(naive, pa.timestamp("us", "UTC")).to_pylist()
        local = [None if m is None else m.astimezone(zone).replace(tzinfo=None) for m in moments]
        naive = pa.array(local, pa.timestamp("us"))
    # a day is often exported as its midnight
    text = pc.strftime(naive, "%Y-%m-%dT%H:%M:%S")
    return pc.replace_substring_regex(text, "T00:00:00.000000$", "")


def _block(texts: dict[str, pa.Array], bad: npt.NDArray[np.int64], done: int) -> tuple[Frame, Read]:
    number = np.arange(done + 1, done + len(bad) + 1, dtype=np.int64)
    sound, hurt = bad < 0, bad >= 0
    nothing = np.zeros(len(bad), np.int64)
    frame = Frame(
        clean=b"",
        record_number=number[sound],
        line_number=number[sound],
        offset=nothing[sound],
        length=nothing[sound],
        damaged=Damaged(number[hurt], number[hurt], nothing[hurt], nothing[hurt], bad[hurt]),
        embedded_newlines=False,
    )
    return frame, partial(_filtered, texts, sound)


def _filtered(texts: dict[str, pa.Array], sound: npt.NDArray[np.bool_], only: frozenset[str] | None = None) -> pa.Table:
    whole = pa.table({name: text for name, text in texts.items() if only is None or name in only})
    return whole if sound.all() else whole.filter(pa.array(sound))

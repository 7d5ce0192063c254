"""Typed records to the text of a hospital's dialect: formats, decimal comma, local codes, header names, bytes.

Times are handled as naive local seconds; a format with ``%z`` gets the offset that Europe/Paris had.
"""

from __future__ import annotations

import io
import zlib

import numpy as np
import polars as pl

from estuaire.contract.registry import Dialect, Hospital
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Table
from estuaire.simulator.clock import is_summer_time
from estuaire.simulator.local_codes import to_local

# stands for bytes that no text has, until the file is encoded
DAMAGE = {"stray_quote": "<STRAY-QUOTE>", "invalid_byte": "<INVALID-BYTE>", "nul_byte": "<NUL-BYTE>"}
INVALID_BYTES = {"utf-8": b"\xff", "utf-8-sig": b"\xff", "cp1252": b"\x81"}  # every byte is a character of latin-9
GZIP_LEVEL = 1
GZIP_FORMAT = 31  # zlib's window bits for a gzip header, whose time it leaves at 0


def null_text(dialect: Dialect) -> str:
    """What the hospital writes for nothing: its last registered null text (``NULL`` rather than the empty one)."""
    return dialect.null_values[-1] if dialect.null_values else ""


def datetime_text(values: pl.Series, fmt: str) -> pl.Series:
    """Local seconds (Int64, may be null) in a strptime format; month names in capitals as SAS writes them."""
    moment = pl.from_epoch(values, time_unit="s")
    if "%z" in fmt:
        before, after = fmt.split("%z")
        summer = pl.Series(is_summer_time(values.fill_null(0).to_numpy()))
        offset = (
            pl.Series(["+02:00"])
            .new_from_index(0, len(values))
            .zip_with(summer, pl.Series(["+01:00"]).new_from_index(0, len(values)))
        )
        return _format(moment, before) + offset + after
    return _format(moment, fmt)


def _format(moment: pl.Series, fmt: str) -> pl.Series:
    text = moment.dt.strftime(fmt)
    return text.str.to_uppercase() if "%b" in fmt else text


def decimal_text(values: pl.Series, decimal: str) -> pl.Series:
    """Numbers without a needless ``.0``, with the dialect's decimal sign."""
    distinct = values.drop_nulls().unique()
    texts = [np.format_float_positional(v, trim="-").replace(".", decimal) for v in distinct.to_list()]
    return values.replace_strict(distinct, pl.Series(texts, dtype=pl.String), default=None, return_dtype=pl.String)


def as_text(
    frame: pl.DataFrame,
    table: Table,
    dialect: Dialect,
    inverted: dict[str, dict[str, list[str]]],
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Every contract column of ``frame`` as text, in contract order, then ``op`` and ``source_updated_at`` if there."""
    columns: list[pl.Series] = []
    for column in table.columns:
        values = frame[column.name]
        if column.type == "datetime":
            values = datetime_text(values, dialect.datetime_formats[0])
        elif column.type == "date":
            text = values.dt.strftime(dialect.date_formats[0])
            values = text.str.to_uppercase() if "%b" in dialect.date_formats[0] else text
        elif column.type == "decimal":
            values = decimal_text(values, dialect.decimal)
        elif column.type == "code":
            values = to_local(
                values,
                inverted.get(column.code_system or ""),
                rng,
                unmapped=column.code_system == "laboratory_test",
                alternatives=column.name not in table.key,
            )
        columns.append(values.cast(pl.String).alias(column.name))
    if OPERATION_COLUMN in frame.columns:
        columns.append(frame[OPERATION_COLUMN])
        columns.append(datetime_text(frame[UPDATED_COLUMN], dialect.datetime_formats[0]).alias(UPDATED_COLUMN))
    return pl.DataFrame(columns)


def with_own_headers(frame: pl.DataFrame, hospital: Hospital, table: str) -> pl.DataFrame:
    """The hospital's own column names."""
    headers = {contract: name for name, contract in hospital.columns_of(table).items()}
    return frame.rename({c: headers[c] for c in frame.columns if c in headers})


def file_bytes(frame: pl.DataFrame, dialect: Dialect, *, damaged: bool = False) -> bytes:
    """The file: header and records, quoted only where needed, encoded and compressed; the same frame gives the same bytes.

    Args:
        damaged: some records hold marks of ``DAMAGE``, written as the damage that they stand for.
    """
    buffer = io.BytesIO()
    frame.write_csv(
        buffer,
        separator=dialect.delimiter,
        null_value=null_text(dialect),
        quote_style="necessary",
        line_terminator="\n",
    )
    data = buffer.getvalue()
    if dialect.encoding == "utf-8-sig":
        data = b"\xef\xbb\xbf" + data
    elif dialect.encoding != "utf-8":
        data = data.decode("utf-8").encode(dialect.encoding)
    if damaged:
        bad = INVALID_BYTES.get(dialect.encoding, b"")
        for mark, there in zip(DAMAGE.values(), (b'"', bad, b"\x00"), strict=True):
            data = data.replace(mark.encode(), there)
    if dialect.compression == "gzip":
        data = zlib.compress(data, GZIP_LEVEL, GZIP_FORMAT)
    return data

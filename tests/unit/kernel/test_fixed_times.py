"""Times of a fixed form are what DuckDB's ``try_strptime`` says, or are left to it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from estuaire.contract.registry import load_registry
from estuaire.kernel import fixed_times
from estuaire.kernel.typing_sql import STATEMENTS, _formats

RENDERED = ("%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f%z")  # how a delivered Parquet file's times are written
FORMATS = sorted(
    {RENDERED, *(d.datetime_formats for h in load_registry().hospitals.values() for d in h.dialects.values())}
)  # every hospital's


def _texts(formats: tuple[str, ...], count: int = 1_500) -> list[str | None]:
    """Times as the formats write them, near enough to be wrong: of early and late years, with another form's zone, a character off."""
    draw = random.Random(7)  # noqa: S311
    texts: list[str | None] = [None, "", " "]
    for pattern in formats * (count // len(formats)):
        moment = datetime(draw.choice([1000, 1001, 1582, 1969, 2000, 2024, 9998]), 1, 1)
        moment += timedelta(seconds=draw.randrange(370 * 86_400), microseconds=draw.randrange(10**6))
        month = moment.strftime("%b")
        text = pattern.replace("%Y", f"{moment.year:04d}").replace("%z", "")
        text = moment.strftime(text.replace("%b", draw.choice([month, month.upper(), month.lower()])))
        if "%z" in pattern:
            text += draw.choice(["+01:00", "Z", "-03:30", "+0100", "", "+14:00", "+15:00", "+01:60", " +01:00"])
        if draw.random() < 0.4:
            place = draw.randrange(len(text))
            text = text[:place] + draw.choice("0123456789 /-:TZzé+") + text[place + draw.randrange(2) :]
        texts.append(text)
    return texts


@pytest.mark.parametrize("formats", FORMATS, ids=" ".join)
def test_what_is_read_is_what_sql_reads(formats: tuple[str, ...]) -> None:
    texts = pa.array(_texts(formats), pa.string())
    times = fixed_times.read(texts, formats)
    dialect = next(iter(load_registry().get("h01").dialects.values()))
    written = _formats(replace(dialect, datetime_formats=formats, placeholder_dates=()))
    statement = STATEMENTS("read_texts", text_columns=[{"name": "at", "type": "datetime"}], formats=written)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("written", pa.table({"at": texts}))
        rows = connection.execute(f"select epoch_us(at__local), epoch_us(at__aware) from ({statement})").fetchall()
    differing = [
        (texts[i].as_py(), int(times.micros[i]), sql)
        for i, sql in enumerate(rows)
        if times.read[i] and sql != ((None, times.micros[i]) if times.zoned[i] else (times.micros[i], None))
    ]
    assert differing == []
    read = sum(any(m is not None for m in row) for row in rows)
    assert read > 500
    assert times.read.sum() > 0.6 * read, "most sound times are read here"


@pytest.mark.parametrize(
    "pattern", ["%d/%m/%y", "%-d/%m/%Y", "%Y-%m", "%Y-%j", "%d %B %Y", "%z%Y%m%d", "%Y年%m%d", "%Y-%m-%d %"]
)
def test_a_form_without_fixed_widths_has_no_layout(pattern: str) -> None:
    assert fixed_times.layout(pattern) is None


def test_a_slice_is_read_from_where_it_begins() -> None:
    texts = pa.array(["x", "01/02/2024 03:04:05", None, "2/2/2024 03:04:05", "31/12/2024 23:59:59"])
    times = fixed_times.read(texts.slice(1), ("%d/%m/%Y %H:%M:%S",))
    assert times.read.tolist() == [True, False, False, True]
    assert times.micros[0] == (datetime(2024, 2, 1, 3, 4, 5) - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def test_a_null_that_has_a_width_is_no_time() -> None:
    texts = pa.array(["31/12/9999 00:00:00", "01/02/2024 03:04:05"])
    nothing = pc.if_else(pa.array([True, False]), pa.scalar(None, pa.string()), texts)
    assert fixed_times.read(nothing, ("%d/%m/%Y %H:%M:%S",)).read.tolist() == [False, True]


@pytest.mark.parametrize(
    "naive", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%d %H:%M:%S Z", "%Y-%m-%d %H:%M:%S+0000"]
)
def test_what_fits_a_form_with_an_offset_has_one_whatever_stands_first(naive: str) -> None:
    texts = pa.array(
        ["2024-01-15 10:00:00+00:00", "2024-01-15 10:00:00", "2024-01-15 10:00:00 Z", "2024-01-15 10:00:00+0000"]
    )
    formats = (naive, "%Y-%m-%d %H:%M:%S%z")
    times = fixed_times.read(texts, formats)
    assert not (times.read & ~times.zoned)[[0, 2, 3]].any(), "SQL says what these are"

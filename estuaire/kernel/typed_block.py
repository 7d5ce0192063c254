"""Types one block: its text columns become what the contract says they are, with one boolean per check.

Texts repeat: what a column's texts mean is asked of DuckDB once per text, not once per record (``typing_sql``), and what is the same for every
record is one entry of a dictionary. Times rarely repeat; those of a fixed form are read here (``fixed_times``), the others as texts are. Rules are
DuckDB's, over the columns that they read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN
from estuaire.kernel import texts
from estuaire.kernel.clock import Clock, Mask, Micros, micros
from estuaire.kernel.engine import planned_for
from estuaire.kernel.fixed_times import read as read_fixed
from estuaire.kernel.framing import Frame
from estuaire.kernel.typing_sql import ORIGIN, STATEMENTS, BlockQuery, Reading
from estuaire.rules.rule_registry import EARLIEST, LATEST

_UTC, _LOCAL = pa.timestamp("us", tz="UTC"), pa.timestamp("us")
_TYPES = {"decimal": pa.decimal128(18, 6), "integer": pa.int64(), "date": pa.date32(), "datetime": _UTC}
# what SQL's trim takes away: the separators of Unicode's class Zs
_SPACES = "\u0020\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_SPACE, _ASCII_END = 0x20, 0x7F
_EPOCH = date(1970, 1, 1)
_OPERATIONS = pa.array(["upsert", "delete"])


def _mask(column: Any) -> Mask:
    """A column of booleans, null being false."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    mask: Mask = (pc.fill_null(column, False) if column.null_count else column).to_numpy(zero_copy_only=False)
    return mask


def constant(value: object, kind: pa.DataType, rows: int) -> pa.Array:
    """What is the same for every record; a text as a dictionary of one."""
    if pa.types.is_string(kind):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], kind))
    return pa.repeat(pa.scalar(value, kind), rows)


def _trimmed(values: pa.Array) -> pa.Array:
    """Texts without the spaces around them, null where nothing is left."""
    if not _may_be_trimmed(values):
        return values
    trimmed = pc.utf8_trim(values, characters=_SPACES)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _may_be_trimmed(values: pa.StringArray) -> bool:
    """Whether a text is empty, or begins or ends with what may be a space."""
    _, offsets, data = values.buffers()
    if data is None or not len(values):
        return bool(len(values) > values.null_count)
    ends = np.frombuffer(offsets, np.int32, count=len(values) + 1, offset=4 * values.offset)
    begins, widths = ends[:-1], ends[1:] - ends[:-1]
    empty = widths == 0
    if empty.any():
        if not values.null_count or (empty & _mask(values.is_valid())).any():
            return True
        begins, widths = begins[~empty], widths[~empty]
    characters = np.frombuffer(data, np.uint8)
    outer = characters[begins], characters[begins + widths - 1]
    return any(bool(((c == _SPACE) | (c > _ASCII_END)).any()) for c in outer)


@dataclass
class _Times:
    """A column of times, by row: microseconds since 1970, of the hospital's clock (``local``), of UTC (``aware``), or of nothing."""

    micros: Micros
    local: Mask
    aware: Mask

    @property
    def told(self) -> Mask:
        return self.local | self.aware


@dataclass
class _Block:
    """What is known of a block's columns: landed ones by name, and per check's mark the rows that it says (left out: none). ``stands``: the records
    that are no deletion (None: all)."""

    rows: int
    stands: Mask | None = None
    columns: dict[str, pa.Array] = field(default_factory=dict)
    marks: dict[str, Mask] = field(default_factory=dict)

    def mark(self, name: str, rows: Mask) -> None:
        if rows.any():
            self.marks[name] = rows


def _asked(
    connection: duckdb.DuckDBPyConnection, statement: str, written: Mapping[str, pa.StringArray]
) -> dict[str, pa.Array]:
    """What texts of columns mean, by their statement: the columns that it gives, each as long as its column's texts."""
    longest = max(len(column) for column in written.values())
    padded = {
        name: pa.concat_arrays([column, pa.nulls(longest - len(column), pa.string())])
        for name, column in written.items()
    }
    connection.register("written", pa.table(padded))
    try:
        with planned_for(connection, longest):
            meanings = connection.execute(statement).to_arrow_table()
    finally:
        connection.unregister("written")
    return {
        name: column.combine_chunks().slice(0, len(written[name.rsplit("__", 1)[0]]))
        for name, column in zip(meanings.column_names, meanings.columns, strict=True)
    }


def _encoded(values: pa.Array) -> pa.DictionaryArray:
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode()


def _texts(connection: duckdb.DuckDBPyConnection, query: BlockQuery, raw: pa.Table, block: _Block) -> None:
    """The columns of which each text is read once."""
    encoded = {r.name: _encoded(raw[r.name].combine_chunks()) for r in query.readings if r.by_text}
    if not encoded:
        return
    written = {name: column.dictionary for name, column in encoded.items()}
    if OPERATION_COLUMN in written:  # where nothing stands, a record is to be kept: that, too, is asked
        written[OPERATION_COLUMN] = pa.concat_arrays([written[OPERATION_COLUMN], pa.array([None], pa.string())])
    meanings = _asked(connection, query.texts_sql, written)
    for name, column in encoded.items():
        typed, bad = meanings[f"{name}__typed"], meanings[f"{name}__bad"]
        if name == OPERATION_COLUMN:
            places = column.indices.fill_null(len(column.dictionary))
            block.columns[name] = texts.renamed(places, typed)
            block.stands = ~_mask(pc.equal(typed, "delete").take(places))
            block.mark("op__foreign", ~_mask(pc.is_in(typed, value_set=_OPERATIONS).take(places)))
            continue
        block.columns[name] = typed.take(column.indices)
        if _mask(bad).any():
            block.mark(f"{name}__bad", _mask(bad.take(column.indices)))


def _times(connection: duckdb.DuckDBPyConnection, reading: Reading, values: pa.Array, block: _Block) -> _Times:
    fixed = read_fixed(values, reading.formats)
    told = fixed.read
    if reading.placeholders:
        told = told & ~np.isin(fixed.day, [(day - _EPOCH).days for day in reading.placeholders])
    times = _Times(fixed.micros, told & ~fixed.zoned, told & fixed.zoned)
    left = np.flatnonzero(~fixed.read & _mask(values.is_valid()))
    if not len(left):
        return times
    encoded = values.take(pa.array(left)).dictionary_encode()
    meanings = _asked(connection, reading.sql, {reading.name: encoded.dictionary})
    places = encoded.indices.to_numpy()
    for name, of in (("local", times.local), ("aware", times.aware)):
        meaning = meanings[f"{reading.name}__{name}"]
        of[left] = _mask(meaning.is_valid())[places]
        of_text = meaning.cast(pa.int64()).fill_null(0).to_numpy()[places]
        times.micros[left] = np.where(of[left], of_text, times.micros[left])
    times.local &= ~times.aware  # a text that can be read both ways has an offset
    bad = np.zeros(block.rows, bool)
    bad[left] = _mask(meanings[f"{reading.name}__bad"])[places]
    block.mark(f"{reading.name}__bad", bad)
    return times


def _moments(told: Micros, which: Mask, kind: pa.DataType) -> pa.Array:
    if not which.any():
        return pa.nulls(len(told), kind)
    return pa.array(told, pa.int64(), mask=None if which.all() else ~which).cast(kind)


def _clocked(reading: Reading, times: Mapping[str, _Times], clock: Clock, block: _Block) -> None:
    """The moments of a column of times, in UTC, beside the local time."""
    name, one = reading.name, times[reading.name]
    told = clock.told(one.micros)
    missing, repeated = one.local & told.missing, one.local & told.repeated
    utc = told.utc
    if reading.begins is not None and repeated.any():
        # both ends in the hour that comes twice, in the wrong order: of the end's two meanings one comes after its beginning
        begin = times[reading.begins]
        twisted = repeated & begin.local & (one.micros < begin.micros) & clock.told(begin.micros).repeated
        utc = np.where(twisted, told.again, utc)
    if one.aware.any():
        utc = np.where(one.aware, one.micros, utc)
    if name == UPDATED_COLUMN:  # it only says which version is newer
        block.columns[name] = _moments(utc, one.told, _UTC)
        first, last = (micros(datetime.fromisoformat(f"{day}T00:00:00+00:00")) for day in (EARLIEST, LATEST))
        block.mark(f"{name}__beyond", one.told & ((utc < first) | (utc >= last)))
        return
    block.columns[name] = _moments(utc, one.told & ~missing, _UTC)
    shown = np.where(one.aware, clock.local(one.micros), one.micros) if one.aware.any() else one.micros
    block.columns[f"{name}_local"] = _moments(shown, one.told, _LOCAL)
    block.mark(f"{name}__missing", missing if reading.key or block.stands is None else missing & block.stands)
    block.mark(f"{name}__repeated", repeated)


def _read(connection: duckdb.DuckDBPyConnection, query: BlockQuery, clock: Clock, raw: pa.Table) -> _Block:
    block = _Block(raw.num_rows)
    _texts(connection, query, raw, block)
    times: dict[str, _Times] = {}
    for reading in query.readings:
        name = reading.name
        if not reading.present:
            if name == OPERATION_COLUMN:
                block.columns[name] = constant("upsert", pa.string(), block.rows)
                continue
            block.columns[name] = pa.nulls(block.rows, _TYPES.get(reading.type, pa.string()))
            if reading.type == "datetime":
                block.columns[f"{name}_local"] = pa.nulls(block.rows, _LOCAL)
            continue
        values = raw[name].combine_chunks()
        if reading.type == "datetime":
            times[name] = _times(connection, reading, values, block)
        elif not reading.by_text:
            block.columns[name] = values if reading.type == "pseudonym" else texts.each(_trimmed, values)
    for name in (n for n in raw.column_names if n.endswith(("__bad", "__spoilt", "__unknown"))):
        block.mark(name, _mask(raw[name]))
    for reading in query.readings:
        if reading.name in times:
            _clocked(reading, times, clock, block)
    return block


def _rules(
    connection: duckdb.DuckDBPyConnection, query: BlockQuery, origin: Mapping[str, object], block: _Block
) -> pa.Table | None:
    """Per rule which records break it."""
    if not query.sql:
        return None
    nowhere = pa.array(np.zeros(block.rows, bool))
    given = {
        name: block.columns[name]
        if name in block.columns
        else (pa.array(block.marks[name]) if name in block.marks else nowhere)
        for name in query.needs
    }
    # for each block: the connection is the thread's, and another file's blocks may lie between
    connection.execute(STATEMENTS("origin"), [origin[name] for name in ORIGIN])
    connection.register("parsed", pa.table(given or {"nothing": nowhere}))
    try:
        with planned_for(connection, block.rows):
            return connection.execute(query.sql).to_arrow_table()
    finally:
        connection.unregister("parsed")


def typed_block(
    connection: duckdb.DuckDBPyConnection,
    query: BlockQuery,
    clock: Clock,
    origin: Mapping[str, object],
    frame: Frame,
    raw: pa.Table,
    uids: tuple[Any, Any],
) -> pa.Table:
    """The sound records of a frame, read as clean text columns with pseudonyms, typed: the landed columns, then ``check_<n>`` per check (true:
    broken)."""
    block = _read(connection, query, clock, raw)
    judged = _rules(connection, query, origin, block)
    block.columns |= {
        "hospital_id": constant(origin["hospital_id"], pa.string(), block.rows),
        "delivery_id": constant(origin["delivery_id"], pa.string(), block.rows),
        "source_file": constant(origin["source_file"], pa.string(), block.rows),
        "sequence": constant(origin["sequence"], pa.int64(), block.rows),
        "latest_at": constant(datetime.fromisoformat(str(origin["latest_at"])), _UTC, block.rows),
        "latest_day": constant(date.fromisoformat(str(origin["latest_day"])), pa.date32(), block.rows),
        "record_number": pa.array(frame.record_number),
        "line_number": pa.array(frame.line_number),
        "row_uid_hi": pa.array(uids[0]),
        "row_uid_lo": pa.array(uids[1]),
    }
    nowhere = np.zeros(block.rows, bool)
    broken: list[Any] = []
    for n, (mark, deletions_too) in enumerate(query.marks):
        if mark is None:
            assert judged is not None  # noqa: S101 - the query says so
            broken.append(judged[f"check_{n}"].combine_chunks())
            continue
        rows = block.marks.get(mark, nowhere)
        broken.append(pa.array(rows if deletions_too or block.stands is None else rows & block.stands))
    names = [*query.columns, *(f"check_{n}" for n in range(len(broken)))]
    return pa.table([*(block.columns[name] for name in query.columns), *broken], names=names)

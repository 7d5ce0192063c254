"""Lands one delivered file: frame, parse, pseudonymise, type, check, write. Streaming, memory bounded by a few blocks.

Used inside Spark tasks by the landing job, and as it is by a hospital that checks a delivery before sending it.
"""

from __future__ import annotations

import csv
import io
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from estuaire.base.errors import (
    AccountingImbalance,
    BeyondLimit,
    ColumnRetyped,
    EstuaireError,
    RowCountMismatch,
    TooManyRejected,
)
from estuaire.contract.manifest import Manifest, ManifestFile
from estuaire.contract.registry import Dialect, Hospital
from estuaire.contract.tables import Table
from estuaire.kernel import clock, layer_file, national_id, parquet_file, texts
from estuaire.kernel.encoding import EncodingWatch
from estuaire.kernel.engine import engine
from estuaire.kernel.framing import BLOCK_BYTES, REASONS, Frame, frames
from estuaire.kernel.identity import Pseudonymiser, hash_sum, row_uids
from estuaire.kernel.limits import LIMITS, Limits
from estuaire.kernel.reading import TRUNCATION_ERRORS, DeliveredFile, Header, Place, read_header
from estuaire.kernel.typed_block import typed_block
from estuaire.kernel.typing_sql import STATEMENTS, BlockQuery, Check, block_query
from estuaire.rules.rule_registry import Rule

_RETYPED_SHARE = 0.5  # more unreadable values than this in a required column: it is another type, not bad luck
_RETYPED_MINIMUM = 20
_ENCODING = REASONS.index("encoding")
csv.field_size_limit(1 << 30)  # a long field is no error: framing has set the stray quotes apart

REJECT_SCHEMA = pa.schema(
    [
        ("record_number", pa.int64()),
        ("line_number", pa.int64()),
        ("byte_offset", pa.int64()),
        ("byte_length", pa.int64()),
        ("row_uid_hi", pa.int64()),
        ("row_uid_lo", pa.int64()),
        ("disposition", pa.string()),
        ("rule_ids", pa.string()),
        ("columns", pa.string()),
        ("business_key", pa.string()),
        ("source_updated_at", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass
class FileOutcome:
    """What landing one file gave: counts of records, exact hash sums, rule counts, or the typed error that stopped it.

    ``checks`` is rule id -> [records checked, records that broke it, of which accepted]; ``extra_columns`` are the numbers of the columns
    outside the contract (their names may be a patient's values); ``doubtful``: see ``Frame``.
    """

    hospital: str
    delivery: str
    table: str
    file: str
    rows_in: int = 0
    hash_in: int = 0
    rows_unparseable: int = 0
    hash_unparseable: int = 0
    rows_quarantined: int = 0
    hash_quarantined: int = 0
    rows_out: int = 0
    checks: dict[str, list[int]] = field(default_factory=dict)
    extra_columns: list[str] = field(default_factory=list)
    doubtful: int = 0
    output: str | None = None
    rejects: str | None = None
    error: dict[str, Any] | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _parse_slowly(frame: Frame, header: Header, dialect: Dialect) -> pa.Table:
    """As ``parse``, with Python's csv reader: for what the fast reader refuses.

    Raises:
        AccountingImbalance: here too the number of records is not the one that framing counted.
    """
    text = io.StringIO(frame.clean.decode("utf-8"), newline="")
    rows = list(csv.reader(text, delimiter=dialect.delimiter))
    if len(rows) != len(frame.record_number) or any(len(r) != len(header.names) for r in rows):
        raise AccountingImbalance(
            f"framing counted {len(frame.record_number)} records in a block where the reader finds {len(rows)}",
            remedy="report this as a defect of the platform, with the delivery's id",
        )
    nothing = set(dialect.null_values)
    columns = {n: [None if r[i] in nothing else r[i] for r in rows] for i, n in enumerate(header.names) if n}
    return pa.table({n: pa.array(v, pa.string()) for n, v in columns.items()})


def parse(frame: Frame, header: Header, dialect: Dialect) -> pa.Table:
    """The sound records of a frame as text columns named by the contract; quoted or not, a null text is null."""
    names = [n or f"_extra_{i}" for i, n in enumerate(header.names)]
    wanted = [n for n in header.names if n]
    try:
        table = _read_fast(frame, names, wanted, dialect)
    except pa.ArrowInvalid:
        return _parse_slowly(frame, header, dialect)
    return table if table.num_rows == len(frame.record_number) else _parse_slowly(frame, header, dialect)


def _read_fast(frame: Frame, names: list[str], wanted: list[str], dialect: Dialect) -> pa.Table:
    return pacsv.read_csv(
        pa.BufferReader(frame.clean),
        read_options=pacsv.ReadOptions(
            column_names=names, use_threads=False, block_size=max(1 << 16, len(frame.clean))
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=dialect.delimiter, newlines_in_values=True if frame.embedded_newlines else b"\r" in frame.clean
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=wanted,
            strings_can_be_null=True,
            null_values=list(dialect.null_values),
            check_utf8=False,
        ),
    )


def _parsed(frame: Frame, header: Header, dialect: Dialect, only: frozenset[str] | None = None) -> pa.Table:
    if only is not None:
        header = Header(tuple(name if name in only else None for name in header.names), ())
    return parse(frame, header, dialect)


def _stripped(values: pa.StringArray) -> pa.StringArray:
    trimmed = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _pseudonymise(raw: pa.Table, table: Table, pseudonymiser: Pseudonymiser) -> pa.Table:
    """Identifier columns replaced by pseudonyms, each beside ``<column>__bad`` (its own key is wrong), ``<column>__spoilt`` (a spreadsheet
    wrote it) and, of patients, ``<column>__unknown`` (it names nobody in particular)."""
    named = texts.identifiers(table)
    for column in named:
        if column.name in raw.column_names:
            mask = texts.spoilt(raw[column.name].combine_chunks())
            none = np.zeros(raw.num_rows, bool)
            raw = raw.append_column(f"{column.name}__spoilt", pa.array(none) if mask is None else mask)
    for column in table.columns:
        if column.pseudonym is None or column.name not in raw.column_names:
            continue
        values = texts.each(_stripped, raw[column.name].combine_chunks())
        extras = [
            raw[name].combine_chunks() if name in raw.column_names else pa.nulls(raw.num_rows, pa.string())
            for name in column.pseudonym.with_columns
        ]
        replaced = pseudonymiser.array(column, values, extras)
        bad = pc.and_(pc.is_valid(values), pc.is_null(replaced))
        raw = raw.set_column(raw.column_names.index(column.name), column.name, replaced)
        raw = raw.append_column(f"{column.name}__bad", bad)
        if column.pseudonym.domain == "patient":
            raw = raw.append_column(f"{column.name}__unknown", pseudonymiser.unknown(replaced))
    return raw


def _business_key(part: pa.Table, table: Table) -> Any:
    """The key's values with bars between, as consolidation writes it: without the optional parts that are absent, null where a required one is."""
    required = [part[k].cast(pa.string()) for k in table.key if k not in table.key_optional]
    key = pc.binary_join_element_wise(*required, "|") if len(required) > 1 else required[0]
    if not table.key_optional:
        return key
    every = [part[k].cast(pa.string()) for k in table.key]
    return pc.if_else(pc.is_null(key), None, pc.binary_join_element_wise(*every, "|", null_handling="skip"))


def _joined(
    masks: list[tuple[str, np.ndarray[Any, np.dtype[np.bool_]]]], rows: np.ndarray[Any, Any]
) -> list[str | None]:
    """Per row of ``rows`` the comma-separated names of the masks that are set, or None."""
    names: list[str | None] = []
    for row in rows:
        hit = [name for name, mask in masks if mask[row]]
        names.append(",".join(hit) if hit else None)
    return names


class _Lander:
    """State of one file while it lands."""

    def __init__(
        self,
        outcome: FileOutcome,
        table: Table,
        header: Header,
        query: BlockQuery,
        output: Path,
        rejects: Path,
        limits: Limits,
    ) -> None:
        self.outcome = outcome
        self.header = header
        self.table = table
        self.query = query
        self.limits = limits
        self.output = output
        self.rejects_path = rejects
        self.writer: pq.ParquetWriter | None = None
        self.rejects: pq.ParquetWriter | None = None
        self.leaking = [c.name for c in national_id.scanned(table) if c.name in header.names]
        self.checks = (
            *query.checks,
            *(Check(national_id.rule(table, c), (c,), "quarantine") for c in self.leaking),
        )
        outcome.checks = {c.id: [0, 0, 0] for c in self.checks}

    def _set_apart(self, rejects: pa.Table) -> None:
        """Write where rejected records stand.

        Raises:
            TooManyRejected: more than the platform keeps of one file.
        """
        if self.outcome.rows_unparseable + self.outcome.rows_quarantined > self.limits.rejected:
            raise TooManyRejected(
                f"more than {self.limits.rejected} records of this file are rejected: the platform keeps the places of so many",
                remedy="look at the rules that the first records break (`estuaire deliver` counts them), and correct the extract",
            )
        if self.rejects is None:
            self.rejects_path.parent.mkdir(parents=True, exist_ok=True)
            self.rejects = pq.ParquetWriter(self.rejects_path, REJECT_SCHEMA)
        self.rejects.write_table(rejects)

    def damaged(self, frame: Frame, uids: tuple[Any, Any]) -> None:
        count = len(frame.damaged.record_number)
        if not count:
            return
        hi, lo = uids
        self.outcome.rows_unparseable += count
        self.outcome.hash_unparseable += hash_sum(hi, lo)
        nothing = pa.nulls(count, pa.string())
        rules = pa.array([f"{self.table.name}.record.{reason}" for reason in REASONS])
        self._set_apart(
            pa.table(
                [
                    frame.damaged.record_number,
                    frame.damaged.line_number,
                    frame.damaged.offset,
                    frame.damaged.length,
                    hi,
                    lo,
                    pa.repeat("unparseable", count),
                    rules.take(pa.array(frame.damaged.reason)),
                    pa.repeat("", count),
                    nothing,
                    pa.nulls(count, pa.timestamp("us", tz="UTC")),
                ],
                schema=REJECT_SCHEMA,
            )
        )

    def block(self, frame: Frame, typed: pa.Table, leaks: dict[str, np.ndarray[Any, np.dtype[np.bool_]]]) -> None:
        """Count the checks of a typed block, write what is accepted, keep where the rest stands.

        ``leaks``: per column the rows that hold a national number in plain; they are set apart, and their keys with them.
        """
        rows = typed.num_rows
        nowhere = np.zeros(rows, bool)
        broken = [
            typed[f"check_{i}"].combine_chunks().to_numpy(zero_copy_only=False) for i in range(len(self.query.checks))
        ] + [leaks.get(column, nowhere) for column in self.leaking]
        rejected = np.zeros(rows, bool)
        for check, mask in zip(self.checks, broken, strict=True):
            if check.action == "quarantine":
                rejected |= mask
        for check, mask in zip(self.checks, broken, strict=True):
            count = self.outcome.checks[check.id]
            count[0] += rows
            failed = int(mask.sum())
            if failed:
                count[1] += failed
                count[2] += int((mask & ~rejected).sum())
        data = typed.select(list(self.query.columns))
        noted = [(c.id, m) for c, m in zip(self.checks, broken, strict=True) if c.action != "quarantine" and m.any()]
        flags: pa.Array = pa.nulls(rows, pa.string())
        if noted:
            flagged = np.flatnonzero(np.logical_or.reduce([m for _, m in noted]))
            noted_of: list[str | None] = [None] * rows
            for row, text in zip(flagged, _joined(noted, flagged), strict=True):
                noted_of[row] = text
            flags = pa.array(noted_of, pa.string())
        data = data.append_column("flags", flags)
        if rejected.any():
            self._reject(frame, data, broken, rejected, np.logical_or.reduce([nowhere, *leaks.values()]))
            data = layer_file.compact(data.filter(pa.array(~rejected)))
        if self.writer is not None:
            data = data.cast(self.writer.schema)  # in this block texts may repeat where they did not in the first
        if self.writer is None:
            self.writer = layer_file.writer(self.output, data.schema)
        if data.num_rows:
            self.writer.write_table(data)
        self.outcome.rows_out += data.num_rows

    def _reject(
        self,
        frame: Frame,
        data: pa.Table,
        broken: list[Any],
        rejected: np.ndarray[Any, Any],
        leaking: np.ndarray[Any, Any],
    ) -> None:
        rows = np.flatnonzero(rejected)
        rules = [(c.id, m) for c, m in zip(self.checks, broken, strict=True) if c.action == "quarantine" and m.any()]
        columns = [
            (",".join(c.columns), m)
            for c, m in zip(self.checks, broken, strict=True)
            if c.action == "quarantine" and m.any()
        ]
        part = data.take(pa.array(rows))
        hi, lo = part["row_uid_hi"].to_numpy(), part["row_uid_lo"].to_numpy()
        self.outcome.rows_quarantined += len(rows)
        self.outcome.hash_quarantined += hash_sum(hi, lo)
        key = _business_key(part, self.table)
        if leaking[rows].any():
            key = pc.if_else(pa.array(leaking[rows]), pa.scalar(None, pa.string()), key)
        self._set_apart(
            pa.table(
                [
                    part["record_number"],
                    part["line_number"],
                    frame.offset[rows],
                    frame.length[rows],
                    part["row_uid_hi"],
                    part["row_uid_lo"],
                    pa.repeat("quarantined", len(rows)),
                    pa.array(_joined(rules, rows), pa.string()),
                    pa.array(_joined(columns, rows), pa.string()),
                    key,
                    part["source_updated_at"].cast(pa.timestamp("us", tz="UTC")),
                ],
                schema=REJECT_SCHEMA,
            )
        )

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.outcome.output = str(self.output)
        if self.rejects is not None:
            self.rejects.close()
            self.outcome.rejects = str(self.rejects_path)

    def abandon(self) -> None:
        for writer in (self.writer, self.rejects):
            if writer is not None:
                writer.close()
        self.output.unlink(missing_ok=True)
        self.rejects_path.unlink(missing_ok=True)


class Judge:
    """What landing's checks say of the records of a file, with nothing written: how `estuaire deliver` tells before sending what landing will
    set aside. It reads as landing does because it is the same query.

    Attributes:
        set_aside: rule -> records that it sets aside.
        days: records of each day of the table's period column that is kept.
        codes: column of codes -> records of each code.
    """

    def __init__(
        self, table: Table, header: Header, dialect: Dialect, hospital: Hospital, rules: tuple[Rule, ...], now: datetime
    ) -> None:
        self._table, self._nulls = table, dialect.null_values
        self._connection = engine()
        self._clock = clock.clock_of(hospital.timezone)
        self._pseudonymiser = Pseudonymiser(secrets.token_bytes(32), hospital.id, hospital.unknown_patients)
        self._origin = {"hospital_id": hospital.id, "delivery_id": "", "source_file": "", "sequence": 1} | _latest(
            now, hospital
        )
        present = frozenset(n for n in header.names if n)
        self._query = block_query(table, present, dialect, rules)
        self._coded = [c.name for c in table.columns if c.type == "code" and c.name in present]
        self.set_aside: Counter[str] = Counter()
        self.days: Counter[date] = Counter()
        self.codes: dict[str, Counter[str]] = {name: Counter() for name in self._coded}
        self._keys: list[np.ndarray[Any, Any]] = []

    def block(self, frame: Frame, read: parquet_file.Read) -> None:
        """Judge the sound records of a frame."""
        if not len(frame.record_number):
            return
        text = texts.clean(read(), self._table, self._nulls)
        for name, leaking in national_id.leaks(text, self._table).items():
            self.set_aside[national_id.rule(self._table, name)] += int(leaking.sum())
        uids = row_uids("", "", "", frame.record_number, frame.line_number)
        pseudonymised = _pseudonymise(text, self._table, self._pseudonymiser)
        typed = typed_block(self._connection, self._query, self._clock, self._origin, frame, pseudonymised, uids)
        for i, check in enumerate(self._query.checks):
            if check.action == "quarantine" and (failed := pc.sum(typed[f"check_{i}"]).as_py()):
                self.set_aside[check.id] += failed
        self._connection.register("typed", typed)
        try:
            column = self._table.period_column
            if column is not None:
                local = f"{column}_local" if self._table.column(column).type == "datetime" else column
                self.days.update(dict(self._counted(local, as_day=True)))
            for name in self._coded:
                # a text that would name a patient is shown to nobody
                counted = self._counted(name)
                self.codes[name].update({code: n for code, n in counted if not national_id.holds_one(code)})
            key = self._table.key
            query = STATEMENTS(
                "hashed",
                key=key,
                columns=[c.name for c in self._table.columns],
                required=[k for k in key if k not in self._table.key_optional],
            )
            hashed = self._connection.execute(query).to_arrow_table()
            self._keys.append(np.stack([hashed[name].to_numpy() for name in ("key", "content")]))
        finally:
            self._connection.unregister("typed")

    def _counted(self, column: str, *, as_day: bool = False) -> list[tuple[Any, int]]:
        query = STATEMENTS("counted", column=column, as_day=as_day)
        rows: list[tuple[Any, int]] = self._connection.execute(query).fetchall()
        return rows

    @property
    def twice(self) -> int:
        """Keys that two different records of the file share."""
        if not self._keys:
            return 0
        key, content = np.concatenate(self._keys, axis=1)
        order = np.argsort(key, kind="stable")
        key, content = key[order], content[order]
        differ = (key[1:] == key[:-1]) & (content[1:] != content[:-1])
        return len(np.unique(key[1:][differ]))


def _check_retyped(outcome: FileOutcome, table: Table, place: Place) -> None:
    for column in table.columns:
        if not column.required:
            continue
        checked, failed, _ = outcome.checks.get(f"{table.name}.{column.name}.type", [0, 0, 0])
        if checked >= _RETYPED_MINIMUM and failed > checked * _RETYPED_SHARE:
            raise ColumnRetyped(
                f"column {column.name}: {failed} of {checked} values are no {column.type}",
                remedy="deliver the column in the contract's type, or correct the dialect's formats in the registry",
                hospital=place.hospital,
                delivery=place.delivery,
                file=place.file,
            )


def blocks_of(
    delivered: DeliveredFile,
    table: Table,
    hospital: Hospital,
    dialect: Dialect,
    place: Place,
    block_bytes: int = BLOCK_BYTES,
    limits: Limits = LIMITS,
) -> tuple[Header, Iterator[tuple[Frame, parquet_file.Read]], EncodingWatch | None]:
    """The header of a file; block by block where its records stand and how to read the sound ones as text columns, all or some; and of
    delimited text the watch over its encoding."""
    if delivered.is_parquet:
        return *parquet_file.blocks(delivered, table, hospital, dialect, place, limits), None
    line = delivered.header_line()
    header = read_header(line, table=table, hospital=hospital, dialect=dialect, place=place)
    watch = EncodingWatch(delivered.stream, dialect.encoding)
    watch.look(line)
    framed = frames(
        cast(BinaryIO, watch),
        delimiter=dialect.delimiter,
        fields=len(header.names),
        encoding=dialect.encoding,
        first_offset=len(line),
        first_line=1 + delivered.header_lines,
        returns=delivered.returns,
        block_bytes=block_bytes,
        limits=limits,
    )
    return header, ((frame, partial(_parsed, frame, header, dialect)) for frame in framed), watch


def _land(
    delivered: DeliveredFile,
    lander_for: Callable[[Header], _Lander],
    origin: Mapping[str, object],
    *,
    file: ManifestFile,
    table: Table,
    hospital: Hospital,
    dialect: Dialect,
    place: Place,
    key: bytes,
    outcome: FileOutcome,
    block_bytes: int,
    limits: Limits,
) -> _Lander:
    pseudonymiser = Pseudonymiser(key, hospital.id, hospital.unknown_patients)
    connection, told = engine(), clock.clock_of(hospital.timezone)
    began = time.monotonic()
    header, blocks, watch = blocks_of(delivered, table, hospital, dialect, place, block_bytes, limits)
    lander = lander_for(header)
    try:
        for frame, read in blocks:
            if time.monotonic() - began > limits.seconds:
                raise BeyondLimit(
                    f"the file takes longer than {limits.seconds / 3600:g} h to land",
                    remedy="split the table over several files",
                )
            hurt = row_uids(
                place.hospital, place.delivery, place.file, frame.damaged.record_number, frame.damaged.line_number
            )
            sound = row_uids(place.hospital, place.delivery, place.file, frame.record_number, frame.line_number)
            outcome.rows_in += len(frame.record_number) + len(frame.damaged.record_number)
            outcome.hash_in += hash_sum(*sound) + hash_sum(*hurt)
            outcome.doubtful += frame.doubtful
            lander.damaged(frame, hurt)
            if watch is not None:
                watch.damaged(int((frame.damaged.reason == _ENCODING).sum()))
            if not len(frame.record_number):
                continue
            text = texts.clean(read(), table, dialect.null_values)
            leaks = national_id.leaks(text, table)
            raw = _pseudonymise(text, table, pseudonymiser)
            lander.block(frame, typed_block(connection, lander.query, told, origin, frame, raw, sound), leaks)
        if watch is not None:
            watch.check(place)
    except BaseException as error:
        lander.abandon()
        if isinstance(error, EstuaireError) and error.file is None:
            place.of(error)
        raise
    return lander


def _latest(extracted: datetime, hospital: Hospital) -> dict[str, object]:
    """The last moment, and the last local day, that an event of the delivery may bear: a clock may run a day ahead of the
    extraction. A shifted calendar says nothing of when its events were: there it is the last day that the clock knows."""
    zone = ZoneInfo(hospital.timezone)
    if hospital.calendar == "shifted":
        extracted = datetime(clock.LAST_YEAR, 1, 1, tzinfo=UTC) - timedelta(days=2)
    latest = (extracted if extracted.tzinfo else extracted.replace(tzinfo=zone)).astimezone(UTC) + timedelta(days=1)
    return {
        "latest_at": latest.isoformat(),
        "latest_day": latest.astimezone(zone).date().isoformat(),
    }


def land_file(
    open_raw: Callable[[], BinaryIO],
    *,
    manifest: Manifest,
    file: ManifestFile,
    table: Table,
    hospital: Hospital,
    rules: tuple[Rule, ...],
    key: bytes,
    output: Path,
    rejects: Path,
    block_bytes: int = BLOCK_BYTES,
    limits: Limits = LIMITS,
) -> FileOutcome:
    """Land one file of a delivery; a permanent error is returned in the outcome, so that other deliveries go on.

    Args:
        open_raw: opens the raw bytes in landing/.
        key: the secret of the pseudonyms.
        output: Parquet file to write (accepted records, ``estuaire.contract.layer_columns.landed_columns``).
        rejects: Parquet file for where each rejected record stands (REJECT_SCHEMA; no values).
    """
    started = time.monotonic()
    outcome = FileOutcome(manifest.hospital, manifest.delivery_id, table.name, file.path)
    place = Place(manifest.hospital, manifest.delivery_id, file.path)
    dialect = hospital.dialects[file.dialect]
    origin = {
        "hospital_id": manifest.hospital,
        "delivery_id": manifest.delivery_id,
        "sequence": manifest.sequence,
        "source_file": file.path,
    } | _latest(manifest.extracted_at, hospital)
    lander: _Lander | None = None
    parquet = False

    def lander_for(header: Header) -> _Lander:
        outcome.extra_columns = list(header.extra)
        present = frozenset(n for n in header.names if n)
        query = block_query(table, present, parquet_file.rendered(dialect) if parquet else dialect, rules)
        return _Lander(outcome, table, header, query, output, rejects, limits)

    try:
        with open_raw() as raw:
            delivered = DeliveredFile(raw, dialect, place, limits)
            parquet = delivered.is_parquet
            try:
                lander = _land(
                    delivered,
                    lander_for,
                    origin,
                    file=file,
                    table=table,
                    hospital=hospital,
                    dialect=dialect,
                    place=place,
                    key=key,
                    outcome=outcome,
                    block_bytes=block_bytes,
                    limits=limits,
                )
            except TRUNCATION_ERRORS:
                delivered.check(sha256=file.sha256, size=file.bytes)
                raise delivered.truncated() from None
            except EstuaireError as error:
                if not error.retryable:  # a store that went away left nothing to compare
                    delivered.check(sha256=file.sha256, size=file.bytes)
                raise
            delivered.check(sha256=file.sha256, size=file.bytes)
        _check_retyped(outcome, table, place)
        if outcome.rows_in != file.rows and not outcome.rows_unparseable:
            raise RowCountMismatch(
                f"the file holds {outcome.rows_in} records, the manifest declares {file.rows}",
                remedy="export the table again and write a new manifest with `estuaire deliver`",
                hospital=place.hospital,
                delivery=place.delivery,
                file=place.file,
            )
        lander.close()
    except EstuaireError as error:
        if error.retryable:
            raise
        if lander is not None:
            lander.abandon()
        outcome.output = outcome.rejects = None
        told = replace(
            error.fields, hospital=place.hospital, delivery=place.delivery, table=table.name, file=place.file
        )
        outcome.error = asdict(told)
    outcome.seconds = time.monotonic() - started
    return outcome

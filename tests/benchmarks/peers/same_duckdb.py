"""Landing in DuckDB, with all that ours does: identities, types, pseudonyms, every rule, rejected records with their place, counts, accounts.

Statements over whole files (``sql/``); records are cut before DuckDB reads them (``same_records``), as its reader loses what follows a stray quote. What
several records say together: ``same_duckdb_tables``.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from estuaire.base.sql import Sql, Statements, identifier, literal, texts
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Column
from tests.benchmarks.peers import same_texts
from tests.benchmarks.peers.same_checks import (
    FIRST_UPDATE,
    KEY,
    LAST_UPDATE,
    Account,
    Check,
    Opened,
    Source,
    check_retyped,
    checks_of,
    ends,
    identifiers,
    labels,
    latest,
    opened,
    plain,
)
from tests.benchmarks.peers.same_records import Places, Refused

STATEMENTS = Statements(Path(__file__).parent / "sql")
_FEW = 2_000  # records for which to optimize a statement takes longer than to run it
_BLOCK = 64  # bytes of SHA-256's blocks
_NULL_TYPES = {"decimal": "decimal(18, 6)", "integer": "bigint", "date": "date", "datetime": "timestamptz"}


def connect() -> duckdb.DuckDBPyConnection:
    """A connection of one thread with the macros of the statements."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("set timezone = 'UTC'")
    padded = KEY.ljust(_BLOCK, b"\0")
    inner, outer = (_bytes(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
    connection.execute(STATEMENTS("macros", inner=inner, outer=outer))
    return connection


def _bytes(value: bytes) -> Sql:
    return Sql("'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::blob")


@cache
def _days_of_change(zone: str) -> tuple[date, ...]:
    """Local days on which the zone's offset changes."""
    days, day, clock = [], datetime(1970, 1, 1, tzinfo=UTC), ZoneInfo(zone)
    while day.year < 2251:
        after = day + timedelta(days=1)
        if day.astimezone(clock).utcoffset() != after.astimezone(clock).utcoffset():
            days += [moment.astimezone(clock).date() for moment in (day, after)]
        day = after
    return tuple(dict.fromkeys(days))


def _clock(connection: duckdb.DuckDBPyConnection, zone: str) -> str:
    """Name of the table of the days on which a zone's clock is asked twice."""
    name = f"changing {zone}"
    there = connection.execute(f"select 1 from duckdb_tables() where table_name = {literal(name)}").fetchone()
    if there is None:
        connection.register("days", pa.table({"day": pa.array(_days_of_change(zone), pa.date32())}))
        connection.execute(f"create temp table {identifier(name)} as from days")
    return name


# ------------------------------------------------------------------------------------------------ texts


def _places(places: Places, uids: tuple[Any, Any], **more: Any) -> pa.Table:
    columns = {
        "record_number": places.number, "line_number": places.line, "byte_offset": places.offset, "byte_length": places.length,
        "row_uid_hi": uids[0], "row_uid_lo": uids[1],
    }  # fmt: skip
    return pa.table(columns | more)


def _read(connection: duckdb.DuckDBPyConnection, source: Source, file: Opened, written: Path) -> None:
    """Table ``texts``."""
    free = labels(source.table)
    text = file.records.text
    written.write_bytes(text or b"\n")
    connection.register("place", _places(file.records.sound, file.sound))
    delivered = [(n, Sql(f"{literal(n)}: 'varchar'")) for n in file.column_names()]
    columns = [{"name": name, "label": name in free} for name in file.names if name]
    connection.execute(
        STATEMENTS(
            "texts",
            path=literal(written),
            delimiter=literal(source.dialect.delimiter),
            delivered=Sql(", ".join(d for _, d in delivered)),
            nothing=texts(source.dialect.null_values),
            columns=columns,
        )
    )
    if not text:
        connection.execute("delete from texts")
    written.unlink()
    row = connection.execute("select count(*), count(record_number) from texts").fetchone()
    if row != (len(file.records.sound.number),) * 2:
        raise AssertionError(f"{row} records are read, {len(file.records.sound.number)} were cut")


def _pseudonyms(connection: duckdb.DuckDBPyConnection, source: Source, present: set[str]) -> list[str]:
    """Tables ``pseudonyms_<column>`` of the identifiers that are replaced by themselves; those columns."""
    names = []
    for column in source.table.columns:
        rule = column.pseudonym
        if rule is None or column.name not in present or rule.with_columns:
            continue
        connection.execute(
            STATEMENTS(
                "pseudonyms",
                name=column.name,
                message=_message(source, column),
                right=Sql("is_national(bare(written))" if rule.check == "nir" else "true"),
                patient=rule.domain == "patient",
                nobody=[literal(text) for text in source.hospital.unknown_patients],
            )
        )
        names.append(column.name)
    return names


def _message(source: Source, column: Column) -> Sql:
    assert column.pseudonym is not None
    scope = source.hospital.id if column.pseudonym.scope == "hospital" else ""
    return Sql(f"{literal(column.pseudonym.domain)} || chr(31) || {literal(scope)} || chr(31)")


def _leaking(connection: duckdb.DuckDBPyConnection, source: Source, present: set[str]) -> dict[str, list[str]]:
    """Plain column -> its texts that hold a national number."""
    columns = [name for name in plain(source.table) if name in present]
    longest = ", ".join(f'coalesce(max(strlen("{name}")), 0)' for name in columns)
    lengths = connection.execute(f"select {longest} from texts").fetchone() if columns else ()
    leaking: dict[str, list[str]] = {}
    for name, length in zip(columns, lengths or (), strict=True):
        if length >= 15:
            like = connection.execute(
                f'select distinct "{name}" from texts where strlen("{name}") >= 15 and regexp_matches("{name}", {literal(_LIKE)})'
            ).fetchall()
            if held := [text for (text,) in like if same_texts.holds_national_number(text)]:
                leaking[name] = held
    return leaking


# RE2 writes code points otherwise
_LIKE = re.sub(r"\\u([0-9a-f]{4})", r"\\x{\1}", same_texts.LIKE_A_NATIONAL_NUMBER)


# ------------------------------------------------------------------------------------------------ values


def _text(name: str) -> str:
    return f'stripped(texts."{name}")'


def _days(name: str, formats: tuple[str, ...]) -> str:
    return f"four_digits(try_strptime({_text(name)}, [{texts(formats)}]))::date"


def _expressions(source: Source, file: Opened, leaking: dict[str, list[str]]) -> list[dict[str, Any]]:
    """What is read of each column: its value, and its marks."""
    dialect, told = source.dialect, []
    placeholders = texts(dialect.placeholder_dates) if dialect.placeholder_dates else None
    for column in (*source.table.columns, None):
        name = column.name if column is not None else UPDATED_COLUMN
        kind = column.type if column is not None else "datetime"
        if name not in file.present:
            told.append((name, f"null::{_NULL_TYPES.get(kind, 'varchar')}"))
            if kind == "datetime" and column is not None:
                told.append((f"{name}_local", "null::timestamp"))
            continue
        text = _text(name)
        if kind == "datetime":
            told += _time(name, source)
            continue
        if column is not None and column.pseudonym is not None:
            told += _identifier(source, column, file.present)
        elif kind in ("decimal", "integer"):
            comma = "true" if dialect.decimal == "," else "false"
            value = f"exact_number({text}, {comma})" if kind == "decimal" else f"whole_number({text})"
            told += [(name, value), (f"{name}__bad", f"{text} is not null and {value} is null")]
        elif kind == "date":
            value = _days(name, dialect.date_formats)
            kept = f"case when {value} not in ({placeholders}) then {value} end" if placeholders else value
            told += [(name, kept), (f"{name}__bad", f"{text} is not null and {value} is null")]
        else:
            told.append((name, text))
        if name in identifiers(source.table):
            told.append((f"{name}__spoilt", f'coalesce(is_spoilt(texts."{name}"), false)'))
    for name, held in leaking.items():
        told.append((f"{name}__national", f'coalesce(texts."{name}" in ({texts(held)}), false)'))
    operation = f"coalesce(lower({_text(OPERATION_COLUMN)}), 'upsert')"
    told.append((OPERATION_COLUMN, operation if OPERATION_COLUMN in file.present else "'upsert'"))
    if OPERATION_COLUMN in file.present:
        told.append(("op__foreign", f"{operation} not in ('upsert', 'delete')"))
    return [{"name": name, "expression": Sql(expression)} for name, expression in told]


def _identifier(source: Source, column: Column, present: set[str]) -> list[tuple[str, str]]:
    name, rule = column.name, column.pseudonym
    assert rule is not None
    if not rule.with_columns:
        table = f'"pseudonyms_{name}"'
        told = [
            (name, f"{table}.pseudonym"),
            (f"{name}__bad", f"{table}.written is not null and {table}.pseudonym is null"),
        ]
        return told + ([(f"{name}__unknown", f"coalesce({table}.unknown, false)")] if rule.domain == "patient" else [])
    others = [f"coalesce({_text(n)}, '')" if n in present else "''" for n in rule.with_columns]
    message = " || chr(31) || ".join([f'{_message(source, column)} || bare(texts."{name}")', *others])
    right = f'is_national(bare(texts."{name}"))' if rule.check == "nir" else "true"
    there = f"{_text(name)} is not null"
    return [
        (name, f"case when {there} and {right} then hmac({message}) end"),
        (f"{name}__bad", f"{there} and not coalesce({right}, false)"),
    ]


def _time(name: str, source: Source) -> list[tuple[str, str]]:
    """The clock's time and the moment that a text tells: one of them, or none; the value itself comes later."""
    text, dialect = _text(name), source.dialect
    naive = [f for f in dialect.datetime_formats if "%z" not in f]
    zoned = [f for f in dialect.datetime_formats if "%z" in f]
    clock = f"four_digits(try_strptime({text}, [{texts(naive)}]))" if naive else "null::timestamp"
    written = f"regexp_replace({text}, 'Z$', '+00:00')"
    tried = ", ".join(f"try_strptime({written}, {literal(f)})" for f in zoned)
    read = f"coalesce({tried})" if len(zoned) > 1 else tried
    moment = f"case when {read} >= '1000-01-01'::timestamptz then {read} end" if zoned else "null::timestamptz"
    nothing = texts(dialect.placeholder_dates) if dialect.placeholder_dates else ""
    kept_clock, kept_moment = clock, moment
    if nothing:
        shown = [literal(f.replace("%z", "").rstrip()) for f in zoned]
        bare = f"regexp_replace({text}, ' *(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$', '')"
        day = f"try_strptime({bare}, [{', '.join(shown)}])::date"
        kept_clock = f"case when ({clock})::date not in ({nothing}) then {clock} end"
        if zoned:
            kept_moment = f"case when not coalesce({day} in ({nothing}), false) then {moment} end"
    return [
        (f"{name}__moment", kept_moment),
        (f"{name}__clock", f"case when {moment} is null then {kept_clock} end" if zoned else kept_clock),
        (f"{name}__bad", f"{text} is not null and {clock} is null and {moment} is null"),
        (name, "null::timestamptz"),
    ]


# ------------------------------------------------------------------------------------------------ rules


def _checks(
    source: Source, checks: list[Check], known: set[str], deletions: bool, rules: dict[str, Sql]
) -> list[dict[str, Any]]:
    """The checks as statements take them; a mark that no record has breaks none."""
    told = []
    for n, check in enumerate(checks):
        if check.mark:
            broken = Sql(f'"{check.mark}"') if check.mark in known else Sql("false")
        else:
            unread = "".join(f' and not "{mark}"' for mark in check.unread if mark in known)
            broken = Sql(f"(not coalesce({rules[check.id]}, true){unread})")
        told.append({
            "name": f"check_{n}", "id": literal(check.id), "columns": literal(",".join(check.columns)), "broken": broken,
            "quarantine": check.action == "quarantine", "of_deletions": check.of_deletions or not deletions,
            "leaks": check.mark.endswith("__national"),
        })  # fmt: skip
    return told


def _landed_columns(source: Source) -> list[str]:
    names: list[str] = []
    for column in source.table.columns:
        names += [column.name, f"{column.name}_local"] if column.type == "datetime" else [column.name]
    origin = [
        "hospital_id",
        "delivery_id",
        "sequence",
        "latest_at",
        "latest_day",
        "source_file",
        "record_number",
        "line_number",
    ]
    return [*names, *origin, "row_uid_hi", "row_uid_lo", OPERATION_COLUMN, UPDATED_COLUMN]


def _origins(source: Source) -> list[dict[str, Any]]:
    at, day = latest(source)
    return [
        {"name": "hospital_id", "value": literal(source.manifest.hospital)},
        {"name": "delivery_id", "value": literal(source.manifest.delivery_id)},
        {"name": "sequence", "value": Sql(f"{source.manifest.sequence}::bigint")},
        {"name": "latest_at", "value": Sql(f"{literal(at.isoformat())}::timestamptz")},
        {"name": "latest_day", "value": Sql(f"date {literal(day)}")},
        {"name": "source_file", "value": literal(source.file.path)},
    ]


def land(connection: duckdb.DuckDBPyConnection, source: Source, target: Path, rejects: Path) -> Account:
    """One file to Parquet, beside it where its rejected records stand."""
    account = Account(source.table.name, source.manifest.delivery_id, source.file.path)
    try:
        file = opened(source, account)
        few = account.rows_in < _FEW
        connection.execute(f"pragma {'disable' if few else 'enable'}_optimizer")
        _read(connection, source, file, target.with_suffix(".csv"))
        leaking = _leaking(connection, source, file.present)
        expressions = _expressions(source, file, leaking)
        begins = ends(source.table, source.rules)
        names = [c.name for c in source.table.columns if c.type == "datetime"] + [UPDATED_COLUMN]
        times = [
            {"name": n, "begins": begins.get(n) if begins.get(n) in file.present else "", "orders": n == UPDATED_COLUMN}
            for n in names
            if n in file.present
        ]
        known = {e["name"] for e in expressions} | {f"{t['name']}__{m}" for t in times for m in ("missing", "repeated")}
        checks = checks_of(source.table, source.rules, file.present)
        rules = {r.id: Sql(r.sql("duckdb")) for r in source.rules}
        asked = _checks(source, checks, known, OPERATION_COLUMN in file.present, rules)
        for check, one in zip(checks, asked, strict=True):
            if check.mark == f"{UPDATED_COLUMN}__beyond":
                first, last = (literal(day.isoformat()) for day in (FIRST_UPDATE, LAST_UPDATE))
                one["broken"] = Sql(
                    f"({UPDATED_COLUMN} < {first}::timestamptz or {UPDATED_COLUMN} >= {last}::timestamptz)"
                )
        connection.execute(
            STATEMENTS(
                "judged",
                columns=expressions,
                pseudonyms=_pseudonyms(connection, source, file.present),
                times=times,
                zone=literal(source.hospital.timezone),
                changing=_clock(connection, source.hospital.timezone),
                origins=_origins(source),
                checks=asked,
            )
        )
        _count(connection, account, checks, asked)
        check_retyped(account, source.table)
    except Refused as refused:
        account.error = str(refused)
        return account
    if account.rows_in > account.rows_unparseable:
        landed = STATEMENTS("accepted", columns=_landed_columns(source), checks=asked, target=literal(target))
        row = connection.execute(landed).fetchone()
        account.rows_out = int(row[0]) if row else 0
    if account.rows_quarantined or account.rows_unparseable:
        connection.register(
            "hurt", _places(file.records.hurt, file.hurt, reason=pa.array(file.records.reason, pa.string()))
        )
        key = source.table.key
        connection.execute(
            STATEMENTS(
                "rejected",
                checks=asked,
                key=key,
                required=[k for k in key if k not in source.table.key_optional],
                reasons=literal(f"{source.table.name}.record."),
                target=literal(rejects),
            )
        )
    return account


def _count(
    connection: duckdb.DuckDBPyConnection, account: Account, checks: list[Check], asked: list[dict[str, Any]]
) -> None:
    counted = connection.execute(STATEMENTS("counted", checks=asked)).fetchone()
    assert counted is not None
    rows = account.rows_in - account.rows_unparseable
    account.rows_quarantined = counted[0]
    account.checks = {c.id: [rows, counted[2 * n + 1], counted[2 * n + 2]] for n, c in enumerate(checks)}
    row = connection.execute(STATEMENTS("sums", checks=asked)).fetchone() if account.rows_quarantined else None
    account.hash_quarantined = int(row[0]) if row else 0

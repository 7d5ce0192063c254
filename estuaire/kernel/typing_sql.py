"""Writes the DuckDB SQL that types one block of a table, from the contract, the hospital's dialect and the rules.

Input relation ``raw``: every contract column of the file as VARCHAR (identifiers already pseudonyms), ``op`` and
``source_updated_at`` if delivered. Output: the landed columns, then one boolean per check (true = broken).
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlglot

from estuaire.contract.registry import Dialect
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Column, Table
from estuaire.kernel.texts import identifiers
from estuaire.rules.rule_registry import EARLIEST, LATEST, Rule


@dataclass(frozen=True)
class Check:
    """One test of every row: its rule's id, the columns that it reads and what breaking it does."""

    id: str
    columns: tuple[str, ...]
    action: str  # quarantine, warn, fail or flag (noted on the row, no rule broken)


@dataclass(frozen=True)
class BlockQuery:
    """SQL for one block, and the checks in the order of its boolean columns ``check_0``, ``check_1``..."""

    sql: str
    columns: tuple[str, ...]
    checks: tuple[Check, ...]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _formats(formats: list[str]) -> str:
    return "[" + ", ".join(_text(f) for f in formats) + "]"


def _four_digits(value: str, kind: str) -> str:
    """A parsed date or time, null where its year has fewer than four digits: strptime's %Y reads 25 as the year 25, and 0000."""
    return f"case when {value} >= {kind} '1000-01-01' then {value} end"


def _parse_datetime(name: str, dialect: Dialect) -> tuple[str, str]:
    """(naive local time, moment with its offset) of a text, each null where the text has the other form."""
    naive = [f for f in dialect.datetime_formats if "%z" not in f]
    aware = [f for f in dialect.datetime_formats if "%z" in f]
    local = _four_digits(f"try_strptime({name}, {_formats(naive)})", "timestamp") if naive else "null::timestamp"
    if not aware:
        return local, "null::timestamptz"
    moments = [f"try_strptime({name}, {_text(f)})" for f in aware]
    # ISO 8601 writes UTC as Z, which strptime's %z of DuckDB does not read
    moments += [
        f"case when ends_with({name}, 'Z') then try_strptime(left({name}, -1) || '+00:00', {_text(f)}) end"
        for f in aware
    ]
    return local, _four_digits(f"coalesce({', '.join(moments)}, null::timestamptz)", "timestamptz")


def _datetime_columns(name: str, text: str, dialect: Dialect) -> list[str]:
    """SQL of ``<name>__local``, ``<name>__aware`` and ``<name>__bad`` of a text; a placeholder is none of the three."""
    local, aware = _parse_datetime(text, dialect)
    unread = f"{text} is not null and {name}__{{}} is null and {name}__{{}} is null as {name}__bad"
    if not dialect.placeholder_dates:
        return [f"{local} as {name}__local", f"{aware} as {name}__aware", unread.format("local", "aware")]
    days = _days(dialect)
    clocks = [f.replace("%z", "").rstrip() for f in dialect.datetime_formats if "%z" in f]
    # the day as it is written: 9999-12-31T23:59:59Z is no day of the year 10000
    written = f"regexp_replace({text}, ' *(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$', '')"
    placeholder = f"try_strptime({written}, {_formats(clocks)})::date in ({days})" if clocks else "false"
    return [
        f"{local} as {name}__read",
        f"{aware} as {name}__moment",
        f"case when {name}__read::date not in ({days}) then {name}__read end as {name}__local",
        f"case when coalesce({placeholder}, false) then null else {name}__moment end as {name}__aware",
        unread.format("read", "moment"),
    ]


def _days(dialect: Dialect) -> str:
    return ", ".join(f"date '{day.isoformat()}'" for day in dialect.placeholder_dates)


def _decimal(text: str, dialect: Dialect) -> str:
    """A number that DECIMAL(18,6) holds as it is written, else null: nothing is rounded, and no separator of thousands is guessed."""
    sign = dialect.decimal
    if sign == ",":
        # a point where the comma is the decimal sign: 0.5 can be read one way only, 1.000 and 12.345 in two
        point = f"case when contains({text}, '.') and regexp_full_match({text}, {_text(_GROUPED)}) then null else replace({text}, ',', '.') end"
    else:
        point = text
    return (
        f"case when regexp_full_match({text}, '{_EXACT}') then try_cast({point} as decimal(18,6)) "
        f"when regexp_full_match({text}, '{_SHORT_POWER}') and try_cast({point} as decimal(38,20)) = "
        f"try_cast({point} as decimal(18,6)) then try_cast({point} as decimal(18,6)) end"
    )


# six digits after the sign at the most (zeros are none); a power of ten small enough that DECIMAL(38,20) holds it
_EXACT = r"[+-]?[0-9]*(?:[.,][0-9]{0,6}0*)?"
_SHORT_POWER = r"[+-]?[0-9]{1,8}(?:[.,][0-9]{0,8})?[eE][+-]?[01]?[0-9]"
_GROUPED = r"[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+([eE].*)?"


def _ends(table: Table, rules: tuple[Rule, ...]) -> dict[str, str]:
    """Datetime column that ends something -> the one that begins it, from the rules ``end >= begin``."""
    found = {}
    for rule in rules:
        compared = sqlglot.parse_one(rule.expression) if rule.expression and not rule.when else None
        if isinstance(compared, sqlglot.exp.GTE) and len(set(rule.columns)) == 2:
            end, begin = compared.this.name, compared.expression.name
            if {end, begin} == set(rule.columns) and all(table.column(c).type == "datetime" for c in (end, begin)):
                found[end] = begin
    return found


def _first_pass(column: Column, present: bool, dialect: Dialect) -> list[str]:
    name = column.name
    if not present:
        nothing = {
            "decimal": "decimal(18,6)",
            "integer": "bigint",
            "date": "date",
        }.get(column.type, "varchar")
        if column.type == "datetime":
            return [f"null::timestamp as {name}__local", f"null::timestamptz as {name}__aware", f"false as {name}__bad"]
        return [f"null::{nothing} as {name}", f"false as {name}__bad"]
    if column.pseudonym is not None:
        return [f"{name}", f"{name}__bad"]
    if column.type in ("string", "code"):
        return [f"nullif(trim({name}), '') as {name}", f"false as {name}__bad"]
    text = f"nullif(trim({name}), '')"
    if column.type == "datetime":
        return _datetime_columns(name, text, dialect)
    if column.type == "date":
        typed = _four_digits(f"try_strptime({text}, {_formats(list(dialect.date_formats))})", "timestamp") + "::date"
        if dialect.placeholder_dates:
            return [
                f"({typed}) as {name}__read",
                f"case when {name}__read not in ({_days(dialect)}) then {name}__read end as {name}__typed",
                f"{text} is not null and {name}__read is null as {name}__bad",
            ]
        typed = f"({typed})"
    elif column.type == "integer":
        # digits only: DuckDB's own cast rounds 1.5 and reads 0x1F
        typed = f"case when regexp_full_match({text}, '[+-]?[0-9]+') then try_cast({text} as bigint) end"
    else:
        typed = _decimal(text, dialect)
    return [f"{typed} as {name}__typed", f"{text} is not null and {name}__typed is null as {name}__bad"]


def block_query(
    table: Table, present: frozenset[str], dialect: Dialect, rules: tuple[Rule, ...], origin: dict[str, str]
) -> BlockQuery:
    """The query of a (table, file header, dialect).

    Args:
        present: contract columns that the file has.
        origin: constant columns of the record's origin (name -> SQL literal).
    """
    first: list[str] = []
    looked: list[str] = []  # the spans of local times, each once (see ``clock.install``)
    second: list[str] = []
    checks: list[tuple[Check, str]] = []
    alive = "op <> 'delete'"
    ends = _ends(table, rules)
    spoilable = identifiers(table)
    for column in table.columns:
        name = column.name
        first += _first_pass(column, name in present, dialect)
        key = name in table.key
        applies = "true" if key else alive
        if column.type == "datetime":
            looked.append(f"clock_span({name}__local) as {name}__span")
            local = f"{name}__local, {name}__span"
            moment = f"clock_utc({local})"
            if name in ends:
                # both ends in the hour that comes twice, in the wrong order: of the end's two meanings one comes after its beginning
                begin = f"{ends[name]}__local, {ends[name]}__span"
                again = f"{name}__local < {ends[name]}__local and clock_repeated({local}) and clock_repeated({begin})"
                moment = f"case when {again} then clock_utc_again({local}) else {moment} end"
            second.append(f"coalesce({name}__aware, case when not clock_missing({local}) then {moment} end) as {name}")
            second.append(f"coalesce(clock_local({name}__aware), {name}__local) as {name}_local")
            # a deletion needs its key only
            missing = f"{applies} and {name}__aware is null and coalesce(clock_missing({local}), false)"
            repeated = f"{name}__aware is null and coalesce(clock_repeated({local}), false)"
            second.append(f"{missing} as {name}__missing")
            second.append(f"{repeated} as {name}__repeated")
            second.append(f"{name}__bad")
            checks.append((Check(f"{table.name}.{name}.missing_hour", (name,), "quarantine"), f"{name}__missing"))
            checks.append((Check(f"{table.name}.{name}.repeated_hour", (name,), "flag"), f"{name}__repeated"))
        elif column.type in ("date", "integer", "decimal") and name in present:
            second.append(f"{name}__typed as {name}")
            second.append(f"{name}__bad")
        else:
            second.append(name)
            second.append(f"{name}__bad")
        if name in present and column in spoilable:
            first.append(f"{name}__spoilt")
            second.append(f"{name}__spoilt")
            checks.append(
                (Check(f"{table.name}.{name}.spreadsheet", (name,), "quarantine"), f"{applies} and {name}__spoilt")
            )
        if name in present and column.pseudonym is not None and column.pseudonym.domain == "patient":
            first.append(f"{name}__unknown")
            second.append(f"{name}__unknown")
            checks.append(
                (
                    Check(f"{table.name}.{name}.unknown", (name,), "flag"),
                    f"{applies} and coalesce({name}__unknown, false)",
                )
            )
        if column.pseudonym is not None and column.pseudonym.check is not None:
            checks.append((Check(f"{table.name}.{name}.{column.pseudonym.check}", (name,), "flag"), f"{name}__bad"))
        elif name in present:
            action = "quarantine"
            checks.append((Check(f"{table.name}.{name}.type", (name,), action), f"{applies} and {name}__bad"))
    # a range that ends with the extraction says it all: one finding, not two
    bounded = {
        f"{r.id.removesuffix('.range')}.future" for r in rules if r.id.endswith(".range") and "latest_day" in r.columns
    }
    for rule in rules:
        if rule.id in bounded:
            continue
        key_rule = rule.implied and rule.columns[0] in table.key
        applies = "true" if key_rule else alive
        # a value that could not be typed, or an hour that does not exist, is one finding, not two
        own = [c.removesuffix("_local") for c in rule.columns if c not in origin]
        unread = [f"{c}__bad" for c in own]
        unread += [f"{c}__missing" for c in own if table.column(c).type == "datetime"]
        read = " and ".join(f"not {u}" for u in dict.fromkeys(unread)) or "true"
        checks.append(
            (
                Check(rule.id, tuple(c for c in rule.columns if c not in origin), rule.action),
                f"{applies} and {read} and not coalesce({rule.sql('duckdb')}, true)",
            )
        )
    if OPERATION_COLUMN in present:
        first.append(f"coalesce(nullif(lower(trim({OPERATION_COLUMN})), ''), 'upsert') as op")
    else:
        first.append("'upsert' as op")
    checks.append((Check(f"{table.name}.op.value", ("op",), "quarantine"), "op not in ('upsert', 'delete')"))
    if UPDATED_COLUMN in present:
        first += _datetime_columns("updated", f"nullif(trim({UPDATED_COLUMN}), '')", dialect)
        looked.append("clock_span(updated__local) as updated__span")
        second.append(f"coalesce(updated__aware, clock_utc(updated__local, updated__span)) as {UPDATED_COLUMN}")
        second.append("updated__bad")
        # it decides which version of a record is served: one that cannot be read, or cannot be, would decide wrongly
        checks.append((Check(f"{table.name}.{UPDATED_COLUMN}.type", (UPDATED_COLUMN,), "quarantine"), "updated__bad"))
        known = f"{UPDATED_COLUMN} >= timestamptz '{EARLIEST}' and {UPDATED_COLUMN} < timestamptz '{LATEST}'"
        checks.append(
            (
                Check(f"{table.name}.{UPDATED_COLUMN}.range", (UPDATED_COLUMN,), "quarantine"),
                f"not coalesce({known}, true)",
            )
        )
    else:
        second.append(f"null::timestamptz as {UPDATED_COLUMN}")
    outputs = []
    for column in table.columns:
        outputs.append(column.name)
        if column.type == "datetime":
            outputs.append(f"{column.name}_local")
    outputs += [f"{value} as {name}" for name, value in origin.items()]
    outputs += ["record_number", "line_number", "row_uid_hi", "row_uid_lo", "op", UPDATED_COLUMN]
    names = [o.split(" as ")[-1] for o in outputs]
    broken = [f"({sql}) as check_{i}" for i, (_, sql) in enumerate(checks)]
    sql = (
        f"with parsed as (select {', '.join(first)}, record_number, line_number, row_uid_hi, row_uid_lo from raw), "
        f"looked as (select {', '.join(['*', *looked])} from parsed), "
        f"clocked as (select {', '.join(second)}, op, record_number, line_number, row_uid_hi, row_uid_lo from looked) "
        f"select {', '.join(outputs)}, {', '.join(broken)} from clocked"
    )
    return BlockQuery(sql=sql, columns=tuple(names), checks=tuple(c for c, _ in checks))

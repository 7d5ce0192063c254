"""Writes the DuckDB SQL that types one block of a table, from the contract, the hospital's dialect and the rules.

Input relation ``raw``: every contract column of the file as VARCHAR (identifiers already pseudonyms), ``op`` and
``source_updated_at`` if delivered. Output: the landed columns, then one boolean per check (true = broken).
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlglot

from estuaire.contracts import OPERATION_COLUMN, UPDATED_COLUMN, Column, Table
from estuaire.registry import Dialect
from estuaire.rules import Rule


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


def _parse_datetime(name: str, dialect: Dialect) -> tuple[str, str]:
    """(naive local time, moment with its offset) of a text, each null where the text has the other form."""
    naive = [f for f in dialect.datetime_formats if "%z" not in f]
    aware = [f for f in dialect.datetime_formats if "%z" in f]
    local = f"try_strptime({name}, {_formats(naive)})" if naive else "null::timestamp"
    if not aware:
        return local, "null::timestamptz"
    moments = [f"try_strptime({name}, {_text(f)})" for f in aware]
    # ISO 8601 writes UTC as Z, which strptime's %z of DuckDB does not read
    moments += [
        f"case when ends_with({name}, 'Z') then try_strptime(left({name}, -1) || '+00:00', {_text(f)}) end"
        for f in aware
    ]
    return local, f"coalesce({', '.join(moments)}, null::timestamptz)"


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
        local, aware = _parse_datetime(text, dialect)
        return [
            f"{local} as {name}__local",
            f"{aware} as {name}__aware",
            f"{text} is not null and {name}__local is null and {name}__aware is null as {name}__bad",
        ]
    if column.type == "date":
        typed = f"try_strptime({text}, {_formats(list(dialect.date_formats))})::date"
    elif column.type == "integer":
        # digits only: DuckDB's own cast rounds 1.5 and reads 0x1F
        typed = f"case when regexp_full_match({text}, '[+-]?[0-9]+') then try_cast({text} as bigint) end"
    elif dialect.decimal == ",":
        typed = f"try_cast(replace({text}, ',', '.') as decimal(18,6))"
    else:
        typed = f"try_cast({text} as decimal(18,6))"
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
        if column.pseudonym is not None and column.pseudonym.check is not None:
            checks.append((Check(f"{table.name}.{name}.{column.pseudonym.check}", (name,), "flag"), f"{name}__bad"))
        elif name in present:
            action = "quarantine"
            checks.append((Check(f"{table.name}.{name}.type", (name,), action), f"{applies} and {name}__bad"))
    for rule in rules:
        key_rule = rule.implied and rule.columns[0] in table.key
        applies = "true" if key_rule else alive
        # a value that could not be typed, or an hour that does not exist, is one finding, not two
        own = [c.removesuffix("_local") for c in rule.columns]
        unread = [f"{c}__bad" for c in own]
        unread += [f"{c}__missing" for c in own if table.column(c).type == "datetime"]
        read = " and ".join(f"not {u}" for u in dict.fromkeys(unread)) or "true"
        checks.append(
            (
                Check(rule.id, rule.columns, rule.action),
                f"{applies} and {read} and not coalesce({rule.sql('duckdb')}, true)",
            )
        )
    if OPERATION_COLUMN in present:
        first.append(f"coalesce(nullif(lower(trim({OPERATION_COLUMN})), ''), 'upsert') as op")
    else:
        first.append("'upsert' as op")
    checks.append((Check(f"{table.name}.op.value", ("op",), "quarantine"), "op not in ('upsert', 'delete')"))
    if UPDATED_COLUMN in present:
        local, aware = _parse_datetime(f"nullif(trim({UPDATED_COLUMN}), '')", dialect)
        first += [f"{local} as updated__local", f"{aware} as updated__aware"]
        looked.append("clock_span(updated__local) as updated__span")
        second.append(f"coalesce(updated__aware, clock_utc(updated__local, updated__span)) as {UPDATED_COLUMN}")
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

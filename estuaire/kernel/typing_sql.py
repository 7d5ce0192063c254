"""Writes the DuckDB SQL that types one block of a table, from the contract, the hospital's dialect and the rules (``sql/land``).

Input relation ``raw``: every contract column of the file as VARCHAR (identifiers already pseudonyms), ``op`` and
``source_updated_at`` if delivered. Output: the landed columns, then one boolean per check (true = broken).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlglot

from estuaire.base.sql import Sql, Statements, literal
from estuaire.contract.registry import Dialect
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Column, Table
from estuaire.kernel.texts import identifiers
from estuaire.rules.rule_registry import EARLIEST, LATEST, Rule

STATEMENTS = Statements(Path(__file__).parent / "sql" / "land")
ORIGIN = (
    "hospital_id",
    "delivery_id",
    "sequence",
    "latest_at",
    "latest_day",
    "source_file",
)  # in the order of ``origin.sql``
_NOTHING = {
    "decimal": "decimal(18, 6)",
    "integer": "bigint",
    "date": "date",
}  # type of a column that a file has not; else text


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


def _formats(dialect: Dialect) -> dict[str, Any]:
    """How a dialect writes times, days and numbers, as the templates take it."""
    aware = [f for f in dialect.datetime_formats if "%z" in f]
    return {
        "naive": [literal(f) for f in dialect.datetime_formats if "%z" not in f],
        "aware": [literal(f) for f in aware],
        "clocks": [literal(f.replace("%z", "").rstrip()) for f in aware],
        "dates": [literal(f) for f in dialect.date_formats],
        "placeholders": [Sql(f"date {literal(day)}") for day in dialect.placeholder_dates],
        "comma": dialect.decimal == ",",
    }


def _ends(table: Table, rules: tuple[Rule, ...]) -> dict[str, str]:
    """Datetime column that ends something -> the one that begins it, from the rules ``end >= begin``."""
    begin_of = {}
    for rule in rules:
        compared = sqlglot.parse_one(rule.expression) if rule.expression and not rule.when else None
        if isinstance(compared, sqlglot.exp.GTE) and len(set(rule.columns)) == 2:
            end, begin = compared.this.name, compared.expression.name
            if {end, begin} == set(rule.columns) and all(table.column(c).type == "datetime" for c in (end, begin)):
                begin_of[end] = begin
    return begin_of


def _marks(column: Column, present: bool, spoilable: tuple[Column, ...]) -> list[str]:
    """Booleans that come with a column: a spreadsheet wrote it; of patients, it names nobody in particular."""
    marks = []
    if present and column in spoilable:
        marks.append(f"{column.name}__spoilt")
    if present and column.pseudonym is not None and column.pseudonym.domain == "patient":
        marks.append(f"{column.name}__unknown")
    return marks


def _of_column(table: Table, column: Column, present: bool, marks: list[str]) -> Iterator[tuple[Check, dict[str, Any]]]:
    """The checks that a column has whatever the rules are, each with how it is counted."""
    name, place = column.name, f"{table.name}.{column.name}"
    key = name in table.key
    if column.type == "datetime":
        for what, mark, action in (("missing_hour", "missing", "quarantine"), ("repeated_hour", "repeated", "flag")):
            yield Check(f"{place}.{what}", (name,), action), {"kind": "mark", "marks": f"{name}__{mark}"}
    if f"{name}__spoilt" in marks:
        counted = {"kind": "spoilt", "key": key, "marks": f"{name}__spoilt"}
        yield Check(f"{place}.spreadsheet", (name,), "quarantine"), counted
    if f"{name}__unknown" in marks:
        yield Check(f"{place}.unknown", (name,), "flag"), {"kind": "unknown", "key": key, "column": name}
    if column.pseudonym is not None and column.pseudonym.check is not None:
        yield Check(f"{place}.{column.pseudonym.check}", (name,), "flag"), {"kind": "mark", "marks": f"{name}__bad"}
    elif present:
        counted = {"kind": "type", "key": key, "marks": f"{name}__bad"}
        yield Check(f"{place}.type", (name,), "quarantine"), counted


def _of_rules(table: Table, rules: tuple[Rule, ...]) -> Iterator[tuple[Check, dict[str, Any]]]:
    # a range that ends with the extraction says it all: one finding, not two
    bounded = {
        f"{r.id.removesuffix('.range')}.future" for r in rules if r.id.endswith(".range") and "latest_day" in r.columns
    }
    for rule in rules:
        if rule.id in bounded:
            continue
        read = tuple(c for c in rule.columns if c not in ORIGIN)
        columns = [c.removesuffix("_local") for c in read]
        unread = [f"{c}__bad" for c in columns]
        unread += [f"{c}__missing" for c in columns if table.column(c).type == "datetime"]
        yield (
            Check(rule.id, read, rule.action),
            {
                "kind": "rule",
                "key": rule.implied and rule.columns[0] in table.key,
                "unread": list(dict.fromkeys(unread)),
                "holds": Sql(rule.sql("duckdb")),
            },
        )


def _of_version(table: Table, present: frozenset[str]) -> Iterator[tuple[Check, dict[str, Any]]]:
    """Checks of what says which version of a record is served: one that cannot be read, or cannot be, would decide wrongly."""
    yield Check(f"{table.name}.op.value", ("op",), "quarantine"), {"kind": "operation"}
    if UPDATED_COLUMN not in present:
        return
    place, columns = f"{table.name}.{UPDATED_COLUMN}", (UPDATED_COLUMN,)
    yield Check(f"{place}.type", columns, "quarantine"), {"kind": "mark", "marks": "updated__bad"}
    between = {"kind": "updated_range", "earliest": literal(EARLIEST), "latest": literal(LATEST)}
    yield Check(f"{place}.range", columns, "quarantine"), between


@lru_cache(maxsize=256)
def block_query(table: Table, present: frozenset[str], dialect: Dialect, rules: tuple[Rule, ...]) -> BlockQuery:
    """The query of a (table, file header, dialect), written once: what differs from file to file is in the variable ``origin`` that it reads
    (``sql/land/origin.sql``).

    Args:
        present: contract columns that the file has.
    """
    ends = _ends(table, rules)
    spoilable = identifiers(table)
    columns: list[dict[str, Any]] = []
    checks: list[tuple[Check, dict[str, Any]]] = []
    for column in table.columns:
        here = column.name in present
        marks = _marks(column, here, spoilable)
        columns.append(
            {
                "name": column.name,
                "type": column.type,
                "kind": Sql(_NOTHING.get(column.type, "varchar")),
                "present": here,
                "pseudonym": column.pseudonym is not None,
                "key": column.name in table.key,
                "begins": ends.get(column.name),
                "marks": marks,
            }
        )
        checks += _of_column(table, column, here, marks)
    checks += [*_of_rules(table, rules), *_of_version(table, present)]
    sql = STATEMENTS(
        "block",
        columns=columns,
        formats=_formats(dialect),
        op_is_there=OPERATION_COLUMN in present,
        updated_is_there=UPDATED_COLUMN in present,
        origin=ORIGIN,
        checks=[counted for _, counted in checks],
    )
    names: list[str] = []
    for column in table.columns:
        names += [column.name, f"{column.name}_local"] if column.type == "datetime" else [column.name]
    names += [*ORIGIN, "record_number", "line_number", "row_uid_hi", "row_uid_lo", OPERATION_COLUMN, UPDATED_COLUMN]
    return BlockQuery(sql=sql, columns=tuple(names), checks=tuple(c for c, _ in checks))

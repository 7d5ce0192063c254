"""Writes the DuckDB SQL that types one block of a table, from the contract, the hospital's dialect and the rules (``sql/land``): a
statement that reads the texts of all columns but times, one for each column of times, and one for the rules. What lies between, the clock and the
marks of single columns, ``estuaire.kernel.typed_block`` does with arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlglot

from estuaire.base.sql import Sql, Statements, literal
from estuaire.contract.registry import Dialect
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Column, Table
from estuaire.kernel.texts import identifiers
from estuaire.rules.rule_registry import Rule

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
class Reading:
    """How the texts of one column are read.

    Attributes:
        type: the contract's; ``pseudonym`` where the file's is replaced by one; ``operation`` of ``op``.
        present: whether the file has the column.
        sql: of times, reads those of relation ``written`` (one text column, ``<name>``) in its order.
        formats: of times, in the registry's order.
        placeholders: days that stand for nothing.
        key: a deletion is judged by it, too.
        begins: of a time that ends something, the column that begins it.
    """

    name: str
    type: str
    present: bool
    sql: str = ""
    formats: tuple[str, ...] = ()
    placeholders: tuple[date, ...] = ()
    key: bool = False
    begins: str | None = None

    @property
    def by_text(self) -> bool:
        """Whether the file has the column and its texts become something else, by ``BlockQuery.texts_sql``."""
        return self.present and self.type in _READ_BY_TEXT


@dataclass(frozen=True)
class BlockQuery:
    """How a block is typed.

    Attributes:
        readings: of each column of the contract, of ``op`` and of ``source_updated_at``.
        texts_sql: reads relation ``written`` (a text column for each reading ``by_text``) in its order, gives ``<name>__typed`` and
            ``<name>__bad``. Empty where there are none.
        sql: the rules, over the relation ``parsed`` of the columns ``needs``; gives ``check_<n>``. Empty where there are none.
        columns: the landed columns in their order.
        checks: what is counted.
        marks: per check the boolean that says it (None: ``sql`` does), and whether a deletion is judged, too.
    """

    readings: tuple[Reading, ...]
    texts_sql: str
    sql: str
    needs: tuple[str, ...]
    columns: tuple[str, ...]
    checks: tuple[Check, ...]
    marks: tuple[tuple[str | None, bool], ...]


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
            yield Check(f"{place}.{what}", (name,), action), {"marks": f"{name}__{mark}", "key": True}
    if f"{name}__spoilt" in marks:
        yield Check(f"{place}.spreadsheet", (name,), "quarantine"), {"marks": f"{name}__spoilt", "key": key}
    if f"{name}__unknown" in marks:
        yield Check(f"{place}.unknown", (name,), "flag"), {"marks": f"{name}__unknown", "key": key}
    if column.pseudonym is not None and column.pseudonym.check is not None:
        yield Check(f"{place}.{column.pseudonym.check}", (name,), "flag"), {"marks": f"{name}__bad", "key": True}
    elif present:
        yield Check(f"{place}.type", (name,), "quarantine"), {"marks": f"{name}__bad", "key": key}


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
                "key": rule.implied and rule.columns[0] in table.key,
                "unread": list(dict.fromkeys(unread)),
                "holds": Sql(rule.sql("duckdb")),
            },
        )


def _of_version(table: Table, present: frozenset[str]) -> Iterator[tuple[Check, dict[str, Any]]]:
    """Checks of what says which version of a record is served: one that cannot be read, or cannot be, would decide wrongly."""
    yield Check(f"{table.name}.op.value", ("op",), "quarantine"), {"marks": "op__foreign", "key": True}
    if UPDATED_COLUMN not in present:
        return
    place, columns = f"{table.name}.{UPDATED_COLUMN}", (UPDATED_COLUMN,)
    yield Check(f"{place}.type", columns, "quarantine"), {"marks": f"{UPDATED_COLUMN}__bad", "key": True}
    yield Check(f"{place}.range", columns, "quarantine"), {"marks": f"{UPDATED_COLUMN}__beyond", "key": True}


_READ_BY_TEXT = ("date", "decimal", "integer", "operation")


def _read_by_sql(readings: Iterable[Reading], dialect: Dialect) -> str:
    columns = [{"name": reading.name, "type": reading.type} for reading in readings]
    return STATEMENTS("read_texts", text_columns=columns, formats=_formats(dialect)) if columns else ""


def _reading(name: str, kind: str, present: bool, dialect: Dialect, **more: Any) -> Reading:
    reading = Reading(name, kind, present, "", dialect.datetime_formats, dialect.placeholder_dates, **more)
    return replace(reading, sql=_read_by_sql([reading], dialect)) if present and kind == "datetime" else reading


@lru_cache(maxsize=256)
def block_query(table: Table, present: frozenset[str], dialect: Dialect, rules: tuple[Rule, ...]) -> BlockQuery:
    """How a block of a (table, file header, dialect) is typed, written once: what differs from file to file is in the variable ``origin`` that
    rules read (``sql/land/origin.sql``).

    Args:
        present: contract columns that the file has.
    """
    ends = _ends(table, rules)
    spoilable = identifiers(table)
    readings: list[Reading] = []
    checks: list[tuple[Check, dict[str, Any]]] = []
    for column in table.columns:
        here, begins = column.name in present, ends.get(column.name)
        key = column.name in table.key
        begins = begins if begins in present else None
        kind = "pseudonym" if column.pseudonym is not None and here else column.type
        readings.append(_reading(column.name, kind, here, dialect, key=key, begins=begins))
        checks += _of_column(table, column, here, _marks(column, here, spoilable))
    checks += [*_of_rules(table, rules), *_of_version(table, present)]
    for name, kind in ((OPERATION_COLUMN, "operation"), (UPDATED_COLUMN, "datetime")):
        readings.append(_reading(name, kind, name in present, dialect, key=True))
    sql, needs = _rules_of_block(table, present, readings, checks)
    names: list[str] = []
    for column in table.columns:
        names += [column.name, f"{column.name}_local"] if column.type == "datetime" else [column.name]
    names += [*ORIGIN, "record_number", "line_number", "row_uid_hi", "row_uid_lo", OPERATION_COLUMN, UPDATED_COLUMN]
    marks = [(counted.get("marks"), counted["key"]) for _, counted in checks]
    texts_sql = _read_by_sql((r for r in readings if r.by_text), dialect)
    return BlockQuery(tuple(readings), texts_sql, sql, needs, tuple(names), tuple(c for c, _ in checks), tuple(marks))


def _rules_of_block(
    table: Table, present: frozenset[str], readings: list[Reading], checks: list[tuple[Check, dict[str, Any]]]
) -> tuple[str, tuple[str, ...]]:
    """(the statement of the rules, the columns of ``parsed`` that it reads)."""
    asked = [(n, check, counted) for n, (check, counted) in enumerate(checks) if "holds" in counted]
    if not asked:
        return "", ()
    read = {c for _, check, _ in asked for c in check.columns}
    used = [r for r in readings if {r.name, f"{r.name}_local"} & read]
    unread = {mark for _, _, counted in asked for mark in counted["unread"]}
    # a text that stays one is never bad, nor is what is not there
    doubtful = {r.name for r in used if r.by_text or (r.present and r.type in ("datetime", "pseudonym"))}
    needs = [OPERATION_COLUMN] if OPERATION_COLUMN in present else []
    absent: list[dict[str, Any]] = []
    for reading in used:
        clocked = [reading.name, f"{reading.name}_local"] if reading.type == "datetime" else [reading.name]
        if reading.present:
            needs += clocked
        elif reading.type == "datetime":
            absent += [{"name": n, "kind": Sql(k)} for n, k in zip(clocked, ("timestamptz", "timestamp"), strict=True)]
        else:
            absent.append({"name": reading.name, "kind": Sql(_NOTHING.get(reading.type, "varchar"))})
    needs += sorted(mark for mark in unread if mark.split("__")[0] in doubtful)
    sql = STATEMENTS(
        "rules",
        checks=[counted | {"name": f"check_{n}"} for n, _, counted in asked],
        absent=absent,
        sound=sorted(mark for mark in unread if mark.split("__")[0] not in doubtful),
        op_is_there=OPERATION_COLUMN in present,
        origin=ORIGIN,
    )
    return sql, tuple(dict.fromkeys(needs))

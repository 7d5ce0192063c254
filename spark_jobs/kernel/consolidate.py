"""Consolidates one hospital: the latest valid version of each business key, with standard codes. No Spark, no Postgres.

Version order = (sequence, source_updated_at, source file, line), never arrival: any order of the same deliveries gives the same
result. Only a valid version supersedes: quarantined ones are not in the landed files; where one is newer than the version served, that
one is flagged ``stale_correction``. A full delivery ends every key that it omits, for its tables and period.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from estuaire.codes import code_systems, hospital_map
from estuaire.contracts import Contract, Table
from estuaire.errors import RowUidCollision
from estuaire.layers import consolidated_columns
from estuaire.registry import Hospital

VERSION = 1  # of the rules in this module: a new one rebuilds every hospital


@dataclass(frozen=True)
class Full:
    """A full delivery: it ends the keys of ``tables`` in [start, end) that it omits."""

    sequence: int
    start: date
    end: date
    tables: tuple[str, ...]


@dataclass(frozen=True)
class Rejected:
    """A quarantined version of a business key that no one has closed yet."""

    table: str
    business_key: str
    sequence: int
    source_updated_at: str | None


@dataclass
class HospitalInput:
    """What consolidating a hospital reads: landed Parquet files by table, its full deliveries, its open rejects."""

    hospital: Hospital
    files: dict[str, list[str]]
    fulls: list[Full] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass
class TableOutcome:
    """One consolidated table. ``superseded`` is delivery -> (rows, hash sum); unmapped is system -> code -> records."""

    table: str
    output: str | None
    rows: int
    superseded: dict[str, tuple[int, int]]
    unmapped: dict[str, dict[str, int]]
    content_hash: str


def _literal(value: object) -> str:
    return "null" if value is None else "'" + str(value).replace("'", "''") + "'"


def _rank(connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput) -> None:
    """Temporary table ``version``: one narrow row per landed record, ``state`` current, replaced, deleted or ended."""
    key = ", ".join(table.key)
    joined = f"concat_ws('|', {key})"
    paths = ", ".join(_literal(p) for p in given.files[table.name])
    day = f"{table.period_column}_local::date" if table.period_column else "null::date"
    connection.execute(
        f"create or replace temp table ranked as select {joined} as business_key, {day} as period_day, op, sequence, "
        "source_updated_at, delivery_id, row_uid_hi, row_uid_lo, row_number() over (partition by "
        f"{key} order by sequence desc, source_updated_at desc nulls last, source_file desc, line_number desc, "
        f"delivery_id desc) as place from read_parquet([{paths}])"
    )
    rejected = [r for r in given.rejected if r.table == table.name]
    connection.execute(
        "create or replace temp table rejected (business_key varchar, sequence bigint, source_updated_at timestamptz)"
    )
    for start in range(0, len(rejected), 1000):
        rows = ", ".join(
            f"({_literal(r.business_key)}, {r.sequence}, {_literal(r.source_updated_at)}::timestamptz)"
            for r in rejected[start : start + 1000]
        )
        connection.execute(f"insert into rejected values {rows}")
    # a key stands in a full delivery too if its row there was quarantined: it is not omitted
    ends = [
        f"(sequence < {f.sequence} and "
        + (f"period_day >= date '{f.start}' and period_day < date '{f.end}'" if table.period_column else "true")
        + " and not exists (select 1 from rejected r where r.business_key = ranked.business_key and "
        f"r.sequence = {f.sequence}))"
        for f in given.fulls
        if table.name in f.tables
    ]
    ended = " or ".join(ends) or "false"
    connection.execute(
        "create or replace temp table version as select *, case when place > 1 then 'replaced' when op = 'delete' then "
        f"'deleted' when {ended} then 'ended' else 'current' end as state from ranked"
    )
    row = connection.execute("select count(*) - count(distinct (row_uid_hi, row_uid_lo)) from version").fetchone()
    if row and row[0]:
        raise RowUidCollision(
            "two records of this hospital have the same row_uid",
            remedy="report this as a defect of the platform: no row was consolidated",
            hospital=given.hospital.id,
            table=table.name,
        )


def _standard_codes(
    connection: duckdb.DuckDBPyConnection, table: Table, hospital: Hospital
) -> tuple[dict[str, str], str]:
    """Per code column the SQL of its standard code, and the joins with the hospital's maps."""
    expressions: dict[str, str] = {}
    joins = ""
    for column in table.columns:
        if column.type != "code" or column.code_system is None:
            continue
        system = code_systems()[column.code_system]
        name = f"map_{column.name}"
        pairs = hospital_map(hospital, system.name)
        connection.execute(f"create or replace temp table {name} (local_code varchar, standard_code varchar)")
        if pairs:
            rows = ", ".join(f"({_literal(a)}, {_literal(b)})" for a, b in sorted(pairs.items()))
            connection.execute(f"insert into {name} values {rows}")
        joins += f" left join {name} on {name}.local_code = {system.normal_sql('landed.' + column.name)}"
        expression = f"{name}.standard_code"
        if system.pattern:
            own = f"upper(trim(landed.{column.name}))"
            expression = (
                f"coalesce({expression}, case when regexp_full_match({own}, {_literal(system.pattern)}) then {own} end)"
            )
        expressions[column.name] = expression
    return expressions, joins


def _orphan_flags(connection: duckdb.DuckDBPyConnection, table: Table, known: set[str]) -> tuple[list[str], str]:
    """SQL flags of references that do not resolve, and their joins. A reference to a table not delivered is not judged."""
    flags: list[str] = []
    joins = ""
    for reference in table.references:
        if reference.table not in known or reference.table == table.name:
            continue
        last = reference.columns[-1]
        name = f"key_{last}"
        to = ", ".join(reference.to)
        pairs = list(zip(reference.to, reference.columns, strict=True))
        joins += f" left join (select distinct {to} from parent_{reference.table}) as {name} on " + " and ".join(
            f"{name}.{target} = landed.{column}" for target, column in pairs
        )
        given = " and ".join(f"landed.{column} is not null" for column in reference.columns)
        flags.append(
            f"case when {given} and {name}.{reference.to[-1]} is null then '{table.name}.{last}.orphan' end"
        )
    return flags, joins


def _write(
    connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput, known: set[str], output: Path
) -> None:
    codes, code_joins = _standard_codes(connection, table, given.hospital)
    flags, flag_joins = _orphan_flags(connection, table, known)
    selected: list[str] = []
    for column in consolidated_columns(table):
        name = column.name
        if name == "stale_correction":
            selected.append(
                "exists (select 1 from rejected r where r.business_key = version.business_key and "
                "(r.sequence > version.sequence or (r.sequence = version.sequence and coalesce(r.source_updated_at, "
                "timestamptz '0001-01-01') > coalesce(version.source_updated_at, timestamptz '0001-01-01')))) as stale_correction"
            )
        elif name == "flags" and flags:
            selected.append(f"nullif(concat_ws(',', landed.flags, {', '.join(flags)}), '') as flags")
        elif name.endswith("_source") and name.removesuffix("_source") in codes:
            selected.append(f"landed.{name.removesuffix('_source')} as {name}")
        elif name in codes:
            selected.append(f"{codes[name]} as {name}")
        else:
            selected.append(f"landed.{name}")
    paths = ", ".join(_literal(p) for p in given.files[table.name])
    order = [
        *(["landed.patient_id"] if any(c.name == "patient_id" for c in table.columns) else []),
        *(f"landed.{k}" for k in table.key),
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(
        f"copy (select {', '.join(selected)} from read_parquet([{paths}]) as landed "
        "join version on version.row_uid_hi = landed.row_uid_hi and version.row_uid_lo = landed.row_uid_lo "
        f"and version.state = 'current' {code_joins}{flag_joins} order by {', '.join(dict.fromkeys(order))}) "
        f"to {_literal(output)} (format parquet, compression zstd, compression_level 1)"
    )


def _unmapped(connection: duckdb.DuckDBPyConnection, table: Table, output: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for column in table.columns:
        if column.type != "code" or column.code_system is None:
            continue
        rows = connection.execute(
            f"select {column.name}_source, count(*) from read_parquet({_literal(output)}) "
            f"where {column.name} is null and {column.name}_source is not null group by all"
        ).fetchall()
        for code, count in rows:
            codes = found.setdefault(column.code_system, {})
            codes[code] = codes.get(code, 0) + int(count)
    return found


def consolidate_hospital(given: HospitalInput, contract: Contract, output_for: Any) -> list[TableOutcome]:
    """Consolidate every delivered table of a hospital.

    Args:
        output_for: table name -> path of the Parquet file to write (never an existing one).

    Returns:
        One outcome per delivered table; ``rows`` and ``content_hash`` are read from the written file.
    """
    outcomes: list[TableOutcome] = []
    known: set[str] = set()
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("set timezone = 'UTC'")
    try:
        for table in contract.tables:
            if not given.files.get(table.name):
                continue
            output = Path(output_for(table.name))
            _rank(connection, table, given)
            _write(connection, table, given, known, output)
            gone = connection.execute(
                "select delivery_id, count(*), sum(row_uid_hi::hugeint) + sum(row_uid_lo::hugeint) from version "
                "where state <> 'current' group by delivery_id"
            ).fetchall()
            connection.execute(
                f"create or replace temp table parent_{table.name} as select {', '.join(table.key)} "
                f"from read_parquet({_literal(output)})"
            )
            known.add(table.name)
            row = connection.execute(
                f"select count(*), coalesce(sum(h::hugeint), 0) from (select hash(t) as h "
                f"from read_parquet({_literal(output)}) t)"
            ).fetchone()
            assert row is not None  # noqa: S101 - an aggregate always gives one row
            outcomes.append(
                TableOutcome(
                    table=table.name,
                    output=str(output),
                    rows=int(row[0]),
                    superseded={d: (int(n), int(s)) for d, n, s in gone},
                    unmapped=_unmapped(connection, table, output),
                    content_hash=f"{int(row[1]):x}",
                )
            )
    finally:
        connection.close()
    return outcomes

"""Consolidates one hospital: the latest valid version of each business key, with standard codes. No Spark, no Postgres.

Version order = (sequence, source_updated_at, source file, line), never arrival: any order of the same deliveries gives the same
result. Only a valid version supersedes: quarantined ones are not in the landed files; where one is newer than the version served, that
one is flagged ``stale_correction``. A full delivery ends every key that it omits, for its tables and period.

What several records say together, from current versions only (``layers.DERIVED``): a patient's records bear the local id that the patient
was last merged into; records of one stay and bottles of one draw name the first of them. Each stays a row of its own: none is lost.
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
from estuaire.mapped_share import IN_TEXT, expression, in_text_flag
from estuaire.registry import Hospital
from spark_jobs.kernel import antibacterials

STAY_GAP_HOURS = 24  # records of a full stay this close are one stay (domain.md, "Stays and onset")
VERSION = 3  # of the rules in this module: a new one rebuilds every hospital


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
    """One consolidated table. ``superseded`` is delivery -> (rows, hash sum); unmapped is system -> code -> <table>.<column> -> records."""

    table: str
    output: str | None
    rows: int
    superseded: dict[str, tuple[int, int]]
    unmapped: dict[str, dict[str, dict[str, int]]]
    content_hash: str


def _literal(value: object) -> str:
    return "null" if value is None else "'" + str(value).replace("'", "''") + "'"


def _rank(connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput) -> None:
    """Temporary table ``version_<table>``: one narrow row per landed record, ``state`` current, replaced, deleted or ended;
    ``rejected_<table>``: quarantined versions that stand open."""
    key = ", ".join(table.key)
    joined = f"concat_ws('|', {key})"
    paths = _paths(given, table.name)
    day = f"{table.period_column}_local::date" if table.period_column else "null::date"
    connection.execute(
        f"create or replace temp table ranked as select {joined} as business_key, {day} as period_day, op, sequence, "
        "source_updated_at, delivery_id, row_uid_hi, row_uid_lo, row_number() over (partition by "
        f"{key} order by sequence desc, source_updated_at desc nulls last, source_file desc, line_number desc, "
        f"delivery_id desc) as place from read_parquet([{paths}])"
    )
    rejected = [r for r in given.rejected if r.table == table.name]
    connection.execute(
        f"create or replace temp table rejected_{table.name} (business_key varchar, sequence bigint, source_updated_at timestamptz)"
    )
    for start in range(0, len(rejected), 1000):
        rows = ", ".join(
            f"({_literal(r.business_key)}, {r.sequence}, {_literal(r.source_updated_at)}::timestamptz)"
            for r in rejected[start : start + 1000]
        )
        connection.execute(f"insert into rejected_{table.name} values {rows}")
    # a key stands in a full delivery too if its row there was quarantined: it is not omitted
    ends = [
        f"(sequence < {f.sequence} and "
        + (f"period_day >= date '{f.start}' and period_day < date '{f.end}'" if table.period_column else "true")
        + f" and not exists (select 1 from rejected_{table.name} r where r.business_key = ranked.business_key and "
        f"r.sequence = {f.sequence}))"
        for f in given.fulls
        if table.name in f.tables
    ]
    ended = " or ".join(ends) or "false"
    connection.execute(
        f"create or replace temp table version_{table.name} as select *, case when place > 1 then 'replaced' when op = 'delete' then "
        f"'deleted' when {ended} then 'ended' else 'current' end as state from ranked"
    )
    row = connection.execute(
        "select count(*) - count(distinct (row_uid_hi, row_uid_lo)) from version_" + table.name
    ).fetchone()
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
            own = system.normal_sql("landed." + column.name)
            expression = (
                f"coalesce({expression}, case when regexp_full_match({own}, {_literal(system.pattern)}) then {own} end)"
            )
        expressions[column.name] = expression
    return expressions, joins


def _paths(given: HospitalInput, table: str) -> str:
    return ", ".join(_literal(p) for p in given.files[table])


def survivors(merges: list[tuple[str, str]], patients: set[str]) -> tuple[dict[str, str], set[str]]:
    """Former local id -> the id that its records bear now, through chains of merges; and the ids that merge in a circle.

    Args:
        merges: (old, new), the deciding one of an old id last.
        patients: ids that have a current patient record. A merge into an id without one is not applied: its records would lose their
            patient; it stands flagged as orphan instead. Ids in a circle stay apart.
    """
    following = {old: new for old, new in merges if new in patients and old != new}
    found: dict[str, str] = {}
    circular: set[str] = set()
    for old in following:
        path, last = {old}, following[old]
        while last in following and last not in path:
            path.add(last)
            last = following[last]
        if last in path:
            circular.add(old)
        else:
            found[old] = last
    return found, circular


def _merge_patients(connection: duckdb.DuckDBPyConnection, given: HospitalInput) -> bool:
    """Temporary tables ``survivor`` (old_id, new_id) and ``circular`` (old_id); whether any merge applies."""
    found: dict[str, str] = {}
    circular: set[str] = set()
    if given.files.get("patient_merge") and given.files.get("patient"):
        current = (
            "join version_{0} v on v.row_uid_hi = l.row_uid_hi and v.row_uid_lo = l.row_uid_lo and v.state = 'current'"
        )
        patients = connection.execute(
            f"select l.patient_id from read_parquet([{_paths(given, 'patient')}]) l {current.format('patient')}"
        ).fetchall()
        merges = connection.execute(
            f"select l.old_patient_id, l.new_patient_id from read_parquet([{_paths(given, 'patient_merge')}]) l "
            f"{current.format('patient_merge')} order by l.merged_at nulls first, l.sequence, l.new_patient_id"
        ).fetchall()
        found, circular = survivors(merges, {p for (p,) in patients})
    connection.execute("create or replace temp table survivor (old_id varchar, new_id varchar)")
    connection.execute("create or replace temp table circular (old_id varchar)")
    pairs = sorted(found.items())
    for start in range(0, len(pairs), 1000):
        rows = ", ".join(f"({_literal(a)}, {_literal(b)})" for a, b in pairs[start : start + 1000])
        connection.execute(f"insert into survivor values {rows}")
    if circular:
        connection.execute("insert into circular values " + ", ".join(f"({_literal(c)})" for c in sorted(circular)))
    return bool(found)


def _whole_stays(
    connection: duckdb.DuckDBPyConnection, given: HospitalInput, patient: str, joins: str, full: str
) -> None:
    """Temporary table ``whole`` (row_uid_hi, row_uid_lo, whole_stay_id): full stays of a patient that overlap, that follow each other
    within STAY_GAP_HOURS, or of which one names the one before as its previous stay."""
    connection.execute(
        "create or replace temp table whole as with own as (select landed.row_uid_hi, landed.row_uid_lo, landed.stay_id, "
        f"landed.previous_stay_id, {patient} as patient_id, {full} as kept, landed.admitted_at, "
        "greatest(landed.admitted_at, coalesce(landed.discharged_at, landed.admitted_at)) as left_at "
        f"from read_parquet([{_paths(given, 'stay')}]) as landed join version_stay as version on version.row_uid_hi = landed.row_uid_hi "
        f"and version.row_uid_lo = landed.row_uid_lo and version.state = 'current' {joins}), "
        "stepped as (select *, max(left_at) over w as before, lag(stay_id) over (partition by patient_id, kept "
        "order by admitted_at, stay_id) as stay_before from own window w as (partition by patient_id, kept order by admitted_at, "
        "stay_id rows between unbounded preceding and 1 preceding)), "
        "numbered as (select *, sum(case when kept and (before is not null and admitted_at <= before + "
        f"interval {STAY_GAP_HOURS} hours or previous_stay_id = stay_before) then 0 else 1 end) over (partition by patient_id, kept "
        "order by admitted_at, stay_id rows unbounded preceding) as chain from stepped) "
        "select row_uid_hi, row_uid_lo, first_value(stay_id) over (partition by patient_id, kept, chain order by admitted_at, stay_id) "
        "as whole_stay_id from numbered"
    )


def _orphan_flags(
    connection: duckdb.DuckDBPyConnection, table: Table, known: set[str], patient: str
) -> tuple[list[str], str]:
    """SQL flags of references that do not resolve, and their joins. A reference to a table not delivered is not judged.

    Args:
        patient: SQL of the patient id that a record bears after merges.
    """
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
            f"{name}.{target} = {patient if column == 'patient_id' else 'landed.' + column}" for target, column in pairs
        )
        given = " and ".join(f"landed.{column} is not null" for column in reference.columns)
        flags.append(f"case when {given} and {name}.{reference.to[-1]} is null then '{table.name}.{last}.orphan' end")
    return flags, joins


def _write(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    given: HospitalInput,
    known: set[str],
    merged: bool,
    output: Path,
) -> None:
    codes, code_joins = _standard_codes(connection, table, given.hospital)
    patient, merge_joins = "landed.patient_id", ""
    if merged and any(c.name == "patient_id" for c in table.columns):
        merge_joins = " left join survivor on survivor.old_id = landed.patient_id"
        if table.name != "patient":
            patient = "coalesce(survivor.new_id, landed.patient_id)"
    flags, flag_joins = _orphan_flags(connection, table, known, patient)
    flag_joins = merge_joins + flag_joins
    derived = {"merged_into": "survivor.new_id" if merged else "null::varchar", "whole_stay_id": "whole.whole_stay_id"}
    if table.name == "stay":
        _whole_stays(
            connection, given, patient, code_joins + merge_joins, f"coalesce({codes['stay_type']} = 'full', false)"
        )
        flag_joins += " join whole on whole.row_uid_hi = landed.row_uid_hi and whole.row_uid_lo = landed.row_uid_lo"
    if table.name == "specimen":
        derived["draw_id"] = (
            f"case when {codes['nature']} = 'blood' then min(landed.specimen_id) over (partition by {patient}, landed.collected_at, "
            f"{codes['nature']}, {codes['purpose']}, landed.body_site) else landed.specimen_id end"
        )
    if table.name == "patient_merge":
        flag_joins += " left join circular on circular.old_id = landed.old_patient_id"
        flags.append("case when circular.old_id is not null then 'patient_merge.old_patient_id.circular' end")
    for name, standard in codes.items():
        if (flag := in_text_flag(table.name, name)) is not None:
            form = _literal(IN_TEXT[f"{table.name}.{name}"])
            flags.append(
                f"case when {standard} is null and regexp_full_match(landed.{name}, {form}, 'i') then '{flag}' end"
            )
    if table.name == "administration":
        flag, join = antibacterials.flag_sql(connection, _paths(given, table.name), codes["drug_code"], code_joins)
        flags.append(flag)
        flag_joins += join
    selected: list[str] = []
    for column in consolidated_columns(table):
        name = column.name
        if name == "stale_correction":
            selected.append(
                f"exists (select 1 from rejected_{table.name} r where r.business_key = version.business_key and "
                "(r.sequence > version.sequence or (r.sequence = version.sequence and coalesce(r.source_updated_at, "
                "timestamptz '0001-01-01') > coalesce(version.source_updated_at, timestamptz '0001-01-01')))) as stale_correction"
            )
        elif name == "flags" and flags:
            selected.append(f"nullif(concat_ws(',', landed.flags, {', '.join(flags)}), '') as flags")
        elif name in derived and not column.source:
            selected.append(f"{derived[name]} as {name}")
        elif name == "patient_id":
            selected.append(f"{patient} as patient_id")
        elif name.endswith("_source") and name.removesuffix("_source") in codes:
            selected.append(f"landed.{name.removesuffix('_source')} as {name}")
        elif name in codes:
            selected.append(f"{codes[name]} as {name}")
        else:
            selected.append(f"landed.{name}")
    # by patient: readers can skip, and the same rows are the same file whatever order they came in
    order = [
        *([patient] if any(c.name == "patient_id" for c in table.columns) else []),
        *(f"landed.{k}" for k in table.key),
    ]
    paths = _paths(given, table.name)
    output.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(
        f"copy (select {', '.join(selected)} from read_parquet([{paths}]) as landed "
        f"join version_{table.name} as version on version.row_uid_hi = landed.row_uid_hi and version.row_uid_lo = landed.row_uid_lo "
        f"and version.state = 'current' {code_joins}{flag_joins} order by {', '.join(dict.fromkeys(order))}) "
        f"to {_literal(output)} (format parquet, compression zstd, compression_level 1)"
    )


def _unmapped(
    connection: duckdb.DuckDBPyConnection, table: Table, output: Path
) -> dict[str, dict[str, dict[str, int]]]:
    found: dict[str, dict[str, dict[str, int]]] = {}
    for column in table.columns:
        if column.type != "code" or column.code_system is None:
            continue
        rows = connection.execute(
            f"select {column.name}_source, count(*) from read_parquet({_literal(output)}) "
            f"where not ({expression(table.name, column.name)}) and {column.name}_source is not null group by all"
        ).fetchall()
        place = f"{table.name}.{column.name}"
        for code, count in rows:
            found.setdefault(column.code_system, {}).setdefault(code, {})[place] = int(count)
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
        delivered = [t for t in contract.tables if given.files.get(t.name)]
        first = [t for t in delivered if t.name in ("patient", "patient_merge")]
        for table in first:
            _rank(connection, table, given)
        merged = _merge_patients(connection, given)
        for table in delivered:
            output = Path(output_for(table.name))
            if table not in first:
                _rank(connection, table, given)
            _write(connection, table, given, known, merged, output)
            gone = connection.execute(
                "select delivery_id, count(*), sum(row_uid_hi::hugeint) + sum(row_uid_lo::hugeint) "
                f"from version_{table.name} where state <> 'current' group by delivery_id"
            ).fetchall()
            connection.execute(
                f"create or replace temp table parent_{table.name} as select {', '.join(table.key)} "
                f"from read_parquet({_literal(output)})"
            )
            connection.execute(f"drop table version_{table.name}; drop table rejected_{table.name}")
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

"""Consolidates one hospital: the latest valid version of each business key, with standard codes. No Spark, no Postgres.

Version order = (sequence, source_updated_at, source file, line), never arrival: any order of the same deliveries gives the same
result. Only a valid version supersedes: quarantined ones are not in the landed files; where one is newer than the version served, that
one is flagged ``stale_correction``. A full delivery ends every key that it omits, for its tables and period; rows without a date lie where their
parent does, and patients and units end when no current record names them.

What several records say together, from current versions only (``layer_columns.DERIVED``): a patient's records bear the local id that the patient
was last merged into; records of one stay and bottles of one draw name the first of them; each stay has its end, the same for all who count
it. Each stays a row of its own: none is lost.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from estuaire.base.errors import RowUidCollision
from estuaire.contract.codes import code_systems, standard_codes
from estuaire.contract.layer_columns import consolidated_columns, landed_columns
from estuaire.contract.mapped_share import IN_TEXT, expression, in_text_flag
from estuaire.contract.registry import Hospital
from estuaire.contract.tables import Contract, Reference, Table, load_contract
from estuaire.kernel import antibacterials, clock, one_person
from estuaire.storage.duck import of_files

STAY_GAP_HOURS = 24  # records of a full stay this close are one stay (docs/domain/stays.md)
LONG_STAY_DAYS = 365  # a longer stay is listed: it may be true, or left open
# the code that decides what a hospital's consolidated files hold: a change of it rebuilds every hospital
_CODE = (
    "estuaire.kernel.consolidate", "estuaire.kernel.antibacterials", "estuaire.kernel.clock", "estuaire.kernel.one_person",
    "estuaire.contract.codes", "estuaire.storage.duck", "estuaire.contract.layer_columns", "estuaire.contract.mapped_share", "estuaire.base.normal_text",
)  # fmt: skip


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
    """What consolidating a hospital reads: landed Parquet files by table, its full deliveries, its open rejects, and the moment until which
    its stays are told (see ``stays_until``)."""

    hospital: Hospital
    files: dict[str, list[str]]
    fulls: list[Full] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    stays_until: datetime | None = None


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
    """Temporary table ``version_<table>``: one narrow row per landed record, ``state`` current, replaced, deleted or ended (by the record's
    own date; see ``_end_omitted`` for tables without one); ``rejected_<table>``: quarantined versions that stand open."""
    key = ", ".join(table.key)
    joined = f"concat_ws('|', {key})"
    day = f"{table.period_column}_local::date" if table.period_column else "null::date"
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
    dated = given.fulls if table.period_column else []
    ends = [f"({_omits(table, f, 'ranked')} and {_within(f, 'period_day')})" for f in dated if table.name in f.tables]
    ended = " or ".join(ends) or "false"
    connection.execute(
        f"create or replace temp table version_{table.name} as select *, case when place > 1 then 'replaced' when op = 'delete' then "
        f"'deleted' when {ended} then 'ended' else 'current' end as state, false as undated from (select {joined} as business_key, "
        f"{day} as period_day, op, sequence, source_updated_at, delivery_id, row_uid_hi, row_uid_lo, row_number() over newest_first as place, "
        "op = 'upsert' and lead(delivery_id) over newest_first = delivery_id as twin "
        f"from landed_{table.name} window newest_first as (partition by {key} order by sequence desc, source_updated_at desc nulls last, "
        "source_file desc, line_number desc, delivery_id desc)) as ranked"
    )
    _twice(connection, table)
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


def _twice(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Temporary table ``twice_<table>`` (business_key): keys of which the delivery that is served held two different records of the same
    moment. The last of them is served, as the order of versions says; the export is at fault, and nothing tells which is right."""
    contents = ", ".join(f"landed.{c.name}" for c in table.columns)
    connection.execute(
        f"create or replace temp table twice_{table.name} as with suspect as (select business_key, delivery_id, source_updated_at from "
        f"version_{table.name} where place = 1 and twin) select business_key from suspect "
        f"join version_{table.name} as version using (business_key, delivery_id) join landed_{table.name} as landed "
        "on landed.row_uid_hi = version.row_uid_hi and landed.row_uid_lo = version.row_uid_lo "
        "where version.op = 'upsert' and version.source_updated_at is not distinct from suspect.source_updated_at "
        f"group by business_key having count(distinct hash({contents})) > 1"
        if _any_twin(connection, table)
        else f"create or replace temp table twice_{table.name} (business_key varchar)"
    )


def _any_twin(connection: duckdb.DuckDBPyConnection, table: Table) -> bool:
    return bool(connection.execute(f"select 1 from version_{table.name} where place = 1 and twin limit 1").fetchone())


def _omits(table: Table, full: Full, of: str) -> str:
    """SQL: a full delivery of the table does not hold the key of a version of ``of``. A key stands in it too if its row there was
    quarantined."""
    return (
        f"{of}.sequence < {full.sequence} and not exists (select 1 from rejected_{table.name} r where r.business_key = "
        f"{of}.business_key and r.sequence = {full.sequence})"
    )


def _within(full: Full, day: str) -> str:
    return f"{day} >= date '{full.start}' and {day} < date '{full.end}'"


def _end_omitted(
    connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput, delivered: set[str]
) -> None:
    """Of a table without a date, what full deliveries end: rows whose parent lies in the period, and reference rows (patients, units) that
    no current record names. Called when every table that dates or names its rows has its states; see docs/decisions/0012-stays-and-fulls.md.
    """
    oldest = connection.execute(f"select min(sequence) from version_{table.name} where state = 'current'").fetchone()
    if table.period_column or oldest is None or oldest[0] is None:
        return
    fulls = [f for f in given.fulls if table.name in f.tables and f.sequence > oldest[0]]
    if not fulls:
        return
    if table.period_parent is not None:
        _end_by_parent(connection, table, table.period_parent, given, fulls, delivered)
    else:
        _end_unnamed(connection, table, given, fulls)


def _end_by_parent(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    parent: Reference,
    given: HospitalInput,
    fulls: list[Full],
    delivered: set[str],
) -> None:
    """A row lies where its parent lay as that full delivery knew it: by the parent's newest dated version up to the full, whatever became
    of it since (the full may end it, too); failing that by its first one after. Without any, the row stays, marked ``undated``."""
    known = [
        f"coalesce(arg_min(period_day, place) filter (where sequence <= {f.sequence}), "
        f"arg_max(period_day, place) filter (where sequence > {f.sequence})) as day_{i}"
        for i, f in enumerate(fulls)
    ]
    source = (
        f"select business_key as parent_key, {', '.join(known)} from version_{parent.table} where period_day is not null group by all"
        if parent.table in delivered
        else f"select null::varchar as parent_key, {', '.join(f'null::date as day_{i}' for i in range(len(fulls)))} where false"
    )
    omitted = [f"({_omits(table, f, 'version')})" for f in fulls]
    ended = " or ".join(
        f"({o} and {_within(f, f'day_{i}')})" for i, (o, f) in enumerate(zip(omitted, fulls, strict=True))
    )
    undated = " or ".join(f"({o} and day_{i} is null)" for i, o in enumerate(omitted))
    connection.execute(
        "create or replace temp table judged as select version.row_uid_hi, version.row_uid_lo, "
        f"coalesce({ended}, false) as ended, coalesce({undated}, false) as undated "
        f"from version_{table.name} as version join landed_{table.name} as landed "
        "on landed.row_uid_hi = version.row_uid_hi and landed.row_uid_lo = version.row_uid_lo "
        f"left join ({source}) as parent on parent.parent_key = concat_ws('|', {', '.join(f'landed.{c}' for c in parent.columns)}) "
        f"where version.state = 'current' and version.sequence < {max(f.sequence for f in fulls)}"
    )
    connection.execute(
        f"update version_{table.name} as version set state = case when judged.ended then 'ended' else 'current' end, "
        "undated = judged.undated and not judged.ended from judged where (judged.ended or judged.undated) and "
        "judged.row_uid_hi = version.row_uid_hi and judged.row_uid_lo = version.row_uid_lo"
    )


def _end_unnamed(connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput, fulls: list[Full]) -> None:
    """A patient or a unit lies in no period: one that a full delivery omits ends once no current record names it."""
    contract = load_contract()
    omitted = " or ".join(f"({_omits(table, f, 'version')})" for f in fulls)
    connection.execute(
        "create or replace temp table omitted as select landed.row_uid_hi, landed.row_uid_lo, "
        f"{', '.join(f'landed.{k}' for k in table.key)} from version_{table.name} as version "
        f"join landed_{table.name} as landed on landed.row_uid_hi = version.row_uid_hi "
        f"and landed.row_uid_lo = version.row_uid_lo where version.state = 'current' and ({omitted})"
    )
    for other in contract.tables:
        for reference in other.references:
            if reference.table != table.name or not given.files.get(other.name):
                continue
            matched = " and ".join(
                f"named.{a} = omitted.{b}" for a, b in zip(reference.columns, reference.to, strict=True)
            )
            connection.execute(
                f"delete from omitted where exists (select 1 from landed_{other.name} as named "
                f"join version_{other.name} as v on v.row_uid_hi = named.row_uid_hi and v.row_uid_lo = named.row_uid_lo "
                f"and v.state = 'current' where {matched})"
            )
    connection.execute(
        f"update version_{table.name} as version set state = 'ended' from omitted "
        "where omitted.row_uid_hi = version.row_uid_hi and omitted.row_uid_lo = version.row_uid_lo"
    )


def _standard_codes(
    connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput
) -> tuple[dict[str, str], str]:
    """Per code column the SQL of its standard code, and the joins with the hospital's maps: each text that the records bear is looked up
    once, in the one normal form (``estuaire.base.normal_text``), and the records are joined by the text itself."""
    expressions: dict[str, str] = {}
    joins = ""
    for column in table.columns:
        if column.type != "code" or column.code_system is None:
            continue
        written = connection.execute(
            f"select distinct {column.name} from landed_{table.name} where {column.name} is not null"
        ).fetchall()
        pairs = sorted(standard_codes(given.hospital, column.code_system, (text for (text,) in written)).items())
        name = f"map_{column.name}"
        connection.execute(f"create or replace temp table {name} (local_code varchar, standard_code varchar)")
        for start in range(0, len(pairs), 1000):
            rows = ", ".join(f"({_literal(a)}, {_literal(b)})" for a, b in pairs[start : start + 1000])
            connection.execute(f"insert into {name} values {rows}")
        joins += f" left join {name} on {name}.local_code = landed.{column.name}"
        expressions[column.name] = f"{name}.standard_code"
    return expressions, joins


def _open(connection: duckdb.DuckDBPyConnection, given: HospitalInput, contract: Contract) -> list[Table]:
    """Views ``landed_<table>`` over the landed files; the delivered tables. A file written before a column was added lacks it: null."""
    delivered = [t for t in contract.tables if given.files.get(t.name)]
    for table in delivered:
        rows = of_files(connection, given.files[table.name], landed_columns(table))
        connection.execute(f"create or replace temp view landed_{table.name} as {rows}")
    return delivered


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
            f"select l.patient_id from landed_patient l {current.format('patient')}"
        ).fetchall()
        merges = connection.execute(
            f"select l.old_patient_id, l.new_patient_id from landed_patient_merge l "
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


def depends_on(hospital: Hospital) -> str:
    """Hash of all that a hospital's consolidated files depend on beside its records and its code maps: the code (comments and docstrings
    apart), the contract, the code systems with their seeds, the names of antibacterials, the hospital's calendar, the limits of what is one person's."""
    told = (
        _code_hash(), load_contract(), code_systems(), antibacterials.names(), hospital.timezone, hospital.calendar, hospital.one_person
    )  # fmt: skip
    return hashlib.sha256(repr(told).encode()).hexdigest()


@lru_cache(maxsize=1)
def _code_hash() -> str:
    digest = hashlib.sha256()
    for name in _CODE:
        source = Path(importlib.import_module(name).__file__ or "").read_text(encoding="utf-8")
        digest.update(code_of(source).encode())
    return digest.hexdigest()


def code_of(source: str) -> str:
    """What a module's source does: its syntax tree without comments, layout and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def stays_until(hospital: Hospital, deliveries: Iterable[tuple[date, datetime]]) -> datetime | None:
    """The moment until which the hospital's stays are told: the end of the delivery of stays that reaches furthest. None where none does,
    or the calendar is shifted (its patients share no present).

    Args:
        deliveries: (end of the period, moment of the extraction) of each delivery that holds stays. A period may be declared to end after
            the extraction: nothing is known of that time.
    """
    if hospital.calendar == "shifted":
        return None
    zone = ZoneInfo(hospital.timezone)
    ends = [min(datetime.combine(end, time(), zone), extracted) for end, extracted in deliveries]
    return max(ends, default=None)


def _deaths(connection: duckdb.DuckDBPyConnection, given: HospitalInput) -> None:
    """Temporary table ``death`` (patient_id, died_at_local): end of the day of death of each patient, merges applied; the first day of several."""
    found = "select null::varchar as patient_id, null::timestamp as died_at_local where false"
    if given.files.get("patient"):
        found = (
            "select coalesce(survivor.new_id, landed.patient_id) as patient_id, "
            "min(landed.death_date) + interval 1 day - interval 1 second as died_at_local "
            "from landed_patient as landed join version_patient as version "
            "on version.row_uid_hi = landed.row_uid_hi and version.row_uid_lo = landed.row_uid_lo and version.state = 'current' "
            "left join survivor on survivor.old_id = landed.patient_id where landed.death_date is not null group by all"
        )
    connection.execute(f"create or replace temp table death as {found}")


def _stays(connection: duckdb.DuckDBPyConnection, given: HospitalInput, patient: str, joins: str, full: str) -> None:
    """Temporary table ``ended`` (row_uid_hi, row_uid_lo, ended_at, ended_at_local, whole_stay_id, ...): the end of each stay, the one that
    every model reads, and which stays are one (docs/domain/stays.md).

    A stay ends at the earliest of its discharge, the end of the patient's day of death, and ``stays_until``; one without a discharge also
    where the same patient's next full stay begins. Full stays of a patient that overlap, that follow each other within STAY_GAP_HOURS, or
    of which one names the one before as its previous stay, are one.
    """
    clock.install(connection, given.hospital.timezone)
    until = given.stays_until
    local = until and until.astimezone(ZoneInfo(given.hospital.timezone)).replace(tzinfo=None)
    following = "over (partition by patient_id order by {0} range between interval 1 microsecond following and unbounded following)"
    next_at = "min(admitted_at) filter (where kept) " + following.format("admitted_at")
    next_local = "min(admitted_at_local) filter (where kept) " + following.format("admitted_at_local")
    connection.execute(
        "create or replace temp table ended as with own as (select landed.row_uid_hi, landed.row_uid_lo, landed.stay_id, "
        f"landed.previous_stay_id, {patient} as patient_id, {full} as kept, landed.admitted_at, landed.admitted_at_local, "
        "landed.discharged_at, landed.discharged_at_local "
        f"from landed_stay as landed join version_stay as version on version.row_uid_hi = landed.row_uid_hi "
        f"and version.row_uid_lo = landed.row_uid_lo and version.state = 'current' {joins}), "
        "died as (select patient_id, died_at_local, clock_utc(died_at_local, span) as died_at from "
        "(select *, clock_span(died_at_local) as span from death)), "
        f"bounded as (select own.*, died.died_at, died.died_at_local, {next_at} as next_at, {next_local} as next_at_local "
        "from own left join died using (patient_id)), "
        "closed as (select *, "
        f"least(coalesce(discharged_at, next_at), died_at, {_literal(until and until.isoformat())}::timestamptz) as first_end, "
        f"least(coalesce(discharged_at_local, next_at_local), died_at_local, {_literal(local)}::timestamp) as first_end_local from bounded), "
        "told as (select * exclude (first_end, first_end_local), first_end is null as untold, "
        "greatest(admitted_at, first_end) as ended_at, greatest(admitted_at_local, first_end_local) as ended_at_local from closed), "
        "stepped as (select *, max(ended_at) over w as before, lag(stay_id) over (partition by patient_id, kept "
        "order by admitted_at, stay_id) as stay_before from told window w as (partition by patient_id, kept order by admitted_at, "
        "stay_id rows between unbounded preceding and 1 preceding)), "
        "numbered as (select *, sum(case when kept and (before is not null and admitted_at <= before + "
        f"interval {STAY_GAP_HOURS} hours or previous_stay_id = stay_before) then 0 else 1 end) over (partition by patient_id, kept "
        "order by admitted_at, stay_id rows unbounded preceding) as chain from stepped) "
        "select row_uid_hi, row_uid_lo, ended_at, ended_at_local, untold, "
        f"ended_at > admitted_at + interval {LONG_STAY_DAYS} days as long, "
        "first_value(stay_id) over (partition by patient_id, kept, chain order by admitted_at, stay_id) as whole_stay_id from numbered"
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
    codes, code_joins = _standard_codes(connection, table, given)
    patient, merge_joins = "landed.patient_id", ""
    if merged and any(c.name == "patient_id" for c in table.columns):
        merge_joins = " left join survivor on survivor.old_id = landed.patient_id"
        if table.name != "patient":
            patient = "coalesce(survivor.new_id, landed.patient_id)"
    flags, flag_joins = _orphan_flags(connection, table, known, patient)
    flag_joins = merge_joins + flag_joins
    flag_joins += f" left join twice_{table.name} as twice on twice.business_key = version.business_key"
    flags.append(f"case when twice.business_key is not null then '{table.name}.key.twice' end")
    if any(c.name == "patient_id" for c in table.columns):
        nobody, nobody_join = one_person.flag_sql(table, patient)
        flags.append(nobody)
        flag_joins += nobody_join
    derived = {"merged_into": "survivor.new_id" if merged else "null::varchar"}
    if table.name == "stay":
        _stays(connection, given, patient, code_joins + merge_joins, f"coalesce({codes['stay_type']} = 'full', false)")
        flag_joins += " join ended on ended.row_uid_hi = landed.row_uid_hi and ended.row_uid_lo = landed.row_uid_lo"
        derived |= {name: f"ended.{name}" for name in ("whole_stay_id", "ended_at", "ended_at_local")}
        flags.append(f"case when ended.long then 'stay.length.above_{LONG_STAY_DAYS}_days' end")
        flags.append("case when ended.untold then 'stay.end.unknown' end")
    if table.period_parent is not None:
        flags.append(f"case when version.undated then '{table.name}.omitted.undated' end")
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
        flag, join = antibacterials.flag_sql(connection, f"landed_{table.name}", codes["drug_code"], code_joins)
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
    output.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(
        f"copy (select {', '.join(selected)} from landed_{table.name} as landed "
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


def _one_person(connection: duckdb.DuckDBPyConnection, given: HospitalInput, delivered: list[Table]) -> None:
    """Temporary table ``not_one_person``: the patient ids that stand for many (see ``one_person.find``)."""
    names = {t.name: t for t in delivered}
    full = ("true", "")
    if "stay" in names:
        codes, joins = _standard_codes(connection, names["stay"], given)
        full = (f"{codes['stay_type']} = 'full'", joins)
    one_person.find(connection, given.hospital, names, full)


def _judge(connection: duckdb.DuckDBPyConnection, given: HospitalInput, delivered: list[Table]) -> None:
    """Temporary table ``version_<table>`` of every delivered table: the state of each landed record."""
    for table in delivered:
        _rank(connection, table, given)
    # from the tables that name others to those that are named: patients and units end last
    for table in reversed(delivered):
        _end_omitted(connection, table, given, {t.name for t in delivered})


def ended_by(
    standing: HospitalInput, full: Full, files: dict[str, list[str]], rejected: list[Rejected], contract: Contract
) -> dict[str, tuple[int, int]]:
    """What a full delivery would end, by the very rules of the consolidation.

    Args:
        standing: what is landed without it.
        files, rejected: its landed files by table, and its quarantined versions.

    Returns:
        Table of the full -> (records current now that it ends, records that it would end if it held none: those of its period). A table
        of which nothing lies in the period is left out.
    """
    with_it = replace(
        standing,
        files={t: [*standing.files.get(t, ()), *files.get(t, ())] for t in {**standing.files, **files}},
        fulls=[*standing.fulls, full],
        rejected=[*standing.rejected, *rejected],
    )
    connection = duckdb.connect(config={"threads": 1})
    try:
        connection.execute("set timezone = 'UTC'")
        tables = _open(connection, standing, contract)
        _judge(connection, standing, tables)
        for table in tables:
            connection.execute(
                f"create temp table standing_{table.name} as select row_uid_hi, row_uid_lo from version_{table.name} where state = 'current'"
            )
        in_period = _ended(connection, replace(standing, fulls=[*standing.fulls, full]), tables, full)
        ended = _ended(connection, with_it, _open(connection, with_it, contract), full)
    finally:
        connection.close()
    return {table: (ended.get(table, 0), of) for table, of in in_period.items() if of}


def _ended(
    connection: duckdb.DuckDBPyConnection, given: HospitalInput, delivered: list[Table], full: Full
) -> dict[str, int]:
    """Records of ``standing_<table>`` that are ended once all of ``given`` is judged."""
    _judge(connection, given, delivered)
    found: dict[str, int] = {}
    known = {
        name for (name,) in connection.execute("select table_name from duckdb_tables() where temporary").fetchall()
    }
    for table in delivered:
        if table.name in full.tables and f"standing_{table.name}" in known:
            row = connection.execute(
                f"select count(*) from standing_{table.name} join version_{table.name} using (row_uid_hi, row_uid_lo) where state = 'ended'"
            ).fetchone()
            found[table.name] = int(row[0]) if row else 0
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
        delivered = _open(connection, given, contract)
        _judge(connection, given, delivered)
        merged = _merge_patients(connection, given)
        _deaths(connection, given)
        _one_person(connection, given, delivered)
        for table in delivered:
            output = Path(output_for(table.name))
            _write(connection, table, given, known, merged, output)
            gone = connection.execute(
                "select delivery_id, count(*), sum(row_uid_hi::hugeint) + sum(row_uid_lo::hugeint) "
                f"from version_{table.name} where state <> 'current' group by delivery_id"
            ).fetchall()
            connection.execute(
                f"create or replace temp table parent_{table.name} as select {', '.join(table.key)} "
                f"from read_parquet({_literal(output)})"
            )
            connection.execute(
                f"drop table version_{table.name}; drop table rejected_{table.name}; drop table twice_{table.name}"
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

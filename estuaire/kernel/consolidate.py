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
from datetime import UTC, date, datetime, time
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa

from estuaire.base.errors import RowUidCollision
from estuaire.base.sql import Sql, Statements, literal
from estuaire.contract.codes import code_systems, standard_codes
from estuaire.contract.layer_columns import landed_columns
from estuaire.contract.mapped_share import IN_TEXT, expression, in_text_flag
from estuaire.contract.registry import Hospital
from estuaire.contract.tables import Contract, Reference, Table, load_contract
from estuaire.kernel import antibacterials, clock, consolidated_file, one_person
from estuaire.kernel.identity import hash_sum
from estuaire.kernel.layer_file import LandedFiles
from estuaire.storage.duck import STATEMENTS as FILES
from estuaire.storage.duck import of_files, relation

STAY_GAP_HOURS = 24  # records of a full stay this close are one stay (docs/domain/stays.md)
LONG_STAY_DAYS = 365  # a longer stay is listed: it may be true, or left open
# the code that decides what a hospital's consolidated files hold: a change of it rebuilds every hospital
_CODE = (
    "estuaire.kernel.consolidate", "estuaire.kernel.antibacterials", "estuaire.kernel.clock", "estuaire.kernel.one_person",
    "estuaire.kernel.consolidated_file", "estuaire.kernel.layer_file", "estuaire.kernel.texts",
    "estuaire.contract.codes", "estuaire.storage.duck", "estuaire.contract.layer_columns", "estuaire.contract.mapped_share", "estuaire.base.normal_text",
    "estuaire.base.sql",
)  # fmt: skip
STATEMENTS = Statements(Path(__file__).parent / "sql" / "consolidate")
_JOINED = {"stay": ("stay_type",), "specimen": ("nature", "purpose"), "administration": ("drug_code",)}
_UID = pa.schema([("row_uid_hi", pa.int64()), ("row_uid_lo", pa.int64())])


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


def _run(connection: duckdb.DuckDBPyConnection, statement: str, **given: Any) -> duckdb.DuckDBPyConnection:
    return connection.execute(STATEMENTS(statement, **given))


def _as_given(fulls: Iterable[Full]) -> list[dict[str, Any]]:
    """Full deliveries as templates take them."""
    return [{"sequence": f.sequence, "start": literal(f.start), "end": literal(f.end)} for f in fulls]


def _rank(connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput) -> None:
    """Temporary table ``apart_<table>``: records that are not the only version of their key, deletions, and those that a full delivery ends (by
    their own date; see ``_end_omitted`` for tables without one), each with its ``state`` (current, replaced, deleted, ended); view
    ``version_<table>``: every landed record with its state; ``rejected_<table>``: quarantined versions that stand open."""
    rejected = [(r.business_key, r.sequence, r.source_updated_at) for r in given.rejected if r.table == table.name]
    kinds = {"business_key": "varchar", "sequence": "bigint", "source_updated_at": "timestamptz"}
    relation(connection, f"rejected_{table.name}", kinds, rejected)
    ending = [f for f in given.fulls if table.name in f.tables] if table.period_column else []
    told = {"table": table.name, "key": table.key, "period": table.period_column or ""}
    _run(connection, "versions", fulls=_as_given(ending), **told)
    _run(connection, "version", **told)
    row = _run(connection, "collisions", table=table.name).fetchone()
    if row and row[0]:
        raise RowUidCollision(
            "two records of this hospital have the same row_uid",
            remedy="report this as a defect of the platform: no row was consolidated",
            hospital=given.hospital.id,
            table=table.name,
        )


def _twice(connection: duckdb.DuckDBPyConnection, table: Table) -> bool:
    """Whether there are keys of which the delivery that is served held two different records of the same moment; temporary table
    ``twice_<table>`` (business_key) of them, made where there may be one. The last of the records is served, as the order of versions says; the
    export is at fault, and nothing tells which is right."""
    if _run(connection, "any_twin", table=table.name).fetchone() is None:
        return False
    _run(connection, "twice", table=table.name, columns=[c.name for c in table.columns])
    return True


def _end_omitted(
    connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput, delivered: set[str]
) -> None:
    """Of a table without a date, what full deliveries end: rows whose parent lies in the period, and reference rows (patients, units) that
    no current record names. Called when every table that dates or names its rows has its states; see docs/decisions/0012-stays-and-fulls.md.
    """
    fulls = [f for f in given.fulls if table.name in f.tables]
    if table.period_column or not fulls:
        return
    oldest = _run(connection, "oldest_current", table=table.name).fetchone()
    fulls = [f for f in fulls if oldest and oldest[0] is not None and f.sequence > oldest[0]]
    if not fulls:
        return
    if table.period_parent is not None:
        _end_by_parent(connection, table, table.period_parent, fulls, delivered)
    else:
        _end_unnamed(connection, table, given, fulls)


def _end_by_parent(
    connection: duckdb.DuckDBPyConnection, table: Table, parent: Reference, fulls: list[Full], delivered: set[str]
) -> None:
    """End the rows whose parent lay in the period of a full delivery that omits them, or mark them ``undated`` (see ``judged.sql``)."""
    _run(
        connection,
        "judged",
        table=table.name,
        parent=parent.table,
        parent_is_there=parent.table in delivered,
        columns=parent.columns,
        fulls=_as_given(fulls),
        newest=max(f.sequence for f in fulls),
    )
    _run(connection, "ended_by_parent", table=table.name)


def _end_unnamed(connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput, fulls: list[Full]) -> None:
    """A patient or a unit lies in no period: one that a full delivery omits ends once no current record names it."""
    _run(connection, "omitted", table=table.name, key=table.key, fulls=_as_given(fulls))
    for other in load_contract().tables:
        for reference in other.references:
            if reference.table != table.name or not given.files.get(other.name):
                continue
            pairs = list(zip(reference.columns, reference.to, strict=True))
            _run(connection, "named", table=other.name, pairs=pairs)
    _run(connection, "ended_unnamed", table=table.name)


def _standard_codes(
    connection: duckdb.DuckDBPyConnection, table: Table, given: HospitalInput
) -> dict[str, dict[str, str]]:
    """The coded columns of a table, each with its local codes and their standard codes: each text that the records bear is looked up once, in the one
    normal form (``estuaire.base.normal_text``). Those that statements read are temporary tables, too: ``map_<column>`` (local_code, standard_code).
    """
    columns = {c.name: c.code_system for c in table.columns if c.type == "code" and c.code_system is not None}
    if not columns:
        return {}
    written = _run(connection, "written_codes", table=table.name, columns=list(columns)).fetchone()
    assert written is not None  # noqa: S101 - an aggregate always gives one row
    coded = {
        name: standard_codes(given.hospital, system, texts or ())
        for (name, system), texts in zip(columns.items(), written, strict=True)
    }
    for name in _joined(table):
        kinds = {"local_code": "varchar", "standard_code": "varchar"}
        relation(connection, f"map_{name}", kinds, sorted(coded[name].items()))
    return coded


def _joined(table: Table) -> list[str]:
    """The coded columns whose standard codes statements read."""
    in_text = [c.name for c in table.columns if in_text_flag(table.name, c.name) is not None]
    return list(dict.fromkeys([*_JOINED.get(table.name, ()), *in_text]))


def _open(connection: duckdb.DuckDBPyConnection, given: HospitalInput, contract: Contract) -> list[Table]:
    """Views ``landed_<table>`` over the landed files; the delivered tables. A file written before a column was added lacks it: null."""
    delivered = [t for t in contract.tables if given.files.get(t.name)]
    for table in delivered:
        rows = of_files(connection, given.files[table.name], landed_columns(table))
        _run(connection, "landed", table=table.name, rows=rows)
    return delivered


def survivors(merges: list[tuple[str, str]], patients: set[str]) -> tuple[dict[str, str], set[str]]:
    """Former local id -> the id that its records bear now, through chains of merges; and the ids that merge in a circle.

    Args:
        merges: (old, new), the deciding one of an old id last.
        patients: ids that have a current patient record. A merge into an id without one is not applied: its records would lose their
            patient; it stands flagged as orphan instead. Ids in a circle stay apart.
    """
    following = {old: new for old, new in merges if new in patients and old != new}
    survivor_of: dict[str, str] = {}
    circular: set[str] = set()
    for old in following:
        path, last = {old}, following[old]
        while last in following and last not in path:
            path.add(last)
            last = following[last]
        if last in path:
            circular.add(old)
        else:
            survivor_of[old] = last
    return survivor_of, circular


def _merge_patients(connection: duckdb.DuckDBPyConnection, given: HospitalInput) -> dict[str, str]:
    """Former local id of a patient -> the one that its records bear now. Temporary tables ``survivor`` (old_id, new_id), the same, and ``circular``
    (old_id)."""
    survivor_of: dict[str, str] = {}
    circular: set[str] = set()
    if given.files.get("patient_merge") and given.files.get("patient"):
        patients = _run(connection, "patients").fetchall()
        merges = _run(connection, "merges").fetchall()
        survivor_of, circular = survivors(merges, {p for (p,) in patients})
    relation(connection, "survivor", {"old_id": "varchar", "new_id": "varchar"}, sorted(survivor_of.items()))
    relation(connection, "circular", {"old_id": "varchar"}, [(old,) for old in sorted(circular)])
    return survivor_of


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
    for statements in (STATEMENTS, FILES):
        digest.update(statements.fingerprint().encode())
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
    """Temporary table ``death`` (patient_id, died_at_local, died_at): end of the day of death of each patient, merges applied; the first day of
    several."""
    died = _run(connection, "deaths", patients_are_there=bool(given.files.get("patient"))).fetchall()
    local = np.array([clock.micros(at.replace(tzinfo=UTC)) for _, at in died], np.int64)
    utc = clock.clock_of(given.hospital.timezone).told(local).utc.tolist()
    rows = [
        (patient, at.isoformat(), clock.moment(moment).isoformat())
        for (patient, at), moment in zip(died, utc, strict=True)
    ]
    kinds = {"patient_id": "varchar", "died_at_local": "timestamp", "died_at": "timestamptz"}
    relation(connection, "death", kinds, rows)


def _stays(connection: duckdb.DuckDBPyConnection, given: HospitalInput, moved: bool) -> None:
    """Temporary table ``ended`` (row_uid_hi, row_uid_lo, ended_at, ended_at_local, whole_stay_id, ...): the end of each stay, the one that
    every model reads, and which stays are one (docs/domain/stays.md).

    Args:
        moved: whether a record's patient may be another one after merges.
    """
    until = given.stays_until
    local = until and until.astimezone(ZoneInfo(given.hospital.timezone)).replace(tzinfo=None)
    _run(
        connection,
        "stays",
        codes=_JOINED["stay"],
        moved=moved,
        until=literal(until),
        until_local=literal(local),
        gap_hours=STAY_GAP_HOURS,
        long_days=LONG_STAY_DAYS,
    )


def _orphans(table: Table, known: set[str]) -> list[dict[str, Any]]:
    """References that are judged, as ``flagged.sql`` takes them. One to a table not delivered is not."""
    return [
        {
            "table": reference.table,
            "columns": reference.columns,
            "to": reference.to,
            "pairs": list(zip(reference.columns, reference.to, strict=True)),
            "flag": literal(f"{table.name}.{reference.columns[-1]}.orphan"),
        }
        for reference in table.references
        if reference.table in known and reference.table != table.name
    ]


def _relation(connection: duckdb.DuckDBPyConnection, statement: str, **given: Any) -> pa.Table:
    return _run(connection, statement, **given).to_arrow_table()


def _flagged(
    connection: duckdb.DuckDBPyConnection, table: Table, known: set[str], merged: bool, moved: bool
) -> pa.Table:
    """Flags of the current records that bear any."""
    in_text = [
        {"column": name, "form": literal(IN_TEXT[f"{table.name}.{name}"]), "flag": literal(flag)}
        for name in (column.name for column in table.columns)
        if (flag := in_text_flag(table.name, name)) is not None
    ]
    flags = {
        "twice": f"{table.name}.key.twice",
        "nobody": f"{table.name}.patient_id.{one_person.FLAG}",
        "long": f"stay.length.above_{LONG_STAY_DAYS}_days",
        "undated": f"{table.name}.omitted.undated",
        "antibacterial": antibacterials.FLAG,
    }
    return _relation(
        connection,
        "flagged",
        table=table.name,
        codes=["drug_code"] if table.name == "administration" else [text["column"] for text in in_text],
        orphans=_orphans(table, known),
        in_text=in_text,
        flags={name: literal(flag) for name, flag in flags.items()},
        has_patient=any(c.name == "patient_id" for c in table.columns),
        has_parent=table.period_parent is not None,
        any_twice=_twice(connection, table),
        merged=merged,
        moved=moved,
    )


def _write(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    given: HospitalInput,
    known: set[str],
    survivor_of: dict[str, str],
    output: Path,
) -> dict[str, tuple[int, int]]:
    """Write a consolidated table; per delivery the records that are not in it, as ``TableOutcome.superseded``."""
    codes = _standard_codes(connection, table, given)
    moved = bool(survivor_of) and table.name != "patient" and any(c.name == "patient_id" for c in table.columns)
    if table.name == "stay":
        _stays(connection, given, moved)
    if table.name == "administration":
        antibacterials.find(connection, STATEMENTS("unmapped_drugs", codes=_joined(table)))
    of_records = [_flagged(connection, table, known, bool(survivor_of), moved)]
    if table.name == "stay":
        of_records.append(_relation(connection, "ends"))
    if table.name == "specimen":
        of_records.append(_relation(connection, "draws", codes=_joined(table), moved=moved))
    any_rejected = any(r.table == table.name for r in given.rejected)
    gone = _relation(connection, "not_current", table=table.name)
    said = consolidated_file.Said(
        gone=gone,
        stale=_relation(connection, "stale", table=table.name) if any_rejected else _UID.empty_table(),
        of_records=tuple(of_records),
        codes=codes,
        survivors=survivor_of,
    )
    consolidated_file.write(output, table, LandedFiles(given.files[table.name]), said)
    return _by_delivery(gone)


def _by_delivery(gone: pa.Table) -> dict[str, tuple[int, int]]:
    """Records and hash sum of each delivery."""
    deliveries = gone["delivery_id"].combine_chunks().dictionary_encode()
    of = deliveries.indices.to_numpy()
    hi, lo = (gone[name].to_numpy() for name in _UID.names)
    return {
        delivery: (int((of == n).sum()), hash_sum(hi[of == n], lo[of == n]))
        for n, delivery in enumerate(deliveries.dictionary.to_pylist())
    }


def _unmapped(
    connection: duckdb.DuckDBPyConnection, table: Table, output: Path
) -> dict[str, dict[str, dict[str, int]]]:
    systems = {f"{table.name}.{c.name}": c.code_system for c in table.columns if c.type == "code" and c.code_system}
    if not systems:
        return {}
    columns = [(place, place.split(".")[1]) for place in systems]
    codes = [{"place": literal(p), "column": c, "mapped": Sql(expression(table.name, c))} for p, c in columns]
    unmapped: dict[str, dict[str, dict[str, int]]] = {}
    for place, code, count in _run(connection, "unmapped_codes", counted=codes, output=literal(output)).fetchall():
        unmapped.setdefault(systems[place], {}).setdefault(code, {})[place] = int(count)
    return unmapped


def _one_person(connection: duckdb.DuckDBPyConnection, given: HospitalInput, delivered: list[Table]) -> None:
    """Temporary table ``not_one_person``: the patient ids that stand for many (see ``one_person.find``)."""
    names = {t.name: t for t in delivered}
    if "stay" in names:
        _standard_codes(connection, names["stay"], given)
    one_person.find(connection, STATEMENTS, given.hospital, names, _JOINED["stay"])


def _judge(connection: duckdb.DuckDBPyConnection, given: HospitalInput, delivered: list[Table]) -> None:
    """The state of each landed record of every delivered table (see ``_rank``)."""
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
            _run(connection, "standing", table=table.name)
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
    ended: dict[str, int] = {}
    known = {
        name for (name,) in connection.execute("select table_name from duckdb_tables() where temporary").fetchall()
    }
    for table in delivered:
        if table.name in full.tables and f"standing_{table.name}" in known:
            row = _run(connection, "standing_ended", table=table.name).fetchone()
            ended[table.name] = int(row[0]) if row else 0
    return ended


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
        survivor_of = _merge_patients(connection, given)
        _deaths(connection, given)
        _one_person(connection, given, delivered)
        for table in delivered:
            output = Path(output_for(table.name))
            superseded = _write(connection, table, given, known, survivor_of, output)
            _run(connection, "parents", table=table.name, key=table.key, output=literal(output))
            known.add(table.name)
            row = _run(connection, "content", output=literal(output)).fetchone()
            assert row is not None  # noqa: S101 - an aggregate always gives one row
            outcomes.append(
                TableOutcome(
                    table=table.name,
                    output=str(output),
                    rows=int(row[0]),
                    superseded=superseded,
                    unmapped=_unmapped(connection, table, output),
                    content_hash=f"{int(row[1]):x}",
                )
            )
    finally:
        connection.close()
    return outcomes

"""Consolidating a hospital in DuckDB, with all that ours does: versions, deletions, full deliveries, merges, codes, ends of stays, flags, accounts.

Written anew from docs/domain/deliveries.md, stays.md, isolates.md, codes.md and docs/decisions/0012-stays-and-fulls.md and 0018-*.md; statements in ``sql/``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from estuaire.base.sql import Sql, literal, texts
from estuaire.contract.codes import standard_codes
from estuaire.contract.layer_columns import consolidated_columns
from estuaire.contract.mapped_share import IN_TEXT, expression, in_text_flag
from estuaire.contract.tables import Contract, Table
from tests.benchmarks.peers.same_checks import GAP_HOURS, LONG_DAYS, Consolidated, Deliveries, Full
from tests.benchmarks.peers.same_duckdb import STATEMENTS
from tests.benchmarks.peers.same_texts import names_antibacterial

_MOMENT = pa.timestamp("us", tz="UTC")
_NAMING_A_STAY = ("specimen", "prescription", "administration", "lab_result")
_DATED = (("specimen", "collected_at_local"), ("stay", "admitted_at_local"))


@dataclass
class _Hospital:
    """A hospital's consolidation: tables ``version_<table>`` of every landed record, ``current_<table>`` of the current ones."""

    connection: duckdb.DuckDBPyConnection
    given: Deliveries
    contract: Contract
    here: list[str]
    outputs: dict[str, Path] = field(default_factory=dict)

    def run(self, statement: str, **given: Any) -> duckdb.DuckDBPyConnection:
        return self.connection.execute(STATEMENTS(statement, **given))

    def relation(self, name: str, columns: dict[str, Any], rows: Iterable[tuple[Any, ...]]) -> None:
        """A temporary table of rows that Python knows."""
        listed = list(zip(*rows, strict=True)) or [()] * len(columns)
        arrays = [pa.array(values, kind) for values, kind in zip(listed, columns.values(), strict=True)]
        self.connection.register("rows", pa.table(arrays, names=list(columns)))
        self.connection.execute(f'create or replace temp table "{name}" as from rows')
        self.connection.unregister("rows")


def _as_given(fulls: Iterable[Full]) -> list[dict[str, Any]]:
    return [
        {"sequence": f.sequence, "start": Sql(f"date {literal(f.start)}"), "end": Sql(f"date {literal(f.end)}")}
        for f in fulls
    ]


def _rank(hospital: _Hospital, table: Table, landed: list[Path]) -> None:
    rejected = hospital.given.rejected.get(table.name, [])
    columns = {"business_key": pa.string(), "sequence": pa.int64(), "source_updated_at": _MOMENT}
    hospital.relation(f"rejected_{table.name}", columns, rejected)
    fulls = [f for f in hospital.given.fulls if table.period_column and table.name in f.tables]
    hospital.run(
        "versions", table=table.name, key=table.key, period=table.period_column or "", files=texts(landed),
        rejected=bool(rejected), fulls=_as_given(fulls),
    )  # fmt: skip
    row = hospital.connection.execute(
        f"select count(*) - count(distinct (row_uid_hi, row_uid_lo)) from version_{table.name}"
    ).fetchone()
    if row and row[0]:
        raise AssertionError(f"two records of {table.name} have one identity")


def _end_omitted(hospital: _Hospital, table: Table) -> None:
    """Of a table without a date, what full deliveries end."""
    row = hospital.connection.execute(
        f"select min(sequence) from version_{table.name} where state = 'current'"
    ).fetchone()
    fulls = [f for f in hospital.given.fulls if table.name in f.tables and row and row[0] and f.sequence > row[0]]
    if table.period_column or not fulls:
        return
    rejected = bool(hospital.given.rejected.get(table.name))
    told = {"table": table.name, "fulls": _as_given(fulls), "rejected": rejected}
    parent = table.period_parent
    if parent is not None:
        pairs = list(zip(parent.columns, parent.to, strict=True))
        there = parent.table in hospital.here
        hospital.run("ended_by_parent", **told, parent=parent.table, parent_is_there=there, to=parent.to, pairs=pairs)
        return
    names = [
        {"table": other.name, "pairs": list(zip(reference.columns, reference.to, strict=True))}
        for other in hospital.contract.tables
        for reference in other.references
        if reference.table == table.name and other.name in hospital.here
    ]
    hospital.run("ended_unnamed", **told, names=names)


def _merge(hospital: _Hospital) -> bool:
    """Tables ``survivor`` and ``circular``; whether a record may bear another patient's id."""
    survivors: dict[str, str] = {}
    circular: list[str] = []
    if {"patient", "patient_merge"} <= set(hospital.here):
        merges = hospital.connection.execute(
            "select old_patient_id, new_patient_id from version_patient_merge as merged "
            "where state = 'current' and old_patient_id <> new_patient_id "
            "and new_patient_id in (select patient_id from version_patient where state = 'current') "
            "order by merged_at nulls first, sequence, new_patient_id"
        ).fetchall()
        into = dict(merges)
        for old in into:
            passed = [old]
            while passed[-1] in into and len(passed) == len(set(passed)):
                passed.append(into[passed[-1]])
            if len(passed) > len(set(passed)):
                circular.append(old)
            else:
                survivors[old] = passed[-1]
    text = pa.string()
    hospital.relation("survivor", {"old_id": text, "new_id": text}, sorted(survivors.items()))
    hospital.relation("circular", {"old_id": text}, [(old,) for old in circular])
    return bool(survivors)


def _coded(table: Table) -> list[tuple[str, str]]:
    return [(c.name, c.code_system) for c in table.columns if c.type == "code" and c.code_system]


def _current(hospital: _Hospital, table: Table, moved: bool) -> None:
    """Table ``current_<table>``."""
    coded = _coded(table)
    for name, system in coded:
        rows = hospital.connection.execute(f'select distinct "{name}" from version_{table.name}').fetchall()
        codes = standard_codes(hospital.given.hospital, system, [code for (code,) in rows if code is not None])
        hospital.relation(f"map_{name}", {"local": pa.string(), "standard": pa.string()}, codes.items())
    has_patient = any(c.name == "patient_id" for c in table.columns)
    moves = moved and has_patient and table.name != "patient"
    hospital.run("current", table=table.name, moved=moves, coded=[name for name, _ in coded])


def _said_together(hospital: _Hospital) -> None:
    """Tables ``death``, ``nobody`` and ``ended_stay``."""
    entry, until = hospital.given.hospital, hospital.given.told_until
    hospital.run("deaths", zone=literal(entry.timezone), patients="patient" in hospital.here)
    hospital.run(
        "nobody", here=hospital.here, limits=entry.one_person, years=entry.one_person.years_of_age + 1,
        shifted=entry.calendar == "shifted", dated=_DATED, naming_a_stay=_NAMING_A_STAY,
    )  # fmt: skip
    if "stay" in hospital.here:
        local = until and until.astimezone(ZoneInfo(entry.timezone)).replace(tzinfo=None)
        hospital.run(
            "stays", until=literal(until and until.astimezone(UTC)), until_local=literal(local), gap_hours=GAP_HOURS,
            long_days=LONG_DAYS,
        )  # fmt: skip


def _antibacterials(hospital: _Hospital) -> None:
    """Table ``antibacterial``: drugs that no map knows, and that name one."""
    written = hospital.connection.execute(
        "select distinct coalesce(drug_code, ''), coalesce(drug_label, '') from version_administration as record "
        "left join map_drug_code on map_drug_code.local = record.drug_code where map_drug_code.standard is null"
    ).fetchall()
    named = [pair for pair in written if names_antibacterial(*pair)]
    hospital.relation("antibacterial", {"drug_code": pa.string(), "drug_label": pa.string()}, named)


def _orphans(hospital: _Hospital, table: Table) -> list[dict[str, Any]]:
    return [
        {
            "name": f"key_{n}", "own": reference.columns, "to": reference.to, "output": literal(hospital.outputs[reference.table]),
            "pairs": list(zip(reference.columns, reference.to, strict=True)), "flag": literal(f"{table.name}.{reference.columns[-1]}.orphan"),
        }
        for n, reference in enumerate(table.references)
        if reference.table in hospital.outputs and reference.table != table.name
    ]  # fmt: skip


def _flags(table: Table) -> dict[str, Sql]:
    named = {
        "twice": f"{table.name}.key.twice",
        "nobody": f"{table.name}.patient_id.not_one_person",
        "long": f"stay.length.above_{LONG_DAYS}_days",
        "unknown_end": "stay.end.unknown",
        "undated": f"{table.name}.omitted.undated",
        "circular": "patient_merge.old_patient_id.circular",
        "antibacterial": "administration.drug_code.antibacterial",
    }
    return {name: literal(flag) for name, flag in named.items()}


def _written(table: Table) -> list[dict[str, Any]]:
    """The columns of the consolidated file, each with what it is made of."""
    coded = {name for name, _ in _coded(table)}
    of_code = {f"{name}_source": f'"{name}"' for name in coded} | {name: f'"{name}__standard"' for name in coded}
    return [
        {"name": c.name, "value": Sql(f"{of_code.get(c.name, f'flagged.{c.name}')}::{c.duckdb}")}
        for c in consolidated_columns(table)
    ]


def _write(hospital: _Hospital, table: Table, target: Path) -> Consolidated:
    name = table.name
    if name == "administration":
        system = table.column("drug_code").code_system
        rows = hospital.connection.execute("select distinct drug_code from version_administration").fetchall()
        codes = standard_codes(hospital.given.hospital, str(system), [code for (code,) in rows if code is not None])
        hospital.relation("map_drug_code", {"local": pa.string(), "standard": pa.string()}, codes.items())
        _antibacterials(hospital)
    suspect = hospital.connection.execute(f"select 1 from version_{name} where place = 1 and twin limit 1").fetchone()
    if suspect:
        hospital.run("twice", table=name, key=table.key, columns=[c.name for c in table.columns])
    in_text = [
        {"column": c.name, "form": literal(IN_TEXT[f"{name}.{c.name}"]), "flag": literal(flag)}
        for c in table.columns
        if (flag := in_text_flag(name, c.name)) is not None
    ]
    has_patient = any(c.name == "patient_id" for c in table.columns)
    hospital.run(
        "written", table=name, key=table.key, orphans=_orphans(hospital, table), any_twice=bool(suspect), has_patient=has_patient,
        has_parent=table.period_parent is not None, in_text=in_text, flags=_flags(table), stale=bool(hospital.given.rejected.get(name)),
        written=_written(table), by="patient_id" if has_patient else table.key[0], target=literal(target),
    )  # fmt: skip
    hospital.outputs[name] = target
    row = hospital.connection.execute(
        f"select count(*), sum(hash(written)::hugeint) from read_parquet({literal(target)}) as written"
    ).fetchone()
    superseded = {d: [n, int(s)] for d, n, s in hospital.run("superseded", table=name).fetchall()}
    return Consolidated(name, int(row[0]) if row else 0, superseded, _unmapped(hospital, table, target))


def _unmapped(hospital: _Hospital, table: Table, target: Path) -> dict[str, dict[str, dict[str, int]]]:
    systems = {f"{table.name}.{name}": system for name, system in _coded(table)}
    codes = [
        {"place": literal(f"{table.name}.{name}"), "column": name, "mapped": Sql(expression(table.name, name))}
        for name, _ in _coded(table)
    ]
    unmapped: dict[str, dict[str, dict[str, int]]] = {}
    if codes:
        for place, code, records in hospital.run("unmapped", codes=codes, target=literal(target)).fetchall():
            unmapped.setdefault(systems[place], {}).setdefault(code, {})[place] = records
    return unmapped


def consolidate(
    connection: duckdb.DuckDBPyConnection,
    given: Deliveries,
    contract: Contract,
    landed: dict[str, list[Path]],
    folder: Path,
) -> list[Consolidated]:
    """Every landed table of a hospital, written to ``out-<table>.parquet``."""
    connection.execute("pragma enable_optimizer")
    delivered = [t for t in contract.tables if landed.get(t.name)]
    hospital = _Hospital(connection, given, contract, [t.name for t in delivered])
    for table in delivered:
        _rank(hospital, table, landed[table.name])
    for table in reversed(delivered):
        _end_omitted(hospital, table)
    moved = _merge(hospital)
    for table in delivered:
        _current(hospital, table, moved)
    _said_together(hospital)
    return [_write(hospital, table, folder / f"out-{table.name}.parquet") for table in delivered]


def rejected_of(
    connection: duckdb.DuckDBPyConnection, path: Path, sequence: int
) -> list[tuple[str, int, datetime | None]]:
    """(business key, sequence, updated) of the rejected records of a file whose key is known."""
    rows = connection.execute(
        f"select business_key, source_updated_at from read_parquet({literal(path)}) "
        "where disposition = 'quarantined' and business_key is not null"
    ).fetchall()
    return [(key, sequence, at) for key, at in rows]

"""Columns of each contract table in the lake's layers and in the warehouse's staging, derived from the contract.

Landed (grain: one accepted record of a delivery):
    contract columns, typed; a direct identifier becomes its pseudonym (32 hex digits); a datetime becomes two columns, UTC
    (``given_at``) and local (``given_at_local``); a code stays the hospital's own.
Consolidated and staging (grain: one current record per business key and hospital):
    as landed, but each code column is the standard code (null if unmapped) beside ``<column>_source``, the hospital's own; a patient's
    records bear the local id that the patient was last merged into; the columns of ``DERIVED``.
"""

from __future__ import annotations

from dataclasses import dataclass

from estuaire.contract.tables import Table


@dataclass(frozen=True)
class LayerColumn:
    """A physical column: DuckDB's and PostgreSQL's types, and the contract column that it comes from (or "")."""

    name: str
    duckdb: str
    postgres: str
    source: str


_TYPES = {
    "string": ("VARCHAR", "text"),
    "code": ("VARCHAR", "text"),
    "integer": ("BIGINT", "bigint"),
    "decimal": ("DECIMAL(18,6)", "numeric(18,6)"),
    "date": ("DATE", "date"),
}

# Identity and origin of a record; carried through every layer of the lake, but for ``LANDED_ONLY``.
ORIGIN = (
    LayerColumn("hospital_id", "VARCHAR", "text", ""),
    LayerColumn("delivery_id", "VARCHAR", "text", ""),
    LayerColumn("sequence", "BIGINT", "bigint", ""),
    LayerColumn("latest_at", "TIMESTAMPTZ", "timestamptz", ""),
    LayerColumn("latest_day", "DATE", "date", ""),
    LayerColumn("source_file", "VARCHAR", "text", ""),
    LayerColumn("record_number", "BIGINT", "bigint", ""),
    LayerColumn("line_number", "BIGINT", "bigint", ""),
    LayerColumn("row_uid_hi", "BIGINT", "bigint", ""),
    LayerColumn("row_uid_lo", "BIGINT", "bigint", ""),
    LayerColumn("op", "VARCHAR", "text", ""),
    LayerColumn("source_updated_at", "TIMESTAMPTZ", "timestamptz", ""),
    LayerColumn("flags", "VARCHAR", "text", ""),
)

# What only landing judges: the operation, and the last moment and local day that an event of the delivery may bear, its extraction plus a
# day (the last day that the clock knows where the calendar is shifted).
LANDED_ONLY = ("op", "latest_at", "latest_day")

# What consolidation derives over several records of a hospital: table -> column -> what it says.
DERIVED: dict[str, dict[str, str]] = {
    "patient": {"merged_into": "Local patient pseudonym that this one was merged into; null for one still in use"},
    "stay": {
        "whole_stay_id": "First record of the stay that this record is a part of; its own where the stay is one record",
        "ended_at": "End of the stay (docs/domain/stays.md): never null, never before admission",
        "ended_at_local": "End of the stay, local time",
    },
    "specimen": {
        "draw_id": "First specimen of the same draw (several bottles of one blood culture); its own where alone"
    },
}

_DERIVED_TYPES = {"ended_at": ("TIMESTAMPTZ", "timestamptz"), "ended_at_local": ("TIMESTAMP", "timestamp")}

# What the warehouse keeps of the origin: enough to walk back to the lake.
STAGING_ORIGIN = ("hospital_id", "delivery_id", "record_number", "flags")


def _contract_columns(table: Table, *, consolidated: bool) -> list[LayerColumn]:
    columns: list[LayerColumn] = []
    for column in table.columns:
        if column.type == "datetime":
            columns.append(LayerColumn(column.name, "TIMESTAMPTZ", "timestamptz", column.name))
            columns.append(LayerColumn(f"{column.name}_local", "TIMESTAMP", "timestamp", column.name))
            continue
        duckdb, postgres = _TYPES[column.type]
        columns.append(LayerColumn(column.name, duckdb, postgres, column.name))
        if column.type == "code" and consolidated:
            columns.append(LayerColumn(f"{column.name}_source", "VARCHAR", "text", column.name))
    return columns


def landed_columns(table: Table) -> list[LayerColumn]:
    """Columns of ``landed.<table>``, in order."""
    return [*_contract_columns(table, consolidated=False), *ORIGIN]


def consolidated_columns(table: Table) -> list[LayerColumn]:
    """Columns of ``consolidated.<table>``, in order."""
    stale = LayerColumn("stale_correction", "BOOLEAN", "boolean", "")
    origin = [c for c in ORIGIN if c.name not in LANDED_ONLY]
    derived = [
        LayerColumn(name, *_DERIVED_TYPES.get(name, ("VARCHAR", "text")), "") for name in DERIVED.get(table.name, {})
    ]
    return [*_contract_columns(table, consolidated=True), *derived, stale, *origin]


def staging_columns(table: Table) -> list[LayerColumn]:
    """Columns of PostgreSQL's ``staging.<table>``, in order."""
    return [
        c
        for c in consolidated_columns(table)
        if c.source or c.name in STAGING_ORIGIN or c.name in DERIVED.get(table.name, {}) or c.name == "stale_correction"
    ]

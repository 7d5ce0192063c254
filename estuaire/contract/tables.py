"""The delivery contract: what a hospital sends, as YAML (one file a table) checked by a JSON schema.

The contract drives the kernel's types, the quality rules, the warehouse's staging tables and the delivery guides: a column is
described once, here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema

from estuaire.base import json_schema, yaml_text
from estuaire.base.errors import ContractError

FOLDER = Path(__file__).parent / "hospital"
VERSIONS = ("1",)

# Columns that each row of a delta carries beside the table's own (contract v1, "row operations").
OPERATION_COLUMN = "op"
UPDATED_COLUMN = "source_updated_at"


@dataclass(frozen=True)
class Pseudonym:
    """How a direct identifier is replaced: HMAC-SHA-256 over (domain, scope, value and the ``with_columns``)."""

    domain: str
    scope: str
    check: str | None = None
    with_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One column of a contract table."""

    name: str
    type: str
    required: bool
    sensitivity: str
    label_fr: str
    label_en: str
    unit_fr: str | None = None
    unit_en: str | None = None
    code_system: str | None = None
    references: str | None = None
    pseudonym: Pseudonym | None = None
    earliest: date | None = (
        None  # of a date: the first day that it may bear; None: the first of what hospitals keep in systems (rules.EARLIEST)
    )
    may_be_planned: bool = False  # a date that may lie ahead: the end of a prescription, of a unit code's validity


@dataclass(frozen=True)
class Reference:
    """Columns that name a row of another table: it resolves if that table holds a row with the same values in ``to``."""

    columns: tuple[str, ...]
    table: str
    to: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """One table of the contract.

    Attributes:
        key: its business key, of which ``key_optional`` may be absent (two absent values are equal).
        period_column: dates its rows for a full delivery.
        period_parent: of a table without a date, the reference whose row dates its rows (docs/domain/deliveries.md).
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    label_fr: str
    label_en: str
    grain_fr: str
    grain_en: str
    period_column: str | None = None
    period_parent: Reference | None = None
    key_optional: tuple[str, ...] = ()
    composite_references: tuple[Reference, ...] = ()

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every reference of the table: those of single columns, then those of several."""
        single = []
        for column in self.columns:
            if column.references:
                table, target = column.references.split(".")
                single.append(Reference((column.name,), table, (target,)))
        return (*single, *self.composite_references)

    def column(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise ContractError(f"table {self.name} has no column {name}", remedy="name a column of the contract")

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.required)


@dataclass(frozen=True)
class Contract:
    """All tables of one contract version, in delivery order (a table comes after those that it refers to)."""

    version: str
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        for table in self.tables:
            if table.name == name:
                return table
        raise ContractError(f"contract {self.version} has no table {name}", remedy="name a table of the contract")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.tables)


def _column(raw: dict[str, Any]) -> Column:
    pseudonym = raw.get("pseudonym")
    return Column(
        name=raw["name"],
        type=raw["type"],
        required=raw.get("required", False),
        sensitivity=raw["sensitivity"],
        label_fr=raw["label"]["fr"],
        label_en=raw["label"]["en"],
        unit_fr=raw.get("unit", {}).get("fr"),
        unit_en=raw.get("unit", {}).get("en"),
        code_system=raw.get("code_system"),
        references=raw.get("references"),
        pseudonym=pseudonym
        and Pseudonym(
            domain=pseudonym["domain"],
            scope=pseudonym["scope"],
            check=pseudonym.get("check"),
            with_columns=tuple(pseudonym.get("with", ())),
        ),
        earliest=date.fromisoformat(raw["earliest"]) if "earliest" in raw else None,
        may_be_planned=raw.get("may_be_planned", False),
    )


def _reference(raw: dict[str, Any]) -> Reference:
    return Reference(tuple(raw["columns"]), raw["table"], tuple(raw["to"]))


def parse_table(raw: Any, where: str) -> Table:
    """A table from its YAML document.

    Raises:
        ContractError: the document does not follow contract.schema.json, or names a column that it does not define.
    """
    try:
        json_schema.validate(raw, FOLDER / "contract.schema.json")
    except jsonschema.ValidationError as error:
        raise ContractError(
            f"{where} at {error.json_path}: {error.message}",
            remedy="correct the file; contract.schema.json says the form",
        ) from error
    table = Table(
        name=raw["table"],
        key=tuple(raw["key"]),
        columns=tuple(_column(c) for c in raw["columns"]),
        label_fr=raw["label"]["fr"],
        label_en=raw["label"]["en"],
        grain_fr=raw["grain"]["fr"],
        grain_en=raw["grain"]["en"],
        period_column=raw.get("period_column"),
        period_parent=_reference(raw["period_parent"]) if "period_parent" in raw else None,
        composite_references=tuple(_reference(r) for r in raw.get("references", ())),
        key_optional=tuple(raw.get("key_optional", ())),
    )
    if table.period_column and table.period_parent:
        raise ContractError(f"{where}: two things date its rows", remedy="keep period_column, or period_parent")
    names = [c.name for c in table.columns]
    if len(set(names)) != len(names):
        raise ContractError(f"{where} defines a column twice", remedy="keep one definition")
    used = [*table.key, *([table.period_column] if table.period_column else [])]
    for column in table.columns:
        used += column.pseudonym.with_columns if column.pseudonym else ()
    for reference in (*table.composite_references, *([table.period_parent] if table.period_parent else [])):
        used += reference.columns
        if len(reference.columns) != len(reference.to):
            raise ContractError(
                f"{where}: a reference pairs unequal columns", remedy="name as many columns on both sides"
            )
    for name in used:
        if name not in names:
            raise ContractError(f"{where} names the column {name}, which it does not define", remedy="define it")
    for name in table.key_optional:
        if name not in table.key:
            raise ContractError(
                f"{where}: {name} is an optional part of the key, and not in the key", remedy="add it to key"
            )
    for name in table.key:
        if name not in table.key_optional and not table.column(name).required:
            raise ContractError(f"{where}: key column {name} must be required", remedy="set required: true")
    return table


def _ordered(tables: list[Table]) -> tuple[Table, ...]:
    """Tables so that each comes after those that it refers to; ties by name."""
    left = {t.name: t for t in sorted(tables, key=lambda t: t.name)}
    done: list[Table] = []
    while left:
        ready = [t for t in left.values() if not any(r.table in left and r.table != t.name for r in t.references)]
        if not ready:
            raise ContractError("tables refer to each other in a circle", remedy="drop one of the references")
        for t in ready:
            done.append(left.pop(t.name))
    return tuple(done)


@lru_cache(maxsize=4)
def load_contract(version: str = "1") -> Contract:
    """The contract of a version, checked.

    Raises:
        ContractError: unknown version, or a file that does not follow the schema.
    """
    folder = FOLDER / f"v{version}"
    files = sorted(folder.glob("*.yml"))
    if version not in VERSIONS or not files:
        raise ContractError(f"contract version {version} is not known", remedy=f"use one of {', '.join(VERSIONS)}")
    tables = [parse_table(yaml_text.read(f.read_text(encoding="utf-8")), f"{folder.name}/{f.name}") for f in files]
    contract = Contract(version=version, tables=_ordered(tables))
    for table in contract.tables:
        if table.period_parent:
            parent = contract.table(table.period_parent.table)
            if parent.period_column is None or parent.key != table.period_parent.to:
                raise ContractError(
                    f"{table.name}: {parent.name} cannot date its rows",
                    remedy="name a table with a period_column, by its whole key",
                )
    return contract

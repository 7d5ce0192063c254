"""What a simulation planted and what the platform must find. Only tests read it; it never stands in landing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from estuaire.simulator.changes import TableState
from estuaire.simulator.trap_catalogue import CATALOGUE

INVALID_NIR = "patient.invalid_nir_key"
# hidden column with the row that a record refers to (-1: none), its table, the contract column that names it
REFERENCES = (
    ("_patient_row", "patient", "patient_id"),
    ("_stay_row", "stay", "stay_id"),
    ("_specimen_row", "specimen", "specimen_id"),
    ("_isolate_row", "isolate", "isolate_number"),
)
UNRESOLVED_STAY = "administration.unresolved_stay"


@dataclass
class TableTruth:
    """One table of one delivery.

    Attributes:
        rows: records written.
        kinds: records by what they are: new, update (late fact), correction, delete; duplicates not counted.
        planted: records by trap.
        rejected: records that landing must quarantine, by landing rule.
        duplicates: records that repeat another exactly.
        current_after: rows current once this delivery and the earlier ones are consolidated.
        flagged_after: of these, rows whose latest version carries a trap that does not reject.
    """

    rows: int
    kinds: dict[str, int]
    planted: dict[str, int]
    rejected: dict[str, int]
    duplicates: int
    current_after: int = 0
    flagged_after: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: str, rows: int, kinds: dict[str, int], planted: dict[str, int]) -> TableTruth:
        rejected: Counter[str] = Counter()
        for trap in CATALOGUE:
            if trap.outcome == "rejected" and trap.name in planted:
                rejected[trap.rule] += planted[trap.name]
        return cls(rows, kinds, planted, dict(rejected), planted.get(f"{table}.exact_duplicate", 0))


@dataclass
class DeliveryTruth:
    """One delivery; ``blocked`` says that its manifest declares a wrong checksum. ``orphans_after`` is by reference."""

    hospital: str
    delivery: str
    sequence: int
    kind: str
    blocked: bool
    tables: dict[str, TableTruth] = field(default_factory=dict)
    orphans_after: dict[str, int] = field(default_factory=dict)
    state: str = ""
    bytes: int = 0

    @property
    def rows(self) -> int:
        """Records of all tables."""
        return sum(t.rows for t in self.tables.values())


def orphans(states: dict[str, TableState]) -> dict[str, int]:
    """Current rows that name a patient, stay, specimen or isolate which is not current; by table and column."""
    found: dict[str, int] = {}
    for name, state in states.items():
        for hidden, target, column in REFERENCES:
            if hidden not in state.frame.columns:
                continue
            rows = state.frame[hidden].to_numpy()
            missing = (rows >= 0) & ~states[target].current[np.maximum(rows, 0)] if len(rows) else np.zeros(0, bool)
            if column == "stay_id" and UNRESOLVED_STAY in state.flagged:
                missing = missing | state.flagged[UNRESOLVED_STAY]
            found[f"{name}.{column}"] = int((state.current & missing).sum())
    return found


def person_keys(patient: TableState) -> list[str | None]:
    """For each current patient row what links it to other hospitals: a valid NIR with twin rank, an upstream pseudonym, or
    nothing."""
    invalid = patient.flagged.get(INVALID_NIR, np.zeros(len(patient.frame), bool))
    current = patient.frame.with_columns(pl.Series("_invalid", invalid)).filter(pl.Series(patient.current))
    nir = pl.format("N|{}|{}", "national_id", pl.col("twin_rank").cast(pl.String).fill_null(""))
    upstream = pl.format("U|{}|{}", "pseudonym_authority", "upstream_pseudonym")
    key = pl.when(~pl.col("_invalid") & pl.col("national_id").is_not_null()).then(nir).otherwise(upstream)
    keys: list[str | None] = current.select(key.alias("key"))["key"].to_list()
    return keys


def linked_people(per_hospital: list[list[str | None]]) -> dict[str, int]:
    """Local patients, people behind them, and people known in several hospitals."""
    keys = Counter(key for hospital in per_hospital for key in hospital if key is not None)
    alone = sum(1 for hospital in per_hospital for key in hospital if key is None)
    return {
        "local_patients": alone + sum(keys.values()),
        "people": alone + len(keys),
        "people_in_several_hospitals": sum(1 for n in keys.values() if n > 1),
    }


def as_document(delivery: DeliveryTruth) -> dict[str, Any]:
    """A delivery's truth as JSON."""
    return {
        "sequence": delivery.sequence,
        "kind": delivery.kind,
        "blocked": delivery.blocked,
        "rows": delivery.rows,
        "tables": {name: vars(table) for name, table in delivery.tables.items()},
        "orphans_after": delivery.orphans_after,
    }

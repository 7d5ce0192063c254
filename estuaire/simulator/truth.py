"""What a simulation planted and what the platform must find. Only tests read it; it never stands in landing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from estuaire.simulator.changes import Mask, Rows, TableState
from estuaire.simulator.clock import DAY
from estuaire.simulator.trap_catalogue import CATALOGUE

INVALID_NIR = "patient.invalid_nir_key"
# hidden column with the row that a record refers to (-1: none), its table, the contract column that names it
REFERENCES = (
    ("_patient_row", "patient", "patient_id"),
    ("_stay_row", "stay", "stay_id"),
    ("_specimen_row", "specimen", "specimen_id"),
    ("_isolate_row", "isolate", "isolate_number"),
    ("_survivor_row", "patient", "new_patient_id"),
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
        unparseable: records whose bytes are damaged.
        current_after: rows current once this delivery and the earlier ones are consolidated.
        flagged_after: of these, rows whose latest version carries a trap that does not reject.
    """

    rows: int
    kinds: dict[str, int]
    planted: dict[str, int]
    rejected: dict[str, int]
    duplicates: int
    unparseable: int
    current_after: int = 0
    flagged_after: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: str, rows: int, kinds: dict[str, int], planted: dict[str, int]) -> TableTruth:
        rejected: Counter[str] = Counter()
        for trap in CATALOGUE:
            if trap.outcome == "rejected" and trap.name in planted:
                rejected[trap.rule] += planted[trap.name]
        damaged = sum(planted.get(t.name, 0) for t in CATALOGUE if t.outcome == "unparseable")
        return cls(rows, kinds, planted, dict(rejected), planted.get(f"{table}.exact_duplicate", 0), damaged)


@dataclass
class DeliveryTruth:
    """One delivery; ``blocked`` says that its manifest declares a wrong checksum.

    Attributes:
        orphans_after: current records whose reference does not resolve, by reference.
        merged_after: current patient records that another one has taken over.
        continued_stays_after: current stay records that go on with an earlier record of the same stay.
    """

    hospital: str
    delivery: str
    sequence: int
    kind: str
    blocked: bool
    tables: dict[str, TableTruth] = field(default_factory=dict)
    orphans_after: dict[str, int] = field(default_factory=dict)
    merged_after: int = 0
    continued_stays_after: int = 0
    state: str = ""
    bytes: int = 0

    @property
    def rows(self) -> int:
        """Records of all tables."""
        return sum(t.rows for t in self.tables.values())


def merged_rows(states: dict[str, TableState]) -> tuple[Rows, Mask]:
    """Per patient row the row that its records count for now, and whether that is another one.

    A merge counts once it is current and the id kept has a current record.
    """
    patient, merge = states["patient"], states["patient_merge"]
    survivor = np.arange(len(patient.frame))
    if len(merge.frame):
        old, new = merge.frame["_old_row"].to_numpy(), merge.frame["_survivor_row"].to_numpy()
        applies = merge.current & patient.current[new]
        survivor[old[applies]] = new[applies]
    return survivor, (survivor != np.arange(len(survivor))) & patient.current


def orphans(states: dict[str, TableState]) -> dict[str, int]:
    """Current rows that name a patient, stay, specimen or isolate which is not current; by table and column."""
    counts: dict[str, int] = {}
    survivor, _ = merged_rows(states)
    for name, state in states.items():
        for hidden, target, column in REFERENCES:
            if hidden not in state.frame.columns:
                continue
            rows = state.frame[hidden].to_numpy()
            known = states[target].current[survivor] if column == "patient_id" else states[target].current
            missing = (rows >= 0) & ~known[np.maximum(rows, 0)] if len(rows) else np.zeros(0, bool)
            if column == "stay_id" and name == "administration" and UNRESOLVED_STAY in state.flagged:
                missing = missing | state.flagged[UNRESOLVED_STAY]
            counts[f"{name}.{column}"] = int((state.current & missing).sum())
    return counts


def continued_stays(states: dict[str, TableState], sequence: int) -> int:
    """Current full stay records of a patient that begin before an earlier one has ended for 24 hours, or that name the one before.

    Args:
        sequence: the last window delivered: a discharge that it does not tell yet is unknown.
    """
    survivor, _ = merged_rows(states)
    state = states["stay"]
    frame = state.frame.with_columns(
        pl.Series("_patient", survivor[state.frame["_patient_row"].to_numpy()]),
        pl.when(pl.col("_late") <= sequence).then("discharged_at").otherwise("admitted_at").alias("_left"),
    ).filter(pl.Series(state.current) & (pl.col("stay_type") == "full"))
    continued = 0
    last: dict[int, tuple[int, str]] = {}
    for patient, admitted, left, stay, previous in (
        frame.sort("_patient", "admitted_at", "stay_id")
        .select("_patient", "admitted_at", "_left", "stay_id", "previous_stay_id")
        .iter_rows()
    ):
        until, before = last.get(patient, (None, None))
        continued += until is not None and (admitted <= until + DAY or (previous is not None and previous == before))
        last[patient] = (max(left, until or left), stay)
    return continued


@dataclass(frozen=True)
class Identity:
    """What links a current patient record: to other hospitals a valid NIR with twin rank or an upstream pseudonym, and within its
    hospital the record that it was merged into."""

    key: str | None
    row: int
    survivor: int


def person_keys(states: dict[str, TableState]) -> list[Identity]:
    """The identity of each current patient record."""
    patient = states["patient"]
    survivor, _ = merged_rows(states)
    invalid = patient.flagged.get(INVALID_NIR, np.zeros(len(patient.frame), bool))
    nir = pl.format("N|{}|{}", "national_id", pl.col("twin_rank").cast(pl.String).fill_null(""))
    upstream = pl.format("U|{}|{}", "pseudonym_authority", "upstream_pseudonym")
    key = pl.when(~pl.col("_invalid") & pl.col("national_id").is_not_null()).then(nir).otherwise(upstream)
    keys = patient.frame.with_columns(pl.Series("_invalid", invalid)).select(key.alias("key"))["key"].to_list()
    return [Identity(keys[i], i, int(survivor[i])) for i in np.flatnonzero(patient.current).tolist()]


def linked_people(per_hospital: list[list[Identity]]) -> dict[str, int]:
    """Local patients, people behind them, and people known in several hospitals: records joined by a key or a merge are one person."""
    parent: dict[object, object] = {}

    def root(token: object) -> object:
        while parent.setdefault(token, token) != token:
            token = parent[token]
        return token

    records = [(h, identity) for h, identities in enumerate(per_hospital) for identity in identities]
    for hospital, identity in records:
        for token in (identity.key, (hospital, identity.survivor)):
            if token is not None:
                parent[root(token)] = root((hospital, identity.row))
    hospitals: dict[object, set[int]] = {}
    for hospital, identity in records:
        hospitals.setdefault(root((hospital, identity.row)), set()).add(hospital)
    return {
        "local_patients": len(records),
        "people": len(hospitals),
        "people_in_several_hospitals": sum(1 for h in hospitals.values() if len(h) > 1),
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
        "merged_after": delivery.merged_after,
        "continued_stays_after": delivery.continued_stays_after,
    }

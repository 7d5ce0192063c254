"""Writes one hospital's deliveries into landing: files, then the manifest, and counts what was written.

A delivery id that is already there: the same bytes are a no-op, other bytes are refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from estuaire.contracts import Table, load_contract
from estuaire.errors import DeliveryChanged
from estuaire.manifest import NAME, Manifest, ManifestFile
from estuaire.objectstore import ObjectStore
from estuaire.registry import Hospital
from estuaire.simulator import traps
from estuaire.simulator.changes import CORRECTION, DELETE, NEW, UPDATE, TableState, delivery_rows
from estuaire.simulator.local_codes import inverted_maps
from estuaire.simulator.plan import SimulationPlan, Window
from estuaire.simulator.randomness import generator
from estuaire.simulator.text import as_text, file_bytes, with_own_headers
from estuaire.simulator.trap_catalogue import CATALOGUE
from estuaire.simulator.truth import DeliveryTruth, TableTruth, orphans, person_keys
from estuaire.simulator.world import hospital_tables

LANDING = "landing"


@dataclass
class HospitalOutcome:
    """What simulating one hospital gave: the truth of each delivery, the people it knows after each, what was written."""

    hospital: str
    deliveries: list[DeliveryTruth] = field(default_factory=list)
    people_after: list[list[str | None]] = field(default_factory=list)


def write_hospital(plan: SimulationPlan, hospital: Hospital, store: ObjectStore) -> HospitalOutcome:
    """Simulate a hospital and write its deliveries.

    Raises:
        DeliveryChanged: landing holds one of the delivery ids with other bytes.
    """
    contract = load_contract()
    states = {name: TableState.of(frame) for name, frame in hospital_tables(plan, hospital).items()}
    tables = [t for t in contract.tables if t.name in states]
    outcome = HospitalOutcome(hospital.id)
    for window in plan.written_windows:
        blocked = (hospital.id, window.delivery_id) in plan.bad_checksum
        writer = DeliveryWriter(plan, hospital, store, window, blocked)
        truth = DeliveryTruth(hospital.id, window.delivery_id, window.sequence, window.kind, blocked)
        for table in tables:
            truth.tables[table.name] = writer.write_table(table, states[table.name])
        truth.state = writer.commit(contract.version)
        truth.bytes = sum(f.bytes for f in writer.files)
        for name, state in states.items():
            truth.tables[name].current_after = int(state.current.sum())
            truth.tables[name].flagged_after = {k: int(v.sum()) for k, v in state.flagged.items() if v.any()}
        truth.orphans_after = orphans(states)
        outcome.deliveries.append(truth)
        outcome.people_after.append(person_keys(states["patient"]))
    return outcome


class DeliveryWriter:
    """One delivery while it is written. Where its manifest is already there nothing is written, only compared."""

    def __init__(
        self, plan: SimulationPlan, hospital: Hospital, store: ObjectStore, window: Window, blocked: bool
    ) -> None:
        self.plan, self.hospital, self.store, self.window, self.blocked = plan, hospital, store, window, blocked
        self.files: list[ManifestFile] = []
        self._inverted = inverted_maps(hospital)
        self._prefix = f"{LANDING}/{hospital.id}/{window.delivery_id}"
        self._there = store.stat(f"{self._prefix}/{NAME}") is not None

    def write_table(self, table: Table, state: TableState) -> TableTruth:
        """Write the table's files and bring its state up to date."""
        dialect = self.hospital.dialects[self.hospital.table_dialect[table.name]]
        rng = generator(self.plan.seed, self.hospital.id, table.name, self.window.sequence)
        frame = delivery_rows(state, table, self.window, rng)
        text = as_text(frame, table, dialect, self._inverted, rng)
        drugs = text["drug_code"] if "drug_code" in text.columns else None
        chosen = traps.choose(table.name, frame, self.window, dialect, self.plan.trap_rates, drugs, rng)
        text = traps.spoil(text, frame, table.name, chosen, dialect, rng)
        text = with_own_headers(text, self.hospital, table.name)
        self._write_files(table.name, text, dialect.name)
        _bring_up_to_date(state, frame, chosen, platform=not self.blocked)
        kinds = {str(k): n for k, n in frame["_kind"].value_counts().iter_rows()}
        planted = {name: len(rows) for name, rows in chosen.items()}
        return TableTruth.of(
            table.name, len(text), {k: kinds.get(k, 0) for k in (NEW, UPDATE, CORRECTION, DELETE)}, planted
        )

    def _write_files(self, table: str, text: pl.DataFrame, dialect_name: str) -> None:
        dialect = self.hospital.dialects[dialect_name]
        suffix = ".csv.gz" if dialect.compression == "gzip" else ".csv"
        size = self.plan.max_rows_per_file
        starts = range(0, max(len(text), 1), size)
        for number, start in enumerate(starts, start=1):
            part = text.slice(start, size)
            path = f"{table}{suffix}" if len(starts) == 1 else f"{table}-{number:03d}{suffix}"
            data = file_bytes(part, dialect)
            digest = hashlib.sha256(data).hexdigest()
            if not self._there:
                self.store.put_bytes(f"{self._prefix}/{path}", data)
            if self.blocked and not self.files:
                digest = hashlib.sha256(digest.encode()).hexdigest()
            self.files.append(ManifestFile(table, path, digest, len(data), len(part), dialect_name))

    def commit(self, contract_version: str) -> str:
        """Write the manifest; ``written``, or ``unchanged`` where the same delivery is already there.

        Raises:
            DeliveryChanged: the delivery is there with other bytes.
        """
        close = datetime.combine(self.window.end + timedelta(days=1), time(3, 15), ZoneInfo(self.hospital.timezone))
        manifest = Manifest(
            contract_version=contract_version,
            hospital=self.hospital.id,
            finess=self.hospital.finess,
            delivery_id=self.window.delivery_id,
            sequence=self.window.sequence,
            extracted_at=close,
            kind=self.window.kind,
            period_from=self.window.start,
            period_to=self.window.end,
            files=tuple(self.files),
        )
        data = manifest.to_json().encode()
        key = f"{self._prefix}/{NAME}"
        if self.store.put_bytes(key, data, if_none_match=True):
            return "written"
        with self.store.open(key) as present:
            if present.read() == data:
                return "unchanged"
        raise DeliveryChanged(
            "this delivery is already there with other bytes",
            hospital=self.hospital.id,
            delivery=self.window.delivery_id,
            remedy="simulate into an empty landing folder (another ESTUAIRE_HOME), or with the same parameters as before",
        )


def _bring_up_to_date(
    state: TableState,
    frame: pl.DataFrame,
    chosen: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]],
    *,
    platform: bool,
) -> None:
    """Apply a delivery to the state; ``platform`` is false for a delivery that must be blocked."""
    rows, kind = frame["_row"].to_numpy(), frame["_kind"]
    upserted, deleted = rows[(kind != DELETE).to_numpy()], rows[(kind == DELETE).to_numpy()]
    state.sent[upserted] = True
    state.sent[deleted] = False
    state.clean[upserted] = True
    if platform:
        state.current[upserted] = True
        state.current[deleted] = False
        for mask in state.flagged.values():
            mask[rows] = False
    for trap in CATALOGUE:
        if trap.name not in chosen:
            continue
        trapped = rows[chosen[trap.name]]
        state.clean[trapped] = False
        if platform and trap.outcome == "rejected":
            state.current[trapped] = False
        elif platform and trap.outcome != "superseded":
            state.flagged.setdefault(trap.name, np.zeros(len(state.frame), bool))[trapped] = True

"""Writes one hospital's deliveries into landing: files, then the manifest, and counts what was written.

A delivery id that is already there: the same bytes are a no-op, other bytes are refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from estuaire.base.errors import DeliveryChanged
from estuaire.contract.manifest import NAME, Manifest, ManifestFile
from estuaire.contract.registry import Hospital
from estuaire.contract.tables import Table, load_contract
from estuaire.simulator import traps
from estuaire.simulator.changes import CORRECTION, DELETE, NEW, REPEAT, UPDATE, TableState, delivery_rows
from estuaire.simulator.local_codes import inverted_maps
from estuaire.simulator.plan import Sending, SimulationPlan
from estuaire.simulator.randomness import generator
from estuaire.simulator.text import as_text, file_bytes, with_own_headers
from estuaire.simulator.trap_catalogue import CATALOGUE, traps_of
from estuaire.simulator.truth import (
    DeliveryTruth,
    Identity,
    TableTruth,
    continued_stays,
    merged_rows,
    orphans,
    person_keys,
)
from estuaire.simulator.world import hospital_tables
from estuaire.storage.object_store import ObjectStore

LANDING = "landing"


@dataclass
class HospitalOutcome:
    """What simulating one hospital gave: the truth of each delivery, the people it knows after each, what was written."""

    hospital: str
    deliveries: list[DeliveryTruth] = field(default_factory=list)
    people_after: list[list[Identity]] = field(default_factory=list)


def write_hospital(
    plan: SimulationPlan, hospital: Hospital, store: ObjectStore, planted: pl.DataFrame | None = None
) -> HospitalOutcome:
    """Simulate a hospital and write its deliveries.

    Args:
        planted: the hospital's part of ``effects.Planted``.

    Raises:
        DeliveryChanged: landing holds one of the delivery ids with other bytes.
    """
    contract = load_contract()
    states = {name: TableState.of(frame) for name, frame in hospital_tables(plan, hospital, planted).items()}
    tables = [t for t in contract.tables if t.name in states]
    outcome = HospitalOutcome(hospital.id)
    writer: DeliveryWriter | None = None
    for sending in plan.sendings(hospital.id):
        blocked = (hospital.id, sending.window.delivery_id) in plan.bad_checksum
        truth = DeliveryTruth(hospital.id, sending.delivery_id, sending.sequence, sending.window.kind, blocked)
        if sending.again and writer is not None:
            truth.tables = {name: replace(t) for name, t in outcome.deliveries[-1].tables.items()}
            writer = writer.again(sending)
        else:
            writer = DeliveryWriter(plan, hospital, store, sending, blocked)
            for table in tables:
                truth.tables[table.name] = writer.write_table(table, states[table.name])
            for name, state in states.items():
                truth.tables[name].current_after = int(state.current.sum())
                truth.tables[name].flagged_after = {k: int(v.sum()) for k, v in state.flagged.items() if v.any()}
        truth.state = writer.commit(contract.version)
        truth.bytes = sum(f.bytes for f in writer.files)
        truth.orphans_after = orphans(states)
        truth.merged_after = int(merged_rows(states)[1].sum())
        truth.continued_stays_after = continued_stays(states, sending.window.sequence)
        outcome.deliveries.append(truth)
        if not sending.again:
            outcome.people_after.append(person_keys(states))
    return outcome


class DeliveryWriter:
    """One delivery while it is written. Where its manifest is already there nothing is written, only compared."""

    def __init__(
        self, plan: SimulationPlan, hospital: Hospital, store: ObjectStore, sending: Sending, blocked: bool
    ) -> None:
        self.plan, self.hospital, self.store, self.blocked = plan, hospital, store, blocked
        self.sending, self.window = sending, sending.window
        self.files: list[ManifestFile] = []
        self._inverted = inverted_maps(hospital)
        self._prefix = f"{LANDING}/{hospital.id}/{sending.delivery_id}"
        self._there = store.stat(f"{self._prefix}/{NAME}") is not None

    def again(self, sending: Sending) -> DeliveryWriter:
        """The same files under another delivery id."""
        other = DeliveryWriter(self.plan, self.hospital, self.store, sending, self.blocked)
        for file in self.files:
            if not other._there:
                with self.store.open(f"{self._prefix}/{file.path}") as there:
                    self.store.put_bytes(f"{other._prefix}/{file.path}", there.read())
            other.files.append(file)
        return other

    def write_table(self, table: Table, state: TableState) -> TableTruth:
        """Write the table's files and bring its state up to date."""
        dialect = self.hospital.dialects[self.hospital.table_dialect[table.name]]
        rng = generator(self.plan.seed, self.hospital.id, table.name, self.window.sequence)
        frame = delivery_rows(state, table, self.window, rng, self.sending.start)
        text = as_text(frame, table, dialect, self._inverted, rng)
        drugs = text["drug_code"] if "drug_code" in text.columns else None
        chosen = traps.choose(table.name, frame, self.window, dialect, self.plan.trap_rates, drugs, rng)
        text = traps.spoil(text, frame, table.name, chosen, dialect, rng)
        text = with_own_headers(text, self.hospital, table.name)
        damaged = any(trap.outcome == "unparseable" for trap in traps_of(table.name) if trap.name in chosen)
        self._write_files(table.name, text, dialect.name, damaged)
        _bring_up_to_date(state, frame, chosen, platform=not self.blocked)
        kinds = {str(k): n for k, n in frame["_kind"].value_counts().iter_rows()}
        planted = {name: len(rows) for name, rows in chosen.items()}
        return TableTruth.of(
            table.name, len(text), {k: kinds.get(k, 0) for k in (NEW, UPDATE, CORRECTION, DELETE, REPEAT)}, planted
        )

    def _write_files(self, table: str, text: pl.DataFrame, dialect_name: str, damaged: bool) -> None:
        dialect = self.hospital.dialects[dialect_name]
        suffix = ".csv.gz" if dialect.compression == "gzip" else ".csv"
        size = self.plan.max_rows_per_file
        starts = range(0, max(len(text), 1), size)
        for number, start in enumerate(starts, start=1):
            part = text.slice(start, size)
            path = f"{table}{suffix}" if len(starts) == 1 else f"{table}-{number:03d}{suffix}"
            data = file_bytes(part, dialect, damaged=damaged)
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
        close = datetime.combine(
            self.window.end + timedelta(days=1 + self.sending.delay), time(3, 15), ZoneInfo(self.hospital.timezone)
        )
        manifest = Manifest(
            contract_version=contract_version,
            hospital=self.hospital.id,
            finess=self.hospital.finess,
            delivery_id=self.sending.delivery_id,
            sequence=self.sending.sequence,
            extracted_at=close,
            kind=self.window.kind,
            period_from=self.sending.start,
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
        if platform and trap.outcome in ("rejected", "unparseable"):
            state.current[trapped] = False
        elif platform and trap.outcome != "superseded":
            state.flagged.setdefault(trap.name, np.zeros(len(state.frame), bool))[trapped] = True

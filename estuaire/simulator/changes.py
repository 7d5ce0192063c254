"""What one delivery of a table says: new rows, facts learned late, corrections and deletions.

A full delivery holds new rows only. In a delta, a row stands once at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Table
from estuaire.simulator.clock import DAY, HOUR, avoid_clock_change, seconds
from estuaire.simulator.plan import Window

NEW, UPDATE, CORRECTION, DELETE, REPEAT = "new", "update", "correction", "delete", "repeat"
LOOK_BACK = 90 * DAY

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass
class TableState:
    """A hospital's table while its deliveries are written.

    Attributes:
        frame: the truth, corrections so far applied.
        sent: rows that the hospital has delivered and not deleted.
        clean: rows never delivered with a trap; only these are corrected or deleted.
        current: rows that the platform must hold as current after the deliveries so far.
        flagged: per trap, current rows whose latest version carries it.
    """

    frame: pl.DataFrame
    sent: Mask
    clean: Mask
    current: Mask
    flagged: dict[str, Mask] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pl.DataFrame) -> TableState:
        count = len(frame)
        return cls(frame, np.zeros(count, bool), np.ones(count, bool), np.zeros(count, bool))

    def replace(self, rows: Rows, columns: dict[str, pl.Series]) -> None:
        """Write corrected values into the truth."""
        for name, values in columns.items():
            column = self.frame[name].clone()
            self.frame = self.frame.with_columns(column.scatter(rows, values).alias(name))


Correct = Callable[["TableState", Rows, Window, np.random.Generator], dict[str, pl.Series]]


@dataclass(frozen=True)
class Changes:
    """How a table changes: one more entry of CHANGES for each table of the contract.

    Attributes:
        late: columns that are empty until the row's ``_late`` delivery.
        correct: draws the corrected columns of the given rows.
        correction_rate, deletion_rate: share of the rows that may change, in each delta.
        deletable: rows whose deletion leaves no orphan.
        recent_only: only rows that were complete before the period, and ended in the ``LOOK_BACK`` before it, change.
    """

    late: tuple[str, ...]
    correct: Correct
    correction_rate: float
    deletion_rate: float
    deletable: Callable[[pl.DataFrame], Mask]
    recent_only: bool


def _correct_administration(
    state: TableState, rows: Rows, window: Window, rng: np.random.Generator
) -> dict[str, pl.Series]:
    """Half get another dose, the others another status."""
    picked = state.frame[rows.tolist()].select("dose", "status")
    draw = rng.random(len(rows))
    factor = pl.Series(np.where(draw < 0.25, 0.5, np.where(draw < 0.5, 2.0, 1.0)))
    status = pl.Series(np.where(draw < 0.5, "", np.where(draw < 0.8, "cancelled", "not_given")))
    changed = picked.with_columns(factor.alias("factor"), status.alias("new")).select(
        pl.when(pl.col("new") != "not_given").then((pl.col("dose") * pl.col("factor")).round(6)).alias("dose"),
        pl.when(pl.col("new") == "").then("status").otherwise("new").alias("status"),
    )
    return {"dose": changed["dose"], "status": changed["status"]}


def _correct_stay(state: TableState, rows: Rows, window: Window, rng: np.random.Generator) -> dict[str, pl.Series]:
    """Another time of discharge, up to three hours away, never before admission nor after the period."""
    picked = state.frame[rows.tolist()]
    moved = picked["discharged_at"].to_numpy() + rng.integers(-3 * 60, 3 * 60, len(rows)) * 60
    moved = np.clip(moved, picked["admitted_at"].to_numpy() + 600, seconds(window.end) - 1)
    return {
        "discharged_at": pl.Series(
            avoid_clock_change(moved, window.start.replace(year=window.start.year - 1), window.end)
        )
    }


def _correct_patient(state: TableState, rows: Rows, window: Window, rng: np.random.Generator) -> dict[str, pl.Series]:
    """Another postcode."""
    codes = pl.Series(rng.integers(1, 96, len(rows)) * 1000 + 5).cast(pl.String).str.zfill(5)
    return {"postcode": codes}


def _drawn(column: str, values: tuple[str, ...]) -> Correct:
    """Another of a few values."""

    def correct(state: TableState, rows: Rows, window: Window, rng: np.random.Generator) -> dict[str, pl.Series]:
        return {column: pl.Series(values).gather(rng.integers(0, len(values), len(rows)))}

    return correct


def _unchanged(state: TableState, rows: Rows, window: Window, rng: np.random.Generator) -> dict[str, pl.Series]:
    return {}


def _correct_isolate(state: TableState, rows: Rows, window: Window, rng: np.random.Generator) -> dict[str, pl.Series]:
    """A preliminary result becomes final; of the others most are corrected, some cancelled."""
    status = state.frame["status"].gather(rows)
    other = pl.Series(np.where(rng.random(len(rows)) < 0.8, "corrected", "cancelled"))
    return {"status": pl.Series(["final"]).new_from_index(0, len(rows)).zip_with(status == "preliminary", other)}


def _correct_category(state: TableState, rows: Rows, window: Window, rng: np.random.Generator) -> dict[str, pl.Series]:
    """Another category, but for a drug that the species resists by nature."""
    drawn = pl.Series(["S", "R"]).gather(rng.integers(0, 2, len(rows)))
    resistant = pl.Series(["R"]).new_from_index(0, len(rows))
    return {"category": resistant.zip_with(state.frame["_by_nature"].gather(rows), drawn)}


def _correct_value(state: TableState, rows: Rows, window: Window, rng: np.random.Generator) -> dict[str, pl.Series]:
    """Another value, a tenth away."""
    return {"value": (state.frame["value"].gather(rows) * 1.1).round(2)}


def _none(frame: pl.DataFrame) -> Mask:
    return np.zeros(len(frame), bool)


def _any(frame: pl.DataFrame) -> Mask:
    return np.ones(len(frame), bool)


def _entered_in_error(frame: pl.DataFrame) -> Mask:
    """Day cases and sessions that did not take place: deleting them leaves no orphan."""
    mask: Mask = frame["_booked"].to_numpy()
    return mask


CHANGES: dict[str, Changes] = {
    "patient": Changes(("death_date", "death_source"), _correct_patient, 0.005, 0.0, _none, False),
    "patient_merge": Changes((), _unchanged, 0.0, 0.0, _none, False),
    "stay": Changes(("discharged_at", "exit_mode"), _correct_stay, 0.01, 0.02, _entered_in_error, True),
    "unit": Changes((), _unchanged, 0.0, 0.0, _none, False),
    "movement": Changes(("left_at",), _unchanged, 0.0, 0.0, _none, True),
    "diagnosis": Changes((), _drawn("diagnosis_code", ("N390", "J180", "A419")), 0.002, 0.001, _any, True),
    "procedure": Changes((), _drawn("procedure_code", ("ZBQK002", "DEQP003")), 0.002, 0.001, _any, True),
    "prescription": Changes(("ended_at",), _drawn("status", ("stopped", "cancelled")), 0.003, 0.001, _any, True),
    "specimen": Changes(
        ("received_at", "validated_at"), _drawn("body_site", ("site corrigé",)), 0.002, 0.0, _none, True
    ),
    "isolate": Changes((), _correct_isolate, 0.02, 0.0, _none, True),
    "susceptibility": Changes((), _correct_category, 0.002, 0.001, _any, True),
    "lab_result": Changes((), _correct_value, 0.003, 0.001, _any, True),
    "administration": Changes((), _correct_administration, 0.004, 0.001, _any, True),
}


def _sample(rng: np.random.Generator, candidates: Mask, rate: float) -> Rows:
    """``rate`` of the candidate rows (at least one where there are candidates and a rate), in row order."""
    rows = np.flatnonzero(candidates)
    wanted = max(1, int(len(rows) * rate)) if rate and len(rows) else 0
    return np.sort(rng.choice(rows, size=wanted, replace=False)) if wanted else np.zeros(0, dtype=np.int64)


def delivery_rows(
    state: TableState, table: Table, window: Window, rng: np.random.Generator, start: date | None = None
) -> pl.DataFrame:
    """The records of one delivery of one table, in file order, and the truth corrected accordingly.

    Args:
        start: first day of the delivery's period; where it lies before the window's, the window before is told again.

    Returns:
        The truth's columns, ``_row`` and ``_kind``; for a delta ``op`` and ``source_updated_at`` (local seconds) too.
    """
    changes = CHANGES[table.name]
    first, late = state.frame["_seq"].to_numpy(), state.frame["_late"].to_numpy()
    new = np.flatnonzero(first == window.sequence)
    parts = [_records(state, changes, window, new, NEW)]
    if window.kind == "delta":
        update_mask = state.sent & (late == window.sequence) & (first < window.sequence)
        known = state.sent & state.clean & ~update_mask
        if changes.recent_only:
            known &= late < window.sequence
            known &= state.frame["_late_event"].to_numpy() >= seconds(window.start) - LOOK_BACK
        corrected = _sample(rng, known, changes.correction_rate)
        deletable = known & changes.deletable(state.frame)
        deletable[corrected] = False
        deleted = _sample(rng, deletable, changes.deletion_rate)
        state.replace(corrected, changes.correct(state, corrected, window, rng))
        parts += [
            _records(state, changes, window, np.flatnonzero(update_mask), UPDATE),
            _records(state, changes, window, corrected, CORRECTION),
            _records(state, changes, window, deleted, DELETE, keep=table.key),
        ]
        if start is not None and start < window.start:
            again = state.sent & state.clean & (first == window.sequence - 1) & ~update_mask
            again[corrected] = again[deleted] = False
            parts.append(_records(state, changes, window, np.flatnonzero(again), REPEAT))
    frame = pl.concat(parts)
    if window.kind == "delta":
        frame = frame.with_columns(
            pl.when(pl.col("_kind") == DELETE)
            .then(pl.lit("delete"))
            .otherwise(pl.lit("upsert"))
            .alias(OPERATION_COLUMN),
            pl.Series(UPDATED_COLUMN, _updated_at(frame, window, start or window.start, rng)),
        )
    return frame


def _records(
    state: TableState, changes: Changes, window: Window, rows: Rows, kind: str, keep: tuple[str, ...] = ()
) -> pl.DataFrame:
    """Rows as the hospital knows them when the window closes; of a deletion the key alone."""
    part = state.frame[rows.tolist()] if len(rows) < len(state.frame) else state.frame
    if changes.late:
        part = part.with_columns(
            pl.when(pl.col("_late") <= window.sequence).then(pl.col(name)).alias(name) for name in changes.late
        )
    if keep:
        hidden = [c for c in part.columns if not c.startswith("_") and c not in keep]
        part = part.with_columns(pl.lit(None, dtype=part.schema[c]).alias(c) for c in hidden)
    return part.with_columns(pl.Series("_row", rows, dtype=pl.Int64), pl.lit(kind).alias("_kind"))


def _updated_at(frame: pl.DataFrame, window: Window, first: date, rng: np.random.Generator) -> npt.NDArray[Any]:
    """When the source last touched each record: soon after the event, or in working hours for a change; inside the period."""
    start, end = seconds(window.start), seconds(window.end)
    count = len(frame)
    kind = frame["_kind"]
    event = np.where((kind == UPDATE).to_numpy(), frame["_late_event"].to_numpy(), frame["_event"].to_numpy())
    soon = event + rng.integers(300, 6 * HOUR, count)
    days = (end - start) // DAY
    office = start + rng.integers(0, days, count) * DAY + rng.integers(8 * HOUR, 18 * HOUR, count)
    moment = np.where(kind.is_in([CORRECTION, DELETE]).to_numpy(), office, soon)
    earliest = np.where((kind == REPEAT).to_numpy(), seconds(first), start)
    return avoid_clock_change(np.clip(moment, earliest, end - 1), first, window.end)

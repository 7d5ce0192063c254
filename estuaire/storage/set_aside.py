"""Hospitals that a stage goes on without (``control.set_aside``): what one hospital's files or rows do ends at that hospital.

Grain: one row per hospital and stage, from the attempt that met the fault to the one that no longer meets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from psycopg2.extensions import cursor as Cursor

from estuaire.base.errors import ErrorFields, EstuaireError
from estuaire.storage import error_columns
from estuaire.storage.database import Database
from estuaire.storage.ledger import Stage, fetch


def note(cursor: Cursor, hospital: str, stage: str, run_id: str, error: EstuaireError) -> None:
    """Set a hospital aside at a stage, in the caller's transaction; the moment of the first time stays."""
    cursor.execute(
        f"insert into control.set_aside (hospital_id, stage, run_id, {error_columns.COLUMNS}) "
        f"values (%s, %s, %s, {error_columns.MARKS}) "
        f"on conflict (hospital_id, stage) do update set run_id = excluded.run_id, {error_columns.SET_EXCLUDED}",
        (hospital, stage, run_id, *error_columns.values(error.fields)),
    )


def clear(cursor: Cursor, hospital: str, stage: str) -> None:
    """The hospital passed the stage again."""
    cursor.execute("delete from control.set_aside where hospital_id = %s and stage = %s", (hospital, stage))


def settle(cursor: Cursor, stage: Stage, failed: Mapping[str, EstuaireError], passed: Iterable[str]) -> None:
    """Note the hospitals that an attempt goes on without, and that others no longer are any."""
    for hospital in passed:
        clear(cursor, hospital, stage.name)
    for hospital, error in failed.items():
        note(cursor, hospital, stage.name, stage.run_id, error)


def standing(database: Database, hospital: str | None = None) -> list[dict[str, Any]]:
    """What is set aside now: hospital_id, stage, run_id, the error's columns (``estuaire.storage.error_columns``), since."""
    return fetch(
        database,
        "select * from control.set_aside where %s::text is null or hospital_id = %s order by hospital_id, stage",
        (hospital, hospital),
    )


def not_loaded(errors: Iterable[ErrorFields]) -> str:
    """The load's note on the hospitals that it went on without, for people; empty where there is none."""
    told = "; ".join(error.sentence() for error in errors)
    return f"not loaded, to be tried again: {told}" if told else ""


def unresolved(database: Database) -> set[str]:
    """Hospitals of which the lake holds a commit that the ledger does not know: nothing of theirs is landed, consolidated or loaded
    before it does."""
    rows = fetch(
        database,
        "select distinct item ->> 'hospital_id' as hospital_id from control.stage_run, "
        "jsonb_array_elements(coalesce(intent -> 'deliveries', intent -> 'hospitals')) item "
        "where state <> 'committed' and intent is not null and snapshot_id is not null",
    )
    return {r["hospital_id"] for r in rows}

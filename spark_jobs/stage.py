"""What every stage that commits to the lake does alike: take the token, recover earlier attempts, measure, note the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import psycopg2

from estuaire.base import disk_space, faults, progress
from estuaire.base.errors import EstuaireError, LedgerRefused
from estuaire.base.metering import Cost, Meter, spark_root
from estuaire.storage import s3a, set_aside
from estuaire.storage.database import Database
from estuaire.storage.duck import store_error
from estuaire.storage.lake import Change, Lake
from estuaire.storage.ledger import Stage, begin_stage, fetch, unfinished
from estuaire.storage.local_files import sweep
from estuaire.storage.platform import Platform

R = TypeVar("R")
NO_COST = Cost(0.0, 0.0, 0)
Intent = dict[str, Any]
ChangeOf = Callable[[str, int, Intent], Change]
Publish = Callable[[Any, Intent, str, int], None]
ITEMS = ("deliveries", "hospitals")  # under which of these an intent lists what it commits


def items(intent: Intent) -> Iterator[tuple[dict[str, Any], Intent]]:
    """Each item of an intent (a delivery, a hospital), and the intent of it alone."""
    name = next(n for n in ITEMS if n in intent)
    for item in intent[name]:
        yield item, {**intent, name: [item]}


def without(intent: Intent, dropped: list[dict[str, Any]]) -> Intent:
    """The intent without these items."""
    name = next(n for n in ITEMS if n in intent)
    return {**intent, name: [item for item in intent[name] if item not in dropped]}


def refused(stage: Stage, intent: Intent, publish: Publish) -> list[tuple[dict[str, Any], LedgerRefused]]:
    """Items of an intent whose ledger rows PostgreSQL will not take: asked before the lake's commit, after which nothing may fail, by
    writing them all and rolling back."""
    with stage.database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        refusals = _written(cursor, intent, stage.run_id, 0, publish)
        connection.rollback()
    faults.reach("stage.rehearsed")
    return refusals


def _written(
    cursor: Any, intent: Intent, run_id: str, snapshot: int, publish: Publish
) -> list[tuple[dict[str, Any], LedgerRefused]]:
    """Write each item's ledger rows behind a savepoint; those that were refused."""
    refusals = []
    for item, alone in items(intent):
        cursor.execute("savepoint item")
        try:
            publish(cursor, alone, run_id, snapshot)
        except psycopg2.Error as error:
            if cursor.connection.closed:
                raise
            cursor.execute("rollback to savepoint item")
            refusals.append((item, _ledger_refused(item, error)))
        cursor.execute("release savepoint item")
    return refusals


def _ledger_refused(item: dict[str, Any], error: psycopg2.Error) -> LedgerRefused:
    # the database's own message may quote a value: its class and SQLSTATE do not
    return LedgerRefused(
        f"the ledger does not take its rows: {type(error).__name__}, SQLSTATE {error.pgcode}",
        remedy="nothing else is stopped; report it as a defect with the run's id, the next run tries again",
        hospital=item["hospital_id"],
        delivery=item.get("delivery_id"),
    )


def recover(stage: Stage, lake: Lake, change_of: ChangeOf, publish: Publish) -> int:
    """Resolve earlier attempts that wrote an intent and no end: where the lake holds their commit, the ledger rows follow; where it
    does not, nothing was changed. Returns how many were finished.

    Called by an attempt that holds the newest token: no earlier one can commit any more. A hospital whose rows the ledger refuses is set
    aside, its part of the intent stays and is tried again by the next attempt; the other hospitals go on.
    """
    finished = 0
    for row in unfinished(stage.database, stage.name, stage.token):
        snapshot = lake.find_commit(change_of(row["run_id"], row["token"], row["intent"]))
        with stage.database.transaction() as connection, connection.cursor() as cursor:
            stage.check_fence(cursor)
            left: list[dict[str, Any]] = []
            if snapshot is not None:
                failures = _written(cursor, row["intent"], row["run_id"], snapshot, publish)
                left = [item for item, _ in failures]
                for item, _ in items(without(row["intent"], left)):
                    set_aside.clear(cursor, item["hospital_id"], stage.name)
                for item, error in failures:
                    set_aside.note(cursor, item["hospital_id"], stage.name, row["run_id"], error)
                finished += not left
            kept = (
                None
                if snapshot is None
                else without(row["intent"], _done(row["intent"], left))
                if left
                else row["intent"]
            )
            state = "committed" if snapshot is not None and not left else "failed"
            stage.resolve(cursor, row["run_id"], row["token"], state, snapshot, kept)
    return finished


def _done(intent: Intent, left: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item, _ in items(intent) if item not in left]


def reported(database: Database, run_id: str, stage_name: str, work: Callable[[], R]) -> R:
    """``work()``, with a failure from before its attempt began noted in the ledger as a failed attempt: a typed one is not lost
    ("ended without a word"), and a permanent one not tried again."""
    before = _attempts(database, run_id, stage_name)
    try:
        return work()
    except BaseException as error:
        with suppress(
            Exception
        ):  # without a database there is nowhere to note it: what happened is raised all the same
            if _attempts(database, run_id, stage_name) == before:
                begin_stage(database, run_id, stage_name).fail(NO_COST, error)
        raise


def _attempts(database: Database, run_id: str, stage_name: str) -> list[int]:
    rows = fetch(
        database,
        "select token from control.stage_run where run_id = %s and stage = %s order by token",
        (run_id, stage_name),
    )
    return [int(r["token"]) for r in rows]


def attempt(
    platform: Platform,
    run_id: str,
    stage_name: str,
    work: Callable[[Stage, Meter], R],
    recovery: Callable[[Stage], object] | None = None,
) -> R:
    """Run one attempt of a stage with its token and meter; a failure is noted in the ledger and raised again.

    Args:
        recovery: resolves earlier attempts, once this one holds the token (see ``recover``).

    Raises:
        StoreUnavailable, StoreRefused: Spark or one of its tasks met an object store that does not answer, or forbids.
        EstuaireError: what a task met of ours (``spark_jobs.session``).
    """
    sweep(platform.settings)
    stage = begin_stage(platform.database, run_id, stage_name)
    meter = Meter(spark_root())
    try:
        with meter, progress.noted(stage):
            faults.reach("stage.begun")
            if recovery is not None:
                recovery(stage)
            faults.reach("stage.recovered")
            done = work(stage, meter)
        faults.reach("stage.ended")
        return done
    except BaseException as error:
        if not isinstance(error, EstuaireError) and s3a.failed(error):
            told = store_error(s3a.told(error))
            stage.fail(meter.cost(), told)
            raise told from error
        ours = None if isinstance(error, EstuaireError) else disk_space.typed(error)
        stage.fail(meter.cost(), ours or error)
        if ours is not None:
            raise ours from error
        raise

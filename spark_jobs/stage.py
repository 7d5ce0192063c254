"""What every stage that commits to the lake does alike: recover an earlier attempt, take the token, measure, note the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from estuaire.duck import store_error
from estuaire.errors import EstuaireError, typed
from estuaire.lake import Change, Lake
from estuaire.ledger import Stage, begin_stage, connect, fetch, unfinished
from estuaire.metering import Cost, Meter, spark_root
from estuaire.scratch import sweep
from estuaire.settings import Settings
from spark_jobs import s3a

R = TypeVar("R")
NO_COST = Cost(0.0, 0.0, 0)
Intent = dict[str, Any]
ChangeOf = Callable[[str, int, Intent], Change]
Publish = Callable[[Any, Intent, str, int], None]


def recover(settings: Settings, lake: Lake, stage: str, change_of: ChangeOf, publish: Publish) -> int:
    """Resolve earlier attempts that wrote an intent and no end: where the lake holds their commit, the ledger rows follow; where it
    does not, nothing was changed. Returns how many were finished."""
    finished = 0
    for row in unfinished(settings, stage):
        snapshot = lake.find_commit(change_of(row["run_id"], row["token"], row["intent"]))
        with connect(settings) as connection, connection.cursor() as cursor:
            if snapshot is not None:
                publish(cursor, row["intent"], row["run_id"], snapshot)
                finished += 1
            cursor.execute(
                "update control.stage_run set state = %s, snapshot_id = %s, intent = case when %s then intent end "
                "where run_id = %s and stage = %s and token = %s",
                (
                    "committed" if snapshot is not None else "failed", snapshot, snapshot is not None,
                    row["run_id"], stage, row["token"],
                ),
            )  # fmt: skip
    return finished


def reported(settings: Settings, run_id: str, stage_name: str, work: Callable[[], R]) -> R:
    """``work()``, with a failure from before its attempt began noted in the ledger as a failed attempt: a typed one is not lost
    ("ended without a word"), and a permanent one not tried again."""
    before = _attempts(settings, run_id, stage_name)
    try:
        return work()
    except BaseException as error:
        with suppress(
            Exception
        ):  # without a database there is nowhere to note it: what happened is raised all the same
            if _attempts(settings, run_id, stage_name) == before:
                ours = error if isinstance(error, EstuaireError) else typed(str(error))
                begin_stage(settings, run_id, stage_name).fail(NO_COST, ours or error)
        raise


def _attempts(settings: Settings, run_id: str, stage_name: str) -> list[int]:
    rows = fetch(
        settings,
        "select token from control.stage_run where run_id = %s and stage = %s order by token",
        (run_id, stage_name),
    )
    return [int(r["token"]) for r in rows]


def attempt(settings: Settings, run_id: str, stage_name: str, work: Callable[[Stage, Meter], R]) -> R:
    """Run one attempt of a stage with its token and meter; a failure is noted in the ledger and raised again.

    Raises:
        StoreUnavailable, StoreRefused: Spark or one of its tasks met an object store that does not answer, or forbids.
        EstuaireError: what a task raised of ours, which Spark wraps in an error of its own.
    """
    sweep(settings)
    stage = begin_stage(settings, run_id, stage_name)
    meter = Meter(spark_root())
    try:
        with meter:
            return work(stage, meter)
    except BaseException as error:
        if not isinstance(error, EstuaireError) and s3a.failed(error):
            told = store_error(s3a.told(error))
            stage.fail(meter.cost(), told)
            raise told from error
        ours = None if isinstance(error, EstuaireError) else typed(str(error))
        stage.fail(meter.cost(), ours or error)
        if ours is not None:
            raise ours from error
        raise

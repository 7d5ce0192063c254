"""What every stage that commits to the lake does alike: recover an earlier attempt, take the token, measure, note the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from estuaire.duck import unavailable
from estuaire.errors import EstuaireError, typed
from estuaire.lake import Change, Lake
from estuaire.ledger import Stage, begin_stage, connect, unfinished
from estuaire.metering import Meter, spark_root
from estuaire.scratch import sweep
from estuaire.settings import Settings
from spark_jobs import s3a

R = TypeVar("R")
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


def attempt(settings: Settings, run_id: str, stage_name: str, work: Callable[[Stage, Meter], R]) -> R:
    """Run one attempt of a stage with its token and meter; a failure is noted in the ledger and raised again.

    Raises:
        StoreUnavailable: Spark or one of its tasks met an object store that does not answer.
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
            stage.fail(meter.cost(), unavailable())
            raise unavailable() from error
        ours = None if isinstance(error, EstuaireError) else typed(str(error))
        stage.fail(meter.cost(), ours or error)
        if ours is not None:
            raise ours from error
        raise

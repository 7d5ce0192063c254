"""Upkeep: put away what is old (snapshots of the lake, files that nobody needs, logs, reports, Airflow's own runs), and vacuum."""

from __future__ import annotations

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

from estuaire.base.errors import EstuaireError
from estuaire.base.run_names import UPKEEP
from estuaire.base.settings import Settings
from estuaire.operations import scheduled
from estuaire.orchestration.schedules import task_defaults, upkeep_schedule
from estuaire.storage.platform import Platform


@dag(
    dag_id=UPKEEP,
    schedule=upkeep_schedule(Settings()),
    catchup=False,
    max_active_runs=1,
    default_args=task_defaults(Settings()),
    tags=["estuaire"],
    doc_md=__doc__,
)
def upkeep() -> None:
    @task
    def put_away() -> str:
        try:
            return scheduled.upkeep(Platform(Settings()))
        except EstuaireError as error:
            if error.retryable:
                raise
            raise AirflowFailException(error.sentence()) from None

    put_away()


upkeep()

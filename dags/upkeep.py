"""Upkeep: put away what is old (snapshots of the lake, files that nobody needs, logs, reports, Airflow's own runs), and vacuum."""

from __future__ import annotations

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

from estuaire.errors import EstuaireError
from estuaire.orchestration import steps
from estuaire.orchestration.naming import UPKEEP
from estuaire.orchestration.schedules import task_defaults, upkeep_schedule
from estuaire.settings import Settings


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
            return steps.upkeep(Settings())
        except EstuaireError as error:
            if error.retryable:
                raise
            raise AirflowFailException(error.sentence()) from None

    put_away()


upkeep()

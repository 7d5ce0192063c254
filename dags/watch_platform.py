"""Watch: every five minutes look at what needs a hand (a failed run, a blocked delivery, a late hospital, a full disk ...) and tell people."""

from __future__ import annotations

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

from estuaire.base.errors import EstuaireError
from estuaire.base.run_names import WATCH
from estuaire.base.settings import Settings
from estuaire.operations import scheduled
from estuaire.orchestration.schedules import QUICK, task_defaults, watch_schedule
from estuaire.storage.platform import Platform


@dag(
    dag_id=WATCH,
    schedule=watch_schedule(Settings()),
    catchup=False,
    max_active_runs=1,
    default_args=task_defaults(Settings()),
    tags=["estuaire"],
    doc_md=__doc__,
)
def watch_platform() -> None:
    @task(retries=0, execution_timeout=QUICK)
    def watch() -> str:
        try:
            return scheduled.watch(Platform(Settings()))
        except EstuaireError as error:
            raise AirflowFailException(error.sentence()) from None

    watch()


watch_platform()

"""Consolidate: rebuild the hospitals that have something new, let each one's gate speak, and load what passed into the warehouse."""

from __future__ import annotations

from airflow.sdk import Asset, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from estuaire.base.errors import EstuaireError
from estuaire.base.run_names import CONSOLIDATE, LANDED_ASSET, STAGING_ASSET, ledger_run_id
from estuaire.base.settings import Settings
from estuaire.orchestration import tasks
from estuaire.orchestration.operators import StageSubmit
from estuaire.orchestration.schedules import QUICK, task_defaults
from estuaire.storage.platform import Platform


def _run_id() -> str:
    return ledger_run_id(CONSOLIDATE, get_current_context()["dag_run"].run_id)


@dag(
    dag_id=CONSOLIDATE,
    schedule=[Asset(LANDED_ASSET)],
    catchup=False,
    max_active_runs=1,
    default_args=task_defaults(Settings()),
    tags=["estuaire"],
    doc_md=__doc__,
)
def consolidate() -> None:
    @task(execution_timeout=QUICK)
    def audited() -> list[str]:
        return tasks.audited_hospitals(Platform(Settings()).database, _run_id())

    @task(map_index_template="{{ task.op_kwargs['hospital'] }}", retries=0, execution_timeout=QUICK)
    def gate(hospital: str) -> str:
        try:
            return tasks.consolidated_verdict(Platform(Settings()).database, _run_id(), hospital)
        except EstuaireError as error:
            raise AirflowFailException(error.sentence()) from None

    rebuild = StageSubmit(task_id="consolidate", stage="consolidate")
    hospitals = audited()
    gates = gate.expand(hospital=hospitals)
    # a blocked hospital does not keep the others from being loaded; a consolidation that did not commit does
    load = StageSubmit(
        task_id="load",
        stage="load",
        after="consolidate",
        ends_run=True,
        trigger_rule="all_done",
        outlets=[Asset(STAGING_ASSET)],
    )
    rebuild >> hospitals >> gates >> load


consolidate()

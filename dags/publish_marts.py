"""Publish: build the models in candidate schemas, test them, let the gates audit them, and swap them in as a release."""

from __future__ import annotations

from airflow.sdk import Asset, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from estuaire.base.errors import EstuaireError
from estuaire.base.run_names import PUBLISH, STAGING_ASSET, ledger_run_id
from estuaire.base.settings import Settings
from estuaire.orchestration import tasks
from estuaire.orchestration.operators import triggering_root
from estuaire.orchestration.schedules import QUICK, task_defaults
from estuaire.storage.platform import Platform


@dag(
    dag_id=PUBLISH,
    schedule=[Asset(STAGING_ASSET)],
    catchup=False,
    max_active_runs=1,
    default_args=task_defaults(Settings()),
    tags=["estuaire"],
    doc_md=__doc__,
)
def publish_marts() -> None:
    @task
    def publish() -> str:
        context = get_current_context()
        try:
            return tasks.publish(
                Platform(Settings()), ledger_run_id(PUBLISH, context["dag_run"].run_id), triggering_root(context)
            )
        except EstuaireError as error:
            if error.retryable:
                raise
            raise AirflowFailException(error.sentence()) from None

    @task(retries=0, execution_timeout=QUICK, trigger_rule="all_done")
    def gate(stage: str) -> str:
        run_id = ledger_run_id(PUBLISH, get_current_context()["dag_run"].run_id)
        try:
            return tasks.release_verdict(Platform(Settings()).database, run_id, stage)
        except EstuaireError as error:
            raise AirflowFailException(error.sentence()) from None

    gates = [gate.override(task_id=f"gate_{stage}")(stage) for stage in ("conformed", "marts")]
    publish() >> gates


publish_marts()

"""Ingest: find what hospitals delivered, land it, let each hospital's gate speak, and say that the lake has something new."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from estuaire.base.errors import EstuaireError
from estuaire.base.run_names import INGEST, LANDED_ASSET, ROOT_RUN, ledger_run_id
from estuaire.base.settings import Settings
from estuaire.orchestration import tasks
from estuaire.orchestration.operators import StageSubmit
from estuaire.orchestration.schedules import QUICK, SCAN, ingest_schedule, task_defaults
from estuaire.storage.platform import Platform

landed = Asset(LANDED_ASSET)


def _run_id() -> str:
    return ledger_run_id(INGEST, get_current_context()["dag_run"].run_id)


@dag(
    dag_id=INGEST,
    schedule=ingest_schedule(Settings()),
    catchup=False,
    max_active_runs=1,
    default_args=task_defaults(Settings()),
    tags=["estuaire"],
    doc_md=__doc__,
)
def ingest_deliveries() -> None:
    @task(execution_timeout=SCAN)
    def discover() -> list[str]:
        try:
            discovery = tasks.discover(Platform(Settings()), _run_id())
        except EstuaireError as error:
            if error.retryable:
                raise
            raise AirflowFailException(error.sentence()) from None
        if not discovery.go:
            raise AirflowSkipException("nothing new")
        return discovery.hospitals

    @task(map_index_template="{{ task.op_kwargs['hospital'] }}", retries=0, execution_timeout=QUICK)
    def gate(hospital: str) -> list[str]:
        try:
            return tasks.hospital_verdict(Platform(Settings()).database, _run_id(), hospital)
        except EstuaireError as error:
            raise AirflowFailException(error.sentence()) from None

    @task(execution_timeout=QUICK, outlets=[landed], trigger_rule="all_done")
    def accept(**context: Any) -> str:
        try:
            message = tasks.accept(Platform(Settings()), _run_id())
            if message is None:
                raise AirflowSkipException("nothing new")
        except EstuaireError as error:
            if error.retryable:
                raise
            raise AirflowFailException(error.sentence()) from None
        context["outlet_events"][landed].extra = {ROOT_RUN: _run_id()}
        return message

    hospitals = discover()
    land = StageSubmit(task_id="land", stage="land")
    gates = gate.expand(hospital=hospitals)
    hospitals >> land >> gates >> accept()


ingest_deliveries()

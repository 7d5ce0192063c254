"""Consolidate: rebuild the hospitals that have something new, and load them into the warehouse's staging tables."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, dag

from estuaire.orchestration.naming import CONSOLIDATE, LANDED_ASSET, STAGING_ASSET
from estuaire.orchestration.operators import StageSubmit


@dag(
    dag_id=CONSOLIDATE,
    schedule=[Asset(LANDED_ASSET)],
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["estuaire"],
    doc_md=__doc__,
)
def consolidate() -> None:
    rebuild = StageSubmit(task_id="consolidate", stage="consolidate")
    load = StageSubmit(task_id="load", stage="load", ends_run=True, outlets=[Asset(STAGING_ASSET)])
    rebuild >> load


consolidate()

"""Names shared by the DAGs and by those who look at their runs."""

from __future__ import annotations

import re

INGEST, CONSOLIDATE, PUBLISH = "ingest_deliveries", "consolidate", "publish_marts"
WATCH, UPKEEP = "watch_platform", "upkeep"  # no part of a chain, and no run of the ledger
DAGS = (INGEST, CONSOLIDATE, PUBLISH)
TIMEZONE = "Europe/Paris"  # of schedules, and of the times that Airflow shows
DELIVERIES_ASSET = "estuaire://landing/deliveries"
LANDED_ASSET = "estuaire://lake/landed"
STAGING_ASSET = "estuaire://warehouse/staging"
ROOT_RUN = "root_run_id"  # in an asset event's extra: the ledger run that began the chain


def ledger_run_id(dag_id: str, airflow_run_id: str) -> str:
    """The ledger's run id of an Airflow run: letters, digits and dashes only, since file names carry it."""
    prefix = {INGEST: "ingest", CONSOLIDATE: "consolidate", PUBLISH: "publish"}.get(dag_id, dag_id)
    return f"{prefix}-{re.sub('[^A-Za-z0-9]+', '-', airflow_run_id).strip('-')}"

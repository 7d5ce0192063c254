"""What is measured outside the database: disks, the object store, Airflow by its API. Each part: settings -> samples."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx2

from estuaire.base import addresses
from estuaire.base.settings import Settings
from estuaire.operations.metrics.catalogue import Sample
from estuaire.runs import current_state
from estuaire.stack import airflow

_GIB = 2**30
_NEWEST_RUNS = 100  # Airflow's largest page
_TASK_STATES = ("failed", "up_for_retry", "running", "queued", "scheduled")
_SLOTS = ("open", "occupied", "running", "queued", "scheduled", "deferred")


def disks(settings: Settings) -> Iterator[Sample]:
    """What is free on each disk of the platform's folders that this process sees."""
    for name, _, total, free in current_state.disks(settings):
        yield "estuaire_disk_bytes", (name,), total
        yield "estuaire_disk_free_bytes", (name,), free
    yield "estuaire_disk_wanted_bytes", (), settings.alert_disk_free_gib * _GIB


def store(settings: Settings, patience: float) -> Iterator[Sample]:
    """Whether the object store answers, once asked. Any HTTP answer of an S3 server below 500 is one: whether its keys are right is the
    stages' to say."""
    if settings.store == "directory":
        answers = settings.store_path.is_dir()
    else:
        try:
            answers = httpx2.get(settings.s3_endpoint, timeout=patience, trust_env=False).status_code < 500
        except httpx2.HTTPError:
            answers = False
    yield "estuaire_store_up", (), answers


class Airflow:
    """Airflow's API as its viewer; the token is kept from scrape to scrape."""

    def __init__(self, settings: Settings, patience: float) -> None:
        self._settings = settings
        self._http = httpx2.Client(base_url=addresses.base_url(settings), timeout=patience, trust_env=False)
        self._token = ""

    def measure(self) -> Iterator[Sample]:
        """What the API tells of schedulers, runs, tasks and pools.

        Raises:
            httpx2.HTTPError: it answered, and refused.
            SecretUnusable: the viewer's password is not there.
        """
        try:
            health = self._http.get("/api/v2/monitor/health").raise_for_status().json()
        except httpx2.HTTPError:
            yield "estuaire_airflow_up", (), 0
            return
        yield "estuaire_airflow_up", (), 1
        for name, key in airflow.HEALTH_KEYS.items():
            moment = (health.get(key) or {}).get(f"latest_{key}_heartbeat")
            if moment:
                yield "estuaire_airflow_heartbeat_timestamp_seconds", (name,), _seconds(moment)
        dags = [d["dag_id"] for d in self._get("/dags", limit=_NEWEST_RUNS)["dags"]]
        yield from self._dags(dags)
        for state in _TASK_STATES:
            told = self._get("/dags/~/dagRuns/~/taskInstances", state=state, limit=1)
            yield "estuaire_airflow_task_instances", (state,), told["total_entries"]
        for pool in self._get("/pools", limit=_NEWEST_RUNS)["pools"]:
            for state in _SLOTS:
                yield "estuaire_airflow_pool_slots", (pool["name"], state), pool[f"{state}_slots"]
        yield "estuaire_airflow_import_errors", (), self._get("/importErrors", limit=1)["total_entries"]

    def _dags(self, dags: list[str]) -> Iterator[Sample]:
        for one in self._get("/dagStats", dag_ids=dags)["dags"]:
            for stat in one["stats"]:
                yield "estuaire_airflow_dag_runs", (one["dag_id"], stat["state"]), stat["count"]
        for paused in self._get("/dags", limit=_NEWEST_RUNS)["dags"]:
            yield "estuaire_airflow_dag_paused", (paused["dag_id"],), paused["is_paused"]
        for dag in dags:
            newest = self._get(f"/dags/{dag}/dagRuns", order_by="-end_date", limit=1, state=["success", "failed"])
            for run in newest["dag_runs"]:
                if run["start_date"] and run["end_date"]:
                    took = _seconds(run["end_date"]) - _seconds(run["start_date"])
                    yield "estuaire_airflow_dag_run_seconds", (dag,), took
            well = self._get(f"/dags/{dag}/dagRuns", order_by="-end_date", limit=1, state=["success"])["dag_runs"]
            if well and well[0]["end_date"]:
                yield "estuaire_airflow_dag_last_success_timestamp_seconds", (dag,), _seconds(well[0]["end_date"])

    def _get(self, path: str, **parameters: Any) -> Any:
        for _ in range(2):  # a token expires
            if not self._token:
                self._token = self._login()
            headers = {"Authorization": f"Bearer {self._token}"}
            answer = self._http.get(f"/api/v2{path}", params=parameters, headers=headers)
            if answer.status_code != httpx2.codes.UNAUTHORIZED:
                break
            self._token = ""
        return answer.raise_for_status().json()

    def _login(self) -> str:
        password = self._settings.secret(airflow.VIEWER_SECRET)
        answer = self._http.post("/auth/token", json={"username": airflow.VIEWER, "password": password})
        return str(answer.raise_for_status().json()["access_token"])


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()

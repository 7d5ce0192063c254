"""A small client of Airflow's REST API: what `estuaire run` and the tests need, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2

from estuaire.base.addresses import base_url
from estuaire.base.errors import RunFailed, SetupError
from estuaire.base.settings import Settings
from estuaire.stack.airflow import ADMIN, ADMIN_SECRET

_PAGE = 100  # Airflow's default maximum
Json = dict[str, Any]


class AirflowClient:
    """Logged in as the administrator, with the password of the 0600 file. Use as a context manager.

    Every method raises SetupError when Airflow does not answer or refuses the password, and RunFailed when it refuses the
    request (an unknown DAG, a run id that exists).
    """

    def __init__(self, settings: Settings, timeout: float = 30.0) -> None:
        self._settings = settings
        self._token: str | None = None
        self._http = httpx2.Client(
            base_url=base_url(settings),
            timeout=timeout,
            trust_env=False,  # never through a proxy
            transport=httpx2.HTTPTransport(retries=3),  # of the connection only: a request is never sent twice
        )

    def __enter__(self) -> AirflowClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # ---------------------------------------------------------------- DAGs
    def dags(self) -> list[Json]:
        """Every DAG that has been parsed: ``dag_id``, ``is_paused``, ``last_parsed_time``, …"""
        return self._pages("/dags", "dags", {})

    def import_errors(self) -> list[Json]:
        """DAG files that do not import: ``filename``, ``stack_trace``."""
        return self._pages("/importErrors", "import_errors", {})

    def unpause(self, dag_id: str) -> None:
        self._call("PATCH", f"/dags/{quote(dag_id)}", json={"is_paused": False})

    # ---------------------------------------------------------------- runs
    def trigger(self, dag_id: str, conf: Mapping[str, object] | None = None, run_id: str | None = None) -> Json:
        """Start a run; its description, with ``dag_run_id`` and ``state``."""
        body: Json = {"logical_date": None, "conf": dict(conf or {})}
        if run_id:
            body["dag_run_id"] = run_id
        return self._call("POST", f"/dags/{quote(dag_id)}/dagRuns", json=body)

    def dag_run(self, dag_id: str, run_id: str) -> Json:
        """``state`` (queued, running, success, failed), ``start_date``, ``end_date``, …"""
        return self._call("GET", f"{_run(dag_id, run_id)}")

    def dag_runs(
        self, dag_id: str = "~", *, state: str | None = None, since: str | None = None, limit: int = _PAGE
    ) -> list[Json]:
        """The newest runs first, of one DAG or of all (``~``).

        Args:
            state: only runs in this state.
            since: ISO time; only runs that became due at or after it.
        """
        params: Json = {"order_by": "-run_after", "limit": min(limit, _PAGE)}
        if state:
            params["state"] = state
        if since:
            params["run_after_gte"] = since
        runs: list[Json] = self._call("GET", f"/dags/{quote(dag_id)}/dagRuns", params=params)["dag_runs"]
        return runs

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Tasks of a run: ``task_id``, ``map_index`` (-1: not mapped), ``rendered_map_index``, ``state``, ``try_number``, …"""
        return self._pages(f"{_run(dag_id, run_id)}/taskInstances", "task_instances", {})

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """The whole log of one try, one event per line; a traceback follows its event."""
        body = self._call(
            "GET",
            f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}",
            params={"map_index": map_index, "full_content": True},
        )
        return "\n".join(log_line(event) for event in body.get("content", []))

    # ---------------------------------------------------------------- HTTP
    def _pages(self, path: str, key: str, params: Json) -> list[Json]:
        entries: list[Json] = []
        while True:
            body = self._call("GET", path, params={**params, "limit": _PAGE, "offset": len(entries)})
            entries += body[key]
            if not body[key] or len(entries) >= body["total_entries"]:
                return entries

    def _call(self, method: str, path: str, *, params: Json | None = None, json: Json | None = None) -> Json:
        try:
            answer = self._send(method, path, params, json)
            if answer.status_code == httpx2.codes.UNAUTHORIZED:  # the token has expired
                self._token = None
                answer = self._send(method, path, params, json)
        except httpx2.TransportError as error:
            raise SetupError("Airflow does not answer", remedy="run `estuaire up`") from error
        if answer.is_error:
            raise RunFailed(
                f"Airflow refused {method} {path} with {answer.status_code}: {_detail(answer)}",
                remedy="see `estuaire logs api-server`",
            )
        body: Json = answer.json() if answer.content else {}
        return body

    def _send(self, method: str, path: str, params: Json | None, json: Json | None) -> httpx2.Response:
        if self._token is None:
            self._token = self._login()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        return self._http.request(method, f"/api/v2{path}", params=params, json=json, headers=headers)

    def _login(self) -> str:
        body = {"username": ADMIN, "password": self._settings.secret(ADMIN_SECRET)}
        answer = self._http.post("/auth/token", json=body)
        if answer.is_error:
            raise SetupError(
                f"Airflow refused the administrator's password ({answer.status_code})",
                remedy="run `estuaire down`, then `estuaire up`",
            )
        return str(answer.json()["access_token"])


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _detail(answer: httpx2.Response) -> str:
    try:
        return str(answer.json().get("detail", ""))[:300]
    except ValueError:
        return answer.text[:300]


def log_line(event: object) -> str:
    """An event of a task's log as one line; a traceback follows."""
    if not isinstance(event, dict):
        return str(event)
    parts = [str(event[key]) for key in ("timestamp", "level", "event") if event.get(key)]
    lines = [" ".join(parts)]
    for error in event.get("error_detail") or []:
        lines += [f"  {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in error.get("frames", [])]
        lines.append(f"  {error.get('exc_type', '')}: {error.get('exc_value', '')}")
    return "\n".join(lines)

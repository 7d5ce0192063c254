"""Every page and API of Airflow's server, asked by nobody: the walk finds them itself, so that a new route is walked, too."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2

LOGIN = re.compile(r"/api/v2/auth/login|/auth/login")
OPEN = {  # tell whether the server lives, and its version; the way in
    ("get", "/api/v2/monitor/health"), ("get", "/execution/health"), ("get", "/execution/health/ping"), ("get", "/api/v2/version"),
    ("post", "/auth/token"), ("post", "/auth/token/cli"),
}  # fmt: skip
DESCRIPTIONS = ("/docs", "/redoc")  # of the API, for people: not served
REPORTS = ("/estuaire/reports/latest.html", "/estuaire/quality/index.html", "/estuaire/reports/", "/estuaire/quality/")
_METHODS = {"get", "post", "put", "patch", "delete"}


def routes(server: str) -> Iterator[tuple[str, str]]:
    """(method, path) of every route: the two APIs' by their own descriptions, the tasks' by its code, the reports'."""
    for prefix in ("", "/auth"):
        for path, methods in _get(server, f"{prefix}/openapi.json").json()["paths"].items():
            for method in sorted(_METHODS & methods.keys()):
                yield method, prefix + _filled(path)
    for method, path in _of_tasks():
        yield method, "/execution" + _filled(path)
    for path in REPORTS:
        yield "get", path


def answered(server: str) -> list[tuple[str, str, int]]:
    """Every route (method, path, status) that neither refuses nor leads to the login, but for those that are open to all."""
    asked, found = 0, []
    for method, path in routes(server):
        if (method, path) in OPEN:
            continue
        asked += 1
        answer = httpx2.request(method, server + path, trust_env=False, timeout=60)
        led = answer.status_code in (302, 307) and LOGIN.search(answer.headers["location"])
        if answer.status_code not in (401, 403) and not led:
            found.append((method, path, answer.status_code))
    assert asked > 150  # it was walked
    for path in DESCRIPTIONS:
        shown = httpx2.get(
            server + path, trust_env=False, timeout=60
        ).text.lower()  # the empty page that asks for a login
        assert not re.search("swagger|redoc", shown), path
    return found


def lets_in(server: str, user: str, password: str) -> bool:
    """Whether the way in opens to a name and a password."""
    body = {"username": user, "password": password}
    answers = [
        httpx2.post(f"{server}{path}", json=body, trust_env=False, timeout=60)
        for path in ("/auth/token", "/auth/token/cli")
    ]
    return any(a.status_code < 300 for a in answers)


def _of_tasks() -> Iterator[tuple[str, str]]:
    from airflow.api_fastapi.execution_api.routes import execution_api_router

    for route in execution_api_router.routes:
        for method in sorted(m.lower() for m in getattr(route, "methods", None) or ()):
            if method in _METHODS:
                yield method, route.path


def _filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "1", path)


def _get(server: str, path: str) -> httpx2.Response:
    answer = httpx2.get(server + path, trust_env=False, timeout=60)
    answer.raise_for_status()
    return answer

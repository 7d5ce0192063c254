"""The page of metrics as a part of the stack: off unless ``metrics_port`` is set."""

from __future__ import annotations

import sys

import httpx2

from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.stack import processes
from estuaire.stack.airflow import settings_environment

NAME = "metrics"
TOKEN = "metrics_token"  # noqa: S105 - the name of the secret that Prometheus sends
COMMAND = (sys.executable, "-m", "estuaire.operations.metrics")


def environment(settings: Settings) -> dict[str, str]:
    """Its whole environment: the settings; secrets are files."""
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PROJECT_ROOT),
        **settings_environment(settings),
    }


def start(settings: Settings) -> None:
    """Start it, beside the stack's other processes; its token is drawn the first time."""
    settings.ensure_secret(TOKEN, 32)
    processes.start(settings, NAME, COMMAND, environment(settings), cwd=settings.root)


def answers(settings: Settings) -> bool:
    """Whether it listens, and asks who calls."""
    host = "127.0.0.1" if settings.metrics_bind in ("0.0.0.0", "::") else settings.metrics_bind  # noqa: S104 - compared, not bound
    try:
        return httpx2.get(f"http://{host}:{settings.metrics_port}/", timeout=5, trust_env=False).status_code == 401
    except httpx2.HTTPError:
        return False

"""The host name under which Airflow's processes register: one machine, loopback. Light: Airflow imports it early."""

import sys


def loopback() -> str:
    if {"scheduler", "celery"} & set(sys.argv[1:]):
        _import_for_tasks()
    return "127.0.0.1"


def _import_for_tasks() -> None:
    """What each task of our DAGs imports (0.2 s of CPU), once in the scheduler: its tasks are forks of it, and it registers first."""
    import estuaire.orchestration.operators
    import estuaire.orchestration.steps  # noqa: F401

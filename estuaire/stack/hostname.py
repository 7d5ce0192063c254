"""The host names under which Airflow's processes register. Light: Airflow imports it early."""

import socket
import sys


def loopback() -> str:
    """Of one machine's processes: they speak over loopback."""
    if "scheduler" in sys.argv[1:]:
        _import_for_tasks()
    return "127.0.0.1"


def machine() -> str:
    """Where tasks run on several machines: this one's, so that Airflow shows which worker did what."""
    if "celery" in sys.argv[1:]:
        _import_for_tasks()
    return socket.gethostname()


def _import_for_tasks() -> None:
    """What each task of our DAGs imports (0.2 s of CPU), once in its parent: its tasks are forks of it, and it registers first."""
    import estuaire.orchestration.operators
    import estuaire.orchestration.tasks  # noqa: F401

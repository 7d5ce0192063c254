"""Airflow's tasks on more than one machine: Celery's workers, and Redis between them and the scheduler.

Security property: the address with Redis's password is made where it is used, from the secret's file: it stands in no argument and no environment.
"""

from __future__ import annotations

import shlex
import socket
import sys

from estuaire.base.settings import Settings

PART = "celery-worker"
COMMAND = ("celery", "worker", "--skip-serve-logs", "--without-gossip", "--without-mingle")
BROKER_SECRET = "redis"  # noqa: S105 - a file's name
_ANSWER_SECONDS = 10.0


def broker_command(settings: Settings) -> str:
    """What prints the broker's address: Airflow's options take a command in the place of a value."""
    address = shlex.quote(settings.broker.replace("://", "://:%s@", 1))
    secret = shlex.quote(str(settings.secrets_path / BROKER_SECRET))
    script = f'printf {address} "$(cat {secret})"'
    return f"sh -c {shlex.quote(script)}"


def answers(settings: Settings, worker: str) -> bool:
    """Whether a worker takes tasks from the broker: it answers a ping that comes the same way."""
    from celery import Celery

    address = settings.broker.replace("://", f"://:{settings.secret(BROKER_SECRET)}@", 1)
    told = Celery(broker=address).control.ping(destination=[worker], timeout=_ANSWER_SECONDS)
    return bool(told)


if __name__ == "__main__":  # the worker's health check, in its own container
    sys.exit(not answers(Settings(), f"celery@{socket.gethostname()}"))

"""Spark on more than one machine: how its parts prove who they are, and find each other.

Security property: the secret of Spark's lines stands in a 0600 file of its own process's folder (Spark reads it from its defaults; a file of
the secret it takes on Kubernetes alone), never in an argument. The pseudonym key is no part of any configuration of Spark: a worker reads its
own file of it.
"""

from __future__ import annotations

import socket
from pathlib import Path

from estuaire.base import private_files
from estuaire.base.settings import Settings

AUTH_SECRET = "spark_auth"  # noqa: S105 - a file's name
_CLEANUP = {  # of what ended applications left in a worker's folder
    "spark.worker.cleanup.enabled": "true",
    "spark.worker.cleanup.interval": "600",
    "spark.worker.cleanup.appDataTtl": "3600",
}


def standalone(settings: Settings) -> bool:
    """Whether the master is Spark's own; on YARN and Kubernetes Spark draws a secret for each application itself."""
    return settings.spark_master.startswith("spark://")


def local(settings: Settings) -> bool:
    """Whether driver and executors are one process."""
    return settings.spark_master.startswith("local")


def conf_folder(settings: Settings) -> Path:
    """SPARK_CONF_DIR of a standalone cluster's parts and of those that submit to it."""
    return settings.run_dir / "spark"


def environment(settings: Settings) -> dict[str, str]:
    """What a process that submits to Spark needs in its environment."""
    if local(settings):
        return {"SPARK_LOCAL_IP": "127.0.0.1"}
    return {"SPARK_CONF_DIR": str(conf_folder(settings))} if standalone(settings) else {}


def submission(settings: Settings) -> dict[str, str]:
    """Spark's configuration at submission: where the driver is found, and that lines are authenticated and encrypted."""
    if local(settings):
        return {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    return {
        "spark.driver.host": settings.spark_driver_host or socket.gethostname(),
        "spark.driver.bindAddress": "0.0.0.0",  # noqa: S104 - a cluster's workers come from other machines
        "spark.executor.memory": settings.spark_executor_memory,
        **lines(),
    }


def lines() -> dict[str, str]:
    """Every line between Spark's parts is authenticated and encrypted, and what is spilled to disk is encrypted."""
    return {
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        "spark.network.crypto.saslFallback": "false",
        "spark.io.encryption.enabled": "true",
    }


def write_conf(settings: Settings) -> None:
    """Spark's defaults with the secret of its lines, for this process and its children (0600).

    Raises:
        SecretUnusable: there is no secret ``spark_auth``, or a damaged one.
    """
    from estuaire.base.secret_files import write_private

    private_files.folder(conf_folder(settings))
    values = lines() | _CLEANUP | {"spark.master.rest.enabled": "false"}
    values["spark.authenticate.secret"] = settings.secret(AUTH_SECRET)
    text = "".join(f"{name} {value}\n" for name, value in values.items())
    write_private(conf_folder(settings) / "spark-defaults.conf", text)

"""One part of the platform as the process of a container: its folders and files, then the server itself in this process's place.

The parts are those of `estuaire up`, with the same configuration; what differs on a server are settings. Secrets are files that were made
before (`make secrets`); nothing is drawn here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from estuaire.base import private_files
from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.orchestration import spark_cluster
from estuaire.stack import airflow, celery_workers, exporter, jdk, postgres, superuser

SPARK_PORT, SPARK_WORKER_PORT = 7077, 7078
SPARK_PARTS = ("spark-master", "spark-worker")
_TASKS_RUN_IN = ("scheduler", celery_workers.PART)  # and tasks submit to Spark
PARTS = (postgres.NAME, *airflow.SERVER_COMMANDS, *SPARK_PARTS, exporter.NAME)


def command(settings: Settings, part: str) -> tuple[list[str], Mapping[str, str]]:
    """Prepare a part; its command and its whole environment.

    Raises:
        SetupError: there is no such part, or the machine or a secret does not allow it.
    """
    if part == postgres.NAME:
        start = postgres.prepare_container(settings)
        superuser.take_given(settings)
        return start, {
            "PATH": os.defpath,
            "LC_ALL": "C",
            "TZ": "UTC",
            "HOME": str(settings.run_dir),
        }
    if part in airflow.SERVER_COMMANDS:
        return _airflow(settings, part)
    if part in SPARK_PARTS:
        return _spark(settings, part)
    if part == exporter.NAME:
        return list(exporter.COMMAND), exporter.environment(settings)
    raise SetupError(f"there is no part '{part}'", remedy=f"choose one of: {', '.join(PARTS)}")


def serve(settings: Settings, part: str) -> None:
    """Become the part. Returns never."""
    private_files.start()
    arguments, environment = command(settings, part)
    os.execvpe(arguments[0], arguments, dict(environment))  # noqa: S606 - no shell


def _airflow(settings: Settings, part: str) -> tuple[list[str], Mapping[str, str]]:
    if part == celery_workers.PART and settings.executor != "CeleryExecutor":
        raise SetupError(
            "Airflow gives Celery workers no task", remedy="set ESTUAIRE_EXECUTOR=CeleryExecutor, everywhere"
        )
    private_files.folder(settings.airflow_home)
    private_files.folder(settings.logs)
    if part == "api-server":
        airflow.write_password_file(settings)
    if spark_cluster.standalone(settings) and part in _TASKS_RUN_IN:
        spark_cluster.write_conf(settings)
    environment = airflow.environment(settings, jdk.find_jdk(settings))
    return [sys.executable, "-m", "airflow", *airflow.SERVER_COMMANDS[part]], environment


def _spark(settings: Settings, part: str) -> tuple[list[str], Mapping[str, str]]:
    """Spark's daemons. A worker's folders lie in its scratch space: applications, what they spill, our own files."""
    import socket

    from estuaire.storage.s3a import jars_folder

    spark_class = str(jars_folder().parent / "bin" / "spark-class")
    spark_cluster.write_conf(settings)
    java_home = jdk.find_jdk(settings)
    if java_home is None:
        raise SetupError("no Java for Spark", remedy=jdk.install_hint())
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "LANG") if name in os.environ}
    environment = {
        **kept,
        **airflow.settings_environment(settings),
        "JAVA_HOME": str(java_home),
        "SPARK_CONF_DIR": str(spark_cluster.conf_folder(settings)),
        "SPARK_DAEMON_MEMORY": "512m",
    }
    host = socket.gethostname()
    if part == "spark-master":
        where = ["org.apache.spark.deploy.master.Master", "--host", host, "--port", str(SPARK_PORT)]
        return [spark_class, *where, "--webui-port", "8080"], environment
    private_files.folder(settings.scratch)
    for name in ("apps", "spill"):
        private_files.folder(settings.scratch / name)
    environment["SPARK_LOCAL_DIRS"] = str(settings.scratch / "spill")
    worker_arguments = [
        "org.apache.spark.deploy.worker.Worker",
        "--host",
        host,
        "--port",
        str(SPARK_WORKER_PORT),
        "--webui-port",
        "8081",
    ]
    worker_arguments += ["--cores", str(settings.spark_worker_cores), "--memory", settings.spark_worker_memory]
    return [
        spark_class,
        *worker_arguments,
        "--work-dir",
        str(settings.scratch / "apps"),
        settings.spark_master,
    ], environment

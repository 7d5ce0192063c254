"""Airflow on the embedded stack: its environment, its database, its four processes, its health.

Everything is on loopback. The API server is the only listener: task logs are read from the shared folder, so the log servers
(which Airflow binds to every address, with no option for it) are not started.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx2
import psycopg2
import psycopg2.extensions

from estuaire.base import private_files, secret_files
from estuaire.base.addresses import base_url, public_url
from estuaire.base.errors import SetupError
from estuaire.base.run_names import TIMEZONE
from estuaire.base.secret_files import write_private
from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.orchestration import spark_cluster
from estuaire.stack import celery_workers, processes
from estuaire.storage.database import Database

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
SERVER_COMMANDS = {**COMMANDS, celery_workers.PART: celery_workers.COMMAND}  # a server may have workers besides
HEALTH_KEYS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
ADMIN, VIEWER = "admin", "viewer"
ADMIN_SECRET, VIEWER_SECRET = "airflow_admin", "airflow_viewer"
FERNET = "airflow_fernet"
DAGS_FOLDER = PROJECT_ROOT / "dags"
PLUGINS_FOLDER = PROJECT_ROOT / "infra" / "airflow" / "plugins"
_CLOSED_PORT = "1"  # nothing listens there: see the module's docstring
_KEYS = ("ESTUAIRE_S3_ACCESS_KEY", "ESTUAIRE_S3_SECRET_KEY")  # kept as files: the environment of a process can be read
_FOREIGN = ("AIRFLOW_", "_AIRFLOW_", "PG", "PYTHON", "SPARK_", "ESTUAIRE_STACK_", *_KEYS)


def settings_environment(settings: Settings) -> dict[str, str]:
    """``ESTUAIRE_*`` variables from which a child process reads these same settings; keys are files (see ``prepare``)."""
    values = settings.model_dump(exclude_none=True, exclude=set(settings.given_s3_keys()))
    values |= {"home": settings.root}
    return {
        f"ESTUAIRE_{name.upper()}": json.dumps(value) if isinstance(value, dict | list | tuple) else str(value)
        for name, value in values.items()
    }


def environment(settings: Settings, java_home: Path | None) -> dict[str, str]:
    """The whole environment of Airflow's processes. It names the files of secrets; it holds no secret.

    Airflow reads an option ``X`` from the command in ``X_CMD``: here `cat` of a 0600 file.

    Args:
        java_home: where Spark's Java is; None for a process that submits nothing to Spark.
    """
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    bin_folder = str(Path(sys.executable).parent)
    loopback = "127.0.0.1,localhost"
    base = {
        "PATH": os.pathsep.join(
            [bin_folder, *([str(java_home / "bin")] if java_home else []), kept.get("PATH", os.defpath)]
        ),
        "PYTHONPATH": str(PROJECT_ROOT),
        "PYTHONUNBUFFERED": "1",
        **({"JAVA_HOME": str(java_home)} if java_home else {}),
        **spark_cluster.environment(settings),
        "NO_PROXY": ",".join(filter(None, [kept.get("NO_PROXY"), loopback])),
        "no_proxy": ",".join(filter(None, [kept.get("no_proxy"), loopback])),
        "AIRFLOW_HOME": str(settings.airflow_home),
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(
            {"conn_type": "spark", "host": settings.spark_master, "extra": {"deploy-mode": "client"}}
        ),
    }
    if settings.postgres_host and settings.postgres_root_certificate is not None:
        base["PGSSLROOTCERT"] = str(settings.postgres_root_certificate)  # for asyncpg
    return {**kept, **base, **settings_environment(settings), **_options(settings)}


def prepare(settings: Settings) -> bool:
    """Write the folders and secrets that Airflow needs; True when the administrator's password is new."""
    private_files.folder(settings.airflow_home)
    private_files.folder(settings.logs)
    new = not (settings.secrets_path / ADMIN_SECRET).exists()
    for name in (ADMIN_SECRET, VIEWER_SECRET):
        settings.ensure_secret(name, 12)
    write_password_file(settings)
    if os.access(settings.secrets_path, os.W_OK):
        (settings.secrets_path / "airflow_passwords.json").unlink(missing_ok=True)  # where a version before had it
    for name, given in settings.given_s3_keys().items():
        if given:  # an empty one is none given: it must not empty the file
            write_private(settings.secrets_path / name, given.get_secret_value() + "\n")
    settings.ensure_secret("airflow_jwt", 32)
    settings.ensure_secret("airflow_api", 32)
    if not os.path.lexists(settings.secrets_path / FERNET):
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        secret_files.draw(settings.secrets_path, FERNET, fernet)
    settings.secret(FERNET)
    return new


def write_password_file(settings: Settings) -> None:
    """The administrator's and the viewer's passwords as the API server reads them (0600)."""
    passwords = {ADMIN: settings.secret(ADMIN_SECRET), VIEWER: settings.secret(VIEWER_SECRET)}
    write_private(_password_file(settings), json.dumps(passwords) + "\n")


def migrate(settings: Settings, env: Mapping[str, str]) -> bool:
    """Bring Airflow's database to this version; False (and quick) where a stamp and the database itself say that it is.

    The stamp alone would speak for another database: a restored one, an empty one, another server's.

    Raises:
        SetupError: ``airflow db migrate`` failed.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    version = importlib.metadata.version("apache-airflow")
    stamp = settings.airflow_home / "migrated"
    held = stamp.read_text(encoding="utf-8").split() if stamp.exists() else []
    if held and held == [version, _revision(settings)]:
        return False
    log = processes.log_file(settings, "airflow-migrate")
    try:
        with log.open("ab") as output:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env={**env, **processes.marks(settings, "airflow-migrate")},
                cwd=settings.airflow_home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                umask=private_files.UMASK,
            )
    except OSError as error:  # an interpreter that this account may not execute
        raise SetupError(
            f"Airflow cannot be run: {error.strerror} ({sys.executable})", remedy="run `make setup` as this user"
        ) from error
    if done.returncode != 0:
        raise SetupError("Airflow's database could not be migrated", remedy=f"read {log}, then run `estuaire up` again")
    private_files.replace(stamp, f"{version} {_revision(settings)}")
    return True


def _revision(settings: Settings) -> str:
    """Revision of the schema that Airflow's database has; empty when it has no schema."""
    with database(settings) as cursor:
        cursor.execute("select 1 where to_regclass('alembic_version') is not null")
        if not cursor.fetchall():
            return ""
        cursor.execute("select version_num from alembic_version order by 1")
        return ",".join(str(number) for (number,) in cursor.fetchall())


@contextlib.contextmanager
def database(settings: Settings) -> Iterator[psycopg2.extensions.cursor]:
    """Airflow's own database, in one transaction.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with Database.of(settings).transaction("airflow", settings.airflow_database) as session, session.cursor() as cursor:
        yield cursor


def start(settings: Settings, name: str, env: Mapping[str, str]) -> None:
    """Start one of ``COMMANDS``, after ending what a killed predecessor left (workers, tasks, their JVMs)."""
    processes.kill(processes.belonging(settings, name))
    command = [sys.executable, "-m", "airflow", *COMMANDS[name]]
    processes.start(settings, name, command, env, cwd=settings.airflow_home)


def heartbeats(settings: Settings, timeout: float = 5.0) -> dict[str, datetime | None] | None:
    """Last heartbeat of scheduler, dag-processor and triggerer as the API server tells it; None when it does not answer."""
    try:
        answer = httpx2.get(f"{base_url(settings)}/api/v2/monitor/health", timeout=timeout, trust_env=False)
        answer.raise_for_status()
        return parse_health(answer.json())
    except (httpx2.HTTPError, ValueError):
        return None


def parse_health(body: Mapping[str, Mapping[str, str | None]]) -> dict[str, datetime | None]:
    """Heartbeats by process from the body of ``/api/v2/monitor/health``; None: never, or judged unhealthy."""
    heartbeat_by_process: dict[str, datetime | None] = {}
    for name, key in HEALTH_KEYS.items():
        part = body.get(key) or {}
        moment = part.get(f"latest_{key}_heartbeat")
        healthy = part.get("status") == "healthy" and moment
        heartbeat_by_process[name] = datetime.fromisoformat(str(moment)) if healthy else None
    return heartbeat_by_process


def _password_file(settings: Settings) -> Path:
    """Made of two secrets; Airflow opens it for writing, which a server's folder of secrets does not allow."""
    return settings.airflow_home / "passwords.json"


def _read(settings: Settings, secret: str) -> str:
    return f"cat {shlex.quote(str(settings.secrets_path / secret))}"


def _database_url(settings: Settings, driver: str) -> str:
    """Address of Airflow's own database. asyncpg has another word for TLS, and takes the authorities' file from PGSSLROOTCERT alone."""
    line = settings.postgres_line()
    if driver == "asyncpg":
        line.pop("sslrootcert", None)
        line = {"ssl" if name == "sslmode" else name: value for name, value in line.items()}
    return f"postgresql+{driver}://airflow@/{settings.airflow_database}?{urlencode(line, safe='/', quote_via=quote)}"


def _options(settings: Settings) -> dict[str, str]:
    """Airflow's options. Intervals suit 2 cores: quick to schedule, little work when idle (docs/decisions/0002)."""
    logs = settings.logs / "airflow"
    values: dict[tuple[str, str], object] = {
        ("core", "dags_folder"): DAGS_FOLDER,
        ("core", "plugins_folder"): PLUGINS_FOLDER,
        ("core", "executor"): settings.executor,
        ("core", "load_examples"): False,
        ("core", "parallelism"): settings.parallel_tasks,
        ("core", "max_active_tasks_per_dag"): settings.parallel_tasks,
        ("core", "dags_are_paused_at_creation"): False,
        ("core", "default_timezone"): TIMEZONE,
        ("core", "mp_start_method"): "fork",
        ("core", "simple_auth_manager_users"): f"{ADMIN}:admin,{VIEWER}:viewer",
        ("core", "simple_auth_manager_all_admins"): False,
        ("core", "simple_auth_manager_passwords_file"): _password_file(settings),
        ("core", "execution_api_server_url"): f"{base_url(settings)}/execution/",
        ("core", "hostname_callable"): "estuaire.stack.hostname.loopback",
        ("core", "min_serialized_dag_update_interval"): 10,
        ("core", "fernet_key_cmd"): _read(settings, FERNET),
        ("database", "sql_alchemy_conn"): _database_url(settings, "psycopg2"),
        ("database", "sql_alchemy_conn_async"): _database_url(settings, "asyncpg"),
        ("database", "sql_alchemy_pool_size"): 4,
        ("api", "host"): settings.airflow_bind,
        ("api", "port"): settings.airflow_port,
        ("api", "base_url"): public_url(settings),
        ("api", "workers"): 1,
        ("api", "enable_swagger_ui"): False,  # a page that nobody need log in for
        ("api", "secret_key_cmd"): _read(settings, "airflow_api"),
        ("api_auth", "jwt_secret_cmd"): _read(settings, "airflow_jwt"),
        ("scheduler", "scheduler_idle_sleep_time"): 0.5,
        ("scheduler", "job_heartbeat_sec"): 5,
        ("scheduler", "enable_health_check"): False,
        ("scheduler", "orphaned_tasks_check_interval"): 30,
        ("scheduler", "pool_metrics_interval"): 3600,
        ("scheduler", "ti_metrics_interval"): 3600,
        ("scheduler", "dagrun_metrics_interval"): 3600,
        ("dag_processor", "parsing_processes"): 1,
        ("dag_processor", "min_file_process_interval"): 45,
        ("dag_processor", "refresh_interval"): 30,
        ("dag_processor", "stale_dag_threshold"): 120,
        ("dag_processor", "print_stats_interval"): 3600,
        ("triggerer", "blocked_main_thread_warning_threshold"): 5,
        ("logging", "base_log_folder"): logs,
        ("logging", "dag_processor_child_process_log_directory"): logs / "dag_processor",
        ("logging", "file_task_handler_new_folder_permissions"): "0o700",
        ("logging", "file_task_handler_new_file_permissions"): "0o600",
        ("logging", "colored_console_log"): False,
        ("logging", "worker_log_server_port"): _CLOSED_PORT,
        ("logging", "trigger_log_server_port"): _CLOSED_PORT,
        ("logging", "namespace_levels"): "airflow.utils.log.file_task_handler=CRITICAL",
    }
    if settings.executor == "CeleryExecutor":
        values |= _celery(settings)
    return {f"AIRFLOW__{section.upper()}__{key.upper()}": str(value) for (section, key), value in values.items()}


def _celery(settings: Settings) -> dict[tuple[str, str], object]:
    """Options of the Celery executor. A task that takes longer than the broker waits would be given to a second worker."""
    return {
        ("core", "hostname_callable"): "estuaire.stack.hostname.machine",
        ("celery", "broker_url_cmd"): celery_workers.broker_command(settings),
        ("celery", "result_backend"): f"db+{_database_url(settings, 'psycopg2')}",
        ("celery", "worker_concurrency"): settings.worker_tasks,
        ("celery", "worker_prefetch_multiplier"): 1,
        ("celery_broker_transport_options", "visibility_timeout"): int(settings.task_hours * 3600) + 3600,
    }

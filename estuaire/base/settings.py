"""Typed settings, from the environment (``ESTUAIRE_*``) and the project's ``.env`` file; secrets from files of mode 0600.

A relative path is one below the project's folder, and ``.env`` is the one in it: never the current folder, which is another one for a
command, for Airflow's processes and for a task. So a setting has one meaning, wherever it is read. Where the package was installed without
the project (a hospital's machine, docs/decisions/0028), ``~/estuaire`` takes that folder's place.

Same code on a laptop and on a server: these settings alone switch the engines.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticUseDefault
from pydantic_settings import BaseSettings, SettingsConfigDict

from estuaire.base import secret_files

_PACKAGE = Path(__file__).resolve().parents[1]
# in the hospitals' package alone: the project's files that its commands read (infra/setup/hospital_package.py)
_CARRIED = _PACKAGE / "project"
CARRIED = _CARRIED.is_dir()
PROJECT_ROOT = _CARRIED if CARRIED else _PACKAGE.parent
SETTINGS_ROOT = Path(os.path.expanduser("~/estuaire")).resolve() if CARRIED else PROJECT_ROOT
_NAME = r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$"  # of a role or database: it stands in addresses and names of files
_SOCKET_PATH_LIMIT = 90  # a Unix socket's whole path may not pass 107 bytes; ".s.PGSQL.54329" is 14


_MEMORY = r"^[1-9][0-9]*[mg]$"
_ADDRESS = r"^(https?://[A-Za-z0-9.-]+(:[0-9]+)?/?)?$"
_CLOSED = ("spark.authenticate", "spark.network.crypto", "spark.io.encryption", "spark.ssl", "spark.redaction")
_CRON = r"^(\s*([0-9*,/-]+\s+){4}[0-9*,/A-Za-z-]+\s*)?$"
_PATHS = (
    "home", "store_root", "secrets_dir", "registry_dir", "real_data", "postgres_root_certificate", "postgres_passfile",
)  # fmt: skip


class Settings(BaseSettings):
    """Everything that differs between two installations. Folders: absolute, below the project's, or ``~``; an empty one is none given.

    Attributes:
        home: folder of the embedded stack: database, store, logs, secrets. Removed by ``make clean``, but for landing.
        postgres_host: an external server, prepared by `estuaire init`; empty means the embedded one, reached by its Unix socket.
        postgres_port: TCP port on loopback (embedded) or of the external server.
        postgres_database, airflow_database: the platform's own, and Airflow's; each is made by `up` or `init`.
        postgres_sslmode: libpq's word for how an external server's identity and line are checked; ``disable`` only on a network of one's own.
        postgres_root_certificate: PEM file of the authorities that may have signed its certificate (``verify-ca``, ``verify-full``).
        postgres_admin: role by which `init` makes roles and databases; its password is the secret ``postgres_<role>``. Needed by nothing else.
        postgres_passfile: libpq's password file; by default ``secrets/pgpass``, which `up` and `init` write.
        airflow_port: the API server (web page and REST), which reads task logs from the shared folder.
        airflow_bind: address on which it listens; loopback, but in a container.
        airflow_internal_url: its address for tasks and commands; by default loopback and the port.
        airflow_url: its address for people's browsers; by default the same.
        executor: where Airflow runs its tasks: in the scheduler's own process tree, or in Celery workers, on more than one machine.
        broker: Redis of the Celery workers, ``redis://host:port/0``; its password is the secret ``redis``.
        parallel_tasks: how many tasks Airflow runs at once; worker_tasks: how many each Celery worker does.
        store: ``directory``, a folder given by ``store_root``; or ``s3``, any store that speaks S3 and refuses a second writer
            (``If-None-Match``): AWS, MinIO, versitygw.
        s3_endpoint: its address, ``http://host:port`` or ``https://host``.
        s3_bucket: an existing bucket that is Estuaire's own.
        s3_access_key, s3_secret_key: its keys; or left out, and kept in ``secrets/s3_access_key`` and ``secrets/s3_secret_key``.
        spark_master: ``local[N]`` for the embedded stack, or a cluster's URL (``spark://host:7077``, ``yarn``, ``k8s://...``). Lines
            between the parts of a standalone cluster are authenticated and encrypted with the secret ``spark_auth``.
        spark_driver_host: name by which a cluster's workers find the driver; by default this machine's own.
        spark_executor_memory: of each executor's JVM; the kernel's Python processes take theirs beside it.
        spark_worker_cores, spark_worker_memory: what a worker of a standalone cluster offers.
        spark_conf: more of Spark's configuration, for a cluster of one's own (JSON): where its images, queues, mounts are. Not
            whether lines are authenticated and encrypted: they are.
        real_data: folder of the MIMIC-IV demo, which plays hospital 38.
        full_may_end: share of the records of its tables and period that a full delivery may end without a confirmation;
            full_may_end_by_table: table -> share, where it is another.
        watch_landing: start a run by itself when deliveries arrive in landing/; watch_seconds: how often it is looked at.
        nightly: when a run starts by itself whatever was noticed, in cron's five fields (Paris time), such as ``30 2 * * *``; empty: never.
        task_hours: how long a Spark stage, a publication or upkeep may take before it is ended and tried again.
        alert_*: who is told when something needs a hand, and from when on (docs/engineers/alerts.md). Nobody is, by default.
            ``alert_smtp_to``: addresses, separated by commas; ``alert_page_url``: where their readers find the pages.
        metrics_port: where `estuaire up` and `serve metrics` offer what Prometheus reads (docs/engineers/monitor.md); 0: not at all.
            metrics_bind: address on which it listens; metrics_stage_memory: what a stage's processes may take; empty: the machine's memory.
        sweep_after_hours: age at which what a failed attempt left behind is removed.
        upkeep: when `estuaire upkeep` runs by itself, in cron's five fields (Paris time), such as ``0 4 * * sun``; empty: never.
        keep_snapshots_days: how long an old snapshot of the lake stays readable; one that a kept release names stays longer.
        keep_logs_days, keep_reports_days, keep_runs_days: how long logs, run reports with their Data Docs, and Airflow's own runs are kept.
        rotate_logs_mib: size from which an upkeep puts the log of a process aside.
        min_free_disk_gib, min_memory_gib: what the preflight asks for.
    """

    model_config = SettingsConfigDict(
        env_prefix="ESTUAIRE_", env_file=SETTINGS_ROOT / ".env", env_file_encoding="utf-8", extra="ignore"
    )

    home: Path = SETTINGS_ROOT / ".estuaire"
    postgres_host: str = ""
    postgres_port: int = Field(default=54329, ge=1024, le=65535)
    postgres_database: str = Field(default="estuaire", pattern=_NAME)
    postgres_sslmode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    postgres_root_certificate: Path | None = None
    postgres_admin: str = Field(default="postgres", pattern=_NAME)
    postgres_passfile: Path | None = None
    airflow_database: str = Field(default="airflow", pattern=_NAME)
    airflow_port: int = Field(default=8974, ge=1024, le=65535)
    airflow_bind: str = Field(default="127.0.0.1", pattern=r"^[0-9a-fA-F.:]+$")
    airflow_internal_url: str = Field(default="", pattern=_ADDRESS)
    airflow_url: str = Field(default="", pattern=_ADDRESS)
    executor: Literal["LocalExecutor", "CeleryExecutor"] = "LocalExecutor"
    broker: str = Field(default="", pattern=r"^(rediss?://[A-Za-z0-9.-]+(:[0-9]+)?(/[0-9]+)?)?$")
    parallel_tasks: int = Field(default=4, ge=1, le=1024)
    worker_tasks: int = Field(default=2, ge=1, le=256)
    store: Literal["directory", "s3"] = "directory"
    store_root: Path | None = None
    s3_endpoint: str = Field(default="", pattern=_ADDRESS)
    s3_bucket: str = Field(default="estuaire", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    spark_master: str = "local[2]"
    spark_driver_memory: str = "1g"
    spark_driver_host: str = ""
    spark_executor_memory: str = Field(default="1g", pattern=_MEMORY)
    spark_worker_cores: int = Field(default=1, ge=1)
    spark_worker_memory: str = Field(default="1g", pattern=_MEMORY)
    spark_conf: dict[str, str] = Field(default_factory=dict)
    secrets_dir: Path | None = None
    min_free_disk_gib: float = 5.0
    min_memory_gib: float = 4.0
    full_may_end: float = Field(default=0.2, ge=0, le=1)
    full_may_end_by_table: dict[str, float] = Field(default_factory=dict)
    watch_landing: bool = False
    watch_seconds: float = Field(default=15.0, ge=1, le=3600)
    nightly: str = Field(default="", pattern=_CRON)
    task_hours: float = Field(default=12.0, gt=0, le=240)
    alert_smtp_host: str = ""
    alert_smtp_port: int = Field(default=587, ge=1, le=65535)
    alert_smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    alert_smtp_user: str = ""
    alert_smtp_from: str = ""
    alert_smtp_to: str = ""
    alert_webhook_url: str = ""
    alert_page_url: str = ""
    alert_repeat_hours: float = Field(default=24.0, gt=0, le=24 * 366)
    alert_give_up_hours: float = Field(default=24.0, gt=0, le=24 * 366)
    alert_late_grace_days: float = Field(default=7.0, ge=0, le=366)
    alert_stalled_minutes: float = Field(default=60.0, gt=0, le=60 * 24 * 7)
    alert_disk_free_gib: float = Field(default=10.0, ge=0)
    alert_store_gib: float = Field(default=0.0, ge=0)
    alert_database_gib: float = Field(default=0.0, ge=0)
    alert_release_days: float = Field(default=45.0, ge=0)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    metrics_bind: str = Field(default="127.0.0.1", pattern=r"^[0-9a-fA-F.:]+$")
    metrics_stage_memory: str = Field(default="", pattern=r"^([1-9][0-9]*[mg])?$")
    sweep_after_hours: int = Field(default=24, ge=1)
    upkeep: str = Field(default="", pattern=_CRON)
    keep_snapshots_days: float = Field(default=30.0, ge=1, le=3660)
    keep_logs_days: float = Field(default=30.0, ge=1, le=3660)
    keep_reports_days: float = Field(default=365.0, ge=1, le=3660)
    keep_runs_days: float = Field(default=180.0, ge=7, le=3660)
    rotate_logs_mib: float = Field(default=16.0, gt=0)
    language: Literal["fr", "en"] = "en"
    registry_dir: Path | None = None
    arriving_minutes: float = (
        15.0  # a delivery that is not complete is still arriving for so long after its newest file was written
    )
    real_data: Path = SETTINGS_ROOT.parent / "shared" / "data" / "mimic-iv-demo"

    @field_validator(*_PATHS, mode="before")
    @classmethod
    def _no_empty_folder(cls, value: object) -> object:
        """An empty text would be the current folder."""
        if isinstance(value, str) and not value.strip():
            raise PydanticUseDefault
        return value

    @field_validator(*_PATHS)
    @classmethod
    def _one_meaning(cls, value: Path | None) -> Path | None:
        return None if value is None else (SETTINGS_ROOT / value.expanduser()).resolve()

    @model_validator(mode="after")
    def _s3_has_an_address(self) -> Settings:
        if self.store == "s3" and not self.s3_endpoint:
            raise ValueError("store s3 needs s3_endpoint, such as https://s3.example.org")
        return self

    @field_validator("spark_conf")
    @classmethod
    def _lines_stay_closed(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name.startswith(_CLOSED):
                raise ValueError(f"spark_conf: {name} is Estuaire's to say: lines are authenticated and encrypted")
            if not name.startswith("spark."):
                raise ValueError(f"spark_conf: {name} is no option of Spark's")
        return value

    @model_validator(mode="after")
    def _celery_has_a_broker(self) -> Settings:
        if self.executor == "CeleryExecutor" and not self.broker:
            raise ValueError("executor CeleryExecutor needs broker, such as redis://redis:6379/0")
        return self

    @model_validator(mode="after")
    def _external_postgres_is_checked(self) -> Settings:
        if self.postgres_host and self.postgres_sslmode.startswith("verify") and self.postgres_root_certificate is None:
            raise ValueError(
                f"postgres_sslmode {self.postgres_sslmode} needs postgres_root_certificate, the PEM file of the server's authority"
            )
        return self

    # ---------------------------------------------------------------- folders
    @cached_property
    def root(self) -> Path:
        """``home``, absolute."""
        return self.home.expanduser().resolve()

    @property
    def store_path(self) -> Path:
        return (self.store_root or self.root / "store").expanduser().resolve()

    @property
    def scratch(self) -> Path:
        """Files that a task is reading or writing while the store is not on this machine."""
        return self.root / "scratch"

    @property
    def real_data_path(self) -> Path:
        """``real_data``, whole; it need not exist."""
        return (SETTINGS_ROOT / self.real_data).resolve()

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run_dir(self) -> Path:
        """Pid files and other state of running processes."""
        return self.root / "run"

    @property
    def airflow_home(self) -> Path:
        return self.root / "airflow"

    @property
    def postgres_data(self) -> Path:
        return self.root / "postgres"

    @property
    def secrets_path(self) -> Path:
        return (self.secrets_dir or self.root / "secrets").expanduser().resolve()

    @cached_property
    def socket_dir(self) -> Path:
        """Folder of the embedded PostgreSQL's Unix socket; short, since a socket's path is limited to 107 bytes."""
        folder = self.root / "run" / "pg"
        if len(str(folder)) <= _SOCKET_PATH_LIMIT:
            return folder
        return Path("/tmp") / f"estuaire-{hashlib.sha256(str(self.root).encode()).hexdigest()[:12]}"  # noqa: S108

    # ---------------------------------------------------------------- secrets
    def secret(self, name: str) -> str:
        """The secret kept in ``secrets/<name>``.

        Raises:
            SecretUnusable: the file is missing, empty or damaged, or others than its owner may read it.
        """
        return secret_files.read(self.secrets_path, name)

    def ensure_secret(self, name: str, nbytes: int = 24) -> str:
        """The secret ``name``, drawn at random the first time. Only at set-up (`estuaire up`): whatever runs later only reads.

        Raises:
            SecretUnusable: as ``secret``, or it cannot be written.
        """
        if not os.path.lexists(self.secrets_path / name):
            secret_files.draw(self.secrets_path, name, secrets.token_hex(nbytes) + "\n")
        return self.secret(name)

    def s3_keys(self) -> tuple[str, str]:
        """Access key and secret key of the S3 store: the settings' own, else those kept as secrets.

        Raises:
            SetupError: neither is there.
        """
        access, secret = (
            given.get_secret_value() if given else self.secret(name) for name, given in self.given_s3_keys().items()
        )
        return access, secret

    def given_s3_keys(self) -> dict[str, SecretStr | None]:
        """The keys that the environment gives, by the name under which they are kept as secrets."""
        return {"s3_access_key": self.s3_access_key, "s3_secret_key": self.s3_secret_key}

    @property
    def passfile(self) -> Path:
        """libpq password file (0600), so that no password stands in a connection string, a log or an argument."""
        return self.postgres_passfile or self.secrets_path / "pgpass"

    # ---------------------------------------------------------------- PostgreSQL
    def postgres_line(self) -> dict[str, str]:
        """libpq's keywords of the way to the server, whoever goes it: ``host``, ``port``, ``passfile``, and TLS for an external one."""
        line = {
            "host": self.postgres_host or str(self.socket_dir),
            "port": str(self.postgres_port),
            "passfile": str(self.passfile),
        }
        if self.postgres_host:
            line["sslmode"] = self.postgres_sslmode
            if self.postgres_root_certificate is not None:
                line["sslrootcert"] = str(self.postgres_root_certificate)
        return line


def conninfo(values: Mapping[str, str]) -> str:
    """A libpq connection string of these keywords."""
    return " ".join(f"{name}={_conninfo(value)}" for name, value in values.items())


def _conninfo(value: str) -> str:
    """A value of a libpq connection string: quoted where a space or a quote stands in it."""
    if value and not set(value) & set(" '\\"):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()

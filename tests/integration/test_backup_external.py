"""Backup and restore on a PostgreSQL of one's own, which speaks TLS alone: the programs of the wheel know no TLS, this process does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg2
import pytest
from external_postgres import Server, certificates, running

from estuaire.base.errors import BackupUnusable
from estuaire.base.settings import Settings
from estuaire.operations.backup import dumps, tls_way
from estuaire.operations.backup.making import make
from estuaire.operations.backup.restoring import restore
from estuaire.stack.init import init
from estuaire.storage.database import Database
from estuaire.storage.ledger import fetch
from estuaire.storage.platform import Platform


@pytest.fixture(scope="module")
def server() -> Any:
    with running() as one:
        yield one


@pytest.fixture(scope="module")
def installed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An installation of `estuaire init`, with something in its ledger."""
    settings = server.settings(tmp_path_factory.mktemp("one") / "home")
    init(settings)
    session = psycopg2.connect(Database.of(settings).dsn())
    with session, session.cursor() as cursor:
        cursor.execute("insert into control.run (run_id, dag_id, state) values ('r', 'tests', 'success')")
    session.close()
    return settings


def test_a_platform_goes_over_tls_into_a_backup_and_back(server: Server, installed: Settings, tmp_path: Path) -> None:
    made = make(Platform(installed), tmp_path / "b")
    assert made.manifest.counts["run"] == 1
    empty = installed.model_copy(
        update={"postgres_database": "again", "airflow_database": "airflow_again", "store_root": tmp_path / "store"}
    )
    made_again = init(empty).made  # as on a server: the tables are made, nothing is in them
    assert "Airflow's tables" in made_again, "a stamp in the same home spoke for another database"
    restore(Platform(empty), tmp_path / "b")
    assert fetch(Database.of(empty), "select run_id from control.run") == [{"run_id": "r"}]
    lines = server.ask(
        "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where not ssl and usename = 'estuaire'"
    )
    assert lines == [(0,)]


def test_a_server_with_another_authority_gets_no_password(installed: Settings, tmp_path: Path) -> None:
    certificates(tmp_path / "other")
    wrong = installed.model_copy(update={"postgres_root_certificate": tmp_path / "other" / "authority.pem"})
    with pytest.raises(BackupUnusable):
        dumps.dump(wrong, "estuaire", wrong.postgres_database, tmp_path / "d.dump")
    assert not (tmp_path / "d.dump").exists()


@pytest.mark.parametrize(
    ("mode", "checked", "named"), [("verify-full", True, True), ("verify-ca", True, False), ("require", True, False)]
)
def test_the_servers_identity_is_checked_as_libpq_does(
    installed: Settings, mode: str, checked: bool, named: bool
) -> None:
    """``require`` with an authority's file checks it, as libpq's does."""
    context = tls_way.tls(installed.model_copy(update={"postgres_sslmode": mode}))
    assert (context.verify_mode.name == "CERT_REQUIRED", context.check_hostname) == (checked, named)


def test_a_password_file_with_addresses_is_understood(installed: Settings, tmp_path: Path) -> None:
    port = installed.postgres_port
    own = [line.split(":", 3)[3] for line in installed.passfile.read_text().splitlines()]
    given = tmp_path / "pgpass"
    given.write_text(
        "\n".join(["# ours", "other.example:5432:*:estuaire:no", *(f"localhost:{port}:*:{rest}" for rest in own)])
    )
    given.chmod(0o600)
    settings = installed.model_copy(update={"postgres_passfile": given})
    dumps.dump(settings, "estuaire", settings.postgres_database, tmp_path / "d.dump")
    assert (tmp_path / "d.dump").stat().st_size > 10_000

"""`estuaire init` on a PostgreSQL of one's own: once and again, over TLS alone, and nothing that is somebody else's is touched."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from external_postgres import Server, certificates, give_secret, running
from pydantic import ValidationError
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from estuaire.base.errors import DatabaseUnavailable, PseudonymKeyRefused, SetupError
from estuaire.base.settings import Settings
from estuaire.operations import cleaning
from estuaire.stack import airflow, lifecycle, postgres, preflight, roles
from estuaire.stack.init import Initialised, init
from estuaire.storage import ledger, migrations, pseudonym_key
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import dbt_build

OURS = "select count(*) from pg_roles where rolname in ('estuaire', 'analyst', 'airflow')"
TLS = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
RIGHTS = "select datname, datacl::text from pg_database where datname in ('postgres', 'template1', 'others') order by 1"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as found:
        found.ask("create database others")
        yield found


@pytest.fixture(scope="module")
def installed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Initialised, Any]:
    """An installation that was made ready, what was made, and the rights on others' databases before."""
    before = server.ask(RIGHTS)
    settings = server.settings(tmp_path_factory.mktemp("external") / "home")
    return settings, init(settings), before


@pytest.fixture
def bare() -> Iterator[Server]:
    """A server of the test's own, without Estuaire's roles."""
    with running() as found:
        yield found


# ---------------------------------------------------------------- settings
def test_an_external_server_is_checked_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="postgres_root_certificate"):
        Settings(_env_file=None, home=tmp_path, postgres_host="db.example")
    given = Settings(_env_file=None, home=tmp_path, postgres_host="db.example", postgres_root_certificate="ca.pem")
    assert "sslmode=verify-full" in Database.of(given).dsn()
    assert f"sslrootcert={given.postgres_root_certificate}" in Database.of(given).dsn()
    assert "sslmode" not in Database.of(Settings(_env_file=None, home=tmp_path)).dsn()


def test_init_is_for_a_server_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no PostgreSQL of your own"):
        init(Settings(_env_file=None, home=tmp_path / "home"))


# ---------------------------------------------------------------- once and again
def test_init_makes_everything_once(installed: tuple[Settings, Initialised, Any], server: Server) -> None:
    settings, done, _ = installed
    assert done.made == (
        "role estuaire", "role analyst", "role airflow", "database estuaire", "database airflow", "Airflow's tables",
    )  # fmt: skip
    assert done.left == ()
    key = (settings.secrets_path / "pseudonym_key").read_text()
    assert ledger.fetch(Database.of(settings), "select fingerprint from control.pseudonym_key") == [
        {"fingerprint": pseudonym_key.fingerprint(key.strip())}
    ]
    again = init(settings)
    assert (again.made, again.fingerprint) == ((), done.fingerprint)
    assert (settings.secrets_path / "pseudonym_key").read_text() == key


def test_the_administrators_password_is_in_no_password_file(
    installed: tuple[Settings, Initialised, Any], server: Server
) -> None:
    settings = installed[0]
    told = settings.passfile.read_text()
    assert server.password not in told
    assert {line.split(":")[3] for line in told.splitlines()} == {"estuaire", "analyst", "airflow"}
    assert stat.S_IMODE(settings.passfile.stat().st_mode) == 0o600
    assert server.password not in repr(airflow.environment(settings, None))


def test_others_databases_keep_their_rights(installed: tuple[Settings, Initialised, Any], server: Server) -> None:
    assert server.ask(RIGHTS) == installed[2]


# ---------------------------------------------------------------- every way to the server
def test_every_driver_speaks_tls(installed: tuple[Settings, Initialised, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """psycopg2, SQLAlchemy (alembic, Great Expectations, Airflow), asyncpg (Airflow); the server refuses a line without TLS."""
    settings = installed[0]
    assert ledger.fetch(Database.of(settings), TLS) == [{"ssl": True}]
    environment = airflow.environment(settings, None)
    for address in (Database.of(settings).sqlalchemy_url(), environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]):
        with create_engine(address).connect() as connection:
            assert connection.execute(text(TLS)).scalar() is True
    monkeypatch.setenv("PGSSLROOTCERT", environment["PGSSLROOTCERT"])

    async def over_asyncpg() -> object:
        engine = create_async_engine(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"])
        async with engine.connect() as connection:
            return (await connection.execute(text(TLS))).scalar()

    assert asyncio.run(over_asyncpg()) is True


def test_the_lake_and_dbt_reach_it(installed: tuple[Settings, Initialised, Any]) -> None:
    settings = installed[0]
    with Platform(settings).lake.connection() as connection:
        assert connection.execute("select count(*) from ducklake_snapshots('lake')").fetchone()[0] >= 1
    command = ["run-operation", "run_query", "--args", "{sql: 'select 1'}"]
    dbt_build.run(settings, command, log=settings.logs / "dbt.log")


def test_airflow_has_its_tables(installed: tuple[Settings, Initialised, Any]) -> None:
    settings = installed[0]
    with (
        psycopg2.connect(Database.of(settings).dsn("airflow", settings.airflow_database)) as session,
        session.cursor() as cursor,
    ):
        cursor.execute(
            "select count(*) from information_schema.tables where table_name in ('dag_run', 'task_instance')"
        )
        assert cursor.fetchone() == (2,)


def test_status_and_preflight_ask_the_server(
    installed: tuple[Settings, Initialised, Any], tmp_path: Path, free_port: Any
) -> None:
    settings = installed[0]
    assert {p.name: p.state for p in lifecycle.status(settings)}["postgres"] == "running"
    assert preflight.server_problems(settings) == []
    away = settings.model_copy(update={"postgres_port": free_port()})
    assert {p.name: p.state for p in lifecycle.status(away)}["postgres"] == "stopped"
    [problem] = preflight.server_problems(away)
    assert "estuaire init" in problem.remedy


def test_down_leaves_the_server_alone(installed: tuple[Settings, Initialised, Any]) -> None:
    lifecycle.down(installed[0])
    assert postgres.answers(installed[0])


def test_clean_would_leave_a_catalog_without_its_files(installed: tuple[Settings, Initialised, Any]) -> None:
    with pytest.raises(SetupError, match="of your own"):
        cleaning.plan(installed[0])


# ---------------------------------------------------------------- refused
def test_a_server_of_another_authority_is_refused(installed: tuple[Settings, Initialised, Any], tmp_path: Path) -> None:
    certificates(tmp_path / "others")
    wrong = installed[0].model_copy(update={"postgres_root_certificate": tmp_path / "others" / "authority.pem"})
    for use in (lambda: ledger.fetch(Database.of(wrong), "select 1"), lambda: init(wrong)):
        with pytest.raises(DatabaseUnavailable):
            use()
    with pytest.raises(DatabaseUnavailable), Platform(wrong).lake.connection():
        pass


def test_a_wrong_administrators_password_is_refused_and_not_repeated(
    installed: tuple[Settings, Initialised, Any], server: Server
) -> None:
    settings = installed[0]
    give_secret(settings, "postgres_postgres", "another-than-it-is")
    try:
        with pytest.raises(DatabaseUnavailable) as raised:
            init(settings)
    finally:
        give_secret(settings, "postgres_postgres", server.password)
    assert "another-than-it-is" not in str(raised.value)


def test_a_lost_key_is_not_drawn_again(installed: tuple[Settings, Initialised, Any], tmp_path: Path) -> None:
    settings = installed[0]
    key = settings.secrets_path / "pseudonym_key"
    kept = key.rename(tmp_path / "kept")
    try:
        with pytest.raises(PseudonymKeyRefused, match="lost"):
            init(settings)
        assert not key.exists()
        give_secret(settings, "pseudonym_key", "f" * 64)
        with pytest.raises(PseudonymKeyRefused, match="not the one"):
            init(settings)
    finally:
        kept.replace(key)


def test_a_role_of_somebody_else_is_refused_and_kept(bare: Server, tmp_path: Path) -> None:
    """Another Airflow on the same server: its role would get our password."""
    bare.ask("create role airflow login password 'of-another-airflow'")
    before = bare.ask("select rolpassword from pg_authid where rolname = 'airflow'")
    with pytest.raises(SetupError, match="'airflow' that is not Estuaire's"):
        init(bare.settings(tmp_path / "home"))
    assert bare.ask("select rolpassword from pg_authid where rolname = 'airflow'") == before
    assert bare.ask(OURS) == [(1,)]


def test_a_database_of_somebody_else_is_refused(bare: Server, tmp_path: Path) -> None:
    bare.ask("create database airflow")
    with pytest.raises(SetupError, match="belongs to 'postgres'"):
        init(bare.settings(tmp_path / "home"))
    own = bare.settings(tmp_path / "home", airflow_database="estuaire_airflow")
    assert "database estuaire_airflow" in roles.ensure(own, postgres.ensure_passwords(own)).made


def test_an_administrator_who_is_no_superuser_is_told_what_is_left(bare: Server, tmp_path: Path) -> None:
    bare.ask("create role dba login createrole createdb password 'of-the-administrator'")
    settings = bare.settings(tmp_path / "home", postgres_admin="dba")
    give_secret(settings, "postgres_dba", "of-the-administrator")
    done = roles.ensure(settings, postgres.ensure_passwords(settings))
    assert "database airflow" in done.made
    assert any("temp_file_limit" in statement for statement in done.left)
    assert any("pg_advisory_lock" in statement for statement in done.left)
    migrations.upgrade(Database.of(settings))
    pseudonym_key.ensure(Platform(settings))
    for statement in done.left:  # as it is told, a superuser may execute it
        bare.ask(statement, "estuaire")
    assert roles.ensure(settings, postgres.ensure_passwords(settings)).made == []


def test_an_administrator_without_rights_is_told(bare: Server, tmp_path: Path) -> None:
    bare.ask("create role nobody_much login password 'of-nobody-much'")
    settings = bare.settings(tmp_path / "home", postgres_admin="nobody_much")
    give_secret(settings, "postgres_nobody_much", "of-nobody-much")
    with pytest.raises(SetupError, match="has not the right"):
        init(settings)

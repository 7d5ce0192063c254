"""Login roles and databases of the embedded PostgreSQL. Grants on schemas are the migrations' work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection, encrypt_password

from estuaire.errors import DatabaseUnavailable
from estuaire.settings import Settings

LOGIN_ROLES = ("estuaire", "analyst", "airflow")


def ensure(settings: Settings, passwords: Mapping[str, str]) -> None:
    """Create the roles and databases that are missing; give a role its password again when it no longer logs in.

    Raises:
        DatabaseUnavailable: the server refused the superuser.
    """
    owners = {settings.postgres_database: "estuaire", "airflow": "airflow"}
    with _superuser(settings) as session, session.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles")
        existing = {row[0] for row in cursor.fetchall()}
        for role in LOGIN_ROLES:
            if role not in existing:
                cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
                _set_password(session, role, passwords[role])
        cursor.execute("SELECT datname FROM pg_database")
        databases = {row[0] for row in cursor.fetchall()}
        for database, owner in owners.items():
            if database not in databases:
                names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
                cursor.execute(sql.SQL("CREATE DATABASE {database} OWNER {owner}").format(**names))
                cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {database} FROM PUBLIC").format(**names))
        warehouse = sql.Identifier(settings.postgres_database)
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO analyst").format(warehouse))
        cursor.execute("REVOKE ALL ON DATABASE postgres FROM PUBLIC")
        cursor.execute("ALTER ROLE analyst SET default_transaction_read_only = on")
        # a reader that leaves a transaction open holds up every swap of the marts
        cursor.execute("ALTER ROLE analyst SET idle_in_transaction_session_timeout = '60s'")
        for role in LOGIN_ROLES:
            database = "airflow" if role == "airflow" else settings.postgres_database
            if not _logs_in(settings, role, database):
                _set_password(session, role, passwords[role])


@contextlib.contextmanager
def _superuser(settings: Settings) -> Iterator[connection]:
    try:
        session = psycopg2.connect(settings.dsn("postgres", "postgres"))
    except psycopg2.OperationalError as error:
        raise DatabaseUnavailable(
            "PostgreSQL refused the superuser", remedy="run `estuaire up`; see `estuaire logs postgres`"
        ) from error
    session.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    try:
        yield session
    finally:
        session.close()


def _logs_in(settings: Settings, role: str, database: str) -> bool:
    try:
        psycopg2.connect(settings.dsn(role, database)).close()
    except psycopg2.OperationalError:
        return False
    return True


def _set_password(session: connection, role: str, password: str) -> None:
    """The server gets the scram verifier, never the password itself: no statement that could be logged holds it."""
    verifier = encrypt_password(password, role, scope=session, algorithm="scram-sha-256")
    with session.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))

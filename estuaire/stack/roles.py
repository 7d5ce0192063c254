"""Login roles and databases of the embedded PostgreSQL. Grants on schemas are the migrations' work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection, encrypt_password
from psycopg2.extensions import cursor as Cursor

from estuaire.errors import DatabaseUnavailable
from estuaire.releases import READER, READER_TRANSACTION_SECONDS
from estuaire.settings import Settings

LOGIN_ROLES = ("estuaire", "analyst", "airflow")
PIPELINE = ("estuaire", "airflow")  # for them `reserved_connections` are kept free
READER_CONNECTIONS = 20
# What a session of the reader begins with. It may lift those that any session may set (a superuser's alone is temp_file_limit); what it may
# not do is hold up a swap for longer than `transaction_timeout`: see estuaire.releases.
READER_SETTINGS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "10min",
    "transaction_timeout": f"{READER_TRANSACTION_SECONDS}s",
    # a reader that leaves a transaction open holds up every swap of the marts
    "idle_in_transaction_session_timeout": "60s",
    "temp_file_limit": "2GB",
}
# Functions that let any account that may connect hold or fill something of the server's, beyond what it may read
_OF_NO_READER = "proname ~ '^pg_(try_)?advisory' or proname ~ '^lo_' or proname = 'lowrite'"


def ensure(settings: Settings, passwords: Mapping[str, str]) -> None:
    """Create the roles and databases that are missing; give a role its password again when it no longer logs in, the reader its limits.

    The reader shares one password and may change it, and its own defaults: no setting of PostgreSQL forbids that. So each start undoes it.

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
        _limit_reader(cursor)
        for role in PIPELINE:
            cursor.execute(sql.SQL("GRANT pg_use_reserved_connections TO {}").format(sql.Identifier(role)))
        cursor.execute("GRANT analyst TO estuaire")  # so that it may end a reader's session that holds up a swap
        for role in LOGIN_ROLES:
            database = "airflow" if role == "airflow" else settings.postgres_database
            if not _logs_in(settings, role, database):
                _set_password(session, role, passwords[role])
    for database in (settings.postgres_database, "template1"):
        with _superuser(settings, database) as session, session.cursor() as cursor:
            _close_functions(cursor)


def _limit_reader(cursor: Cursor) -> None:
    """The reader's rights and limits as they are meant, whatever it or somebody set since."""
    name = sql.Identifier(READER)
    cursor.execute(
        sql.SQL(
            "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT {} VALID UNTIL 'infinity'"
        ).format(name, sql.Literal(READER_CONNECTIONS))
    )
    cursor.execute(
        "SELECT d.datname FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase "
        "WHERE r.rolname = %s",
        (READER,),
    )
    for (database,) in cursor.fetchall():
        where = sql.SQL(" IN DATABASE {}").format(sql.Identifier(database)) if database else sql.SQL("")
        cursor.execute(sql.SQL("ALTER ROLE {}{} RESET ALL").format(name, where))
    for setting, value in READER_SETTINGS.items():
        cursor.execute(sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value)))


def _close_functions(cursor: Cursor) -> None:
    cursor.execute(
        f"SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND ({_OF_NO_READER})"
    )
    functions = ", ".join(row[0] for row in cursor.fetchall())
    cursor.execute(f"REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC")
    cursor.execute(f"GRANT EXECUTE ON FUNCTION {functions} TO estuaire, airflow")


@contextlib.contextmanager
def _superuser(settings: Settings, database: str = "postgres") -> Iterator[connection]:
    try:
        session = psycopg2.connect(settings.dsn("postgres", database))
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

"""Login roles and databases, of the embedded PostgreSQL or an external one. Grants on schemas are the migrations' work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection, encrypt_password
from psycopg2.extensions import cursor as Cursor

from estuaire.base.errors import DatabaseUnavailable, SetupError
from estuaire.base.settings import Settings
from estuaire.storage.database import Database
from estuaire.warehouse.releases import READER, READER_TRANSACTION_SECONDS

LOGIN_ROLES = ("estuaire", "analyst", "airflow")
PIPELINE = ("estuaire", "airflow")  # for them `reserved_connections` are kept free
READER_CONNECTIONS = 20
_OLDEST = 170000  # transaction_timeout
_CREATE_DATABASE = (  # as the embedded server is initialised: it sorts and folds alike on every system
    "CREATE DATABASE {database} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' "
    "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
)
_MARK = "made by estuaire"  # the comment on each role of ours
# What a session of the reader begins with. It may lift those that any session may set (a superuser's alone is temp_file_limit); what it may
# not do is hold up a swap for longer than `transaction_timeout`: see estuaire.warehouse.releases.
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


@dataclass
class Ensured:
    """What was made, and what this administrator may not do: one sentence each, with the statement for one who may."""

    made: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def ensure(settings: Settings, passwords: Mapping[str, str]) -> Ensured:
    """Create the roles and databases that are missing; give a role its password again when it no longer logs in, the reader its limits.

    The reader shares one password and may change it, and its own defaults: no setting of PostgreSQL forbids that. So each start undoes it.
    On an external server nothing is touched that is not ours: no role or database that somebody else made, no other database's rights.
    A few limits are a superuser's to set (``Ensured.left`` tells those that an administrator without it could not).

    Raises:
        DatabaseUnavailable: the server refused the administrator.
        SetupError: a role or database of our name is another's, or the administrator may make none.
    """
    done = Ensured()
    owners = {settings.postgres_database: "estuaire", settings.airflow_database: "airflow"}
    with _administrator(settings) as session, session.cursor() as cursor:
        _refuse_strangers(settings, cursor, owners)
        cursor.execute("SELECT current_setting('is_superuser') = 'on'")
        [(superuser,)] = cursor.fetchall()
        for role in LOGIN_ROLES:
            if not _exists(cursor, "pg_roles", "rolname", role):
                cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
                cursor.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(role), sql.Literal(_MARK)))
                _set_password(session, role, passwords[role])
                done.made.append(f"role {role}")
        for database, owner in owners.items():
            if not _exists(cursor, "pg_database", "datname", database):
                names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
                if not superuser:  # PostgreSQL lets one give a database to a role of which one is a member
                    cursor.execute(sql.SQL("GRANT {owner} TO CURRENT_USER").format(**names))
                cursor.execute(sql.SQL(_CREATE_DATABASE).format(**names))
                cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {database} FROM PUBLIC").format(**names))
                done.made.append(f"database {database}")
        warehouse = sql.Identifier(settings.postgres_database)
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO analyst").format(warehouse))
        if not settings.postgres_host:
            cursor.execute("REVOKE ALL ON DATABASE postgres FROM PUBLIC")
        _limit_reader(cursor, done)
        for role in PIPELINE:
            _where_allowed(
                cursor, done, sql.SQL("GRANT pg_use_reserved_connections TO {}").format(sql.Identifier(role))
            )
        cursor.execute("GRANT analyst TO estuaire")  # so that it may end a reader's session that holds up a swap
        for role in LOGIN_ROLES:
            database = settings.airflow_database if role == "airflow" else settings.postgres_database
            if not _logs_in(settings, role, database):
                _set_password(session, role, passwords[role])
    for database in (settings.postgres_database, *([] if settings.postgres_host else ["template1"])):
        with _administrator(settings, database) as session, session.cursor() as cursor:
            _close_functions(cursor, done)
    return done


def _exists(cursor: Cursor, catalog: str, column: str, name: str) -> bool:
    cursor.execute(f"SELECT 1 FROM {catalog} WHERE {column} = %s", (name,))
    return cursor.fetchone() is not None


def _refuse_strangers(settings: Settings, cursor: Cursor, owners: Mapping[str, str]) -> None:
    """On a server that others use: a role of our name that we did not make and cannot log in as, a database of our name that is another's.

    Raises:
        SetupError: there is one: giving it our password, or filling it, would take it from whom it belongs to.
    """
    if not settings.postgres_host:
        return
    cursor.execute("SELECT current_setting('server_version_num')::int")
    [(version,)] = cursor.fetchall()
    if version < _OLDEST:
        raise SetupError(
            f"the server is PostgreSQL {version // 10000}; {_OLDEST // 10000} or later is needed",
            remedy="upgrade it, or name another in ESTUAIRE_POSTGRES_HOST",
        )
    cursor.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND shobj_description(oid, 'pg_authid') IS DISTINCT FROM %s",
        (list(LOGIN_ROLES), _MARK),
    )
    for (role,) in cursor.fetchall():
        if not _logs_in(settings, role, "postgres") and not _logs_in(settings, role, settings.postgres_database):
            raise SetupError(
                f"the server has a role '{role}' that is not Estuaire's",
                remedy=f"write its password into {settings.secrets_path / f'postgres_{role}'} if it is meant for Estuaire alone, "
                "or use a server of Estuaire's own",
            )
    cursor.execute("SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE datname = ANY(%s)", (list(owners),))
    for database, owner in cursor.fetchall():
        if owner != owners[database]:
            raise SetupError(
                f"the database '{database}' belongs to '{owner}', not to '{owners[database]}'",
                remedy="name another in ESTUAIRE_POSTGRES_DATABASE or ESTUAIRE_AIRFLOW_DATABASE",
            )


def _where_allowed(cursor: Cursor, done: Ensured, statement: sql.Composable) -> None:
    """Execute what takes a superuser; where the administrator of an external server is none, tell it."""
    try:
        cursor.execute(statement)
    except psycopg2.errors.InsufficientPrivilege:
        done.left.append(statement.as_string(cursor))


def _limit_reader(cursor: Cursor, done: Ensured) -> None:
    """The reader's rights and limits as they are meant, whatever it or somebody set since."""
    name = sql.Identifier(READER)
    cursor.execute(
        "SELECT 1 FROM pg_roles WHERE rolname = %s AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)",
        (READER,),
    )
    if cursor.fetchone() is not None:  # asked first: to take them away is a superuser's right
        cursor.execute(
            sql.SQL("ALTER ROLE {} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS").format(name)
        )
    cursor.execute(
        sql.SQL("ALTER ROLE {} LOGIN CONNECTION LIMIT {} VALID UNTIL 'infinity'").format(
            name, sql.Literal(READER_CONNECTIONS)
        )
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
        _where_allowed(
            cursor, done, sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
        )


def _close_functions(cursor: Cursor, done: Ensured) -> None:
    cursor.execute(
        f"SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND ({_OF_NO_READER})"
    )
    functions = ", ".join(row[0] for row in cursor.fetchall())
    _where_allowed(
        cursor,
        done,
        sql.SQL(
            f"REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC; GRANT EXECUTE ON FUNCTION {functions} TO estuaire, airflow"
        ),
    )


@contextlib.contextmanager
def _administrator(settings: Settings, database: str = "postgres") -> Iterator[connection]:
    password = settings.secret(f"postgres_{settings.postgres_admin}")
    try:
        session = Database.of(settings).connect(settings.postgres_admin, database, password=password)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(
            f"PostgreSQL does not answer, or refused its administrator '{settings.postgres_admin}'",
            remedy=f"look at {settings.postgres_host}:{settings.postgres_port}, its certificate, and the secret postgres_{settings.postgres_admin}"
            if settings.postgres_host
            else "run `estuaire up`; see `estuaire logs postgres`",
        ) from error
    session.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    try:
        yield session
    except psycopg2.errors.InsufficientPrivilege as error:
        raise SetupError(
            f"PostgreSQL's administrator '{settings.postgres_admin}' has not the right to set up Estuaire ({error.diag.message_primary})",
            remedy="name one in ESTUAIRE_POSTGRES_ADMIN that may make roles and databases (CREATEROLE, CREATEDB)",
        ) from error
    finally:
        session.close()


def _logs_in(settings: Settings, role: str, database: str) -> bool:
    try:
        Database.of(settings).connect(role, database).close()
    except DatabaseUnavailable:
        return False
    return True


def _set_password(session: connection, role: str, password: str) -> None:
    """The server gets the scram verifier, never the password itself: no statement that could be logged holds it."""
    verifier = encrypt_password(password, role, scope=session, algorithm="scram-sha-256")
    with session.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))

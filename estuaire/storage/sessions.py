"""Sessions of PostgreSQL: the one place that opens them, and says in one way that it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from estuaire.base.errors import DatabaseUnavailable
from estuaire.base.settings import Settings


def connect(
    settings: Settings,
    role: str = "estuaire",
    database: str | None = None,
    *,
    remedy: str | None = None,
    **options: Any,
) -> Connection:
    """A session that its caller closes.

    Args:
        role: whose session (``Settings.dsn``).
        database: the platform's own where none is named.
        remedy: what to do when it does not answer, where that is not to start it.
        options: libpq's keywords beside those of the settings.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer, or refuses the role.
    """
    try:
        opened: Connection = psycopg2.connect(settings.dsn(role, database), **options)
    except psycopg2.OperationalError as error:
        what = f"database {database} does not answer role {role}" if database else "PostgreSQL does not answer"
        raise DatabaseUnavailable(what, remedy=remedy or _remedy(settings)) from error
    return opened


@contextmanager
def session(
    settings: Settings,
    role: str = "estuaire",
    database: str | None = None,
    *,
    remedy: str | None = None,
    **options: Any,
) -> Iterator[Connection]:
    """As ``connect``, closed at the end of the block: what was not committed is rolled back, and a lock that it holds ends."""
    opened = connect(settings, role, database, remedy=remedy, **options)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def transaction(settings: Settings, role: str = "estuaire", database: str | None = None) -> Iterator[Connection]:
    """As ``session``, in one transaction: committed at the end of the block, rolled back on an exception."""
    with session(settings, role, database) as opened, opened:
        yield opened


def _remedy(settings: Settings) -> str:
    if settings.postgres_host:
        return f"see that {settings.postgres_host}:{settings.postgres_port} answers and that `estuaire init` was run, then try again"
    return "run `estuaire up`, then try again"

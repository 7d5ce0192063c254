"""What a part of a scrape measures with: the settings, the registry, one moment, and one read-only transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg2
import psycopg2.extras
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from psycopg2.extensions import connection as Connection

from estuaire.base.settings import Settings
from estuaire.contract.registry import Registry
from estuaire.runs.current_state import Ask, Row
from estuaire.storage.database import Database

UNKNOWN = "unknown"  # in a hospital's place: a folder of landing/ may bear any name


@dataclass(frozen=True)
class Look:
    """One scrape's way to what it measures. ``ask`` raises psycopg2.Error."""

    settings: Settings
    registry: Registry
    now: datetime
    ask: Ask

    def hospital(self, name: str) -> str:
        """A hospital's id as a label: one of the registry, else ``unknown``."""
        return name if name in self.registry.hospitals or name in self.registry.wrong else UNKNOWN


@contextmanager
def transaction(database: Database, patience: float) -> Iterator[Connection]:
    """A connection that reads one moment of the database, and may write nothing; no statement, and no wait, is longer than ``patience`` seconds.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    milliseconds = int(patience * 1000)
    with database.session(
        connect_timeout=max(2, int(patience)),
        options=f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} -c default_transaction_read_only=on",
        tcp_user_timeout=milliseconds,
    ) as connection:
        connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
        yield connection


def asking(connection: Connection) -> Callable[..., list[Row]]:
    """An ``Ask`` in the connection's transaction. A statement that fails leaves the transaction as it was before."""

    def ask(sql: str, parameters: object = ()) -> list[Row]:
        with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute("savepoint part")
            try:
                cursor.execute(sql, parameters)  # type: ignore[arg-type]
                rows = [dict(row) for row in cursor.fetchall()]
            except psycopg2.Error:
                cursor.execute("rollback to savepoint part")
                raise
            cursor.execute("release savepoint part")
            return rows

    return ask

"""One upkeep or backup of a platform at a time, and what each did in the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from psycopg2 import errors

from estuaire.base.errors import UpkeepBusy
from estuaire.storage.database import Database


@contextmanager
def alone(database: Database) -> Iterator[None]:
    """Hold the lock of upkeep and backups. It ends with this process whatever happens to it; it holds no snapshot and no row.

    Raises:
        UpkeepBusy: another one is under way.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with database.session() as session:
        with session.cursor() as cursor:
            cursor.execute("set local lock_timeout = '2s'")
            try:
                cursor.execute("lock table control.upkeep_lock in exclusive mode")
            except errors.LockNotAvailable:
                raise UpkeepBusy("an upkeep or a backup is under way", remedy="wait until it has ended") from None
        yield


def note(
    database: Database,
    kind: str,
    began: datetime,
    *,
    succeeded: bool,
    freed: int,
    done: Mapping[str, Any],
    message: str,
) -> None:
    """Write what was done into ``control.upkeep``."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into control.upkeep (kind, started_at, succeeded, bytes, done, message) values (%s, %s, %s, %s, %s, %s)",
            (kind, began, succeeded, freed, json.dumps(done), message),
        )

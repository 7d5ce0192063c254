"""The ledger (schema ``control``): deliveries, runs, stage runs with their accounting. Every write is one short transaction.

Commit order of a stage: accounting balanced (CHECK) -> lake commit -> ledger rows. What a lake commit changes is written as the stage
run's *intent* before it, so that a crash in between is resolved by reading the snapshot's message back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import psycopg2.extras
from psycopg2.extensions import cursor as Cursor

from estuaire.base import faults, process_identity
from estuaire.base.errors import AccountingImbalance, DatabaseUnavailable, ErrorFields, EstuaireError, Fenced
from estuaire.base.metering import Cost
from estuaire.storage import error_columns
from estuaire.storage.database import Database

FENCE_PATIENCE = "120s"  # how long a new attempt waits for a commit under way


def fetch(database: Database, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> list[dict[str, Any]]:
    """Rows of a query as dictionaries."""
    with (
        database.transaction() as connection,
        connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor,
    ):
        cursor.execute(sql, parameters)
        return [dict(row) for row in cursor.fetchall()]


# ------------------------------------------------------------------------------------------------ runs and stages


def start_run(database: Database, run_id: str, dag_id: str, parent: str | None = None) -> None:
    """Note that a run began; a run that is started again (a retry) goes back to running."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into control.run (run_id, dag_id, state, parent_run_id) values (%s, %s, 'running', %s) "
            f"on conflict (run_id) do update set state = 'running', ended_at = null, message = null, {error_columns.SET_NULL}",
            (run_id, dag_id, parent),
        )


def end_run(
    database: Database, run_id: str, state: str, message: str | None = None, error: ErrorFields | None = None
) -> None:
    """Note how a run ended: success, nothing_new or failed; what is to be said of it, and the typed error that ended it."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"update control.run set state = %s, ended_at = clock_timestamp(), message = %s, {error_columns.SET} where run_id = %s",
            (state, message, *error_columns.values(error), run_id),
        )


def note_run(database: Database, run_id: str, message: str, error: ErrorFields | None = None) -> None:
    """Note what is to be said of a run that goes on, and the typed error that it met."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"update control.run set message = %s, {error_columns.SET} where run_id = %s",
            (message, *error_columns.values(error), run_id),
        )


@dataclass(frozen=True)
class Stage:
    """One attempt of a stage, holding its fencing token."""

    database: Database
    run_id: str
    name: str
    token: int

    def check_fence(self, cursor: Cursor | None = None) -> None:
        """Raises Fenced where a newer attempt of the stage has begun."""
        if cursor is None:
            with self.database.transaction() as connection, connection.cursor() as new_cursor:
                self.check_fence(new_cursor)
            return
        cursor.execute("select token from control.fence where stage = %s for share", (self.name,))
        row = cursor.fetchone()
        if row is None or row[0] != self.token:
            raise Fenced.of(self.name)

    def intend(self, intent: dict[str, Any]) -> None:
        """Write what the lake commit will change, before it."""
        with self.database.transaction() as connection, connection.cursor() as cursor:
            self.check_fence(cursor)
            cursor.execute(
                "update control.stage_run set intent = %s where run_id = %s and stage = %s and token = %s",
                (json.dumps(intent), self.run_id, self.name, self.token),
            )
        faults.reach("stage.intended")

    def note_progress(self) -> None:
        """Note that the attempt got on: a piece of its work was finished just now."""
        with self.database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(
                "update control.stage_run set noted_at = clock_timestamp() where run_id = %s and stage = %s and token = %s",
                (self.run_id, self.name, self.token),
            )

    def end(
        self,
        cursor: Cursor,
        state: str,
        cost: Cost,
        rows: int,
        snapshot: int | None,
        message: str | None = "",
        error: ErrorFields | None = None,
    ) -> None:
        """Note the attempt's end and what it cost, in the caller's transaction."""
        cursor.execute(
            "update control.stage_run set state = %s, ended_at = clock_timestamp(), seconds = %s, cpu_seconds = %s, "
            f"peak_memory_bytes = %s, gate_seconds = %s, rows = %s, snapshot_id = %s, message = %s, {error_columns.SET} "
            "where run_id = %s and stage = %s and token = %s",
            (
                state, cost.seconds, cost.cpu_seconds, cost.peak_memory_bytes, cost.gate_seconds, rows, snapshot, message,
                *error_columns.values(error), self.run_id, self.name, self.token,
            ),
        )  # fmt: skip
        if state == "committed":
            faults.reach("stage.noted")

    def resolve(
        self, cursor: Cursor, run_id: str, token: int, state: str, snapshot: int | None, intent: dict[str, Any] | None
    ) -> None:
        """Note how an earlier attempt ended, as the lake tells it, and what of its intent is left."""
        cursor.execute(
            "update control.stage_run set state = %s, snapshot_id = %s, intent = %s where run_id = %s and stage = %s and token = %s",
            (state, snapshot, None if intent is None else json.dumps(intent), run_id, self.name, token),
        )

    def fail(self, cost: Cost, error: BaseException) -> None:
        """Note that the attempt failed; of a typed error its fields are kept, of another one its class alone (its own text may hold
        values). An attempt whose end a newer one has noted (it found its commit in the lake) keeps that end."""
        fenced = isinstance(error, Fenced)
        message, fields = (None, error.fields) if isinstance(error, EstuaireError) else (type(error).__name__, None)
        with self.database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(
                "select state from control.stage_run where run_id = %s and stage = %s and token = %s for update",
                (self.run_id, self.name, self.token),
            )
            if cursor.fetchone() != ("running",):
                return
            self.end(cursor, "fenced" if fenced else "failed", cost, 0, None, message, fields)
            # an error that nobody typed may pass (a lost connection, a full disk): it is tried again
            cursor.execute(
                "update control.stage_run set retryable = %s where run_id = %s and stage = %s and token = %s",
                (error.retryable if isinstance(error, EstuaireError) else True, self.run_id, self.name, self.token),
            )


def begin_stage(database: Database, run_id: str, stage: str) -> Stage:
    """Begin an attempt of a stage: draws the next fencing token, which fences every earlier attempt.

    A commit of an earlier one that is under way is waited for: afterwards it has happened, or never will.

    Raises:
        DatabaseUnavailable: that commit does not end.
    """
    with database.transaction() as connection, connection.cursor() as cursor:
        try:
            cursor.execute("set local lock_timeout = %s", (FENCE_PATIENCE,))
            cursor.execute("select 1 from control.fence where stage = %s for update", (stage,))
            cursor.execute("set local lock_timeout = 0")
        except psycopg2.errors.LockNotAvailable as error:
            raise DatabaseUnavailable(
                f"an earlier attempt of stage {stage} has been committing for {FENCE_PATIENCE}",
                remedy="the stage is tried again; if it stays so, restart PostgreSQL (`estuaire down`, `estuaire up`)",
            ) from error
        cursor.execute(
            "insert into control.fence (stage, token) values (%s, 1) "
            "on conflict (stage) do update set token = control.fence.token + 1 returning token",
            (stage,),
        )
        row = cursor.fetchone()
        assert row is not None  # noqa: S101 - "returning" gives the row
        token = int(row[0])
        _abandon(cursor, "stage = %s and token < %s", (stage, token))
        cursor.execute(
            "insert into control.stage_run (run_id, stage, token, state, owner) values (%s, %s, %s, 'running', %s)",
            (run_id, stage, token, process_identity.current()),
        )
    return Stage(database, run_id, stage, token)


def abandon_dead(database: Database) -> int:
    """End the attempts whose process is gone (killed, or the machine started anew); returns how many. Only on the machine that runs stages.

    An attempt that noted no process (of a version before) is left to the next attempt of its stage.
    """
    rows = fetch(database, "select distinct owner from control.stage_run where state = 'running' and owner is not null")
    dead = [row["owner"] for row in rows if process_identity.lives(row["owner"]) is not True]
    with database.transaction() as connection, connection.cursor() as cursor:
        return _abandon(cursor, "owner = any(%s)", (dead,))


def abandon_all(database: Database) -> int:
    """End every attempt that is noted as running; returns how many. For a ledger that was restored: its processes were another platform's."""
    with database.transaction() as connection, connection.cursor() as cursor:
        return _abandon(cursor, "true", ())


def _abandon(cursor: Cursor, which: str, parameters: tuple[object, ...]) -> int:
    """Note that attempts which said no last word have ended; whether the lake holds their commit is found out from their intent."""
    cursor.execute(
        "update control.stage_run set state = 'failed', ended_at = clock_timestamp(), retryable = true, "
        f"message = 'ended without a word (killed, or its machine went down)' where state = 'running' and {which}",
        parameters,
    )
    return int(cursor.rowcount)


def unfinished(database: Database, stage: str, before: int | None = None) -> list[dict[str, Any]]:
    """Attempts (with a token below ``before``) that wrote an intent and no end: the lake may or may not hold their commit."""
    return fetch(
        database,
        "select run_id, stage, token, intent from control.stage_run "
        "where stage = %s and intent is not null and state <> 'committed' "
        "and (%s::bigint is null or token < %s) order by token",
        (stage, before, before),
    )


def write_model_builds(cursor: Cursor, stage: Stage, built: Iterable[tuple[str, str, float]]) -> None:
    """Note what a publication built, in the caller's transaction: (model or seed, name, seconds) each."""
    cursor.executemany(
        "insert into control.model_build (run_id, stage, token, kind, name, seconds) values (%s, %s, %s, %s, %s, %s)",
        [(stage.run_id, stage.name, stage.token, *one) for one in built],
    )


# ------------------------------------------------------------------------------------------------ accounting


@dataclass
class Account:
    """The accounting of one (delivery, table) at one stage. Hash sums are exact sums of both halves of ``row_uid``; at load, whose
    staging tables hold none, of the record numbers. ``not_loaded``: reason -> records, of the load only; they add up to ``rows_not_loaded``.
    """

    hospital_id: str
    delivery_id: str
    table_name: str
    rows_in: int = 0
    rows_out: int = 0
    rows_quarantined: int = 0
    rows_superseded: int = 0
    rows_unparseable: int = 0
    rows_not_loaded: int = 0
    hash_in: int = 0
    hash_out: int = 0
    hash_quarantined: int = 0
    hash_superseded: int = 0
    hash_unparseable: int = 0
    hash_not_loaded: int = 0
    not_loaded: dict[str, int] = field(default_factory=dict)


_ACCOUNT_FIELDS = tuple(Account.__dataclass_fields__)


def write_accounts(cursor: Cursor, stage: Stage, accounts: Iterable[Account]) -> None:
    """Insert accounting rows in the caller's transaction; the table's CHECKs are the judge.

    Raises:
        AccountingImbalance: a row does not balance; the transaction must be rolled back.
    """
    columns = ", ".join(_ACCOUNT_FIELDS)
    marks = ", ".join(["%s"] * (3 + len(_ACCOUNT_FIELDS)))
    for account in accounts:
        values = [json.dumps(v) if isinstance(v := getattr(account, f), dict) else v for f in _ACCOUNT_FIELDS]
        try:
            cursor.execute(
                f"insert into control.accounting (run_id, stage, token, {columns}) values ({marks}) "
                "on conflict (run_id, stage, hospital_id, delivery_id, table_name) do update set "
                + ", ".join(f"{c} = excluded.{c}" for c in ("token", *_ACCOUNT_FIELDS[3:])),
                (stage.run_id, stage.name, stage.token, *values),
            )
        except psycopg2.errors.CheckViolation as error:
            raise AccountingImbalance(
                f"stage {stage.name}: {account.rows_in} records came in, {account.rows_out} out, "
                f"{account.rows_quarantined} quarantined, {account.rows_superseded} superseded, "
                f"{account.rows_unparseable} unparseable and {account.rows_not_loaded} not loaded, or their hash sums differ: "
                "nothing is committed",
                remedy="run the stage again; if it fails again, report it as a defect with the run's id",
                hospital=account.hospital_id,
                delivery=account.delivery_id,
                table=account.table_name,
            ) from error

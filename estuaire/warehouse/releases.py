"""Releases of the marts: swap a candidate in, list, roll back. Grain of a release: one swap, one row of control.release.

The served release is the schemas ``marts`` and ``conformed``; a replaced one stays as ``marts_r<id>`` and
``conformed_r<id>`` (the last ``KEPT_ARCHIVES``); a candidate is ``marts_next`` and ``conformed_next``.

Property: a reader never sees two releases mixed. Renaming a schema waits for nobody, and a statement that finds one table
before the rename and one after it would mix. So the swap first takes ACCESS EXCLUSIVE on every relation of ``marts``: a
transaction that has read one of them keeps the swap out until it ends; one that comes later waits and then finds the new
names. The locks are asked for at one moment, each by a session of its own: a reader that comes later then waits at the first
table it touches, holding none, in whatever order it reads. No session of ours waits while it holds a lock, so PostgreSQL
never sees a deadlock and never cancels a reader; after a bounded wait the swap gives way and tries again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg2
from psycopg2 import errors, sql

from estuaire.base import faults
from estuaire.base.errors import DatabaseUnavailable, PublishFailed
from estuaire.contract.registry import Registry
from estuaire.storage import held_hospitals
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import patient_level

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg2.extensions import connection, cursor

SCHEMAS = ("marts", "conformed")
CANDIDATES = ("marts_next", "conformed_next", "staging_next", "audit_next", held_hospitals.MIXED)
COMMENTS = {
    "marts": "The published release: what analysts query",
    "conformed": "Patients, stays and facts that the marts were built from; same release as marts",
}
READER = "analyst"
READER_TRANSACTION_SECONDS = 900  # a reader's transaction that is older is ended where it holds up a swap
KEPT_ARCHIVES = 3
LOCK_SECONDS = (0.5, 1.0, 2.0)  # how long each try may hold readers up; the last one is repeated
SWAP_PATIENCE_SECONDS = 120.0
_TAKE_LOCK = (
    "lock table control.publish_lock in exclusive mode"  # which no reader can take, as it could an advisory lock
)
_Plan = TypeVar("_Plan")
_COLUMNS = "release_id, run_id, snapshot_id, code_version, built_at, published_at, state, input_hash, archive_schema, contents, held_back, built_from"


class MartsBusy(PublishFailed):
    """Readers hold the marts for longer than the swap may wait, or another publish runs."""

    code = "E_MARTS_BUSY"
    retryable = True


@dataclass(frozen=True)
class Release:
    """One row of control.release.

    Attributes:
        state: published, replaced or rolled_back.
        contents: hospital -> hash of the content that it was built from, None where that is unknown; None for a release of before 0004.
        held_back: hospitals whose newest content gates 3 and 4 did not let in, and why.
        built_from: ``code``, ``hospitals`` and ``rebuilt`` (estuaire.warehouse.incremental); None for a release of before 0015.
    """

    release_id: int
    run_id: str
    snapshot_id: int
    code_version: str
    built_at: datetime
    published_at: datetime
    state: str
    input_hash: str
    archive_schema: str | None
    contents: dict[str, str | None] | None = None
    held_back: dict[str, held_hospitals.Held] = field(default_factory=dict)
    built_from: dict[str, Any] | None = None

    @property
    def notes(self) -> list[str]:
        """What whoever reads its figures should know: hospitals that are held back."""
        return [held.note(hospital) for hospital, held in self.held_back.items()]

    @property
    def kept(self) -> bool:
        """Whether its tables are still there."""
        return self.state == "published" or self.archive_schema is not None


@dataclass(frozen=True)
class Candidate:
    """A release that was built and passed, and is not served yet."""

    release_id: int
    run_id: str
    snapshot_id: int
    code_version: str
    built_at: datetime
    input_hash: str
    contents: dict[str, str | None] | None = None
    held_back: dict[str, held_hospitals.Held] = field(default_factory=dict)
    built_from: dict[str, Any] | None = None


@contextlib.contextmanager
def connect(database: Database) -> Iterator[connection]:
    """A session as owner of the warehouse; rolled back and closed at the end.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with database.session() as session:
        try:
            yield session
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            raise DatabaseUnavailable(
                "PostgreSQL ended the work that was under way", remedy="see `estuaire logs postgres`, then try again"
            ) from error


@contextlib.contextmanager
def only_publisher(database: Database) -> Iterator[None]:
    """At most one publish or rollback at a time; the lock ends with this process whatever happens to it.

    Raises:
        MartsBusy: another one runs.
    """
    with connect(database) as session:
        with session.cursor() as cur:
            cur.execute("set local lock_timeout = '1s'")  # not `nowait`: autovacuum holds it for a moment
            try:
                cur.execute(_TAKE_LOCK)
            except errors.LockNotAvailable:
                raise MartsBusy("another publish or rollback is running", remedy="wait until it has ended") from None
        yield


def list_releases(database: Database) -> list[Release]:
    """Every release, newest first."""
    with connect(database) as session, session.cursor() as cur:
        return releases_of(cur)


def published(cur: cursor) -> Release | None:
    """The release that is served, if there is one."""
    return next((r for r in releases_of(cur) if r.state == "published"), None)


def reserve_id(session: connection) -> int:
    """The next release number, for the one publisher (``only_publisher``); one that is not used in the end is given again.

    Not by the sequence: it jumps by up to 32 when PostgreSQL was killed.
    """
    with session.cursor() as cur:
        cur.execute("select coalesce(max(release_id), 0) + 1 from control.release")
        number = int(one(cur)[0])
    session.commit()
    return number


def drop_candidate(session: connection) -> None:
    """Remove whatever an earlier build left in the candidate schemas."""
    with session.cursor() as cur:
        for schema in CANDIDATES:
            cur.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
    session.commit()


def swap_in(platform: Platform, candidate: Candidate, still_current: Callable[[cursor], bool]) -> Release:
    """Serve the candidate and archive what was served, in one transaction with the release row.

    Args:
        still_current: asked inside the transaction; false when the input changed while the candidate was built.

    Raises:
        MartsBusy: readers did not let go of the marts in time.
        PublishFailed: the input changed, or the schemas are not what the ledger says.
    """

    registry = platform.registry

    def plan(cur: cursor) -> Release | None:
        if not still_current(cur):
            raise PublishFailed("staging changed while the marts were built", remedy="publish again")
        served = published(cur)
        if served is None:
            _refuse_unreleased(cur)
        return served

    def swap(cur: cursor, served: Release | None) -> None:
        if served is None:
            for schema in SCHEMAS:
                cur.execute(sql.SQL("drop schema if exists {}").format(sql.Identifier(schema)))
        else:
            _archive(cur, served, "replaced")
        _serve(cur, "next", registry)
        cur.execute(
            f"insert into control.release ({_COLUMNS}) overriding system value "
            "values (%s, %s, %s, %s, %s, default, 'published', %s, null, %s, %s, %s)",
            (
                candidate.release_id,
                candidate.run_id,
                candidate.snapshot_id,
                candidate.code_version,
                candidate.built_at,
                candidate.input_hash,
                None if candidate.contents is None else json.dumps(candidate.contents),
                json.dumps(held_hospitals.dumped(candidate.held_back)),
                None if candidate.built_from is None else json.dumps(candidate.built_from),
            ),
        )
        faults.reach("publish.swapped")

    return _in_one_transaction(platform.database, plan, swap)


def rollback(platform: Platform, to: int | None = None) -> Release:
    """Serve an archived release again; the one that was served becomes ``rolled_back`` and stays archived.

    Args:
        to: release to go back to; by default the newest kept one before the one that is served.

    Returns:
        The release that is served now.

    Raises:
        PublishFailed: there is no such archive.
        MartsBusy: readers did not let go of the marts in time, or a publish is running.
    """

    registry = platform.registry

    def plan(cur: cursor) -> tuple[Release, Release]:
        releases = releases_of(cur)
        served = next((r for r in releases if r.state == "published"), None)
        if served is None:
            raise PublishFailed("nothing is published", remedy="publish a first release")
        kept = [r for r in releases if r.archive_schema is not None]
        wanted = next((r for r in kept if (r.release_id == to if to else r.release_id < served.release_id)), None)
        if wanted is None:
            known = ", ".join(str(r.release_id) for r in kept) or "none"
            name = f"release {to}" if to else f"a release before {served.release_id}"
            raise PublishFailed(f"{name} is not kept", remedy=f"choose one that is: {known}")
        return served, wanted

    def swap(cur: cursor, chosen: tuple[Release, Release]) -> None:
        served, wanted = chosen
        _archive(cur, served, "rolled_back")
        _serve(cur, f"r{wanted.release_id}", registry)
        cur.execute(
            "update control.release set state = 'published', archive_schema = null where release_id = %s",
            (wanted.release_id,),
        )

    with only_publisher(platform.database):
        return _in_one_transaction(platform.database, plan, swap)


def prune(database: Database, keep: int = KEPT_ARCHIVES) -> list[int]:
    """Drop the archives beyond the newest ``keep``; returns the releases that were dropped."""
    with connect(database) as session, session.cursor() as cur:
        old = [r.release_id for r in releases_of(cur) if r.archive_schema is not None][keep:]
        for number in old:
            for schema in SCHEMAS:
                name = sql.Identifier(f"{schema}_r{number}")
                cur.execute(sql.SQL("drop schema if exists {} cascade").format(name))
            cur.execute("update control.release set archive_schema = null where release_id = %s", (number,))
        session.commit()
        return old


# ---------------------------------------------------------------- inside the transaction
def _in_one_transaction(
    database: Database, plan: Callable[[cursor], _Plan], swap: Callable[[cursor, _Plan], None]
) -> Release:
    """``plan`` reads and decides; ``swap`` changes, while no reader holds the marts; then commit."""
    limit = time.monotonic() + SWAP_PATIENCE_SECONDS
    tries = 0
    with connect(database) as session:
        while True:
            with session.cursor() as cur, contextlib.suppress(errors.LockNotAvailable):
                decided = plan(cur)
                _end_overdue_readers(cur)
                cur.execute("set local lock_timeout = '5s'")  # never wait without end, for ourselves least of all
                with _marts_to_ourselves(database, LOCK_SECONDS[min(tries, len(LOCK_SECONDS) - 1)]) as ours:
                    if ours:
                        swap(cur, decided)
                        served = published(cur)
                        session.commit()
                        break
            session.rollback()
            if time.monotonic() > limit:
                raise MartsBusy(
                    f"readers have held the marts for {SWAP_PATIENCE_SECONDS:.0f} s; the served release stays",
                    remedy="end the long queries and open transactions on marts, then try again",
                )
            tries += 1
            time.sleep(LOCK_SECONDS[0])  # lets the readers that queued behind us through
    if served is None:
        raise PublishFailed("the ledger shows no release after the swap", remedy="report this as a bug")
    return served


def _end_overdue_readers(cur: cursor) -> None:
    """End sessions of the reader whose transaction is older than it may be: the role's own limits can be lifted by whoever uses it."""
    cur.execute(
        "select pg_terminate_backend(pid, 1000) from pg_stat_activity where usename = %s and datname = current_database() "
        "and xact_start < clock_timestamp() - make_interval(secs => %s)",
        (READER, READER_TRANSACTION_SECONDS),
    )


@contextlib.contextmanager
def _marts_to_ourselves(database: Database, seconds: float) -> Iterator[bool]:
    """Hold ACCESS EXCLUSIVE on every relation that analysts may read; false when that was not granted in time."""
    with connect(database) as session, session.cursor() as cur:
        cur.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = 'marts' and c.relkind in ('r', 'p', 'v', 'm') order by c.relname"
        )
        names = [row[0] for row in cur.fetchall()]
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(connect(database)) for _ in names]
        with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
            granted = list(pool.map(_lock, sessions, names, [seconds] * len(names)))
        yield all(granted)


def _lock(session: connection, name: str, seconds: float) -> bool:
    with session.cursor() as cur:
        cur.execute("select set_config('lock_timeout', %s, true)", (f"{int(seconds * 1000)}ms",))
        try:
            cur.execute(sql.SQL("lock table {} in access exclusive mode").format(sql.Identifier("marts", name)))
        except errors.LockNotAvailable:
            return False
    return True


def _refuse_unreleased(cur: cursor) -> None:
    """Before the first release ``marts`` is the empty schema of the migrations; anything else is somebody's."""
    cur.execute(
        "select distinct n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = any(%s)",
        (list(SCHEMAS),),
    )
    for (schema,) in cur.fetchall():
        raise PublishFailed(
            f"schema {schema} holds tables that no release owns", remedy="move them to a schema of their own"
        )


def _archive(cur: cursor, served: Release, state: str) -> None:
    for schema in SCHEMAS:
        archive = sql.Identifier(f"{schema}_r{served.release_id}")
        cur.execute(sql.SQL("alter schema {} rename to {}").format(sql.Identifier(schema), archive))
        cur.execute(sql.SQL("revoke all on schema {} from {}").format(archive, sql.Identifier(READER)))
        # the tables, too: pg_stats shows the most common values of every table that one may read, its schema closed or not
        cur.execute(sql.SQL("revoke all on all tables in schema {} from {}").format(archive, sql.Identifier(READER)))
    cur.execute(
        "update control.release set state = %s, archive_schema = %s where release_id = %s",
        (state, f"marts_r{served.release_id}", served.release_id),
    )


def _serve(cur: cursor, suffix: str, registry: Registry) -> None:
    reader = sql.Identifier(READER)
    for schema in SCHEMAS:
        cur.execute(
            sql.SQL("alter schema {} rename to {}").format(sql.Identifier(f"{schema}_{suffix}"), sql.Identifier(schema))
        )
        cur.execute(sql.SQL("comment on schema {} is {}").format(sql.Identifier(schema), sql.Literal(COMMENTS[schema])))
    cur.execute(sql.SQL("grant usage on schema marts to {}").format(reader))
    cur.execute(sql.SQL("grant select on all tables in schema marts to {}").format(reader))
    patient_level.mark_and_guard(cur, READER, registry)


def releases_of(cur: cursor) -> list[Release]:
    """Every release as the cursor's transaction sees it, newest first."""
    cur.execute(f"select {_COLUMNS} from control.release order by release_id desc")
    releases = []
    for row in cur.fetchall():
        values: dict[str, Any] = dict(zip(_COLUMNS.split(", "), row, strict=True))
        releases.append(Release(**{**values, "held_back": held_hospitals.read(values["held_back"])}))
    return releases


def one(cur: cursor) -> tuple[Any, ...]:
    """The row that a statement must return."""
    row = cur.fetchone()
    if row is None:
        raise PublishFailed("the database returned no row", remedy="report this as a bug")
    return row

"""An analyst, who shares one password with others, can take nothing that the pipeline needs: no lock, no last connection, no disk."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from estuaire.base.settings import Settings
from estuaire.stack import postgres as server
from estuaire.stack import roles
from estuaire.storage import ledger, migrations
from estuaire.storage.database import Database
from estuaire.storage.lake import TAKE_LOCK
from estuaire.warehouse import releases

DATABASE = "estuaire_limits"


@pytest.fixture(scope="module")
def settings(postgres: Settings) -> Settings:
    """A warehouse of this file's own, made as `up` makes one."""
    own = postgres.model_copy(update={"postgres_database": DATABASE})
    roles.ensure(own, server.ensure_passwords(own))
    migrations.upgrade(Database.of(own))
    with Database.of(own).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("create table marts.sample as select g as n from generate_series(1, 10) g")
    return own


@contextlib.contextmanager
def _session(settings: Settings, role: str = "analyst", **options: Any) -> Iterator[Any]:
    session = psycopg2.connect(Database.of(settings).dsn(role), **options)
    session.autocommit = True
    try:
        with session.cursor() as cursor:
            yield cursor
    finally:
        session.close()


def _mended(settings: Settings) -> None:
    roles.ensure(settings, server.ensure_passwords(settings))


@pytest.mark.parametrize(
    "statement",
    [
        "select pg_advisory_lock(1163089237)",  # the lake's, before
        "select pg_advisory_xact_lock(1)",
        "select pg_try_advisory_lock_shared(1, 2)",
        "select pg_advisory_lock(g) from generate_series(1, 100) g",
        "lock table control.lake_lock in access share mode",
        "lock table control.lake_lock in exclusive mode",
        "lock table control.publish_lock in exclusive mode",
        "lock table control.fence in row exclusive mode",
        "lock table marts.sample in exclusive mode",
        "select 1 from control.fence for update",
        "create temp table t (n int)",
        "select lo_create(0)",
        "set temp_file_limit = -1",
        "alter role analyst connection limit 1000",
        "alter role analyst set temp_file_limit = -1",
        "alter role analyst superuser",
        "alter role estuaire password 'x'",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'estuaire'",
    ],
)
def test_what_an_analyst_may_not_do(settings: Settings, statement: str) -> None:
    with _session(settings, "estuaire"), _session(settings) as cursor:
        cursor.execute("set default_transaction_read_only = off")
        cursor.execute("begin read write")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(statement)


def test_the_pipelines_locks_are_free_while_an_analyst_holds_all_it_can(settings: Settings) -> None:
    with _session(settings) as reader:
        reader.execute("begin read write")
        reader.execute("select count(*) from marts.sample")
        for catalog in ("pg_class", "pg_attribute", "pg_proc"):
            reader.execute(f"lock table pg_catalog.{catalog} in access share mode")
        with _session(settings, "estuaire") as owner:
            owner.execute("begin")
            owner.execute("set local lock_timeout = '10s'")
            owner.execute(TAKE_LOCK)
        with releases.only_publisher(Database.of(settings)):
            pass


def test_one_publisher_at_a_time_as_before(settings: Settings) -> None:
    with (
        releases.only_publisher(Database.of(settings)),
        pytest.raises(releases.MartsBusy),
        releases.only_publisher(Database.of(settings)),
    ):
        pass
    with releases.only_publisher(Database.of(settings)):
        pass


def test_ninety_connections_leave_the_pipeline_its_own(settings: Settings) -> None:
    held, refused = [], 0
    try:
        for _ in range(90):
            try:
                held.append(psycopg2.connect(Database.of(settings).dsn("analyst")))
            except psycopg2.OperationalError:
                refused += 1
        assert len(held) == roles.READER_CONNECTIONS
        assert refused == 90 - roles.READER_CONNECTIONS
        with contextlib.ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(Database.of(settings).transaction())
        _mended(settings)
    finally:
        for session in held:
            session.close()


def test_limits_and_password_that_an_analyst_changed_are_mended_by_up(settings: Settings) -> None:
    with _session(settings) as cursor:
        cursor.execute("set default_transaction_read_only = off")
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
            cursor.execute(f"alter role analyst set {name} = 0")
            cursor.execute(f"alter role analyst in database {DATABASE} set {name} = 0")
        cursor.execute("alter role analyst password 'mine alone'")
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(Database.of(settings).dsn("analyst"))
    _mended(settings)
    with _session(settings) as cursor:
        for name in roles.READER_SETTINGS:
            cursor.execute("select setting, reset_val from pg_settings where name = %s", (name,))
            assert cursor.fetchone()[0] not in ("0", "-1"), name
        cursor.execute("show temp_file_limit")
        assert cursor.fetchone() == ("2GB",)


def test_a_reader_that_holds_the_marts_for_too_long_is_ended_by_the_swap(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _session(settings) as young, _session(settings) as old:
        for reader in (old, young):
            reader.execute("set idle_in_transaction_session_timeout = 0; set transaction_timeout = 0")
        old.execute("begin; select count(*) from marts.sample")
        time.sleep(2.5)
        young.execute("begin; select count(*) from marts.sample")
        monkeypatch.setattr(releases, "READER_TRANSACTION_SECONDS", 2)
        with releases.connect(Database.of(settings)) as session, session.cursor() as cursor:
            releases._end_overdue_readers(cursor)
        with pytest.raises(psycopg2.Error):
            old.execute("select 1")
        young.execute("select count(*) from marts.sample")
        assert young.fetchone() == (10,)


# ------------------------------------------------------------------------------------------------ attempts of stages


def _states(settings: Settings) -> list[tuple[int, str]]:
    rows = ledger.fetch(
        Database.of(settings), "select token, state from control.stage_run where stage = 'land' order by token"
    )
    return [(r["token"], r["state"]) for r in rows]


def test_an_attempt_that_said_no_last_word_ends_with_the_next_one_or_with_up(settings: Settings) -> None:
    with Database.of(settings).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("delete from control.stage_run")
    ledger.start_run(Database.of(settings), "r1", "tests")
    first = ledger.begin_stage(Database.of(settings), "r1", "land")
    other = ledger.begin_stage(Database.of(settings), "r1", "load")
    assert ledger.abandon_dead(Database.of(settings)) == 0, "this process lives"
    second = ledger.begin_stage(Database.of(settings), "r1", "land")
    assert _states(settings) == [(first.token, "failed"), (second.token, "running")]
    assert ledger.fetch(Database.of(settings), "select state from control.stage_run where stage = 'load'") == [
        {"state": "running"}
    ]
    [row] = ledger.fetch(
        Database.of(settings), "select * from control.stage_run where token = %s and stage = 'land'", (first.token,)
    )
    assert row["ended_at"] is not None
    assert row["retryable"] is True
    assert "without a word" in row["message"]
    with Database.of(settings).transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "update control.stage_run set owner = regexp_replace(owner, '[0-9]+$', '1') where stage = 'land'"
        )
    assert ledger.abandon_dead(Database.of(settings)) == 1
    assert _states(settings)[-1] == (second.token, "failed")
    assert (
        ledger.fetch(
            Database.of(settings),
            "select state from control.stage_run where token = %s and stage = 'load'",
            (other.token,),
        )[0]["state"]
        == "running"
    )


def test_a_writer_waits_for_the_lock(settings: Settings) -> None:
    """Two writers of the lake: the second one takes the lock when the first lets go."""
    got = threading.Event()

    def second() -> None:
        with _session(settings, "estuaire") as cursor:
            cursor.execute("begin")
            cursor.execute(TAKE_LOCK)
            got.set()

    with _session(settings, "estuaire") as cursor:
        cursor.execute("begin")
        cursor.execute(TAKE_LOCK)
        thread = threading.Thread(target=second)
        thread.start()
        assert not got.wait(1)
        cursor.execute("rollback")
        assert got.wait(10)
    thread.join()

"""Only the newest attempt of a stage commits, and PostgreSQL decides it inside the commit: no record is ever in the lake twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from small_platform import SmallPlatform, dose

from estuaire.base.errors import Fenced
from estuaire.storage import ledger
from estuaire.storage.lake import Change, Lake
from spark_jobs import consolidate, land

STAGES = {"land": land, "consolidate": consolidate}
DOSES = 42


@pytest.fixture(scope="module")
def shared(new_platform: Callable[[], SmallPlatform]) -> SmallPlatform:
    return new_platform()


def _records(platform: SmallPlatform, layer: str) -> list[tuple[Any, ...]]:
    return platform.in_lake(f"select count(*), count(distinct row_uid_lo) from lake.{layer}.administration")


def _lose_the_lock(platform: SmallPlatform) -> int:
    """End the backend of the session that holds the lake's lock."""
    found = platform.ask(
        "select pg_terminate_backend(pid) from pg_locks where relation = 'control.lake_lock'::regclass and granted and "
        "mode = 'ExclusiveLock' and pid <> pg_backend_pid()"
    )
    return len(found)


@contextmanager
def paused_in_mid_commit(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> Iterator[list[object]]:
    """``work`` in a thread, held inside its lake transaction until the block ends; then its result or its exception is in the list."""
    inside, go_on, found = threading.Event(), threading.Event(), list[object]()
    original = Lake._refuse_inlined

    def held(lake: Lake, connection: Any) -> None:
        original(lake, connection)
        if threading.current_thread().name == "old" and not inside.is_set():
            inside.set()
            go_on.wait(900)

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001
            found.append(error)

    monkeypatch.setattr(Lake, "_refuse_inlined", held)
    thread = threading.Thread(target=run, name="old")
    thread.start()
    try:
        assert inside.wait(900), found
        yield found
    finally:
        go_on.set()
        thread.join(900)


@pytest.mark.parametrize("stage", ["land", "consolidate"])
def test_an_attempt_whose_lock_was_lost_in_mid_commit_commits_nothing_after_a_newer_one(
    shared: SmallPlatform, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    layer = {"land": "landed", "consolidate": "consolidated"}[stage]
    if stage == "land":
        shared.deliver("d1", 1, administration=[dose(f"A{i}") for i in range(DOSES)])
        shared.discover()
    else:
        assert shared.state("d1") == ("landed", None)
    module = STAGES[stage]
    with paused_in_mid_commit(monkeypatch, lambda: module.run(shared, shared.new_run(), shared.spark)) as old:
        assert _lose_the_lock(shared) == 1
        module.run(shared, shared.new_run(), shared.spark)
        assert _records(shared, layer) == [(DOSES, DOSES)]
    assert [type(x) for x in old] == [Fenced]
    assert _records(shared, layer) == [(DOSES, DOSES)]
    assert len(shared.ask("select key from control.landed_file")) == 1
    assert shared.ask("select state from control.stage_run where stage = %s order by token", stage) in (
        [("fenced",), ("committed",)],
        [("failed",), ("committed",)],  # the newer one found that the older had an intent, and no commit
    )


def test_a_commit_that_waits_inside_postgresql_is_refused_there(shared: SmallPlatform) -> None:
    """The pause is in the database itself: the old commit's statements have arrived when the newer token is drawn."""
    shared.execute(
        "create table public.pause (); create function public.pause() returns trigger language plpgsql as $$ begin "
        "if to_regclass('public.pause') is not null then perform pg_advisory_xact_lock(42); end if; return new; end $$; "
        "create trigger a_pause before insert on lake.ducklake_snapshot for each row execute function public.pause()"
    )
    holder = psycopg2.connect(shared.database.dsn())
    with holder.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(42)")
    shared.execute("insert into control.fence values ('load', 1)")  # a stage of this test's own
    found: list[object] = []
    everything = [("consolidated", "administration", "h01")]

    def commit() -> None:
        try:
            found.append(shared.lake.commit(Change("old", "load", 1, retire=everything)))
        except BaseException as error:  # noqa: BLE001
            found.append(error)

    thread = threading.Thread(target=commit)
    thread.start()
    _until(
        shared, "select 1 from pg_stat_activity where wait_event = 'advisory' and query like 'INSERT INTO \"lake\"%%'"
    )
    shared.execute("update control.fence set token = 2 where stage = 'load'")
    holder.close()
    thread.join(900)
    assert [type(x) for x in found] == [Fenced]
    assert _records(shared, "consolidated") == [(DOSES, DOSES)]


def _until(platform: SmallPlatform, query: str) -> None:
    end = time.monotonic() + 300
    while not platform.ask(query):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_no_token_is_drawn_while_a_commit_is_past_the_fence(
    shared: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that whoever draws it afterwards finds the commit, and lands nothing twice."""
    monkeypatch.setattr(ledger, "FENCE_PATIENCE", "500ms")
    session = psycopg2.connect(shared.database.dsn())
    with session.cursor() as cursor:
        cursor.execute("select token from control.fence where stage = 'land' for share")  # as the trigger does
    run = shared.new_run()
    with pytest.raises(ledger.DatabaseUnavailable, match="has been committing for 500ms"):
        ledger.begin_stage(shared.database, run, "land")
    session.close()
    ledger.begin_stage(shared.database, run, "land")


def test_an_attempt_fenced_after_its_own_commit_is_finished_by_the_newer_one(
    shared: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last ledger transaction is fenced, whatever it ends as: the newer attempt reads the lake back."""
    shared.deliver("d2", 2, administration=[dose("B1"), dose("B2")])
    shared.discover()
    commit = Lake.commit

    def overtaken(lake: Lake, change: Change, **more: Any) -> int:
        snapshot = commit(lake, change, **more)
        ledger.begin_stage(shared.database, shared.new_run(), "land")
        return snapshot

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "commit", overtaken)
        with pytest.raises(Fenced):
            land.run(shared, shared.new_run(), shared.spark)
    assert shared.state("d2") == ("received", None)
    assert land.run(shared, shared.new_run(), shared.spark)["landed"] == 0
    assert shared.state("d2") == ("landed", None)
    assert _records(shared, "landed") == [(DOSES + 2, DOSES + 2)]

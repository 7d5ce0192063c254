"""The lake: what a commit adds and retires, who can read it, and what stops or survives a commit that goes wrong."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
from small_platform import SmallPlatform, dose

from estuaire.base.errors import Fenced, LakeInlined
from estuaire.storage import ledger
from estuaire.storage.duck import load_extension
from estuaire.storage.lake import PATIENT_MAP, TAKE_LOCK, Change, NewFile
from spark_jobs import land

MAP = "patient_map"


def _write(platform: SmallPlatform, name: str, hospital: str, patients: list[str]) -> NewFile:
    """A small consolidated file: what a Spark task leaves in the store."""
    key = f"lake/consolidated/{MAP}/hospital={hospital}/{name}.parquet"
    path = platform.store.local_path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ", ".join(f"('{hospital}', '{p}', 'k{p}', 'none')" for p in patients)
    names = ", ".join(c.name for c in PATIENT_MAP)
    with duckdb.connect() as connection:
        connection.execute(f"copy (select * from (values {rows}) as t({names})) to '{path}' (format parquet)")
    return NewFile("consolidated", MAP, hospital, key)


def _newest(platform: SmallPlatform, token: int, stage: str = "consolidate") -> None:
    """The stage's newest token, as if so many attempts had begun."""
    platform.execute(
        "insert into control.fence values (%s, %s) on conflict (stage) do update set token = excluded.token",
        stage,
        token,
    )


def _replace(platform: SmallPlatform, name: str, hospital: str, patients: list[str], token: int = 1) -> Change:
    _newest(platform, token)
    return Change(
        f"run-{name}", "consolidate", token, add=[_write(platform, name, hospital, patients)],
        retire=[("consolidated", MAP, hospital)],
    )  # fmt: skip


def _patients(rows: list[Any]) -> list[str]:
    return sorted(r["patient_id"] if not isinstance(r, tuple) or hasattr(r, "asDict") else r[0] for r in rows)


def _plain_duckdb(platform: SmallPlatform) -> duckdb.DuckDBPyConnection:
    """What anyone with DuckDB does: the extensions and one ATTACH, nothing of ours."""
    connection = duckdb.connect()
    for name in ("ducklake", "postgres_scanner"):
        load_extension(connection, name)
    target = f"ducklake:postgres:{platform.database.dsn()}"
    connection.execute(f"attach '{target}' as lake (metadata_schema 'lake', read_only)")
    return connection


# ------------------------------------------------------------------------------------------------ what a commit does


def test_a_replaced_partition_shows_only_its_new_rows_to_every_reader(platform: SmallPlatform) -> None:
    _newest(platform, 1)
    platform.lake.commit(Change("r0", "consolidate", 1, add=[_write(platform, "other", "h02", ["x", "y"])]))
    yesterday = platform.lake.commit(_replace(platform, "old", "h01", ["a", "b", "c"]))
    today = platform.lake.commit(_replace(platform, "new", "h01", ["b", "d", "e"], token=2))
    assert today > yesterday
    assert _patients(platform.through_spark("consolidated", MAP)) == ["b", "d", "e", "x", "y"]
    files = platform.lake.list_files("consolidated", MAP)
    assert [Path(f).name for f in files] == ["new.parquet", "other.parquet"]
    with _plain_duckdb(platform) as connection:
        read = "select patient_id from lake.consolidated.patient_map"
        assert _patients(connection.execute(read).fetchall()) == ["b", "d", "e", "x", "y"]
        assert _patients(connection.execute(f"{read} at (version => {yesterday})").fetchall()) == [
            "a",
            "b",
            "c",
            "x",
            "y",
        ]
        assert _patients(connection.execute(f"{read} at (version => {today})").fetchall()) == ["b", "d", "e", "x", "y"]
    with platform.lake.connection(version=yesterday) as connection:
        assert _patients(connection.execute(read).fetchall()) == ["a", "b", "c", "x", "y"]


def test_a_reader_cannot_write(platform: SmallPlatform) -> None:
    with platform.lake.connection() as connection, pytest.raises(duckdb.Error):
        connection.execute("delete from lake.consolidated.patient_map")


def test_a_whole_table_is_replaced_where_no_hospital_is_named(platform: SmallPlatform) -> None:
    platform.lake.commit(_replace(platform, "a", "h01", ["a"]))
    platform.lake.commit(_replace(platform, "b", "h02", ["b"]))
    _newest(platform, 9)
    change = Change(
        "r", "consolidate", 9, add=[_write(platform, "c", "h03", ["c"])], retire=[("consolidated", MAP, "")]
    )
    platform.lake.commit(change)
    assert _patients(platform.through_spark("consolidated", MAP)) == ["c"]


def test_the_same_change_twice_is_one_snapshot(platform: SmallPlatform) -> None:
    change = _replace(platform, "a", "h01", ["a", "b", "c"])
    first = platform.lake.commit(change)
    assert platform.lake.commit(change) == first
    assert platform.lake.snapshot() == first
    assert platform.lake.find_commit(change) == first
    assert platform.in_lake("select count(*) from lake.consolidated.patient_map") == [(3,)]


def test_a_change_of_two_tables_is_committed_whole_or_not_at_all(platform: SmallPlatform) -> None:
    before = platform.lake.snapshot()
    _newest(platform, 1)
    good = _write(platform, "good", "h01", ["a"])
    missing = NewFile("landed", "patient", "h01", "lake/landed/patient/hospital=h01/never-written.parquet")
    with pytest.raises(duckdb.Error):
        platform.lake.commit(Change("r", "consolidate", 1, add=[good, missing]))
    assert platform.lake.snapshot() == before
    assert platform.lake.list_files("consolidated", MAP) == []


def test_nothing_to_change_makes_no_snapshot(platform: SmallPlatform) -> None:
    before = platform.lake.snapshot()
    assert platform.lake.commit(Change("r", "consolidate", 1)) == before
    assert platform.lake.snapshot() == before


def test_making_sure_of_the_catalog_again_changes_nothing(platform: SmallPlatform) -> None:
    platform.lake.commit(_replace(platform, "a", "h01", ["a"]))
    before = platform.lake.snapshot()
    platform.lake.ensure()
    assert platform.lake.snapshot() == before


# ------------------------------------------------------------------------------------------------ what stops a commit


def test_inlined_rows_stop_every_commit(platform: SmallPlatform) -> None:
    with platform.lake._writing() as connection:
        connection.execute("call lake.set_option('data_inlining_row_limit', 10)")
        connection.execute("insert into lake.consolidated.patient_map values ('h01', 'a', 'k', 'none')")
        connection.execute("call lake.set_option('data_inlining_row_limit', 0)")
    before = platform.lake.snapshot()
    with pytest.raises(LakeInlined):
        platform.lake.commit(_replace(platform, "b", "h02", ["b"]))
    assert platform.lake.snapshot() == before


def test_inlined_deletes_stop_every_commit(platform: SmallPlatform) -> None:
    """They are what would let Spark read retired rows."""
    platform.lake.commit(_replace(platform, "a", "h01", ["a", "b", "c"]))
    with platform.lake._writing() as connection:
        connection.execute("call lake.set_option('data_inlining_row_limit', 10)")
        connection.execute("delete from lake.consolidated.patient_map where patient_id = 'a'")
        connection.execute("call lake.set_option('data_inlining_row_limit', 0)")
    with pytest.raises(LakeInlined):
        platform.lake.commit(_replace(platform, "b", "h02", ["b"]))


def test_a_catalog_that_may_inline_takes_no_commit(platform: SmallPlatform) -> None:
    platform.lake.commit(_replace(platform, "a", "h01", ["a", "b", "c"]))
    with platform.lake._writing() as connection:
        connection.execute("call lake.set_option('data_inlining_row_limit', 10)")
    with pytest.raises(LakeInlined):
        platform.lake.commit(_replace(platform, "b", "h01", ["d"], token=2))
    assert _patients(platform.through_spark("consolidated", MAP)) == ["a", "b", "c"]
    platform.lake.ensure()
    platform.lake.commit(_replace(platform, "c", "h01", ["e"], token=3))
    assert _patients(platform.through_spark("consolidated", MAP)) == ["e"]


def test_a_fenced_attempt_commits_nothing(platform: SmallPlatform) -> None:
    run = platform.new_run()
    zombie = ledger.begin_stage(platform.database, run, "consolidate")
    late = _replace(platform, "z", "h01", ["z"], token=zombie.token)
    newer = ledger.begin_stage(platform.database, run, "consolidate")
    before = platform.lake.snapshot()
    with pytest.raises(Fenced):
        platform.lake.commit(late)
    with pytest.raises(Fenced):
        zombie.intend({})
    assert platform.lake.snapshot() == before
    platform.lake.commit(_replace(platform, "n", "h01", ["n"], token=newer.token))
    assert _patients(platform.through_spark("consolidated", MAP)) == ["n"]


def test_writers_wait_for_each_other(platform: SmallPlatform) -> None:
    changes = [_replace(platform, f"h{i:02d}", f"h{i:02d}", [f"p{i}"]) for i in range(1, 7)]
    failures: list[BaseException] = []

    def commit(change: Change) -> None:
        try:
            platform.lake.commit(change, attempts=1)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=commit, args=(c,)) for c in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert platform.in_lake("select count(distinct hospital_id) from lake.consolidated.patient_map") == [(6,)]


def test_a_writer_holds_the_lock_before_it_begins(platform: SmallPlatform) -> None:
    guard = psycopg2.connect(platform.database.dsn())
    with guard.cursor() as cursor:
        cursor.execute(TAKE_LOCK)
    change = _replace(platform, "a", "h01", ["a"])
    writer = threading.Thread(target=platform.lake.commit, args=(change,))
    writer.start()
    writer.join(timeout=2)
    assert writer.is_alive()
    assert platform.lake.find_commit(change) is None
    guard.close()
    writer.join(timeout=60)
    assert platform.lake.find_commit(change) is not None


# ------------------------------------------------------------------------------------------------ crashes


def _undo_the_ledger(platform: SmallPlatform) -> None:
    """The ledger as it stood just before a stage's last transaction: the state that a crash there leaves."""
    platform.execute("update control.stage_run set state = 'running', snapshot_id = null, ended_at = null")
    platform.execute("update control.delivery set state = 'received', snapshot_id = null")
    platform.execute("delete from control.landed_file")


def test_a_crash_between_the_lakes_commit_and_the_ledger_is_resolved_by_reading_back(platform: SmallPlatform) -> None:
    platform.deliver("d1", 1, administration=[dose("A"), dose("B")])
    platform.land()
    snapshot = platform.lake.snapshot()
    files = platform.ask("select key, rows, bytes from control.landed_file")
    _undo_the_ledger(platform)
    assert land.run(platform, platform.new_run(), platform.spark) == {"landed": 0, "blocked": 0, "rows": 0}
    assert platform.state("d1") == ("landed", None)
    assert platform.ask("select key, rows, bytes from control.landed_file") == files
    assert platform.ask("select snapshot_id from control.delivery") == [(snapshot,)]
    assert platform.lake.snapshot() == snapshot
    assert platform.in_lake("select count(*) from lake.landed.administration") == [(2,)]
    assert platform.ask("select state from control.stage_run order by token") == [("committed",), ("committed",)]


def test_a_crash_before_the_lakes_commit_changed_nothing_and_the_next_run_lands_it(platform: SmallPlatform) -> None:
    platform.deliver("d1", 1, administration=[dose("A"), dose("B")])
    platform.discover()
    key = "lake/landed/administration/hospital=h01/lost.parquet"
    files = [{"table": "administration", "key": key, "rows": 2, "bytes": 1}]
    crashed = ledger.begin_stage(platform.database, platform.new_run(), "land")
    crashed.intend({"deliveries": [{"hospital_id": "h01", "delivery_id": "d1", "files": files}]})
    assert platform.land()["landed"] == 1
    assert platform.in_lake("select count(*) from lake.landed.administration") == [(2,)]
    assert platform.ask("select state from control.stage_run order by token") == [("failed",), ("committed",)]
    assert platform.ask("select count(*) from control.landed_file where key = %s", key) == [(0,)]

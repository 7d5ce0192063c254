"""Upkeep puts away exactly what is old and needed by nobody: what a release pins, a stage may read or a process writes stays."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
from small_platform import SmallPlatform, create_database

from estuaire.base.errors import ErrorFields, UpkeepFailed
from estuaire.base.settings import Settings
from estuaire.operations import upkeep
from estuaire.operations.upkeep import database, files, lake, warehouse
from estuaire.stack import airflow
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.lake import Change, NewFile, tables
from estuaire.storage.platform import Platform
from estuaire.storage.restore_mark import MARK
from estuaire.warehouse import releases

NOW = datetime.now(UTC)
_NUMBERS = itertools.count(1)


def later(**by: float) -> datetime:
    return datetime.now(UTC) + timedelta(**by)


@pytest.fixture
def quiet(migrated: Settings, tmp_path: Path) -> SmallPlatform:
    """An empty platform with a home of its own for logs; no stage is run, so no Spark."""
    name = f"upkeep_{next(_NUMBERS)}"
    create_database(migrated, name, "empty_platform")
    # the server is another home's: its socket, and the secrets
    home = tmp_path / "home"
    update = {
        "postgres_database": name, "store_root": tmp_path / "store", "home": home, "secrets_dir": migrated.secrets_path,
        "postgres_passfile": migrated.passfile,
    }  # fmt: skip
    settings = migrated.model_copy(update=update)
    settings.__dict__.update({"root": home, "socket_dir": migrated.socket_dir})
    platform = SmallPlatform(settings, None)
    platform.lake.ensure()
    ledger.start_run(Database.of(settings), "r", "tests")
    return platform


def parquet(platform: SmallPlatform, key: str, rows: int, hospital: str = "h01") -> Path:
    columns = ", ".join(
        f"'{hospital}' as {c.name}" if c.name == "hospital_id" else f"null::{c.duckdb} as {c.name}"
        for c in tables()["landed", "patient"]
    )
    path = platform.settings.store_path / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"copy (select {columns} from range({rows})) to '{path}' (format parquet)")
    return path


def commit(platform: SmallPlatform, number: int) -> int:
    """Replace h01's patients by a file of so many rows; the snapshot."""
    stage = ledger.begin_stage(platform.database, "r", "land")
    key = f"lake/landed/patient/hospital=h01/f{number}.parquet"
    parquet(platform, key, number)
    change = Change(
        "r", "land", stage.token, [NewFile("landed", "patient", "h01", key)], [("landed", "patient", "h01")]
    )
    return platform.lake.commit(change)


def names(platform: SmallPlatform) -> set[str]:
    return {p.name for p in (platform.settings.store_path / "lake").rglob("*.parquet")}


def rows_at(platform: SmallPlatform, version: int | None) -> int:
    with platform.lake.connection(version=version) as connection:
        return int(connection.execute("select count(*) from lake.landed.patient").fetchall()[0][0])


def snapshots(platform: SmallPlatform) -> set[int]:
    return {row[0] for row in platform.ask("select snapshot_id from lake.ducklake_snapshot")}


def pin(platform: SmallPlatform, snapshot: int, state: str = "published", archive: str | None = None) -> None:
    platform.execute(
        "insert into control.release (run_id, snapshot_id, code_version, built_at, state, input_hash, archive_schema) "
        "values ('r', %s, 'tests', now(), %s, 'x', %s)",
        snapshot, state, archive,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ the lake


def test_old_snapshots_go_and_what_a_kept_release_or_an_open_attempt_names_stays(quiet: SmallPlatform) -> None:
    first, second, third, fourth, fifth, sixth = (commit(quiet, n) for n in range(1, 7))
    pin(quiet, first, "replaced")  # its archive is gone: nothing of it is kept
    pin(quiet, second, "replaced", "marts_r2")
    pin(quiet, fourth)
    quiet.execute(
        "update control.stage_run set state = 'failed', intent = '{}' where token = "
        "(select (commit_message::jsonb ->> 'token')::bigint from lake.ducklake_snapshot_changes where snapshot_id = %s)",
        fifth,
    )
    quiet.execute("update control.stage_run set state = 'committed' where intent is null")

    assert lake.snapshots(quiet, later(days=29), False)[0].count == 0
    before = snapshots(quiet)
    dry = lake.snapshots(quiet, later(days=31), True)[0].count
    assert snapshots(quiet) == before
    assert lake.snapshots(quiet, later(days=31), False)[0].count == dry == len(before) - 4
    assert snapshots(quiet) == {second, fourth, fifth, sixth}
    assert {v: rows_at(quiet, v) for v in (second, fourth, fifth, sixth, None)} == {
        second: 2, fourth: 4, fifth: 5, sixth: 6, None: 6,
    }  # fmt: skip
    with pytest.raises(duckdb.Error):
        rows_at(quiet, third)

    # their files stay for the grace: who has listed them can read them to the end
    assert names(quiet) == {f"f{n}.parquet" for n in range(1, 7)}
    assert lake.files(quiet, later(days=6.9), False)[0].count == 0
    assert names(quiet) == {f"f{n}.parquet" for n in range(1, 7)}
    found = lake.files(quiet, later(days=7.1), True)[0]
    assert (found.count, found.bytes > 1000) == (2, True)
    assert names(quiet) == {f"f{n}.parquet" for n in range(1, 7)}
    assert lake.files(quiet, later(days=7.1), False)[0] == found
    assert names(quiet) == {"f2.parquet", "f4.parquet", "f5.parquet", "f6.parquet"}
    assert {v: rows_at(quiet, v) for v in (second, fourth, fifth, sixth)} == {second: 2, fourth: 4, fifth: 5, sixth: 6}
    assert lake.files(quiet, later(days=7.1), False)[0].count == 0


def test_a_snapshot_is_as_old_as_its_replacement(quiet: SmallPlatform) -> None:
    """What was replaced today stays readable, however long it stood before."""
    first, second = commit(quiet, 1), commit(quiet, 2)
    quiet.execute(
        "update lake.ducklake_snapshot set snapshot_time = now() - interval '90 days' where snapshot_id <= %s", first
    )
    lake.snapshots(quiet, datetime.now(UTC), False)
    assert snapshots(quiet) == {first, second}
    assert rows_at(quiet, first) == 1


def test_a_longer_task_makes_the_grace_longer(quiet: SmallPlatform) -> None:
    commit(quiet, 1), commit(quiet, 2)
    settings = quiet.settings.model_copy(update={"task_hours": 200.0})
    settings.__dict__.update({n: quiet.settings.__dict__[n] for n in ("root", "socket_dir")})
    lake.snapshots(Platform(settings), later(days=31), False)
    assert lake.files(Platform(settings), later(days=9), False)[0].count == 0
    assert lake.files(Platform(settings), later(days=9.5), False)[0].count == 1


def test_a_removal_that_ended_half_way_goes_on(quiet: SmallPlatform) -> None:
    for n in range(1, 4):
        commit(quiet, n)
    lake.snapshots(quiet, later(days=31), False)
    (quiet.settings.store_path / "lake/landed/patient/hospital=h01/f1.parquet").unlink()
    assert lake.files(quiet, later(days=8), False)[0].count == 2
    assert names(quiet) == {"f3.parquet"}
    assert quiet.ask("select count(*) from lake.ducklake_files_scheduled_for_deletion") == [(0,)]


def test_only_what_is_old_and_known_to_nobody_is_an_orphan(quiet: SmallPlatform) -> None:
    commit(quiet, 1), commit(quiet, 2)  # f1: of an older snapshot alone
    stage = ledger.begin_stage(quiet.database, "r", "consolidate")
    folder = "lake/landed/patient/hospital=h01"
    old = datetime.now(UTC).timestamp() - 8 * 86400
    store = quiet.settings.store_path
    parquet(quiet, f"{folder}/young.parquet", 1)
    for key in (
        f"{folder}/orphan.parquet", "lake/consolidated/patient_map/orphan.parquet", "work/r0/h01-orphan.parquet",
        f"{folder}/r-{stage.token}.parquet", f"{folder}/.tmp-dead", "landing/h01/d/orphan.parquet", "landing/h01/d/.tmp-dead",
    ):  # fmt: skip
        parquet(quiet, key, 1)
    (store / MARK).write_text("{}")
    for path in store.rglob("*"):
        if path.is_file() and path.name != "young.parquet":
            os.utime(path, (old, old))
    (store / folder / ".tmp-young").write_text("x")
    before = {p for p in store.rglob("*") if p.is_file()}

    told = lake.orphans(quiet, datetime.now(UTC), True)
    assert {p for p in store.rglob("*") if p.is_file()} == before
    assert lake.orphans(quiet, datetime.now(UTC), False) == told
    assert [part.count for part in told] == [3, 1]
    gone = {p.relative_to(store).as_posix() for p in before if not p.exists()}
    assert gone == {
        f"{folder}/orphan.parquet", "lake/consolidated/patient_map/orphan.parquet", "work/r0/h01-orphan.parquet", f"{folder}/.tmp-dead",
    }  # fmt: skip
    assert rows_at(quiet, None) == 2


def test_a_stage_that_commits_meanwhile_is_not_hurt(quiet: SmallPlatform) -> None:
    """The lock: a commit waits while old snapshots are forgotten, and a release that comes meanwhile is seen."""
    commit(quiet, 1), commit(quiet, 2)
    asked, committed = threading.Event(), []
    thread = threading.Thread(target=lambda: (asked.wait(20), committed.append((commit(quiet, 3), time.monotonic()))))
    thread.start()

    def keep() -> set[int]:
        asked.set()
        time.sleep(1.5)
        keep_until.append(time.monotonic())
        return lake.pinned(quiet.database)

    keep_until: list[float] = []
    quiet.lake.expire(later(days=1), keep)
    thread.join(60)
    [(snapshot, moment)] = committed
    assert moment > keep_until[0]
    assert snapshot in snapshots(quiet)
    assert rows_at(quiet, None) == 3


def test_who_listed_files_before_can_read_them_after(quiet: SmallPlatform) -> None:
    commit(quiet, 1)
    listed = quiet.lake.list_files("landed", "patient")
    commit(quiet, 2)
    upkeep.run(Platform(with_airflow_of(quiet, "nothing")))
    lake.snapshots(quiet, later(days=31), False)
    upkeep.run(Platform(with_airflow_of(quiet, "nothing")))
    with duckdb.connect() as connection:
        assert connection.execute(f"select count(*) from read_parquet({listed})").fetchall() == [(1,)]


# ------------------------------------------------------------------------------------------------ the warehouse


def test_candidates_and_archives_of_ended_publications_go_and_nothing_of_a_living_one(quiet: SmallPlatform) -> None:
    for number in range(1, 6):
        quiet.execute(
            f"create schema marts_r{number}; create schema conformed_r{number}; create table marts_r{number}.t (a int)"
        )
        pin(quiet, number, "replaced", f"marts_r{number}")
    quiet.execute("create schema marts_next; create table marts_next.t as select 1 as a; create schema audit_next")

    def schemas() -> set[str]:
        found = quiet.ask("select nspname from pg_namespace where nspname ~ '_(next|r[0-9]+)$'")
        return {name for (name,) in found}

    before = schemas()
    with releases.only_publisher(quiet.database):
        assert "under way" in warehouse.leftovers(quiet, NOW, False)[0].said
    assert warehouse.leftovers(quiet, NOW, True)[0].count == 6
    assert schemas() == before
    [part] = warehouse.leftovers(quiet, NOW, False)
    assert part.count == 6
    assert part.bytes > 0
    assert schemas() == {f"{s}_r{n}" for s in ("marts", "conformed") for n in (3, 4, 5)}


# ------------------------------------------------------------------------------------------------ files of this machine


@pytest.fixture
def written(quiet: SmallPlatform) -> Callable[[str, float, int], Path]:
    """Writes a file below the home that was last written so many days ago."""

    def write(name: str, days: float, size: int = 10) -> Path:
        path = quiet.settings.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        age(path, days)
        return path

    return write


def age(path: Path, days: float) -> None:
    moment = time.time() - days * 86400
    os.utime(path, (moment, moment), follow_symlinks=False)


def test_old_logs_go_and_running_tasks_and_processes_keep_theirs(quiet: SmallPlatform, written: Any) -> None:
    task = "logs/airflow/dag_id=ingest_deliveries/run_id=r{}/task_id=land/attempt={}.log"
    old, young = written(task.format(1, 1), 31), written(task.format(2, 1), 29)
    running = written(task.format(3, 1), 0.01)
    publish = written("logs/publish/release_1.log", 40)
    process = written("logs/scheduler.log", 90)  # held open by the process, however silent it is
    aside = written("logs/scheduler.log.2026-01-01T00-00-00.gz", 40)
    for folder in sorted((quiet.settings.logs / "airflow").rglob("*"), reverse=True):
        if folder.is_dir():
            age(folder, 35)
    dry = files.logs(quiet, datetime.now(UTC), True)
    assert all(p.exists() for p in (old, publish, aside))
    assert files.logs(quiet, datetime.now(UTC), False) == dry
    assert [part.count for part in dry] == [0, 3]
    assert not any(p.exists() for p in (old, publish, aside))
    assert all(p.exists() for p in (young, running, process))
    assert not old.parents[1].exists()  # its empty folders, too
    # a task may go on for ten days without a word: then logs of eight days stay, whatever the setting
    silent = written(task.format(4, 1), 8)
    given = quiet.settings.model_copy(update={"keep_logs_days": 1.0, "task_hours": 240.0})
    given.__dict__.update({"root": quiet.settings.root})
    files.logs(Platform(given), datetime.now(UTC), False)
    assert silent.exists()


def test_a_process_goes_on_writing_when_its_large_log_is_put_aside(quiet: SmallPlatform) -> None:
    settings = quiet.settings.model_copy(update={"rotate_logs_mib": 0.1})
    settings.__dict__.update({"root": quiet.settings.root})
    settings.logs.mkdir(parents=True, exist_ok=True)
    log = settings.logs / "scheduler.log"
    program = "import time\nfor n in range(60000):\n    print('line', n, flush=True)\n    n % 1000 or time.sleep(.02)"
    with log.open("ab") as handle:
        child = subprocess.Popen([sys.executable, "-c", program], stdout=handle)
    counted = 0
    while child.poll() is None:
        time.sleep(0.3)
        counted += files.logs(Platform(settings), datetime.now(UTC), False)[0].count
    assert counted >= 1
    aside = sorted(settings.logs.glob("scheduler.log.*.gz"))
    assert aside
    assert {p.stat().st_mode & 0o777 for p in aside} == {0o600}
    lines = b"".join(gzip.decompress(p.read_bytes()) for p in aside) + log.read_bytes()
    numbers = [
        int(line.split()[1])
        for line in lines.decode().splitlines()
        if len(line.split()) == 2 and line.startswith("line ")
    ]
    assert len(numbers) > 59_000
    assert numbers[-1] == 59_999
    assert log.stat().st_size < 2**20


def test_old_reports_and_data_docs_go_and_the_latest_stays(quiet: SmallPlatform, written: Any) -> None:
    old, young = written("reports/run-1.html", 366), written("reports/run-2.html", 300)
    latest = written("reports/latest.html", 400)
    style = written("quality/data_docs.css", 800)
    gone, stays = written("quality/run-1/landed/index.html", 366), written("quality/run-2/landed/index.html", 366)
    written("quality/run-2/marts/index.html", 10)
    told = files.reports(quiet, datetime.now(UTC), True)
    assert old.exists()
    assert files.reports(quiet, datetime.now(UTC), False) == told
    assert [(p.name, p.count, p.bytes) for p in told] == [("reports", 1, 10), ("data docs", 1, 10)]
    assert not old.exists()
    assert not gone.parents[1].exists()
    assert all(p.exists() for p in (young, latest, style, stays))


# ------------------------------------------------------------------------------------------------ the databases


def with_airflow_of(platform: SmallPlatform, name: str) -> Settings:
    """The settings with an Airflow database of that name, made where there is none."""
    session = psycopg2.connect(platform.database.dsn("postgres", "postgres"))
    session.autocommit = True
    with session.cursor() as cursor:
        cursor.execute("select 1 from pg_database where datname = %s", (f"airflow_{name}",))
        if cursor.fetchone() is None:
            cursor.execute(f"create database airflow_{name} owner airflow")
    session.close()
    settings = platform.settings.model_copy(update={"airflow_database": f"airflow_{name}"})
    settings.__dict__.update({n: platform.settings.__dict__[n] for n in ("root", "socket_dir")})
    return settings


@pytest.fixture
def real_airflow(quiet: SmallPlatform) -> Settings:
    """Airflow's own tables, as its migrations make them (20 s)."""
    settings = with_airflow_of(quiet, "real")
    airflow.prepare(settings)
    airflow.migrate(settings, airflow.environment(settings, None))
    return settings


def test_airflows_old_runs_go_by_its_own_command_and_the_watch_over_landing_stays(real_airflow: Settings) -> None:
    session = psycopg2.connect(Database.of(real_airflow).dsn("airflow", real_airflow.airflow_database))
    session.autocommit = True
    insert = (
        "insert into dag_run (dag_id, run_id, run_type, state, logical_date, start_date, run_after, queued_at, clear_number, updated_at, log_template_id, span_status) "
        "select %s, %s, %s, 'success', t, t, t, t, 0, t, (select max(id) from log_template), 'ended' from (select now() - make_interval(days => %s) as t) x"
    )
    with session.cursor() as cursor:
        for dag, days in (("a", 400), ("a", 200), ("a", 100), ("b", 300)):
            cursor.execute(insert, (dag, f"run-{days}", "manual" if dag == "a" else "scheduled", days))
            cursor.execute(
                "insert into log (dttm, event) values (now() - make_interval(days => %s), %s)", (days, f"{dag}-{days}")
            )
        cursor.execute(
            "insert into trigger (classpath, kwargs, created_date) values ('estuaire.orchestration.arrivals.DeliveriesArrived', '{}', now() - interval '400 days')"
        )
        [dry] = database.airflow_runs(Platform(real_airflow), datetime.now(UTC), True)
        [part] = database.airflow_runs(Platform(real_airflow), datetime.now(UTC), False)
        assert (dry.count, part.count) == (2, 2)
        cursor.execute("select dag_id, run_id from dag_run order by 1, 2")
        assert cursor.fetchall() == [("a", "run-100"), ("b", "run-300")]  # the last that the schedule made stays
        cursor.execute("select event from log where event ~ '^[ab]-' order by 1")
        assert cursor.fetchall() == [("a-100",)]
        cursor.execute("select count(*) from trigger")
        assert cursor.fetchall() == [(1,)]
        cursor.execute("select count(*) from information_schema.tables where table_name ~ '^_airflow_deleted'")
        assert cursor.fetchall() == [(0,)]
    session.close()


def test_vacuum_takes_the_dead_rows_and_waits_for_no_lock(quiet: SmallPlatform) -> None:
    quiet.execute(
        "insert into control.run (run_id, dag_id, state) select 'run-' || n, 'tests', 'success' from generate_series(1, 5000) n"
    )
    quiet.execute("delete from control.run where run_id like 'run-%%'")
    holder = psycopg2.connect(quiet.database.dsn())
    with holder.cursor() as cursor:
        cursor.execute("lock table control.alert in access exclusive mode")
        [part] = database.vacuum(quiet, NOW, False)  # comes back while the lock is held
    holder.close()
    assert part.count > 30
    assert quiet.ask("select pg_relation_size('control.run') < 50000") == [(True,)]
    vacuumed = quiet.ask(
        "select relname from pg_stat_user_tables where schemaname = 'control' and relname in ('run', 'alert') and last_vacuum is not null"
    )
    assert vacuumed == [("run",)]


# ------------------------------------------------------------------------------------------------ all of it


def test_what_was_done_stands_in_the_ledger_and_a_dry_run_changes_nothing(quiet: SmallPlatform, written: Any) -> None:
    settings = with_airflow_of(quiet, "nothing")
    commit(quiet, 1), commit(quiet, 2)
    quiet.execute("update lake.ducklake_snapshot set snapshot_time = snapshot_time - interval '60 days'")
    old = written("logs/publish/release_1.log", 40, 3_000_000)
    dry = upkeep.run(Platform(settings), dry_run=True)
    assert old.exists()
    assert quiet.ask("select count(*) from control.upkeep") == [(0,)]
    assert min(snapshots(quiet)) == 0
    done = upkeep.run(Platform(settings))
    counted = [(p.name, p.count) for p in done.parts]
    assert counted == [(p.name, p.count) for p in dry.parts]
    assert dict(counted)["snapshots"] > 10
    assert not old.exists()
    [(succeeded, freed, what, message)] = quiet.ask("select succeeded, bytes, done, message from control.upkeep")
    assert (succeeded, freed) == (True, done.bytes)
    assert freed >= 3_000_000
    assert "1 log file" in message
    assert {p["part"] for p in what["parts"]} >= {"snapshots", "lake files", "orphans", "logs", "vacuum"}


def test_a_part_that_fails_keeps_no_other_from_being_done(
    quiet: SmallPlatform, written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_airflow_of(quiet, "nothing")
    old = written("logs/publish/release_1.log", 40)

    def broken(*_: Any) -> Any:
        raise ValueError("a value")

    monkeypatch.setattr(lake, "snapshots", broken)
    with pytest.raises(UpkeepFailed, match="snapshots of the lake failed: ValueError"):
        upkeep.run(Platform(settings))
    assert not old.exists()
    [(succeeded, done, message)] = quiet.ask("select succeeded, done, message from control.upkeep")
    assert (succeeded, done["failed"]) == (
        False, {"snapshots of the lake": asdict(ErrorFields("", "ValueError", ""))},
    )  # fmt: skip
    assert "a value" not in json.dumps(done) + message

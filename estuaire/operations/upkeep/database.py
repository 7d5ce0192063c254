"""The databases: Airflow's own runs by age, and VACUUM of the tables that are written again and again."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection

from estuaire.base import private_files
from estuaire.base.errors import UpkeepFailed
from estuaire.base.settings import Settings
from estuaire.operations.upkeep.part import Part, before, plural
from estuaire.stack import airflow
from estuaire.storage.platform import Platform

SCHEMAS = ("control", "quality", "lake")  # the others are swapped whole, and analysed then
# All that `airflow db clean` knows but: `trigger` (the watch over landing/ is one row as old as the installation), `dag` and `dag_version`
# (of DAGs that are there), Celery's (not ours).
CLEANED = (
    "_xcom_archive", "asset_event", "callback", "connection_test_request", "dag_run", "deadline", "import_error", "job", "log",
    "partitioned_asset_key_log", "revoked_token", "task_instance", "task_instance_history", "task_reschedule", "task_state_store", "xcom",
)  # fmt: skip
_SECONDS = 3600
_SIZE = "select pg_database_size(current_database())"  # the size of one table is told only when nobody has locked it
_OWN = (
    "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where n.nspname = any(%s) and c.relkind in ('r', 'm') and c.relowner = current_user::regrole and c.relname !~ '_lock$' order by 1, 2"
)


def airflow_runs(platform: Platform, now: datetime, dry_run: bool) -> list[Part]:
    """Remove Airflow's runs, tasks, events and messages that are older than ``keep_runs_days``; the last run of each DAG that no person started stays. Our ledger
    keeps every run.

    Raises:
        UpkeepFailed: ``airflow db clean`` failed.
    """
    moment = before(now, platform.settings.keep_runs_days)
    with platform.database.session("airflow", platform.settings.airflow_database) as session:
        if _single(session, "select count(*) from pg_class where oid = to_regclass('public.dag_run')") == 0:
            return []
        held, bytes_held = _single(session, "select count(*) from dag_run"), _single(session, _SIZE)
        if dry_run:
            old = (
                "select count(*) from dag_run d where start_date < %s and (run_type = 'manual' or exists (select 1 from dag_run n "
                "where n.dag_id = d.dag_id and n.run_type <> 'manual' and n.start_date > d.start_date))"
            )
            count = _single(session, old, moment)
            return [Part("airflow runs", count, 0, f"{plural(count, 'run')} of Airflow")]
        _clean(platform.settings, moment)
        session.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        _vacuum(session, ("public",))
        count, freed = held - _single(session, "select count(*) from dag_run"), bytes_held - _single(session, _SIZE)
    return [Part("airflow runs", max(0, count), max(0, freed), f"{plural(max(0, count), 'run')} of Airflow")]


def _clean(settings: Settings, moment: datetime) -> None:
    """``airflow db clean``, without its archives: they would keep what is to go. It needs none of Airflow's keys."""
    env = {
        name: value
        for name, value in airflow.environment(settings, None).items()
        if not name.endswith(("_KEY_CMD", "_SECRET_CMD"))
    }
    private_files.folder(settings.airflow_home)
    command = [sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive", "--error-on-cleanup-failure"]
    command += ["--clean-before-timestamp", moment.isoformat(timespec="seconds"), "--tables", ",".join(CLEANED)]
    try:
        done = subprocess.run(
            command, env=env, cwd=settings.airflow_home, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_SECONDS, check=False, umask=private_files.UMASK,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _not_cleaned("it took longer than an hour") from error
    if done.returncode != 0:
        raise _not_cleaned(f"it ended with {done.returncode}")


def _not_cleaned(why: str) -> UpkeepFailed:
    return UpkeepFailed(
        f"`airflow db clean` failed: {why}",
        remedy="run it by hand to see why (docs/engineers/backup.md), then `estuaire upkeep` again",
    )


def vacuum(platform: Platform, now: datetime, dry_run: bool) -> list[Part]:
    """VACUUM (ANALYZE) of ledger, verdicts and the lake's catalog. It waits for nobody: a table that is locked is left to the next time."""
    with platform.database.session("estuaire", platform.settings.postgres_database) as session:
        session.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        with session.cursor() as cursor:
            cursor.execute(_OWN, (list(SCHEMAS),))
            count = len(cursor.fetchall())
        if dry_run:
            return [Part("vacuum", count, 0, f"{plural(count, 'table')} to vacuum")]
        held = _single(session, _SIZE)
        _vacuum(session, SCHEMAS)
        freed = max(0, held - _single(session, _SIZE))
    return [Part("vacuum", count, freed, f"{plural(count, 'table')} vacuumed")]


def _vacuum(session: connection, schemas: tuple[str, ...]) -> None:
    with session.cursor() as cursor:
        cursor.execute(_OWN, (list(schemas),))
        for schema, table in cursor.fetchall():
            cursor.execute(sql.SQL("vacuum (analyze, skip_locked) {}").format(sql.Identifier(schema, table)))


def _single(session: connection, query: str, *parameters: object) -> int:
    with session.cursor() as cursor:
        cursor.execute(query, parameters or None)
        [(value,)] = cursor.fetchall()
    session.rollback()
    return int(value)

"""Load: the consolidated rows that the models need into PostgreSQL's staging, hospital by hospital, by binary COPY.

Only hospitals whose consolidated content changed are loaded. Each gets new partition tables, filled in Spark tasks, then all are
swapped in, with the patient map and the registry, in one transaction: a reader of staging sees all of the old or all of the new. The
account of that transaction (docs/domain/quality.md, "Nothing is lost") must balance: consolidated = in staging + not loaded, by reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from psycopg2 import sql
from psycopg2.extras import Json, execute_values

from estuaire.base import disk_space, faults
from estuaire.base.errors import EstuaireError, StoreUnavailable, TaskFailed
from estuaire.base.metering import Meter
from estuaire.base.sql import literal
from estuaire.contract.layer_columns import consolidated_columns, staging_columns
from estuaire.contract.registry import Hospital, Registry
from estuaire.contract.tables import load_contract
from estuaire.storage import ended_attempts, set_aside
from estuaire.storage.database import Database
from estuaire.storage.duck import load_extension, of_files, readable, reading
from estuaire.storage.lake import PATIENT_MAP, Lake
from estuaire.storage.ledger import Account, Stage, fetch, write_accounts
from estuaire.storage.platform import Platform
from estuaire.warehouse import last_good_content
from estuaire.warehouse.dbt_sources import DERIVED_TABLES
from estuaire.warehouse.staging_content import pending, rows_wanted, why_not_loaded
from spark_jobs.consolidate import rebuild
from spark_jobs.damaged_files import hospital_of, lost_files
from spark_jobs.session import guarded, spread_each
from spark_jobs.stage import attempt

STAGE = "load"


@dataclass(frozen=True)
class Work:
    """One (hospital, table) to load from its consolidated files."""

    hospital: str
    table: str
    token: int
    files: tuple[str, ...]

    @property
    def partition(self) -> str:
        return f"{self.table}_{self.hospital}_{self.token}"


@dataclass(frozen=True)
class Loaded:
    """What was loaded of a (hospital, table): the account by delivery, without its rows_in; and of administrations of any drug, which the
    warehouse does not hold whole, (local day, records, of them given) per day with one."""

    work: Work
    accounts: list[Account]
    days: list[tuple[date, int, int]]


@dataclass(frozen=True)
class Failure:
    """Why a hospital could not be loaded; the others go on, and what staging held of it stays."""

    hospital: str
    error: EstuaireError
    lost: bool


def load_one(platform: Platform, works: tuple[Work, ...]) -> list[Loaded] | Failure:
    """Load a hospital, inside a Spark task. Whatever its files do ends at this hospital.

    Raises:
        EstuaireError: one that may pass (store or database do not answer): the stage is tried again.
    """
    hospital = works[0].hospital
    try:
        return guarded(partial(load_hospital, platform), works)
    except EstuaireError as error:
        if isinstance(error, disk_space.KINDS) or (
            error.retryable and not isinstance(error, TaskFailed | StoreUnavailable)
        ):
            raise
        with reading(platform.store) as duck:
            lost = [f for work in works for f in work.files if not readable(duck, f)]
        if not lost and error.retryable and not isinstance(error, TaskFailed):
            raise
        return Failure(hospital, lost_files(hospital, lost) if lost else error, bool(lost))


def load_hospital(platform: Platform, works: tuple[Work, ...]) -> list[Loaded]:
    """Fill the partition tables of a hospital, inside a Spark task."""
    with platform.database.transaction() as connection, connection.cursor() as cursor:
        for work in works:
            cursor.execute(sql.SQL("drop table if exists staging.{}").format(sql.Identifier(work.partition)))
    with reading(platform.store) as duck:
        load_extension(duck, "postgres_scanner")
        duck.execute("set timezone = 'UTC'")
        duck.execute(f"attach {literal(platform.database.dsn())} as warehouse (type postgres)")
        # created and filled in one transaction: with wal_level minimal PostgreSQL writes no WAL for it
        duck.execute("begin")
        for work in works:
            typed = ", ".join(f"{c.name} {c.postgres}" for c in staging_columns(load_contract().table(work.table)))
            duck.execute(f"call postgres_execute('warehouse', 'create table staging.{work.partition} ({typed})')")
        duck.execute("call pg_clear_cache()")
        for work in works:
            names = ", ".join(c.name for c in staging_columns(load_contract().table(work.table)))
            duck.execute(f"insert into warehouse.staging.{work.partition} select {names} from {_source(duck, work)}")
        duck.execute("commit")
        with platform.database.transaction() as connection, connection.cursor() as cursor:
            return [Loaded(work, _accounts(duck, cursor, work), _days(duck, work)) for work in works]


def _days(duck: Any, work: Work) -> list[tuple[date, int, int]]:
    if work.table != "administration":
        return []
    rows: list[tuple[date, int, int]] = duck.execute(
        "select given_at_local::date as given_on, count(*), count(*) filter (where status = 'given') "
        f"from {_files(duck, work)} where given_at_local is not null group by 1 order by 1"
    ).fetchall()
    return rows


def _accounts(duck: Any, cursor: Any, work: Work) -> list[Account]:
    """By delivery: what the lake's files hold and why some of it stays there, and what PostgreSQL holds, read back."""
    by_delivery: dict[str, Account] = {}
    rows = duck.execute(
        f"select delivery_id, {why_not_loaded(work.table)} as reason, count(*), sum(record_number::hugeint)::varchar "
        f"from {_files(duck, work)} group by all"
    ).fetchall()
    for delivery, reason, count, total in rows:
        account = by_delivery.setdefault(delivery, Account(work.hospital, delivery, work.table))
        account.hash_in += int(total)
        if reason:
            account.not_loaded[reason] = count
            account.rows_not_loaded += count
            account.hash_not_loaded += int(total)
    cursor.execute(
        sql.SQL("select delivery_id, count(*), sum(record_number) from staging.{} group by 1").format(
            sql.Identifier(work.partition)
        )
    )
    for delivery, count, total in cursor.fetchall():
        account = by_delivery.setdefault(delivery, Account(work.hospital, delivery, work.table))
        account.rows_out, account.hash_out = count, int(total)
    return list(by_delivery.values())


def _files(duck: Any, work: Work) -> str:
    return f"({of_files(duck, work.files, consolidated_columns(load_contract().table(work.table)))})"


def _source(duck: Any, work: Work) -> str:
    return f"{_files(duck, work)} where {rows_wanted(work.table)}"


def ensure_staging(cursor: Any) -> bool:
    """Create the partitioned tables that are missing, and renew those whose columns are no longer the contract's.

    Returns whether any was renewed: every hospital must then be loaded again.
    """
    renewed = False
    for table in load_contract().tables:
        columns = staging_columns(table)
        cursor.execute(
            "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a "
            "where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum",
            (f"staging.{table.name}",),
        )
        present = [r[0] for r in cursor.fetchall()]
        if present == [c.name for c in columns]:
            continue
        renewed = renewed or bool(present)
        typed = ", ".join(f"{c.name} {c.postgres}" for c in columns)
        # cascade: the models' views over staging are built anew by the next publication
        cursor.execute(f"drop table if exists staging.{table.name} cascade")
        cursor.execute(f"create table staging.{table.name} ({typed}) partition by list (hospital_id)")
    cursor.execute(
        "select to_regclass('staging.administration_day') is null and to_regclass('staging.hospital') is not null"
    )
    renewed = renewed or bool(cursor.fetchone()[0])  # an earlier version's staging: its days were never counted
    cursor.execute(
        "create table if not exists staging.administration_day (hospital_id text not null, given_on date not null, "
        "records bigint not null, given bigint not null, primary key (hospital_id, given_on))"
    )
    listed = ", ".join(f"{c.name} {c.postgres} not null" for c in PATIENT_MAP)
    cursor.execute(f"create table if not exists staging.patient_map ({listed}, primary key (hospital_id, patient_id))")
    cursor.execute(
        "create table if not exists staging.hospital_guideline (hospital_id text not null, guideline text not null, "
        "guideline_version text not null, valid_from date not null, valid_to date, primary key (hospital_id, valid_from))"
    )
    return _ensure_hospital(cursor) or renewed


def _ensure_hospital(cursor: Any) -> bool:
    """As ``ensure_staging``, of the table of hospitals."""
    cursor.execute(
        "select attname from pg_attribute where attrelid = to_regclass('staging.hospital') and attnum > 0 and not attisdropped "
        "order by attnum"
    )
    present = [r[0] for r in cursor.fetchall()]
    wanted = [name for name, _, _ in DERIVED_TABLES["hospital"][1]]
    if present == wanted:
        return False
    cursor.execute("drop table if exists staging.hospital cascade")
    typed = ", ".join(
        f"{name} {kind}{'' if name == 'latest_day' else ' not null'}" for name, kind, _ in DERIVED_TABLES["hospital"][1]
    )
    cursor.execute(f"create table staging.hospital ({typed}, primary key (hospital_id))")
    return bool(present)


def consolidated_rows(database: Database) -> dict[tuple[str, str], dict[str, int]]:
    """Current records by (hospital, table), then delivery, as the newest consolidation of each hospital accounted for them."""
    rows = fetch(
        database,
        "select a.hospital_id, a.table_name, a.delivery_id, a.rows_out from control.accounting a join control.consolidation c "
        "on c.hospital_id = a.hospital_id and c.run_id = a.run_id where a.stage = 'consolidate'",
    )
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for r in rows:
        counts.setdefault((r["hospital_id"], r["table_name"]), {})[r["delivery_id"]] = int(r["rows_out"])
    return counts


def accounts_of(
    hospitals: Iterable[str],
    loaded: list[Loaded],
    consolidated: dict[tuple[str, str], dict[str, int]],
) -> list[Account]:
    """The account of each delivery and table: in by the consolidation's own ledger rows, out and not loaded by what the tasks read back."""
    by_place = {(a.hospital_id, a.table_name, a.delivery_id): a for one in loaded for a in one.accounts}
    for (hospital, table), deliveries in consolidated.items():
        for delivery, rows in deliveries.items() if hospital in hospitals else ():
            by_place.setdefault((hospital, table, delivery), Account(hospital, delivery, table)).rows_in = rows
    return [by_place[place] for place in sorted(by_place)]


def _analyze(database: Database, tables: list[str]) -> None:
    """Statistics of the whole tables, two at a time: those of each partition (analyze without ONLY) cost as much again and plan nothing."""

    def one(name: str) -> None:
        with database.transaction() as connection, connection.cursor() as cursor:
            # a small sample plans the models as well, in a quarter of the time
            cursor.execute("set default_statistics_target = 20")
            cursor.execute(sql.SQL("analyze only staging.{}").format(sql.Identifier(name)))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, tables))


def _partitions(cursor: Any) -> dict[tuple[str, str], list[str]]:
    """(table, hospital) -> the partitions that staging shows."""
    cursor.execute(
        "select p.relname, substring(pg_get_expr(c.relpartbound, c.oid) from 'FOR VALUES IN \\(''(.*)''\\)'), c.relname "
        "from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent "
        "join pg_namespace n on n.oid = p.relnamespace where n.nspname = 'staging' and p.relkind = 'p'"
    )
    partitions: dict[tuple[str, str], list[str]] = {}
    for table, hospital, partition in cursor.fetchall():
        partitions.setdefault((table, hospital), []).append(partition)
    return partitions


def emptied(cursor: Any, lake: dict[str, set[str]], hospitals: Iterable[str]) -> list[tuple[str, str]]:
    """(table, hospital) of which staging shows rows and the lake holds none: the last one was deleted or ended.

    Args:
        lake: hospital -> tables of which the lake holds files.
    """
    known, without_files = set(load_contract().names), []
    for table, hospital in sorted(_partitions(cursor)):
        if table in known and hospital in hospitals and table not in lake.get(hospital, ()):
            cursor.execute(
                sql.SQL("select exists (select from staging.{} where hospital_id = %s)").format(sql.Identifier(table)),
                (hospital,),
            )
            if cursor.fetchone() == (True,):
                without_files.append((table, hospital))
    return without_files


def _drop_partition(cursor: Any, table: str, hospital: str) -> None:
    for old in _partitions(cursor).get((table, hospital), ()):
        cursor.execute(sql.SQL("drop table staging.{}").format(sql.Identifier(old)))


def _swap(cursor: Any, work: Work) -> None:
    _drop_partition(cursor, work.table, work.hospital)
    partition = sql.Identifier(work.partition)
    # the check lets PostgreSQL attach without reading the rows again
    cursor.execute(
        sql.SQL(
            "alter table staging.{} add constraint own_hospital check (hospital_id is not null and hospital_id = {})"
        ).format(partition, sql.Literal(work.hospital))
    )
    cursor.execute(
        sql.SQL("alter table staging.{} attach partition staging.{} for values in ({})").format(
            sql.Identifier(work.table), partition, sql.Literal(work.hospital)
        )
    )
    cursor.execute(sql.SQL("alter table staging.{} drop constraint own_hospital").format(partition))


def _reload_patient_map(cursor: Any, lake: Lake) -> int:
    cursor.execute("delete from staging.patient_map")
    files = lake.list_files("consolidated", "patient_map")
    if not files:
        return 0
    names = ", ".join(c.name for c in PATIENT_MAP)
    with reading(lake.store) as duck:
        rows = duck.execute(f"select {names} from read_parquet(?)", [files]).fetchall()
    execute_values(cursor, f"insert into staging.patient_map ({names}) values %s", rows, page_size=10_000)
    return len(rows)


def _reload_days(cursor: Any, hospitals: Iterable[str], loaded: list[Loaded]) -> None:
    cursor.execute("delete from staging.administration_day where hospital_id = any(%s)", (sorted(hospitals),))
    execute_values(
        cursor,
        "insert into staging.administration_day (hospital_id, given_on, records, given) values %s",
        [(one.work.hospital, *day) for one in loaded for day in one.days],
        page_size=10_000,
    )


def _latest_days(cursor: Any, registered: Mapping[str, Hospital]) -> dict[str, date]:
    """Hospital -> the last local day that a record of it may bear: a day after its newest extraction, as landing judges each delivery by its
    own. None of a shifted calendar, whose dates no extraction bounds."""
    cursor.execute(
        "select hospital_id, max(extracted_at) from control.delivery where state = 'landed' and extracted_at is not null group by 1"
    )
    newest = {h: at for h, at in cursor.fetchall() if h in registered and registered[h].calendar != "shifted"}
    return {h: (at + timedelta(days=1)).astimezone(ZoneInfo(registered[h].timezone)).date() for h, at in newest.items()}


def _reload_hospitals(cursor: Any, registry: Registry) -> None:
    registered = registry.hospitals
    latest = _latest_days(cursor, registered)
    # the rows of a hospital that was loaded and that the registry does not hold any more, or not rightly, keep what is known of it
    cursor.execute(
        "delete from staging.hospital where hospital_id = any(%s) "
        "or hospital_id not in (select hospital_id from control.load)",
        (list(registered),),
    )
    execute_values(
        cursor,
        f"insert into staging.hospital ({', '.join(name for name, _, _ in DERIVED_TABLES['hospital'][1])}) values %s",
        [
            (
                h.id,
                h.finess,
                h.name,
                h.study_member,
                h.calendar,
                h.timezone,
                h.combination_doses,
                Json(h.combination_doses_by_drug),
                latest.get(h.id),
            )
            for h in registered.values()
        ],
    )


def _reload_guidelines(cursor: Any, registry: Registry) -> None:
    registered = registry.hospitals
    cursor.execute(
        "delete from staging.hospital_guideline where hospital_id = any(%s) "
        "or hospital_id not in (select hospital_id from control.load)",
        (list(registered),),
    )
    execute_values(
        cursor,
        "insert into staging.hospital_guideline (hospital_id, guideline, guideline_version, valid_from, valid_to) values %s",
        [(h.id, g.family, g.version, g.valid_from, g.valid_to) for h in registered.values() for g in h.guidelines],
    )


def run(platform: Platform, run_id: str, spark: Any) -> dict[str, Any]:
    """Load the hospitals whose consolidated content changed; returns them and the rows loaded.

    Raises:
        AccountingImbalance: staging would not hold what consolidation accounted for, less what is not loaded for a reason.
    """
    return attempt(
        platform,
        run_id,
        STAGE,
        lambda stage, meter: _run(platform, stage, spark, meter),
        lambda stage: ended_attempts.sweep(platform),
    )


def _run(platform: Platform, stage: Stage, spark: Any, meter: Meter) -> dict[str, Any]:
    database = platform.database
    with database.transaction() as connection, connection.cursor() as cursor:
        if ensure_staging(cursor):
            cursor.execute("delete from control.load")
            last_good_content.drop(cursor)  # its rows have the former columns
    hospitals = pending(platform)
    lake = platform.lake
    files = _lake_files(lake)
    with database.transaction() as connection, connection.cursor() as cursor:
        hospitals = _ghosts(database, cursor, files) | hospitals
    sizes = consolidated_rows(database) if hospitals else {}
    work: dict[str, list[tuple[int, Work]]] = {}
    for hospital in hospitals:
        for table, paths in files.get(hospital, {}).items():
            item = Work(hospital, table, stage.token, tuple(paths))
            work.setdefault(hospital, []).append((sum(sizes.get((hospital, table), {}).values()), item))
    packets = [(sum(size for size, _ in items), tuple(w for _, w in items)) for items in work.values()]
    done, away = spread_each(spark, packets, partial(load_one, platform))
    failures = {part.hospital: part for part in done if isinstance(part, Failure)}
    failures |= {one.item[0].hospital: Failure(one.item[0].hospital, one.error, False) for one in away}
    loaded = [pair for part in done if not isinstance(part, Failure) for pair in part]
    _set_aside(stage, failures, sorted(hospitals.keys() - failures.keys()))
    hospitals = {h: content for h, content in hospitals.items() if h not in failures}
    meter.step("copied")
    faults.reach("load.filled")
    snapshot = lake.snapshot()
    with database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        rows = 0
        if hospitals:
            accounts = accounts_of(hospitals, loaded, sizes)
            write_accounts(cursor, stage, accounts)  # before the swap: where it does not balance, nothing is swapped in
            rows += sum(a.rows_out for a in accounts)
            faults.reach("load.accounted")
            last_good_content.keep_served(cursor, hospitals)
            for item in sorted((one.work for one in loaded), key=lambda w: (w.table, w.hospital)):
                _swap(cursor, item)
            for table, hospital in emptied(cursor, {h: set(tables) for h, tables in files.items()}, hospitals):
                _drop_partition(cursor, table, hospital)
            _reload_days(cursor, hospitals, loaded)
            rows += _reload_patient_map(cursor, lake)
            _reload_hospitals(cursor, platform.registry)
            _reload_guidelines(cursor, platform.registry)
            execute_values(
                cursor,
                "insert into control.load (hospital_id, content_hash, run_id) values %s on conflict (hospital_id) "
                "do update set content_hash = excluded.content_hash, run_id = excluded.run_id, updated_at = now()",
                [(h, content, stage.run_id) for h, content in hospitals.items()],
            )
            faults.reach("load.swapped")
    faults.reach("load.committed")
    meter.step("swapped in")
    if loaded:
        _analyze(database, [*sorted({one.work.table for one in loaded}), "patient_map", "administration_day"])
        meter.step("analysed")
    note = set_aside.not_loaded(failures[h].error.fields for h in sorted(failures))
    note = note or ("" if hospitals else "nothing new")
    with database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        stage.end(cursor, "committed", meter.cost(), rows, snapshot, note)
    return {"hospitals": sorted(hospitals), "rows": rows}


def _lake_files(lake: Lake) -> dict[str, dict[str, list[str]]]:
    """Hospital -> table -> files that the lake holds of its consolidated records."""
    files: dict[str, dict[str, list[str]]] = {}
    for table, paths in lake.list_layer("consolidated").items():
        for path in paths if table in load_contract().names else ():
            files.setdefault(hospital_of(path), {}).setdefault(table, []).append(path)
    return files


def _ghosts(database: Database, cursor: Any, files: dict[str, dict[str, list[str]]]) -> dict[str, str]:
    """Hospitals noted as loaded of which staging shows rows that the lake does not hold (an earlier version left them there) -> the hash
    of what they are loaded with, so that they are loaded once more."""
    aside = set_aside.unresolved(database)
    loaded = {h: content for h, content in last_good_content.loaded(cursor).items() if h not in aside}
    return {h: loaded[h] for _, h in emptied(cursor, {h: set(tables) for h, tables in files.items()}, loaded)}


def _set_aside(stage: Stage, failures: dict[str, Failure], passed: list[str]) -> None:
    """Note the hospitals that this attempt goes on without; a lost file of the lake is built anew by the next consolidation."""
    with stage.database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        set_aside.settle(cursor, stage, {h: failure.error for h, failure in failures.items()}, passed)
        for failure in failures.values():
            print(failure.error.sentence(), flush=True)  # noqa: T201 - Airflow's task log
        rebuild(cursor, [h for h, failure in failures.items() if failure.lost])


def main(platform: Platform, run_id: str, spark: Any) -> str:
    """Load, and say in one line what was done."""
    result = run(platform, run_id, spark)
    return f"loaded hospitals: {', '.join(result['hospitals']) or 'none'}; {result['rows']} rows"

"""Consolidate: hospitals with something new through the kernel, audited, then the patient map over all; one lake commit.

Only hospitals whose landed files, rejects or code maps changed are rebuilt; the others' files stay referenced as they are. So do those of a
hospital that the gate blocks, or whose code maps are wrong: its new records are not committed, and it is not tried again before its input, a
map or the rules change.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import duckdb

from estuaire.base import disk_space, faults
from estuaire.base.errors import EstuaireError, FileMissing, StoreUnavailable, TaskFailed
from estuaire.base.metering import Meter
from estuaire.base.sql import Sql, texts
from estuaire.contract.codes import registry_error
from estuaire.contract.layer_columns import consolidated_columns
from estuaire.contract.tables import load_contract
from estuaire.gates import consolidated as gate
from estuaire.gates.gx import warm_up
from estuaire.kernel import consolidate as kernel
from estuaire.orchestration.consolidation_inputs import changed_of, forget_blocks, inputs, with_rules
from estuaire.stewardship import unmapped_codes
from estuaire.storage import error_columns, set_aside
from estuaire.storage.database import Database
from estuaire.storage.duck import nothing, of_files, readable, reading
from estuaire.storage.lake import PATIENT_MAP, Change, Lake, NewFile
from estuaire.storage.ledger import Account, Stage, fetch, write_accounts
from estuaire.storage.local_files import local_files
from estuaire.storage.object_store import ObjectStore
from estuaire.storage.platform import Platform
from spark_jobs.damaged_files import hospital_of, lost_files, not_readable_back, unreadable, unreadable_files
from spark_jobs.patient_map import STATEMENTS, patient_map
from spark_jobs.session import guarded, spread_each
from spark_jobs.stage import attempt, recover, refused

STAGE = "consolidate"


@dataclass(frozen=True)
class Work:
    """One hospital to consolidate."""

    hospital: str
    run_id: str
    token: int
    files: tuple[tuple[str, str], ...]  # (table, store key)
    fulls: tuple[kernel.Full, ...]
    rejected: tuple[kernel.Rejected, ...]
    stays_until: datetime | None


def output_key(work: Work, table: str) -> str:
    """Key of a consolidated file, unique per attempt."""
    return f"lake/consolidated/{table}/hospital={work.hospital}/{work.run_id}-{work.token}.parquet"


@dataclass(frozen=True)
class Failure:
    """Why a hospital could not be consolidated; the others go on."""

    error: EstuaireError


def consolidate_one(platform: Platform, work: Work) -> tuple[str, list[dict[str, Any]] | Failure]:
    """Consolidate one hospital, inside a Spark task; what each table gave. Whatever its files do ends at this hospital.

    Raises:
        EstuaireError: one that may pass (the store does not answer): the stage is tried again.
    """
    try:
        return work.hospital, guarded(partial(_consolidate, platform), work)
    except EstuaireError as error:
        unreadable = (
            unreadable_files(platform.store, [key for _, key in work.files]) if error.code in _MAY_BE_A_FILE else []
        )
        if unreadable:
            return work.hospital, Failure(lost_files(work.hospital, unreadable))
        if isinstance(error, disk_space.KINDS) or (error.retryable and not isinstance(error, TaskFailed)):
            raise
        error.hospital = work.hospital
        return work.hospital, Failure(error)


_MAY_BE_A_FILE = (TaskFailed.code, FileMissing.code, StoreUnavailable.code)


def _consolidate(platform: Platform, work: Work) -> list[dict[str, Any]]:
    with local_files(platform.settings, platform.store) as local:
        files: dict[str, list[str]] = {}
        for table, key in work.files:
            files.setdefault(table, []).append(str(local.fetched(key)))
        given = kernel.HospitalInput(
            platform.registry.get(work.hospital),
            files,
            list(work.fulls),
            list(work.rejected),
            work.stays_until,
        )
        outcomes = kernel.consolidate_hospital(
            given, load_contract(), lambda table: local.path(output_key(work, table))
        )
        shifted = gate.shifted_hospitals(platform.registry)
        results = [
            asdict(o)
            | {"output": output_key(work, o.table)}
            | ({"checks": gate.count(o.output, o.table, shifted)} if o.output else {})
            for o in outcomes
        ]
        for result in results:
            local.keep(result["output"])
    return results


def read_back(store: ObjectStore, keys: list[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """Per (key, delivery) rows and hash sum of written files, read from the files themselves."""
    tallies: dict[tuple[str, str], tuple[int, int]] = {}
    by_table: dict[str, dict[str, str]] = {}
    for key in keys:
        by_table.setdefault(key.split("/")[2], {})[store.url(key)] = key
    with reading(store, threads=2) as connection:
        for names in by_table.values():
            asked = STATEMENTS("read_back_consolidated", paths=texts(names))
            for url, delivery, rows, total in connection.execute(asked).fetchall():
                tallies[names[url], delivery] = (int(rows), int(total))
    return tallies


def came_in(database: Database, hospitals: list[str]) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Per (hospital, delivery, table) what landing's own accounting put into the lake."""
    rows = fetch(
        database,
        "select a.hospital_id, a.delivery_id, a.table_name, a.rows_out, a.hash_out from control.accounting a "
        "join control.delivery d on d.hospital_id = a.hospital_id and d.delivery_id = a.delivery_id "
        "and d.run_id = a.run_id where a.stage = 'land' and d.state = 'landed' and a.hospital_id = any(%s)",
        (hospitals,),
    )
    return {
        (r["hospital_id"], r["delivery_id"], r["table_name"]): (int(r["rows_out"]), int(r["hash_out"])) for r in rows
    }


def accounts(
    store: ObjectStore, results: dict[str, list[dict[str, Any]]], before: dict[tuple[str, str, str], tuple[int, int]]
) -> list[Account]:
    """The accounting of the rebuilt hospitals: in by landing's ledger, out by reading back, superseded by the kernel's count."""
    keys = [o["output"] for outcomes in results.values() for o in outcomes]
    by_key: dict[str, dict[str, tuple[int, int]]] = {}
    for (key, delivery), counted in read_back(store, keys).items():
        by_key.setdefault(key, {})[delivery] = counted
    by_place = {
        place: Account(*place, rows_in=rows, hash_in=total) for place, (rows, total) in before.items() if rows > 0
    }
    for hospital, outcomes in results.items():
        for outcome in outcomes:
            for delivery, (rows, total) in by_key.get(outcome["output"], {}).items():
                place = (hospital, delivery, outcome["table"])
                account = by_place.setdefault(place, Account(*place))
                account.rows_out, account.hash_out = rows, total
            for delivery, (rows, total) in outcome["superseded"].items():
                place = (hospital, delivery, outcome["table"])
                account = by_place.setdefault(place, Account(*place))
                account.rows_superseded, account.hash_superseded = rows, total
    return list(by_place.values())


def change_of(run_id: str, token: int, intent: dict[str, Any]) -> Change:
    """The lake commit that an intent describes: the rebuilt hospitals' files replace their old ones, the patient map all of its own."""
    add = [
        NewFile("consolidated", f["table"], item["hospital_id"], f["key"])
        for item in intent["hospitals"]
        for f in item["files"]
    ]
    add += [NewFile("consolidated", "patient_map", "", key) for key in intent["patient_map"]]
    retire = [
        ("consolidated", table, item["hospital_id"]) for item in intent["hospitals"] for table in load_contract().names
    ]
    return Change(run_id, STAGE, token, add=add, retire=[*retire, ("consolidated", "patient_map", "")])


def publish(cursor: Any, intent: dict[str, Any], run_id: str, snapshot: int) -> None:
    """The ledger rows of a lake commit."""
    for item in intent["hospitals"]:
        cursor.execute(
            "insert into control.consolidation (hospital_id, input_hash, content_hash, run_id, snapshot_id) "
            "values (%s, %s, %s, %s, %s) on conflict (hospital_id) do update set input_hash = excluded.input_hash, "
            "content_hash = excluded.content_hash, run_id = excluded.run_id, snapshot_id = excluded.snapshot_id, "
            "updated_at = now()",
            (item["hospital_id"], item["input_hash"], item["content_hash"], run_id, snapshot),
        )
        cursor.execute("delete from control.consolidation_block where hospital_id = %s", (item["hospital_id"],))
        cursor.execute("delete from control.unmapped_code where hospital_id = %s", (item["hospital_id"],))
        unmapped_codes.write(cursor, item["hospital_id"], item["unmapped"], blocked=False)


def _patient_map(platform: Platform, lake: Lake, stage: Stage, results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Write the patient map over all hospitals (rebuilt ones from their new files); keys of its files. A hospital whose file cannot be
    read keeps the rows that it has in the map that stands."""
    store = platform.store
    new = [store.url(o["output"]) for outcomes in results.values() for o in outcomes if o["table"] == "patient"]
    old = [p for p in lake.list_files("consolidated", "patient") if hospital_of(p) not in results]
    if not new and not old:
        return []
    key = f"lake/consolidated/patient_map/{stage.run_id}-{stage.token}.parquet"
    with local_files(platform.settings, store) as local, reading(store, threads=2) as connection:
        path = local.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            mapped(connection, [*new, *old]).write_parquet(str(path))
        except duckdb.Error:
            unreadable = [p for p in old if not readable(connection, p)]
            if not unreadable:
                raise
            away = sorted(hospital_of(p) for p in unreadable)
            _set_aside(stage, {h: lost_files(h, [p for p in unreadable if hospital_of(p) == h]) for h in away}, [])
            _rebuild_next(stage, away)
            sound = [*new, *(p for p in old if p not in unreadable)]
            _with_former(connection, sound, lake.list_files("consolidated", "patient_map"), away, str(path))
        local.keep(key)
    return [key]


def mapped(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> duckdb.DuckDBPyRelation:
    """The patient map over these files of patients."""
    columns = consolidated_columns(load_contract().table("patient"))
    return patient_map(connection, Sql(f"({of_files(connection, paths, columns)}) as patients"))


def _with_former(
    connection: duckdb.DuckDBPyConnection, paths: list[str], former: list[str], away: list[str], output: str
) -> None:
    """Write the map over ``paths``, and of the hospitals ``away`` the rows of the former one."""
    parts = []
    if paths:
        mapped(connection, paths).create("renewed")
        parts.append(Sql("renewed"))
    if former:
        rows = of_files(connection, former, PATIENT_MAP)
        parts.append(Sql(f"({rows}) as former where hospital_id in ({texts(away)})"))
    query = STATEMENTS(
        "former_map",
        columns=[c.name for c in PATIENT_MAP],
        parts=parts or [Sql(f"({nothing(PATIENT_MAP)}) as none_known")],
    )
    connection.sql(query).write_parquet(output)


def _rebuild_next(stage: Stage, hospitals: list[str]) -> None:
    """Let the next attempt build these hospitals' files anew from their landed ones."""
    with stage.database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        rebuild(cursor, hospitals)


def rebuild(cursor: Any, hospitals: list[str]) -> None:
    """Forget what these hospitals' files were built from, in the caller's transaction: the next consolidation builds them anew."""
    cursor.execute(
        "update control.consolidation set input_hash = 'a file of the lake cannot be read' where hospital_id = any(%s)",
        (hospitals,),
    )


def run(platform: Platform, run_id: str, spark: Any) -> dict[str, Any]:
    """Consolidate the hospitals that changed; returns those committed, those blocked and the rows written.

    Raises:
        AccountingImbalance: rows were lost or gained on the way; nothing was committed.
    """
    lake = platform.lake
    lake.ensure()
    return attempt(
        platform,
        run_id,
        STAGE,
        lambda stage, meter: _run(platform, stage, spark, lake, meter),
        lambda stage: recover(stage, lake, change_of, publish),
    )


def _run(platform: Platform, stage: Stage, spark: Any, lake: Lake, meter: Meter) -> dict[str, Any]:
    database = platform.database
    given = inputs(platform)
    forget_blocks(platform, given)
    hospitals = changed_of(database, given)
    if not hospitals:
        with database.transaction() as connection, connection.cursor() as cursor:
            stage.end(cursor, "committed", meter.cost(), 0, None, "nothing new")
        return {"hospitals": [], "blocked": [], "rows": 0}
    warm_up()
    registry = platform.registry
    wrong = {h: broken for h in hospitals if (broken := registry_error(registry, h)) is not None}
    work = [
        (
            given[h]["rows"],
            Work(
                h,
                stage.run_id,
                stage.token,
                tuple(given[h]["files"]),
                tuple(given[h]["fulls"]),
                tuple(given[h]["rejected"]),
                given[h]["stays_until"],
            ),
        )
        for h in hospitals
        if h not in wrong
    ]
    done, away = spread_each(spark, work, partial(consolidate_one, platform))
    consolidated = {h: outcomes for h, outcomes in done if not isinstance(outcomes, Failure)}
    failed = {h: failure.error for h, failure in done if isinstance(failure, Failure)}
    failed |= {one.item.hospital: one.error for one in away}
    meter.step(f"{len(work)} hospitals consolidated")
    faults.reach("consolidate.written", consolidated)
    with meter.gate():
        audited = gate.audit(platform, spark, stage.run_id, consolidated)
    meter.step("audited")
    failed |= {h: not_readable_back(keys, h) for h, keys in audited.unread.items()}
    blocked: dict[str, EstuaireError] = {**audited.blocked, **wrong}
    _note_verdicts(database, stage, audited, blocked, given, consolidated)
    faults.reach("consolidate.judged")
    results = {h: outcomes for h, outcomes in consolidated.items() if h not in blocked and h not in failed}
    intent: dict[str, Any] = _intent(given, results, [])
    failed |= {item["hospital_id"]: error for item, error in refused(stage, intent, publish)}
    _set_aside(stage, failed, sorted({h for h, _ in done} - failed.keys()))
    blocked |= failed
    _discard(platform.store, blocked, consolidated)
    results = {h: outcomes for h, outcomes in results.items() if h not in blocked}
    snapshot: int | None = None
    results, mapped, accounted, lost = _read_whole(platform, lake, stage, meter, results)
    _discard(platform.store, lost, consolidated)
    blocked |= lost
    rows = sum(o["rows"] for outcomes in results.values() for o in outcomes)
    if results:
        intent = _intent(given, results, mapped)
        with database.transaction() as connection, connection.cursor() as cursor:
            stage.check_fence(cursor)
            write_accounts(cursor, stage, accounted)
        meter.step("read back and accounted for")
        faults.reach("consolidate.accounted")
        stage.intend(intent)
        snapshot = lake.commit(change_of(stage.run_id, stage.token, intent))
    with database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        if snapshot is not None:
            publish(cursor, intent, stage.run_id, snapshot)
        meter.step("committed")
        stage.end(cursor, "committed", meter.cost(), rows, snapshot, _message(blocked))
    return {"hospitals": sorted(results), "blocked": sorted(blocked), "rows": rows}


def _read_whole(
    platform: Platform,
    lake: Lake,
    stage: Stage,
    meter: Meter,
    results: dict[str, list[dict[str, Any]]],
) -> tuple[dict[str, list[dict[str, Any]]], list[str], list[Account], dict[str, EstuaireError]]:
    """(Results whose files can be read, keys of the patient map over them, their account, hospitals whose new files cannot).

    Raises:
        duckdb.Error: what stopped it, where no new file explains it.
    """
    lost: dict[str, EstuaireError] = {}
    while results:
        try:
            mapped = _patient_map(platform, lake, stage, results)
            meter.step("patient map written")
            faults.reach("consolidate.mapped", results)
            return results, mapped, accounts(platform.store, results, came_in(platform.database, sorted(results))), lost
        except (duckdb.Error, StoreUnavailable):
            damaged = unreadable(platform.store, results)
            if not damaged:
                raise
            _set_aside(stage, dict(damaged), [])
            lost |= damaged
            results = {h: outcomes for h, outcomes in results.items() if h not in damaged}
    return {}, [], [], lost


def _discard(
    store: ObjectStore, errors: dict[str, EstuaireError], consolidated: dict[str, list[dict[str, Any]]]
) -> None:
    """Say why these hospitals go no further, and delete the files that were written of them."""
    for hospital, error in errors.items():
        print(error.sentence(), flush=True)  # noqa: T201 - Airflow's task log
        for outcome in consolidated.get(hospital, []):
            with suppress(EstuaireError, OSError):  # no reader knows it: what stays is swept by age
                store.delete(outcome["output"])


def _set_aside(stage: Stage, failed: dict[str, EstuaireError], passed: list[str]) -> None:
    """Note the hospitals that this attempt goes on without, and that others no longer are any."""
    with stage.database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        set_aside.settle(cursor, stage, failed, passed)
        for hospital, error in failed.items():
            gate.write_block(cursor, stage.run_id, hospital, error)


def _message(blocked: dict[str, EstuaireError]) -> str:
    return f"blocked by the gate: {', '.join(sorted(blocked))}" if blocked else ""


def _note_verdicts(
    database: Database,
    stage: Stage,
    audited: gate.Audit,
    blocked: dict[str, EstuaireError],
    given: dict[str, dict[str, Any]],
    consolidated: dict[str, list[dict[str, Any]]],
) -> None:
    """Verdicts, results and standing blocks, in one transaction; whatever becomes of the commit, they tell what was found."""
    with database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        gate.write(cursor, stage.run_id, audited)
        for hospital, error in blocked.items():
            if hospital not in audited.findings:  # it did not come as far as the audit
                gate.write_block(cursor, stage.run_id, hospital, error)
            cursor.execute(
                f"insert into control.consolidation_block (hospital_id, input_hash, run_id, {error_columns.COLUMNS}) "
                f"values (%s, %s, %s, {error_columns.MARKS}) "
                "on conflict (hospital_id) do update set input_hash = excluded.input_hash, run_id = excluded.run_id, "
                f"{error_columns.SET_EXCLUDED}, blocked_at = now()",
                (
                    hospital,
                    with_rules(given[hospital]["input_hash"]),
                    stage.run_id,
                    *error_columns.values(error.fields),
                ),
            )
            # whoever maps the codes needs them most where the gate blocks: listed whatever the verdict
            unmapped = unmapped_codes.merged(o["unmapped"] for o in consolidated.get(hospital, []))
            unmapped_codes.write(cursor, hospital, unmapped, blocked=True)


def _intent(
    given: dict[str, dict[str, Any]], results: dict[str, list[dict[str, Any]]], mapped: list[str]
) -> dict[str, Any]:
    return {
        "hospitals": [
            {
                "hospital_id": h,
                "input_hash": given[h]["input_hash"],
                "content_hash": hashlib.sha256(
                    json.dumps([(o["table"], o["content_hash"]) for o in results[h]]).encode()
                ).hexdigest(),
                "files": [{"table": o["table"], "key": o["output"]} for o in results[h]],
                "unmapped": unmapped_codes.merged(o["unmapped"] for o in results[h]),
            }
            for h in sorted(results)
        ],
        "patient_map": mapped,
    }


def main(platform: Platform, run_id: str, spark: Any) -> str:
    """Consolidate, and say in one line what was done."""
    result = run(platform, run_id, spark)
    blocked = f"; blocked by the gate: {', '.join(result['blocked'])}" if result["blocked"] else ""
    return (
        f"consolidated hospitals: {', '.join(result['hospitals']) or 'none'}; {result['rows']} current records{blocked}"
    )

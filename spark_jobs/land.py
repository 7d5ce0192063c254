"""Land: every pending delivery through the kernel, audited, accounted for and committed to the lake. One Spark application.

Write, audit, publish: files are written under names that no reader knows; the audit decides per delivery; only what passes is
registered in the lake, in one commit. Whatever happens to one delivery, foreseen or not, ends at it: a permanent error blocks it, one that
may pass leaves it received, to be tried again by the next run. What lands is the manifest that discovery received, kept in the ledger,
and files of its hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from estuaire.base import faults
from estuaire.base.errors import (
    PASSING,
    AccountingImbalance,
    DatabaseUnavailable,
    DeliveryChanged,
    ErrorFields,
    EstuaireError,
    Fenced,
    GateBlocked,
    StoreUnavailable,
    unforeseen,
)
from estuaire.base.metering import Meter
from estuaire.base.sql import Statements, texts
from estuaire.contract.manifest import LANDING, Manifest, ManifestFile
from estuaire.contract.tables import load_contract
from estuaire.deliveries import confirmation
from estuaire.deliveries.landing_scan import check_unchanged, note_error, received_manifest
from estuaire.gates import landed as gate
from estuaire.gates.gx import warm_up
from estuaire.kernel import consolidate as kernel
from estuaire.kernel.land_file import REJECT_SCHEMA, FileOutcome, land_file
from estuaire.orchestration.consolidation_inputs import inputs
from estuaire.rules.rule_registry import load_rules
from estuaire.storage import error_columns, pseudonym_key, set_aside
from estuaire.storage.database import Database
from estuaire.storage.duck import reading
from estuaire.storage.lake import Change, Lake, NewFile
from estuaire.storage.ledger import Account, Stage, fetch, write_accounts
from estuaire.storage.local_files import local_files
from estuaire.storage.object_store import ObjectStore
from estuaire.storage.platform import Platform
from spark_jobs.damaged_files import lost_files, not_readable_back, unreadable_files
from spark_jobs.session import refuse_all, spread_each
from spark_jobs.stage import attempt, recover, refused, without

STAGE = "land"
STATEMENTS = Statements(Path(__file__).parent / "sql")


@dataclass(frozen=True)
class Work:
    """One file to land."""

    hospital: str
    delivery: str
    index: int
    run_id: str
    token: int
    key_fingerprint: str
    file: str = ""  # its path, for errors


def output_keys(work: Work, table: str) -> tuple[str, str]:
    """Keys of the Parquet files that a task writes: accepted rows, and where the rejected ones stand. Unique per attempt."""
    name = f"{work.run_id}-{work.token}-{work.delivery}-{work.index}.parquet"
    return f"lake/landed/{table}/hospital={work.hospital}/{name}", f"work/{work.run_id}/{work.hospital}-{name}"


_RECEIVED: dict[tuple[int, str], dict[tuple[str, str], dict[str, Any]]] = {}
_MANIFESTS: dict[tuple[int, str, str, str], Manifest] = {}


def _manifest(platform: Platform, work: Work) -> Manifest:
    """The delivery's manifest as it was received; the ledger is asked once an attempt in each process."""
    attempt_of, place = (work.token, work.run_id), (work.hospital, work.delivery)
    if attempt_of not in _RECEIVED:
        _RECEIVED.clear()
        _MANIFESTS.clear()
        _RECEIVED[attempt_of] = {(r["hospital_id"], r["delivery_id"]): r for r in received(platform.database)}
    if (*attempt_of, *place) not in _MANIFESTS:
        row = _RECEIVED[attempt_of][place]
        _MANIFESTS[(*attempt_of, *place)] = received_manifest(row, platform.registry)
    return _MANIFESTS[(*attempt_of, *place)]


def land_one(platform: Platform, work: Work) -> dict[str, Any]:
    """Land one file, inside a Spark task."""
    store, registry = platform.store, platform.registry
    manifest = _manifest(platform, work)
    file: ManifestFile = manifest.files[work.index]
    output, rejects = output_keys(work, file.table)

    def open_raw() -> BinaryIO:
        return store.open(f"{LANDING}{work.hospital}/{work.delivery}/{file.path}")

    with local_files(platform.settings, store) as local:
        outcome = land_file(
            open_raw,
            manifest=manifest,
            file=file,
            table=load_contract(manifest.contract_version).table(file.table),
            hospital=registry.get(work.hospital),
            rules=load_rules("landed")[file.table],
            key=pseudonym_key.read(platform.settings, work.key_fingerprint),
            output=local.path(output),
            rejects=local.path(rejects),
        )
        outcome.output = output if outcome.output else None
        outcome.rejects = rejects if outcome.rejects else None
        for key in (outcome.output, outcome.rejects):
            if key is not None:
                local.keep(key)
    return outcome.as_dict()


@dataclass
class Landing:
    """One delivery while it is landed. ``error``: why it is not; ``manifest``: None where it was not even read."""

    place: tuple[str, str]
    content_hash: str
    manifest: Manifest | None = None
    files: list[FileOutcome] = field(default_factory=list)
    error: EstuaireError | None = None
    judged: bool = False  # by the gate, which wrote its verdict
    ends: confirmation.Ends | None = None  # of a full delivery that is held

    @property
    def read(self) -> Manifest:
        """The manifest of a delivery that was read."""
        assert self.manifest is not None  # noqa: S101 - what failed before is sorted out by its error
        return self.manifest

    def failed(self, error: BaseException, file: str | None = None) -> None:
        """Set the delivery aside; the first error is the one that counts."""
        told = unforeseen(error, hospital=self.place[0], delivery=self.place[1], file=file)
        self.error = self.error or told

    @property
    def waits(self) -> bool:
        """Whether its error may pass without the hospital, so that it stays received and the next run tries again."""
        error = self.error
        return (
            error is not None
            and self.ends is None
            and (error.retryable or not error.explained or error.code == DeliveryChanged.code)
        )


def received(database: Database) -> list[dict[str, Any]]:
    """Deliveries that the ledger holds as received; none of hospitals whose lake it does not know whole."""
    rows = fetch(
        database,
        "select hospital_id, delivery_id, content_hash, manifest from control.delivery where state = 'received' "
        "order by hospital_id, sequence",
    )
    aside = set_aside.unresolved(database)
    return [row for row in rows if row["hospital_id"] not in aside]


def planned(platform: Platform) -> list[Landing]:
    """A landing for each delivery that was received, its manifest checked against what stands in landing/ now.

    Raises:
        StoreUnavailable, StoreRefused: the store gave none of them.
    """
    store, registry = platform.store, platform.registry
    landings = []
    for row in received(platform.database):
        landing = Landing((row["hospital_id"], row["delivery_id"]), row["content_hash"])
        landings.append(landing)
        try:
            manifest = received_manifest(row, registry)
            check_unchanged(store, registry, manifest)
            landing.manifest = manifest
        except PASSING:
            raise
        except BaseException as error:  # noqa: BLE001 - named, and noted with the delivery
            landing.failed(error)
    errors = [x.error for x in landings if x.error is not None]
    if len(errors) == len(landings):
        refuse_all(errors)
    return landings


def read_back(store: ObjectStore, files: list[FileOutcome]) -> dict[str, tuple[int, int]]:
    """Rows and hash sum of each written file, read from the file itself: key -> (rows, sum)."""
    tallies: dict[str, tuple[int, int]] = {}
    by_table: dict[str, dict[str, str]] = {}
    for file in files:
        if file.output is not None:
            by_table.setdefault(file.table, {})[store.url(file.output)] = file.output
    with reading(store, threads=2) as connection:
        for keys in by_table.values():
            asked = STATEMENTS("read_back_landed", paths=texts(keys))
            for url, rows, total in connection.execute(asked).fetchall():
                tallies[keys[url]] = (int(rows), int(total))
    # a file of which no row is left is in no group
    return {f.output: tallies.get(f.output, (0, 0)) for f in files if f.output is not None}


def _rows_of(store: ObjectStore, key: str) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a Parquet file of REJECT_SCHEMA, a batch at a time: a million at once took 856 MiB."""
    with store.open(key) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=5000):
            yield list(zip(*batch.to_pydict().values(), strict=True))


def store_rejects(
    cursor: Cursor, store: ObjectStore, stage: Stage, landing: Landing
) -> dict[str, tuple[int, int, int, int]]:
    """Write where the rejected records of a delivery stand; returns, read back, per table
    (quarantined rows, their hash sum, unparseable rows, their hash sum)."""
    hospital, delivery = landing.place
    cursor.execute(
        "delete from control.rejected_record where hospital_id = %s and delivery_id = %s", (hospital, delivery)
    )
    for file in landing.files:
        if file.rejects is None:
            continue
        of_file = (hospital, delivery, file.table, file.file, landing.read.sequence, stage.run_id)
        for rows in _rows_of(store, file.rejects):
            execute_values(
                cursor,
                "insert into control.rejected_record (record_number, line_number, byte_offset, byte_length, row_uid_hi, "
                "row_uid_lo, disposition, rule_ids, columns, business_key, source_updated_at, hospital_id, delivery_id, "
                "table_name, file, sequence, run_id) values %s",
                [(*row, *of_file) for row in rows],
                page_size=5000,
            )
    cursor.execute(
        "select table_name, "
        "count(*) filter (where disposition = 'quarantined'), "
        "coalesce(sum(row_uid_hi::numeric + row_uid_lo) filter (where disposition = 'quarantined'), 0), "
        "count(*) filter (where disposition = 'unparseable'), "
        "coalesce(sum(row_uid_hi::numeric + row_uid_lo) filter (where disposition = 'unparseable'), 0) "
        "from control.rejected_record where hospital_id = %s and delivery_id = %s group by table_name",
        (hospital, delivery),
    )
    return {r[0]: (int(r[1]), int(r[2]), int(r[3]), int(r[4])) for r in cursor.fetchall()}


def accounts(
    landing: Landing, written: dict[str, tuple[int, int]], rejected: dict[str, tuple[int, int, int, int]]
) -> list[Account]:
    """The accounting of a delivery per table: in by framing, out and rejected by reading back."""
    by_table: dict[str, Account] = {}
    for file in landing.files:
        account = by_table.setdefault(file.table, Account(*landing.place, file.table))
        account.rows_in += file.rows_in
        account.hash_in += file.hash_in
        if file.output is not None:
            rows, total = written[file.output]
            account.rows_out += rows
            account.hash_out += total
    for table, (quarantined, quarantined_sum, unparseable, unparseable_sum) in rejected.items():
        account = by_table[table]
        account.rows_quarantined, account.hash_quarantined = quarantined, quarantined_sum
        account.rows_unparseable, account.hash_unparseable = unparseable, unparseable_sum
    return list(by_table.values())


def publish(cursor: Cursor, intent: dict[str, Any], run_id: str, snapshot: int) -> None:
    """The ledger rows of a lake commit: which deliveries it holds, in which files."""
    for item in intent["deliveries"]:
        cursor.execute(
            # the hash of what the lake holds, whatever was received since: an intent of an earlier version has none
            f"update control.delivery set state = 'landed', snapshot_id = %s, run_id = %s, {error_columns.SET_NULL}, "
            "content_hash = coalesce(%s, content_hash), updated_at = now() where hospital_id = %s and delivery_id = %s",
            (snapshot, run_id, item.get("content_hash"), item["hospital_id"], item["delivery_id"]),
        )
        execute_values(
            cursor,
            "insert into control.landed_file (hospital_id, delivery_id, table_name, key, rows, bytes, run_id) values %s "
            "on conflict do nothing",
            [
                (item["hospital_id"], item["delivery_id"], f["table"], f["key"], f["rows"], f["bytes"], run_id)
                for f in item["files"]
            ],
        )


def change_of(run_id: str, token: int, intent: dict[str, Any]) -> Change:
    """The lake commit that an intent describes."""
    return Change(
        run_id,
        STAGE,
        token,
        add=[
            NewFile("landed", f["table"], item["hospital_id"], f["key"])
            for item in intent["deliveries"]
            for f in item["files"]
        ],
    )


def _file_error(fields: dict[str, Any]) -> EstuaireError:
    """The typed error of a file, as it stands in the ledger: its own code in front."""
    told = ErrorFields(**fields)
    error = GateBlocked(
        told.what,
        remedy=told.remedy,
        hospital=told.hospital,
        delivery=told.delivery,
        table=told.table,
        file=told.file,
    )
    error.code = told.code
    error.args = (error.sentence(),)
    return error


def _land_files(platform: Platform, stage: Stage, spark: Any, landings: list[Landing]) -> int:
    """Every file of the sound deliveries through the kernel; returns how many.

    Raises:
        StoreUnavailable, DatabaseUnavailable: for none of them did a server answer.
    """
    key = pseudonym_key.checked(platform)
    work = [
        (file.bytes, Work(*x.place, i, stage.run_id, stage.token, key, file.path))
        for x in landings
        if x.error is None
        for i, file in enumerate(x.read.files)
    ]
    if work:
        warm_up()
    results, failed = spread_each(spark, work, partial(land_one, platform))
    by_place = {x.place: x for x in landings}
    for outcome in (FileOutcome(**r) for r in results):
        landing = by_place[outcome.hospital, outcome.delivery]
        landing.files.append(outcome)
        if outcome.error:
            landing.failed(_file_error(outcome.error))
    for one in failed:
        by_place[one.item.hospital, one.item.delivery].failed(one.error, one.item.file)
    for landing in landings:
        landing.files.sort(key=lambda o: o.file)
    return len(work)


def _sound(landings: list[Landing]) -> list[Landing]:
    return [x for x in landings if x.error is None]


def _read_back(store: ObjectStore, landings: list[Landing]) -> dict[str, tuple[int, int]]:
    """``read_back`` of all sound deliveries at once; where that fails, of each by itself, so that it fails for its own alone.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    try:
        return read_back(store, [f for x in _sound(landings) for f in x.files])
    except (duckdb.Error, StoreUnavailable):
        tallies: dict[str, tuple[int, int]] = {}
        for landing in _sound(landings):
            try:
                tallies |= read_back(store, landing.files)
            except (duckdb.Error, StoreUnavailable) as error:
                lost = unreadable_files(store, [f.output for f in landing.files if f.output])
                landing.failed(not_readable_back(lost, *landing.place) if lost else error)
        return tallies


def _judge(
    cursor: Cursor,
    store: ObjectStore,
    stage: Stage,
    landing: Landing,
    written: dict[str, tuple[int, int]],
    audit: gate.Audit,
) -> None:
    """Note a delivery's rejected records, its account and its verdict; what fails of that is undone, and set the delivery aside.

    Raises:
        AccountingImbalance, Fenced, DatabaseUnavailable: the stage may not go on.
    """
    cursor.execute("savepoint delivery")
    try:
        rejected = store_rejects(cursor, store, stage, landing)
        write_accounts(cursor, stage, accounts(landing, written, rejected))
        landing.error = gate.write(cursor, stage.run_id, audit.findings[landing.place])
        landing.judged = True
        cursor.execute("release savepoint delivery")
    except (
        AccountingImbalance,
        Fenced,
        DatabaseUnavailable,
        psycopg2.OperationalError,
        psycopg2.InterfaceError,
        *PASSING,
    ):
        raise
    except BaseException as error:  # noqa: BLE001 - named, and noted with the delivery
        cursor.execute("rollback to savepoint delivery")
        landing.failed(error)


def _note(cursor: Cursor, stage: Stage, landing: Landing, error: EstuaireError) -> None:
    if not landing.judged:
        gate.write_block(cursor, stage.run_id, landing.place, error)
    state = "held" if landing.ends is not None else "received" if landing.waits else "blocked"
    note_error(cursor, *landing.place, error.fields, state)
    confirmation.note_ends(cursor, *landing.place, landing.ends)


def _discard(store: ObjectStore, keys: list[str | None]) -> None:
    """Delete files that no reader knows. What cannot be deleted stays, unknown as it was: no reason to stop the others."""
    for key in keys:
        if key is not None:
            with suppress(EstuaireError, OSError):
                store.delete(key)


def _intent(store: ObjectStore, passed: list[Landing], written: dict[str, tuple[int, int]]) -> dict[str, Any]:
    return {
        "deliveries": [
            {
                "hospital_id": x.place[0],
                "delivery_id": x.place[1],
                "content_hash": x.content_hash,
                "files": [
                    {
                        "table": f.table,
                        "key": f.output,
                        "rows": written[f.output][0],
                        "bytes": (store.stat(f.output) or _missing(f.output)).size,
                    }
                    for f in x.files
                    if f.output
                ],
            }
            for x in passed
        ]
    }


def run(platform: Platform, run_id: str, spark: Any) -> dict[str, int]:
    """Land everything pending; returns counts of deliveries landed and blocked, and of rows.

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


def _run(platform: Platform, stage: Stage, spark: Any, lake: Lake, meter: Meter) -> dict[str, int]:
    store = platform.store
    landings = planned(platform)
    count = _land_files(platform, stage, spark, landings)
    meter.step(f"{count} files read and written")
    faults.reach("land.written")
    with meter.gate():
        audit = gate.audit(platform, spark, stage.run_id, [(x.read, x.files) for x in _sound(landings)])
    for landing in landings:
        if landing.place in audit.unread:
            landing.failed(not_readable_back(audit.unread[landing.place], *landing.place))
    meter.step("audited")
    faults.reach("land.audited", landings)
    written = _read_back(store, landings)
    meter.step("read back")
    held = to_hold(platform, spark, [x for x in _sound(landings) if audit.findings[x.place].verdict()[0] != "block"])
    rows = 0
    with platform.database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        gate.write_totals(cursor, stage.run_id, audit.totals)
        for landing in landings:
            if landing.error is None:
                _judge(cursor, store, stage, landing, written, audit)
                rows += sum(f.rows_in for f in landing.files) if landing.judged else 0
            if landing.place in held and landing.error is None:
                landing.error, landing.ends = held[landing.place]
                gate.write_block(cursor, stage.run_id, landing.place, landing.error)
            if landing.error is not None:
                _note(cursor, stage, landing, landing.error)
    meter.step("accounted for")
    faults.reach("land.judged")
    intent = _accepted(platform.database, stage, store, landings, written)
    snapshot: int | None = None
    if intent["deliveries"]:
        stage.intend(intent)
        snapshot = lake.commit(change_of(stage.run_id, stage.token, intent))
    _discard(store, [f.rejects for x in landings for f in x.files])
    faults.reach("land.tidied")
    with platform.database.transaction() as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        if snapshot is not None:
            publish(cursor, intent, stage.run_id, snapshot)
        meter.step("committed")
        stage.end(cursor, "committed", meter.cost(), rows, snapshot)
    landed, waiting = len(intent["deliveries"]), sum(x.waits for x in landings)
    confirmable = sum(x.ends is not None for x in landings)
    told = {"landed": landed, "blocked": len(landings) - landed - waiting - confirmable, "rows": rows}
    return told | {name: n for name, n in (("waiting", waiting), ("held", confirmable)) if n}


def _accepted(
    database: Database, stage: Stage, store: ObjectStore, landings: list[Landing], written: dict[str, tuple[int, int]]
) -> dict[str, Any]:
    """The intent of the deliveries to commit; the errors of the others are told and their files discarded. One whose rows the ledger would
    not take after the lake's commit is left out before it."""
    intent = _intent(store, _sound(landings), written)
    failures = refused(stage, intent, publish)
    refusals = {(item["hospital_id"], item["delivery_id"]): error for item, error in failures}
    if refusals:
        with database.transaction() as connection, connection.cursor() as cursor:
            stage.check_fence(cursor)
            for landing in landings:
                if landing.place in refusals:
                    landing.error = refusals[landing.place]
                    gate.write_block(cursor, stage.run_id, landing.place, landing.error)
                    _note(cursor, stage, landing, landing.error)
    for landing in landings:
        if landing.error is not None:
            print(landing.error.sentence(), flush=True)  # noqa: T201 - Airflow's task log
            _discard(store, [f.output for f in landing.files])
    return without(intent, [item for item, _ in failures])


@dataclass(frozen=True)
class Arriving:
    """A delivery that passed the gate, as ``ends_one`` weighs it: ``full`` is None for a delta."""

    delivery: str
    files: tuple[tuple[str, str], ...]
    full: kernel.Full | None
    rejected: tuple[kernel.Rejected, ...]
    confirmed: bool


@dataclass(frozen=True)
class Weighing:
    """A hospital's deliveries of this run, by sequence, and what is landed of it."""

    hospital: str
    files: tuple[tuple[str, str], ...]
    fulls: tuple[kernel.Full, ...]
    rejected: tuple[kernel.Rejected, ...]
    arriving: tuple[Arriving, ...]


def ends_one(platform: Platform, weighing: Weighing) -> tuple[str, dict[str, confirmation.Ends | EstuaireError]]:
    """What each full delivery of a hospital that must be held would end, inside a Spark task; or which file of the lake, lost or damaged,
    keeps that from being told."""
    ends_by_delivery: dict[str, confirmation.Ends | EstuaireError] = {}
    with local_files(platform.settings, platform.store) as local:

        def fetched(files: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
            by_table: dict[str, list[str]] = {}
            for table, key in files:
                by_table.setdefault(table, []).append(str(local.fetched(key)))
            return by_table

        hospital = platform.registry.get(weighing.hospital)
        files, fulls, rejected = weighing.files, weighing.fulls, weighing.rejected
        for one in weighing.arriving:
            if one.full is not None and not one.confirmed and files:
                try:
                    standing = kernel.HospitalInput(hospital, fetched(files), list(fulls), list(rejected))
                    ends = kernel.ended_by(standing, one.full, fetched(one.files), list(one.rejected), load_contract())
                except Exception:
                    unreadable = unreadable_files(platform.store, [key for _, key in files])
                    if not unreadable:
                        raise
                    ends_by_delivery[one.delivery] = lost_files(weighing.hospital, unreadable)
                    continue
                if confirmation.too_many(platform.settings, ends):
                    ends_by_delivery[one.delivery] = ends
                    continue
            files, rejected = (*files, *one.files), (*rejected, *one.rejected)
            fulls = fulls if one.full is None else (*fulls, one.full)
    return weighing.hospital, ends_by_delivery


def to_hold(
    platform: Platform, spark: Any, passed: list[Landing]
) -> dict[tuple[str, str], tuple[EstuaireError, confirmation.Ends | None]]:
    """Full deliveries that would end more than may go without a word -> the error to show, and what they would end (docs/decisions/0017);
    None of one that cannot be weighed now: the next run tries again."""
    fulls = {x.read.hospital for x in passed if x.read.kind == "full"}
    if not fulls:
        return {}
    landed, confirmed = inputs(platform, sorted(fulls)), confirmation.confirmed(platform.database)
    work = []
    for hospital in sorted(fulls):
        landings = sorted((x for x in passed if x.read.hospital == hospital), key=lambda x: x.read.sequence)
        known = landed.get(hospital, {"files": [], "fulls": [], "rejected": []})
        if not known["files"] and not any(x.read.kind == "full" for x in landings[1:]):
            continue  # its first delivery: nothing stands
        arriving = tuple(filter(None, (_arriving(platform.store, x, confirmed) for x in landings)))
        weighing = Weighing(hospital, tuple(known["files"]), tuple(known["fulls"]), tuple(known["rejected"]), arriving)
        work.append((sum(f.rows_in for x in landings for f in x.files), weighing))
    held: dict[tuple[str, str], tuple[EstuaireError, confirmation.Ends | None]] = {}
    weighed_all, away = spread_each(spark, work, partial(ends_one, platform))
    for one in away:  # none of this hospital's can be weighed now: tried again with the next run
        held |= {(one.item.hospital, arriving.delivery): (one.error, None) for arriving in one.item.arriving}
    for hospital, weighed in weighed_all:
        for delivery, ends in weighed.items():
            if isinstance(ends, EstuaireError):
                ends.hospital, ends.delivery = hospital, delivery
                held[hospital, delivery] = (ends, None)
            else:
                held[hospital, delivery] = (confirmation.held(platform.settings, hospital, delivery, ends), ends)
    return held


def _arriving(store: ObjectStore, landing: Landing, confirmed: set[tuple[str, str, str]]) -> Arriving | None:
    """A delivery as it is weighed; None, and set aside, where the file of its rejected records cannot be read back."""
    try:
        return _as_weighed(store, landing, confirmed)
    except (OSError, EstuaireError, pa.ArrowException) as error:
        landing.failed(error)
        return None


def _as_weighed(store: ObjectStore, landing: Landing, confirmed: set[tuple[str, str, str]]) -> Arriving:
    manifest = landing.read
    full = None
    if manifest.kind == "full":
        tables = tuple(sorted({f.table for f in manifest.files}))
        full = kernel.Full(manifest.sequence, manifest.period_from, manifest.period_to, tables)
    rejected = []
    for file in landing.files:
        for row in chain.from_iterable(_rows_of(store, file.rejects)) if file.rejects else ():
            told = dict(zip(REJECT_SCHEMA.names, row, strict=True))
            if told["business_key"] is not None:
                updated = told["source_updated_at"]
                rejected.append(
                    kernel.Rejected(
                        file.table, told["business_key"], manifest.sequence, updated.isoformat() if updated else None
                    )
                )
    files = tuple((f.table, f.output) for f in landing.files if f.output)
    return Arriving(
        manifest.delivery_id, files, full, tuple(rejected), (*landing.place, manifest.content_hash) in confirmed
    )


def _missing(key: str) -> Any:
    raise FileNotFoundError(Path(key).name)


def main(platform: Platform, run_id: str, spark: Any) -> str:
    """Land, and say in one line what was done."""
    result = run(platform, run_id, spark)
    waiting = f", {result['held']} held until they are confirmed" if "held" in result else ""
    waiting += f", {result['waiting']} to be tried again" if "waiting" in result else ""
    return f"landed {result['landed']} deliveries, blocked {result['blocked']}{waiting}, {result['rows']} records"

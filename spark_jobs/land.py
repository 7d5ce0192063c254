"""Land: every pending delivery through the kernel, audited, accounted for and committed to the lake. One Spark application.

Write, audit, publish: files are written under names that no reader knows; the audit decides per delivery; only what passes is
registered in the lake, in one commit. A blocked delivery never stops another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from estuaire.contracts import load_contract
from estuaire.deliveries import PREFIX, note_error, read_manifest
from estuaire.duck import quoted, reading
from estuaire.errors import EstuaireError, GateBlocked
from estuaire.gates import landed as gate
from estuaire.gates.gx import warm_up
from estuaire.lake import Change, Lake, NewFile
from estuaire.ledger import Account, Stage, connect, fetch, write_accounts
from estuaire.manifest import Manifest, ManifestFile
from estuaire.metering import Meter
from estuaire.objectstore import ObjectStore, open_store
from estuaire.registry import load_registry
from estuaire.rules import load_rules
from estuaire.scratch import local_files
from estuaire.settings import Settings
from spark_jobs.kernel.land_file import FileOutcome, land_file
from spark_jobs.session import spread
from spark_jobs.stage import attempt, recover

STAGE = "land"


@dataclass(frozen=True)
class Work:
    """One file to land."""

    hospital: str
    delivery: str
    index: int
    run_id: str
    token: int


def output_keys(work: Work, table: str) -> tuple[str, str]:
    """Keys of the Parquet files that a task writes: accepted rows, and where the rejected ones stand. Unique per attempt."""
    name = f"{work.run_id}-{work.token}-{work.delivery}-{work.index}.parquet"
    return f"lake/landed/{table}/hospital={work.hospital}/{name}", f"work/{work.run_id}/{work.hospital}-{name}"


_MANIFESTS: dict[tuple[str, int, str, str], Manifest] = {}


def _manifest(settings: Settings, work: Work) -> Manifest:
    """The delivery's manifest, read once an attempt in each process."""
    place = (work.run_id, work.token, work.hospital, work.delivery)
    if place not in _MANIFESTS:
        for other in [p for p in _MANIFESTS if p[:2] != place[:2]]:
            del _MANIFESTS[other]
        registry = load_registry(settings.registry_dir)
        _MANIFESTS[place] = read_manifest(open_store(settings), registry, work.hospital, work.delivery)
    return _MANIFESTS[place]


def land_one(settings: Settings, work: Work) -> dict[str, Any]:
    """Land one file, inside a Spark task."""
    store = open_store(settings)
    registry = load_registry(settings.registry_dir)
    manifest = _manifest(settings, work)
    file: ManifestFile = manifest.files[work.index]
    output, rejects = output_keys(work, file.table)

    def open_raw() -> BinaryIO:
        return store.open(f"{PREFIX}{work.hospital}/{work.delivery}/{file.path}")

    with local_files(settings, store) as local:
        outcome = land_file(
            open_raw,
            manifest=manifest,
            file=file,
            table=load_contract(manifest.contract_version).table(file.table),
            hospital=registry.get(work.hospital),
            rules=load_rules("landed")[file.table],
            key=settings.ensure_secret("pseudonym_key", 32).encode(),
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
    """One delivery while it is audited."""

    manifest: Manifest
    files: list[FileOutcome] = field(default_factory=list)
    error: EstuaireError | None = None
    error_fields: dict[str, Any] | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.manifest.hospital, self.manifest.delivery_id


def pending(settings: Settings) -> list[tuple[str, str]]:
    """Deliveries that the ledger holds as received."""
    rows = fetch(
        settings,
        "select hospital_id, delivery_id from control.delivery where state = 'received' order by hospital_id, sequence",
    )
    return [(r["hospital_id"], r["delivery_id"]) for r in rows]


def read_back(settings: Settings, files: list[FileOutcome]) -> dict[str, tuple[int, int]]:
    """Rows and hash sum of each written file, read from the file itself: key -> (rows, sum)."""
    store = open_store(settings)
    found: dict[str, tuple[int, int]] = {}
    by_table: dict[str, dict[str, str]] = {}
    for file in files:
        if file.output is not None:
            by_table.setdefault(file.table, {})[store.url(file.output)] = file.output
    with reading(store, threads=2) as connection:
        for keys in by_table.values():
            for url, rows, total in connection.execute(
                "select filename, count(*), coalesce(sum(row_uid_hi::hugeint), 0) + coalesce(sum(row_uid_lo::hugeint), 0) "
                f"from read_parquet([{', '.join(map(quoted, keys))}], filename = true) group by filename"
            ).fetchall():
                found[keys[url]] = (int(rows), int(total))
    # a file of which no row is left is in no group
    return {f.output: found.get(f.output, (0, 0)) for f in files if f.output is not None}


def _rows_of(store: ObjectStore, key: str) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a Parquet file of REJECT_SCHEMA, a batch at a time: a million at once took 856 MiB."""
    with store.open(key) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=5000):
            yield list(zip(*batch.to_pydict().values(), strict=True))


def store_rejects(
    cursor: Cursor, settings: Settings, stage: Stage, landing: Landing
) -> dict[str, tuple[int, int, int, int]]:
    """Write where the rejected records of a delivery stand; returns, read back, per table
    (quarantined rows, their hash sum, unparseable rows, their hash sum)."""
    hospital, delivery = landing.place
    store = open_store(settings)
    cursor.execute(
        "delete from control.rejected_record where hospital_id = %s and delivery_id = %s", (hospital, delivery)
    )
    for file in landing.files:
        if file.rejects is None:
            continue
        of_file = (hospital, delivery, file.table, file.file, landing.manifest.sequence, stage.run_id)
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
    found: dict[str, Account] = {}
    for file in landing.files:
        account = found.setdefault(file.table, Account(*landing.place, file.table))
        account.rows_in += file.rows_in
        account.hash_in += file.hash_in
        if file.output is not None:
            rows, total = written[file.output]
            account.rows_out += rows
            account.hash_out += total
    for table, (quarantined, quarantined_sum, unparseable, unparseable_sum) in rejected.items():
        account = found[table]
        account.rows_quarantined, account.hash_quarantined = quarantined, quarantined_sum
        account.rows_unparseable, account.hash_unparseable = unparseable, unparseable_sum
    return list(found.values())


def publish(cursor: Cursor, intent: dict[str, Any], run_id: str, snapshot: int) -> None:
    """The ledger rows of a lake commit: which deliveries it holds, in which files."""
    for item in intent["deliveries"]:
        cursor.execute(
            "update control.delivery set state = 'landed', snapshot_id = %s, run_id = %s, error_code = null, error = null, "
            "remedy = null, updated_at = now() where hospital_id = %s and delivery_id = %s",
            (snapshot, run_id, item["hospital_id"], item["delivery_id"]),
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


def _landings(settings: Settings, places: list[tuple[str, str]], outcomes: list[FileOutcome]) -> list[Landing]:
    store, registry = open_store(settings), load_registry(settings.registry_dir)
    landings = []
    for hospital, delivery in places:
        landing = Landing(read_manifest(store, registry, hospital, delivery))
        landing.files = sorted(
            (o for o in outcomes if (o.hospital, o.delivery) == (hospital, delivery)), key=lambda o: o.file
        )
        landing.error_fields = next((o.error for o in landing.files if o.error), None)
        landings.append(landing)
    return landings


def _file_error(landing: Landing) -> GateBlocked:
    """The typed error of a file, as it stands in the ledger: its own code in front."""
    fields = landing.error_fields or {}
    error = GateBlocked(
        fields["what"], remedy=fields["remedy"], file=fields["file"],
        hospital=landing.manifest.hospital, delivery=landing.manifest.delivery_id,
    )  # fmt: skip
    error.code = fields["code"]
    error.args = (error.sentence(),)
    return error


def run(settings: Settings, run_id: str, spark: Any, before_commit: Any = None) -> dict[str, int]:
    """Land everything pending; returns counts of deliveries landed and blocked, and of rows.

    Args:
        before_commit: for tests: called with the audited landings after writing and before the accounting reads back.

    Raises:
        AccountingImbalance: rows were lost or gained on the way; nothing was committed.
    """
    lake = Lake(settings)
    lake.ensure()
    recover(settings, lake, STAGE, change_of, publish)
    settings.ensure_secret("pseudonym_key", 32)
    return attempt(
        settings, run_id, STAGE, lambda stage, meter: _run(settings, stage, spark, lake, meter, before_commit)
    )


def _run(settings: Settings, stage: Stage, spark: Any, lake: Lake, meter: Meter, before_commit: Any) -> dict[str, int]:
    store, registry = open_store(settings), load_registry(settings.registry_dir)
    places = pending(settings)
    work = [
        (file.bytes, Work(hospital, delivery, i, stage.run_id, stage.token))
        for hospital, delivery in places
        for i, file in enumerate(read_manifest(store, registry, hospital, delivery).files)
    ]
    if work:
        warm_up()
    results = spread(spark, work, partial(land_one, settings))
    meter.step(f"{len(work)} files read and written")
    landings = _landings(settings, places, [FileOutcome(**r) for r in results])
    sound = [x for x in landings if x.error_fields is None]
    with meter.gate():
        audit = gate.audit(settings, spark, stage.run_id, [(x.manifest, x.files) for x in sound])
    meter.step("audited")
    if before_commit is not None:
        before_commit(landings)
    written = read_back(settings, [f for x in sound for f in x.files])
    meter.step("read back")
    passed: list[Landing] = []
    rows = 0
    with connect(settings) as connection, connection.cursor() as cursor:
        stage.check_fence(cursor)
        gate.write_totals(cursor, stage.run_id, audit.totals)
        for landing in landings:
            if landing.error_fields is not None:
                landing.error = _file_error(landing)
                gate.write_block(cursor, stage.run_id, landing.place, landing.error)
            else:
                rejected = store_rejects(cursor, settings, stage, landing)
                write_accounts(cursor, stage, accounts(landing, written, rejected))
                landing.error = gate.write(cursor, stage.run_id, audit.findings[landing.place])
                rows += sum(f.rows_in for f in landing.files)
            if landing.error is not None:
                note_error(
                    cursor,
                    *landing.place,
                    landing.error.code,
                    landing.error.sentence(),
                    landing.error.remedy,
                    "blocked",
                )
            else:
                passed.append(landing)
    meter.step("accounted for")
    for landing in landings:
        if landing.error is not None:
            print(landing.error.sentence(), flush=True)  # noqa: T201 - Airflow's task log
            for file in landing.files:
                if file.output:
                    store.delete(file.output)
    snapshot: int | None = None
    if passed:
        intent = {
            "deliveries": [
                {
                    "hospital_id": x.manifest.hospital,
                    "delivery_id": x.manifest.delivery_id,
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
        stage.intend(intent)
        snapshot = lake.commit(change_of(stage.run_id, stage.token, intent), may_commit=stage.check_fence)
    for landing in landings:
        for file in landing.files:
            if file.rejects:
                store.delete(file.rejects)
    with connect(settings) as connection, connection.cursor() as cursor:
        if passed and snapshot is not None:
            publish(cursor, intent, stage.run_id, snapshot)
        meter.step("committed")
        stage.end(cursor, "committed", meter.cost(), rows, snapshot)
    return {"landed": len(passed), "blocked": len(landings) - len(passed), "rows": rows}


def _missing(key: str) -> Any:
    raise FileNotFoundError(Path(key).name)


def main(settings: Settings, run_id: str, spark: Any) -> str:
    """Land, and say in one line what was done."""
    result = run(settings, run_id, spark)
    return f"landed {result['landed']} deliveries, blocked {result['blocked']}, {result['rows']} records"

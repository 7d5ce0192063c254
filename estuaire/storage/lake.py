"""The lake's catalog (DuckLake 1.0 on the platform's PostgreSQL): the ONE module that writes it (tests/unit/test_lake_lint.py).

Layers: ``landed.<table>`` (accepted records of each delivery) and ``consolidated.<table>`` (current records of each hospital).
Spark writes Parquet files, never overwritten; ``commit`` then registers the new files of every table and retires those that they
replace in one short transaction, under a lock taken before it begins, with run id and fencing token in the snapshot's
message. Readers take their files from ``list_files``, never from a directory listing.

Property: no attempt commits once a newer one of its stage has begun. The lock alone cannot promise it (its session may be lost while the
commit goes on), so PostgreSQL decides inside the commit's own transaction: a trigger compares the message's token with ``control.fence``.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
from psycopg2.extensions import cursor as Cursor

from estuaire.base import faults, private_files
from estuaire.base.errors import DatabaseUnavailable, Fenced, LakeInlined
from estuaire.base.sql import literal, texts
from estuaire.contract.layer_columns import LayerColumn, consolidated_columns, landed_columns
from estuaire.contract.tables import load_contract
from estuaire.storage.database import Database
from estuaire.storage.duck import load_extension, readable, reading
from estuaire.storage.ledger import fetch
from estuaire.storage.object_store import ObjectStore

LAYERS = ("landed", "consolidated")
# Every writer of the catalog takes it first. A table's lock: an advisory one could be held by any account that may connect.
TAKE_LOCK = "lock table control.lake_lock in exclusive mode"
_NAME = "lake"

PATIENT_MAP = (
    LayerColumn("hospital_id", "VARCHAR", "text", ""),
    LayerColumn("patient_id", "VARCHAR", "text", ""),
    LayerColumn("patient_key", "VARCHAR", "text", ""),
    LayerColumn("link_method", "VARCHAR", "text", ""),
)


@dataclass(frozen=True)
class NewFile:
    """A Parquet file to register in ``<layer>.<table>``; ``key`` is its name in the store."""

    layer: str
    table: str
    hospital: str
    key: str


@dataclass(frozen=True)
class Change:
    """What one commit does.

    Attributes:
        add: files to register.
        retire: (layer, table, hospital) whose present files are no longer part of the lake's newest snapshot; an empty hospital
            means the whole table.
        message: run, stage and token, to be read back after a lost acknowledgement.
    """

    run_id: str
    stage: str
    token: int
    add: list[NewFile] = field(default_factory=list)
    retire: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def message(self) -> str:
        return json.dumps({"run_id": self.run_id, "stage": self.stage, "token": self.token}, sort_keys=True)


def tables() -> dict[tuple[str, str], list[LayerColumn]]:
    """Every table of the lake: (layer, table) -> columns."""
    columns_by_table: dict[tuple[str, str], list[LayerColumn]] = {}
    for table in load_contract().tables:
        columns_by_table["landed", table.name] = landed_columns(table)
        columns_by_table["consolidated", table.name] = consolidated_columns(table)
    columns_by_table["consolidated", "patient_map"] = list(PATIENT_MAP)
    return columns_by_table


class Lake:
    """The catalog, opened for reading or writing."""

    def __init__(self, database: Database, store: ObjectStore, *, role: str = "estuaire") -> None:
        self._database = database
        self._role = role
        self.store = store

    @contextmanager
    def connection(self, *, read_only: bool = True, version: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection with the lake attached as ``lake`` (optionally as of a snapshot)."""
        with reading(self.store, threads=2) as connection:
            for name in ("ducklake", "postgres_scanner"):
                load_extension(connection, name)
            data = self.store.url("lake")
            if not read_only and (local := self.store.local_path("lake")):
                private_files.folder(local)
            options = [f"data_path {literal(data + '/')}", "metadata_schema 'lake'"]
            if read_only:
                options.append("read_only")
            if version is not None:
                options.append(f"snapshot_version {int(version)}")
            target = f"ducklake:postgres:{self._database.dsn(self._role)}"
            try:
                connection.execute(f"attach {literal(target)} as {_NAME} ({', '.join(options)})")
            except duckdb.IOException as error:
                raise DatabaseUnavailable(
                    "the lake's catalog does not answer", remedy="start PostgreSQL (`estuaire up`) and try again"
                ) from error
            connection.execute("set timezone = 'UTC'")
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """As ``connection``, alone: every other writer waits for the lock, taken before the transaction begins."""
        with self._database.session(self._role) as guard:  # the lock ends with the session
            with guard.cursor() as cursor:  # its transaction lasts as long as the lock; it holds no snapshot and no row
                cursor.execute(TAKE_LOCK)
            with self.connection(read_only=False) as connection:
                yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        """The catalog's tables, in one transaction of PostgreSQL."""
        with self._database.transaction(self._role) as session, session.cursor() as cursor:
            yield cursor

    def ensure(self) -> None:
        """Create the catalog and the tables that are missing, and columns that the contract has gained."""
        with self._writing() as connection:
            # inlined deletes of small files would let ducklake_list_files return retired files
            connection.execute(f"call {_NAME}.set_option('data_inlining_row_limit', 0)")
            for layer in LAYERS:
                connection.execute(f"create schema if not exists {_NAME}.{layer}")
            known = {
                (row[0], row[1])
                for row in connection.execute(
                    "select schema_name, table_name from duckdb_tables() where database_name = ?", [_NAME]
                ).fetchall()
            }
            for (layer, table), columns in tables().items():
                if (layer, table) not in known:
                    listed = ", ".join(f"{c.name} {c.duckdb}" for c in columns)
                    connection.execute(f"create table {_NAME}.{layer}.{table} ({listed})")
                    continue
                existing = {
                    row[0]
                    for row in connection.execute(
                        "select column_name from duckdb_columns() "
                        "where database_name = ? and schema_name = ? and table_name = ?",
                        [_NAME, layer, table],
                    ).fetchall()
                }
                for column in columns:
                    if column.name not in existing:
                        connection.execute(
                            f"alter table {_NAME}.{layer}.{table} add column {column.name} {column.duckdb}"
                        )
            self._fence()

    def _fence(self) -> None:
        """Let PostgreSQL judge every commit by ``control.fence_lake_commit``; looked after by each stage, since the table is DuckLake's."""
        with self._transaction() as cursor:
            cursor.execute(
                "select 1 from pg_trigger where tgrelid = 'lake.ducklake_snapshot_changes'::regclass and tgname = 'estuaire_fence' "
                "and tgenabled = 'O' and tgfoid = 'control.fence_lake_commit'::regproc"
            )
            if cursor.fetchone() is None:
                cursor.execute(
                    "create or replace trigger estuaire_fence before insert or update on lake.ducklake_snapshot_changes "
                    "for each row execute function control.fence_lake_commit()"
                )
                cursor.execute("alter table lake.ducklake_snapshot_changes enable trigger estuaire_fence")

    def list_files(self, layer: str, table: str) -> list[str]:
        """Paths of the files of a table's newest snapshot."""
        with self.connection() as connection:
            return self._files(connection, layer, table)

    def known_files(self) -> set[str]:
        """Ends of the paths (``hospital=<id>/<file>``, or the file alone) that the catalog holds in any snapshot, or is to delete."""
        with self._transaction() as cursor:
            cursor.execute(
                "select path from lake.ducklake_data_file union all select path from lake.ducklake_files_scheduled_for_deletion"
            )
            paths = [str(path) for (path,) in cursor.fetchall()]
        return {"/".join(path.split("/")[-2:]) for path in paths} | {path for path in paths if "/" not in path}

    def list_layer(self, layer: str) -> dict[str, list[str]]:
        """As ``list_files``, of every table of a layer, over one connection."""
        with self.connection() as connection:
            return {
                table: self._files(connection, layer, table) for table_layer, table in tables() if table_layer == layer
            }

    @staticmethod
    def _files(connection: duckdb.DuckDBPyConnection, layer: str, table: str) -> list[str]:
        rows = connection.execute(
            f"select data_file, delete_file from ducklake_list_files('{_NAME}', '{table}', schema => '{layer}')"
        ).fetchall()
        if any(row[1] for row in rows):
            raise LakeInlined(
                "a file of the lake carries row deletes",
                remedy="rebuild the table's partition; only whole files are retired",
            )
        return sorted(row[0] for row in rows)

    def snapshot(self) -> int:
        """Id of the newest snapshot."""
        with self.connection() as connection:
            return self._snapshot(connection)

    @staticmethod
    def _snapshot(connection: duckdb.DuckDBPyConnection) -> int:
        row = connection.execute(f"select max(snapshot_id) from {_NAME}.snapshots()").fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def find_commit(self, change: Change) -> int | None:
        """The snapshot that carries this change's message, or None: a failed acknowledgement is no proof of failure."""
        with self.connection() as connection:
            return self._find(connection, change)

    @staticmethod
    def _find(connection: duckdb.DuckDBPyConnection, change: Change) -> int | None:
        row = connection.execute(
            f"select max(snapshot_id) from {_NAME}.snapshots() where commit_message = ?", [change.message]
        ).fetchone()
        return int(row[0]) if row and row[0] is not None else None

    def commit(self, change: Change, *, attempts: int = 3) -> int:
        """Apply a change in one snapshot; returns its id. Committing the same change twice is a no-op.

        Raises:
            Fenced: the change's token is not the newest of its stage; nothing was committed.
            LakeInlined: the catalog holds inlined rows; nothing was committed.
        """
        for attempt in range(1, attempts + 1):
            with self._writing() as connection:
                done = self._find(connection, change)
                if done is not None:
                    return done
                try:
                    return self._apply(connection, change)
                except (duckdb.TransactionException, duckdb.IOException, duckdb.InvalidInputException) as error:
                    if self._fenced(change):  # asked, not read from what DuckDB tells of the trigger's exception
                        done = self.find_commit(change)
                        if done is None:
                            raise Fenced.of(change.stage) from error
                        return done
                    if attempt < attempts and self._fill_lost(change):
                        continue
                    if attempt == attempts:
                        done = self.find_commit(change)
                        if done is None:
                            raise
                        return done
            time.sleep(0.2 * attempt)
        raise AssertionError("unreachable")

    def _fenced(self, change: Change) -> bool:
        """Whether the change's token is not the newest of its stage, so that the catalog's trigger refuses it."""
        newest = fetch(self._database, "select token from control.fence where stage = %s", (change.stage,))
        return [row["token"] for row in newest] != [change.token]

    def _fill_lost(self, change: Change) -> list[str]:
        """Files that the change retires and that cannot be read: in the place of each, a file of as many empty rows, so that it can be retired
        (DuckLake reads what it deletes). Their rows are lost to earlier snapshots anyhow; which files, by their keys."""
        registered = self._registered()
        base = self.store.url("lake")
        filled = []
        with reading(self.store) as connection, tempfile.TemporaryDirectory() as folder:
            for layer, table, hospital in change.retire:
                for path in self.list_files(layer, table):
                    tail = "/".join(path.split("/")[-2:])
                    if (hospital and f"hospital={hospital}/" not in path) or tail not in registered:
                        continue
                    if readable(connection, path):
                        continue
                    number, records = registered[tail]
                    columns = ", ".join(
                        f"{literal(hospital)} as {c.name}"
                        if c.name == "hospital_id"
                        else f"null::{c.duckdb} as {c.name}"
                        for c in tables()[layer, table]
                    )
                    local = Path(folder) / "empty.parquet"
                    connection.execute(
                        f"copy (select {columns} from range({records})) to {literal(local)} (format parquet)"
                    )
                    self._note_size(change, number, local.read_bytes())
                    self.store.put_file("lake" + path.removeprefix(base), local)
                    filled.append(path)
        return filled

    # -------------------------------------------------------------------------------------------- upkeep

    def expirable(self, before: datetime, keep: Collection[int]) -> list[int]:
        """Snapshots that a newer one replaced before a moment, without those of ``keep``; never the newest."""
        with self.connection() as connection:
            return self._expirable(connection, before, keep)

    @staticmethod
    def _expirable(connection: duckdb.DuckDBPyConnection, before: datetime, keep: Collection[int]) -> list[int]:
        rows = connection.execute(
            f"select snapshot_id, lead(snapshot_time) over (order by snapshot_id) < ? from {_NAME}.snapshots()",
            [before],
        ).fetchall()
        return sorted(int(number) for number, old in rows if old and number not in keep)

    def expire(self, before: datetime, keep: Callable[[], Collection[int]]) -> list[int]:
        """Forget those snapshots: nobody can read the lake as of them any more. Files that no snapshot holds from then on are noted with
        the time, to be removed by ``remove_expired`` once their grace is over; none is removed here.

        Args:
            keep: asked under the lock, so that no release and no attempt begins to need one meanwhile.
        """
        with self._writing() as connection:
            old = self._expirable(connection, before, keep())
            if old:
                connection.execute(f"call ducklake_expire_snapshots('{_NAME}', versions => {old})")
            return old

    def expired_files(self, before: datetime) -> list[str]:
        """Keys of files that no snapshot has held since before a moment."""
        with self._transaction() as cursor:
            cursor.execute(
                "select path, path_is_relative from lake.ducklake_files_scheduled_for_deletion where schedule_start < %s order by path",
                (before,),
            )
            return [self._key(path, relative) for path, relative in cursor.fetchall()]

    def remove_expired(self, before: datetime) -> None:
        """Remove those files, and forget them. Ended half-way it goes on where it stood: one that is gone is no error."""
        with self._writing() as connection:
            connection.execute(f"call ducklake_cleanup_old_files('{_NAME}', older_than => ?)", [before])

    def _key(self, path: str, relative: bool) -> str:
        base = self.store.url("lake") + "/"
        return "lake/" + (path if relative else path.removeprefix(base))

    def move_here(self) -> None:
        """Let the catalog look for its files in this store: it was restored from a platform whose store had another address."""
        here = self.store.url("lake") + "/"
        with self._transaction() as cursor:
            cursor.execute(TAKE_LOCK)
            cursor.execute("select value from lake.ducklake_metadata where key = 'data_path'")
            row = cursor.fetchone()
            if row is None or row[0] == here:
                return
            for table in ("data_file", "delete_file", "files_scheduled_for_deletion"):
                cursor.execute(
                    f"update lake.ducklake_{table} set path = %s || substr(path, %s) where not path_is_relative and starts_with(path, %s)",
                    (here, len(row[0]) + 1, row[0]),
                )
            cursor.execute("update lake.ducklake_metadata set value = %s where key = 'data_path'", (here,))

    def _registered(self) -> dict[str, tuple[int, int]]:
        """End of the path of each file of the newest snapshot (``hospital=<id>/<file>``, or a table's folder and the file) -> its number
        in the catalog, its records."""
        with self._transaction() as cursor:
            cursor.execute(
                "select f.path, f.data_file_id, f.record_count, t.table_name from lake.ducklake_data_file f "
                "join lake.ducklake_table t using (table_id) where f.end_snapshot is null and t.end_snapshot is null"
            )
            files = cursor.fetchall()
        return {("/".join(p.split("/")[-2:]) if "/" in p else f"{t}/{p}"): (int(i), int(n)) for p, i, n, t in files}

    def _note_size(self, change: Change, file: int, data: bytes) -> None:
        """Let the catalog know a file's size and that of its footer, by which DuckLake reads it; fenced like a commit."""
        with self._transaction() as cursor:
            cursor.execute(
                "select 1 from control.fence where (stage, token) = (%s, %s) for share",
                (change.stage, change.token),
            )
            if cursor.fetchone() is None:
                raise Fenced.of(change.stage)
            cursor.execute(
                "update lake.ducklake_data_file set file_size_bytes = %s, footer_size = %s where data_file_id = %s",
                (len(data), int.from_bytes(data[-8:-4], "little"), file),
            )

    def _apply(self, connection: duckdb.DuckDBPyConnection, change: Change) -> int:
        connection.execute("begin")
        try:
            faults.reach("lake.begun")
            # one statement per table, not per hospital or file: each takes some hundredths of a second
            retired: dict[tuple[str, str], list[str]] = {}
            for layer, table, hospital in change.retire:
                if not re.fullmatch(r"[a-z0-9]*", hospital):
                    raise ValueError("hospital ids are letters and digits")
                retired.setdefault((layer, table), []).append(hospital)
            for (layer, table), hospitals in retired.items():
                where = "" if "" in hospitals else f" where hospital_id in ({texts(hospitals)})"
                connection.execute(f"delete from {_NAME}.{layer}.{table}{where}")
            added: dict[tuple[str, str], list[str]] = {}
            for file in change.add:
                added.setdefault((file.layer, file.table), []).append(self.store.url(file.key))
            for (layer, table), urls in added.items():
                connection.execute(
                    f"call ducklake_add_data_files('{_NAME}', '{table}', [{texts(urls)}], schema => '{layer}')"
                )
            connection.execute(
                f"call {_NAME}.set_commit_message('estuaire', {literal(change.message)}, "
                f"extra_info => {literal(json.dumps({'pid': os.getpid()}))})"
            )
            self._refuse_inlined(connection)
            faults.reach("lake.filled")
            connection.execute("commit")
        except BaseException:
            with suppress(duckdb.Error):  # it may have ended already: the caller reads the catalog back
                connection.execute("rollback")
            raise
        faults.reach("lake.committed")
        done = self._find(connection, change)
        if done is None:
            # the change was empty: DuckLake makes no snapshot for it
            return self._snapshot(connection)
        return done

    def _refuse_inlined(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Rows and deletes kept in the catalog itself, or an option that would put them there."""
        metadata = f"__ducklake_metadata_{_NAME}"
        limits = connection.execute(
            f"select value from {metadata}.lake.ducklake_metadata where key = 'data_inlining_row_limit'"
        ).fetchall()
        # asked of PostgreSQL: duckdb_tables() does not list the catalog's own tables
        asked = (
            "select table_name::text from information_schema.tables "
            "where table_schema = 'lake' and table_name ~ '^ducklake_inlined_(data|delete)_[0-9]'"
        )
        names = connection.execute(f"from postgres_query('{metadata}', {literal(asked)})").fetchall()
        held = [
            connection.execute(f"select exists (select 1 from {metadata}.lake.{name})").fetchone() for (name,) in names
        ]
        if not limits or any(value != "0" for (value,) in limits) or (True,) in held:
            raise LakeInlined(
                "the catalog holds inlined rows or deletes, or may take some",
                remedy="set data_inlining_row_limit to 0 and rebuild the partition",
            )

"""A platform of its own for a test: a database on the shared PostgreSQL, a folder as store, deliveries written by hand or simulated."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
import yaml

from estuaire.base import faults
from estuaire.base.errors import ErrorFields
from estuaire.base.settings import Settings
from estuaire.contract.manifest import Manifest, ManifestFile
from estuaire.contract.registry import FOLDER
from estuaire.deliveries.landing_scan import ScannedDeliveries, discover
from estuaire.storage import error_columns, ledger, migrations, pseudonym_key
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse.publish import PublishOutcome, build_and_publish
from spark_jobs import consolidate, land, load

H01 = {
    "patient": "IPP;DATE_NAISSANCE;SEXE;INS",
    "stay": "NDA;IPP;DATE_ENTREE;stay_type",
    "administration": "administration_id;IPP;NDA;drug_code;dose;dose_unit;route;given_at;status",
}
_RUNS = itertools.count(1)


def dose(id: str, amount: str = "1", *, ipp: str = "77", nda: str = "900", unit: str = "g") -> str:
    """A record of h01's administration file."""
    return f"{id};{ipp};{nda};J01DD04;{amount};{unit};IV;16/03/2025 08:00;F"


@dataclass(frozen=True)
class SmallPlatform(Platform):
    """The platform with a Spark session, and what a test does with both."""

    spark: Any

    def __reduce__(self) -> tuple[type[Platform], tuple[Settings]]:
        return Platform, (self.settings,)  # what Spark's tasks are given has no session

    def but(self, **changes: object) -> SmallPlatform:
        """The same with other settings."""
        return SmallPlatform(self.settings.model_copy(update=changes), self.spark)

    # -------------------------------------------------------------------------------------------- deliveries

    def deliver(
        self, delivery: str, sequence: int, *, hospital: str = "h01", kind: str = "delta", headers: dict[str, str] | None = None,
        change: Callable[[dict[str, Any]], object] | None = None, **tables: list[str],
    ) -> None:  # fmt: skip
        """Write a delivery; ``change`` may spoil its manifest before it is written."""
        entry = self.registry.get(hospital)
        files = []
        for table, records in tables.items():
            header = (headers or H01)[table]
            data = "".join(line + "\n" for line in (header, *records)).encode()
            self.store.put_bytes(f"landing/{hospital}/{delivery}/{table}.csv", data)
            files.append(
                ManifestFile(table, f"{table}.csv", hashlib.sha256(data).hexdigest(), len(data), len(records), "main")
            )
        manifest = Manifest(
            "1", hospital, entry.finess, delivery, sequence, datetime(2025, 11, 1, tzinfo=UTC), kind,
            date(2021, 1, 1), date(2026, 1, 1), tuple(files),
        )  # fmt: skip
        document = json.loads(manifest.to_json())
        if change:
            change(document)
        self.store.put_bytes(f"landing/{hospital}/{delivery}/manifest.json", json.dumps(document).encode())

    def copy_delivery(self, source: Path, hospital: str, delivery: str) -> None:
        shutil.copytree(
            source / "landing" / hospital / delivery, self.settings.store_path / "landing" / hospital / delivery
        )

    # -------------------------------------------------------------------------------------------- stages

    def new_run(self) -> str:
        run_id = f"run-{next(_RUNS)}"
        ledger.start_run(self.database, run_id, "tests")
        return run_id

    def discover(self) -> ScannedDeliveries:
        return discover(self, self.new_run())

    def land(self, before_commit: Any = None) -> dict[str, int]:
        """Discover and land."""
        self.discover()
        with faults.during(land_audited=before_commit):
            return land.run(self, self.new_run(), self.spark)

    def consolidate(self, before_commit: Any = None, *, before_audit: Any = None) -> dict[str, Any]:
        with faults.during(consolidate_written=before_audit, consolidate_mapped=before_commit):
            return consolidate.run(self, self.new_run(), self.spark)

    def load(self) -> dict[str, Any]:
        return load.run(self, self.new_run(), self.spark)

    def publish(self, before_gates: Any = None) -> PublishOutcome:
        with faults.during(publish_built=before_gates):
            return build_and_publish(self, self.new_run(), self.lake.snapshot(), "tests")

    # -------------------------------------------------------------------------------------------- what is there

    def ask(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a query on the ledger or the warehouse."""
        with self.database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def errors(self, table: str, where: str = "true") -> list[ErrorFields]:
        """The errors of a table's rows that have one."""
        rows = ledger.fetch(
            self.database,
            f"select {error_columns.COLUMNS} from {table} where {where} order by error_hospital, error_delivery",
        )
        return [error for row in rows if (error := error_columns.read(row)) is not None]

    def execute(self, sql: str, *parameters: object) -> None:
        with self.database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    def in_lake(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the lake's newest snapshot."""
        with self.lake.connection() as connection:
            return connection.execute(sql).fetchall()

    def through_spark(self, layer: str, table: str) -> list[Any]:
        """The table as Spark reads it: the files that the catalog lists."""
        return self.spark.read.parquet(*self.lake.list_files(layer, table)).collect()

    def state(self, delivery: str, hospital: str = "h01") -> tuple[Any, ...]:
        """(state, error code) of a delivery."""
        [row] = self.ask(
            "select state, error_code from control.delivery where hospital_id = %s and delivery_id = %s",
            hospital,
            delivery,
        )
        return row


def registry_of(folder: Path, *hospitals: str) -> Path:
    """A registry of clones of h01, below ``folder``."""
    document = yaml.safe_load((FOLDER / "hospitals" / "h01.yml").read_text(encoding="utf-8"))
    (folder / "hospitals").mkdir(parents=True)
    for number, hospital in enumerate(hospitals):
        document.update(id=hospital, finess=f"99{number:07d}", name=f"Hospital {hospital}")
        (folder / "hospitals" / f"{hospital}.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
        shutil.copytree(FOLDER / "code_maps" / "h01", folder / "code_maps" / hospital)
    return folder


def clones(platform: SmallPlatform, folder: Path, *hospitals: str) -> SmallPlatform:
    """The platform with a registry of hospitals that deliver as h01 does."""
    own = registry_of(folder, *hospitals)
    return platform.but(registry_dir=own)


def create_database(admin: Settings, name: str, template: str) -> None:
    """A new database, copied from ``template``."""
    connection = psycopg2.connect(Database.of(admin).dsn("postgres", "postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"create database {name} owner estuaire template {template}")
    connection.close()


@pytest.fixture(scope="session")
def migrated(postgres: Settings) -> Settings:
    """A migrated, empty database that others are copied from; with its secrets, so that all platforms give the same pseudonyms."""
    create_database(postgres, "empty_platform", "template1")
    settings = postgres.model_copy(update={"postgres_database": "empty_platform"})
    migrations.upgrade(Database.of(settings))
    pseudonym_key.ensure(Platform(settings))
    return settings


def rewrite(path: Path, columns: str = "*", where: str = "true") -> None:
    """Write a Parquet file anew as a selection of its own rows: what a fault would leave."""
    copy = path.with_suffix(".copy")
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select {columns} from read_parquet('{path}') where {where}) to '{copy}' (format parquet)"
        )
    copy.replace(path)


def rewrite_as(path: Path, query: str) -> None:
    """Write a Parquet file anew as a query over ``t``, its own rows."""
    copy = path.with_suffix(".copy")
    with duckdb.connect() as connection:
        connection.execute(f"create view t as select * from read_parquet('{path}', hive_partitioning = false)")
        connection.execute(f"copy ({query}) to '{copy}' (format parquet)")
    copy.replace(path)

"""Backup, restore and the lake's upkeep in a bucket: what is copied, noted, removed and kept there."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from servers import SERVERS, Running, with_store
from small_platform import SmallPlatform, create_database

from estuaire.base.errors import BackupUnusable
from estuaire.base.settings import Settings
from estuaire.operations.backup.making import make
from estuaire.operations.backup.restoring import restore
from estuaire.operations.upkeep import lake
from estuaire.storage import ledger
from estuaire.storage.lake import Change, NewFile, tables
from estuaire.storage.object_store import Unfinished
from estuaire.storage.s3 import PART_BYTES, S3Store

pytestmark = pytest.mark.s3
_NUMBERS = itertools.count(1)
New = Callable[[], SmallPlatform]


@pytest.fixture(params=SERVERS)
def new(request: pytest.FixtureRequest, migrated: Settings, server: Callable[[str], Running]) -> New:
    """Makes an empty platform with a bucket of its own; no stage is run, so no Spark."""

    def make_one() -> SmallPlatform:
        name = f"upkeep-{request.param}-{next(_NUMBERS)}"
        for database in (name.replace("-", "_"), f"airflow_{name.replace('-', '_')}"):
            create_database(migrated, database, "empty_platform" if "airflow" not in database else "template1")
        update = {"postgres_database": name.replace("-", "_"), "airflow_database": f"airflow_{name.replace('-', '_')}"}
        settings = with_store(migrated.model_copy(update=update), server(request.param), name)
        S3Store(settings).ensure_bucket()
        platform = SmallPlatform(settings, None)
        platform.lake.ensure()
        return platform

    return make_one


def commit(platform: SmallPlatform, number: int, folder: Path) -> int:
    """Replace h01's patients by a file of so many rows; the snapshot."""
    ledger.start_run(platform.database, "r", "tests")
    stage = ledger.begin_stage(platform.database, "r", "land")
    columns = ", ".join(
        "'h01' as hospital_id" if c.name == "hospital_id" else f"null::{c.duckdb} as {c.name}"
        for c in tables()["landed", "patient"]
    )
    file, key = folder / f"f{number}.parquet", f"lake/landed/patient/hospital=h01/f{number}.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"copy (select {columns} from range({number})) to '{file}' (format parquet)")
    platform.store.put_file(key, file)
    new_file = NewFile("landed", "patient", "h01", key)
    return platform.lake.commit(Change("r", "land", stage.token, [new_file], [("landed", "patient", "h01")]))


def contents(platform: SmallPlatform) -> dict[str, bytes]:
    found = {}
    for item in platform.store.list(""):
        with platform.store.open(item.key) as file:
            found[item.key] = file.read()
    return found


def rows_at(platform: SmallPlatform, version: int | None) -> int:
    with platform.lake.connection(version=version) as connection:
        return int(connection.execute("select count(*) from lake.landed.patient").fetchall()[0][0])


def test_a_bucket_is_restored_into_another_and_its_snapshots_read_from_there(new: New, tmp_path: Path) -> None:
    source = new()
    source.deliver("d1", 1, patient=["77;01/02/1950;f;"])
    big = bytes(PART_BYTES + 1000)  # more than one part: its ETag is no MD5
    source.store.put_bytes("landing/h01/d1/large.bin", big)
    first, second = commit(source, 1, tmp_path), commit(source, 2, tmp_path)
    make(source, tmp_path / "b")
    again = new()
    restore(again, tmp_path / "b")
    assert contents(again) == contents(source)
    assert len(contents(again)) == 5
    files = again.lake.list_files("landed", "patient")
    assert [f.split("/")[2] for f in files] == [again.settings.s3_bucket]
    for item in list(source.store.list("")):  # nothing is read from the first bucket any more
        source.store.delete(item.key)
    assert {v: rows_at(again, v) for v in (first, second, None)} == {first: 1, second: 2, None: 2}
    assert commit(again, 3, tmp_path) > second
    assert rows_at(again, None) == 3


def test_by_reference_the_bucket_is_compared_by_size_and_etag(new: New, tmp_path: Path) -> None:
    source = new()
    source.store.put_bytes("landing/h01/d1/patient.csv", b"IPP\n77\n")
    commit(source, 1, tmp_path)
    made = make(source, tmp_path / "b", by_reference=True)
    assert made.manifest.objects == 2
    again = new()
    for key, data in contents(source).items():
        again.store.put_bytes(key, data)
    again.store.put_bytes("landing/h01/d1/patient.csv", b"IPP\n78\n")
    with pytest.raises(BackupUnusable, match="does not hold this object"):
        restore(again, tmp_path / "b")
    again.store.put_bytes("landing/h01/d1/patient.csv", b"IPP\n77\n")
    restore(again, tmp_path / "b")
    assert rows_at(again, None) == 1


def test_what_is_old_and_needed_by_nobody_goes_from_the_bucket(new: New, tmp_path: Path) -> None:
    platform = new()
    first, second, third = (commit(platform, n, tmp_path) for n in (1, 2, 3))
    platform.execute(
        "insert into control.release (run_id, snapshot_id, code_version, built_at, state, input_hash) "
        "values ('r', %s, 'tests', now(), 'published', 'x')",
        first,
    )
    later = datetime.now(UTC) + timedelta(days=31)
    folder = "lake/landed/patient/hospital=h01"
    platform.store.put_bytes(f"{folder}/orphan.parquet", b"x")
    platform.store.put_bytes("landing/h01/d/x.csv", b"x")
    lake.snapshots(platform, later, False)
    assert lake.files(platform, datetime.now(UTC) + timedelta(days=6), False)[0].count == 0
    assert lake.orphans(platform, datetime.now(UTC) + timedelta(days=6), False)[0].count == 0
    found = lake.files(platform, datetime.now(UTC) + timedelta(days=8), False)[0]
    assert (found.count, found.bytes > 1000) == (1, True)
    assert lake.orphans(platform, datetime.now(UTC) + timedelta(days=8), False)[0].count == 1
    assert set(contents(platform)) == {f"{folder}/f1.parquet", f"{folder}/f3.parquet", "landing/h01/d/x.csv"}
    assert (rows_at(platform, first), rows_at(platform, third)) == (1, 3)
    with pytest.raises(duckdb.Error):
        rows_at(platform, second)


def test_an_upload_that_never_ended_is_found_and_abandoned(new: New) -> None:
    store = new().store
    assert isinstance(store, S3Store)
    upload = store.client._create_multipart_upload(store.bucket, "lake/landed/patient/a.parquet", {})
    assert list(store.unfinished("lake/", time.time() - 3600)) == []
    found = list(store.unfinished("lake/", time.time() + 60))
    assert [(one.key, one.upload) for one in found] == [("lake/landed/patient/a.parquet", upload)]
    store.abandon(found[0])
    store.abandon(Unfinished("lake/landed/patient/a.parquet", upload))  # again: no error
    assert list(store.unfinished("lake/", time.time() + 60)) == []

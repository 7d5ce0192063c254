"""A backup makes the same platform again on empty volumes; what is damaged, another's or half-done is refused or gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from published import copied
from small_platform import SmallPlatform, dose

from estuaire.base.errors import (
    BackupUnusable,
    LakeFileUnreadable,
    PseudonymKeyRefused,
    RestoreRefused,
    SecretUnusable,
    UpkeepBusy,
)
from estuaire.base.settings import Settings
from estuaire.operations.backup import facts, making, manifest, restoring
from estuaire.operations.backup.making import make
from estuaire.operations.backup.restoring import restore
from estuaire.operations.upkeep import lock
from estuaire.orchestration import tasks
from estuaire.storage import restore_mark
from estuaire.storage.database import Database

New = Callable[[], SmallPlatform]


def database(admin: Settings, name: str, owner: str) -> None:
    session = psycopg2.connect(Database.of(admin).dsn("postgres", "postgres"))
    session.autocommit = True
    with session.cursor() as cursor:
        cursor.execute(f"create database {name} owner {owner} template template1")
        cursor.execute(f"revoke all on database {name} from public")
        cursor.execute(f"grant connect on database {name} to analyst")
    session.close()


def of_airflow(platform: SmallPlatform, statement: str) -> list[tuple[Any, ...]]:
    session = psycopg2.connect(platform.database.dsn("airflow", platform.settings.airflow_database))
    with session, session.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    session.close()
    return rows


def with_airflow(platform: SmallPlatform) -> SmallPlatform:
    """The platform with an Airflow database of its own."""
    name = f"airflow_of_{platform.settings.postgres_database}"
    database(platform.settings, name, "airflow")
    return platform.but(airflow_database=name)


@pytest.fixture(scope="session")
def target(migrated: Settings, spark: Any, tmp_path_factory: pytest.TempPathFactory) -> New:
    """Makes an installation on empty volumes: databases without a table, an empty store."""
    numbers = iter(range(1, 1000))

    def make_one() -> SmallPlatform:
        number = next(numbers)
        name, root = f"target_{number}", tmp_path_factory.mktemp(f"target_{number}")
        database(migrated, name, "estuaire")
        update = {"postgres_database": name, "store_root": root}
        return with_airflow(SmallPlatform(migrated.model_copy(update=update), spark))

    return make_one


@pytest.fixture(scope="module")
def source(new_platform: New) -> SmallPlatform:
    """Two deliveries, published twice: an archive is kept, the lake has files of older snapshots, one record is rejected."""
    platform = with_airflow(new_platform())
    of_airflow(
        platform, "create type state as enum ('done'); create table dag_run (id serial primary key, state state)"
    )
    of_airflow(platform, "insert into dag_run (state) values ('done')")
    platform.deliver(
        "first", 1, kind="full", patient=["77;01/02/1950;f;"], stay=["900;77;15/03/2025 08:00;HC"],
        administration=[*(dose(f"a{n}") for n in range(1, 200)), dose("wrong", "many")],
    )  # fmt: skip
    _through(platform)
    assert platform.state("first") == ("landed", None)
    assert platform.ask("select count(*) from control.rejected_record") == [(1,)]
    platform.deliver("second", 2, administration=[dose("a2", "3"), dose("a4")])
    _through(platform)
    return platform


def _through(platform: SmallPlatform) -> None:
    platform.land()
    platform.consolidate()
    platform.load()
    platform.publish()


@pytest.fixture(scope="module")
def backup(source: SmallPlatform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backups") / "one"
    said: list[str] = []
    made = make(source, folder, report=said.append)
    assert made.folder == folder
    assert any(text.startswith("copying ") for text in said)
    print(f"\nbackup: {made.sentence()}")
    return folder


def content_of_lake(platform: SmallPlatform) -> dict[str, str]:
    """Each file that the catalog names -> its hash, and each table's rows through the catalog."""
    found = {}
    for layer in ("landed", "consolidated"):
        for table, paths in platform.lake.list_layer(layer).items():
            for path in paths:
                key = path.removeprefix(platform.store.url("lake"))
                found[key] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            rows = platform.in_lake(f"select * from lake.{layer}.{table} order by all") if paths else []
            found[f"{layer}.{table}"] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return found


# ------------------------------------------------------------------------------------------------ the same again


def test_a_restored_platform_is_the_same_and_goes_on(source: SmallPlatform, backup: Path, target: New) -> None:
    again = target()
    done = restore(again, backup)
    print(f"\nrestore: {done.sentence()}")
    published = copied(source.settings)
    assert len(published) > 15
    assert copied(again.settings) == published
    assert content_of_lake(again) == content_of_lake(source)
    ledger = "select * from control.{} order by 1, 2, 3"
    for table in ("delivery", "accounting", "rejected_record", "landed_file", "release"):
        assert again.ask(ledger.format(table)) == source.ask(ledger.format(table)), table
    assert of_airflow(again, "select * from dag_run") == [(1, "done")]
    assert not restore_mark.unfinished(again.store)
    [(kind, told)] = again.ask("select kind, succeeded from control.upkeep order by upkeep_id desc limit 1")
    assert (kind, told) == ("restore", True)
    with psycopg2.connect(again.database.dsn("analyst")) as session, session.cursor() as cursor:
        cursor.execute("select count(*) from marts.antibiotic_consumption")  # its rights are restored, too
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("select 1 from control.delivery")

    assert again.discover().unchanged == 2  # nothing is taken for new


def test_older_snapshots_and_the_archived_release_are_restored(
    source: SmallPlatform, backup: Path, target: New
) -> None:
    again = target()
    restore(again, backup)
    [(first,)] = again.ask("select min(snapshot_id) from control.release")
    with again.lake.connection(version=first) as one, source.lake.connection(version=first) as other:
        asked = "select * from lake.consolidated.administration order by all"
        assert one.execute(asked).fetchall() == other.execute(asked).fetchall() != []
    from estuaire.warehouse.releases import rollback

    assert rollback(again).release_id == 1


def test_a_backup_holds_no_secret_and_is_closed_to_others(source: SmallPlatform, backup: Path) -> None:
    secrets = {p.name: p.read_bytes().strip() for p in source.settings.secrets_path.iterdir()}
    assert {"pseudonym_key", "postgres_estuaire"} <= set(secrets)
    files = [p for p in backup.rglob("*") if p.is_file()]
    assert len(files) > 10
    for path in files:
        data = path.read_bytes()
        assert [name for name, secret in secrets.items() if secret in data] == [], path
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert {p.stat().st_mode & 0o777 for p in (backup, *backup.rglob("*")) if p.is_dir()} == {0o700}
    assert manifest.read(backup).fingerprint in source.ask("select fingerprint from control.pseudonym_key")[0]


def test_every_file_that_the_dumped_catalog_names_is_in_the_copy_and_no_other_of_the_lake(
    source: SmallPlatform, tmp_path: Path
) -> None:
    source.store.put_bytes("lake/landed/patient/hospital=h01/unregistered.parquet", b"under way")
    try:
        make(source, tmp_path / "b")
    finally:
        source.store.delete("lake/landed/patient/hospital=h01/unregistered.parquet")
    names = {p.name for p in (tmp_path / "b" / "store" / "lake").rglob("*.parquet")}
    known = {path.rsplit("/", 1)[-1] for (path,) in source.ask("select path from lake.ducklake_data_file")}
    assert names == known != set()
    landing = {
        p.relative_to(source.settings.store_path).as_posix()
        for p in (source.settings.store_path / "landing").rglob("*")
        if p.is_file()
    }
    assert {
        o.key
        for o in manifest.read_objects(tmp_path / "b", manifest.read(tmp_path / "b"))
        if o.key.startswith("landing/")
    } == landing


def test_by_reference_the_store_is_noted_and_compared(source: SmallPlatform, target: New, tmp_path: Path) -> None:
    made = make(source, tmp_path / "b", by_reference=True)
    assert not (tmp_path / "b" / "store").exists()
    assert made.manifest.bytes == sum(one.bytes for one in made.manifest.dumps)
    again = target()
    with pytest.raises(BackupUnusable, match="does not hold this object"):
        restore(again, tmp_path / "b")
    shutil.copytree(
        source.settings.store_path, again.settings.store_path, dirs_exist_ok=True
    )  # the store's own replica
    restore(again, tmp_path / "b")
    assert copied(again.settings) == copied(source.settings)
    assert content_of_lake(again) == content_of_lake(source)


def test_by_reference_another_content_is_refused(source: SmallPlatform, target: New, tmp_path: Path) -> None:
    make(source, tmp_path / "b", by_reference=True)
    again = target()
    shutil.copytree(source.settings.store_path, again.settings.store_path, dirs_exist_ok=True)
    victim = next((again.settings.store_path / "lake").rglob("*.parquet"))
    victim.write_bytes(bytes(len(victim.read_bytes())))
    with pytest.raises(BackupUnusable, match="does not hold this object"):
        restore(again, tmp_path / "b")
    assert again.ask("select to_regclass('control.delivery')") == [(None,)]


# ------------------------------------------------------------------------------------------------ what is refused


def nothing_written(platform: SmallPlatform) -> None:
    assert platform.ask("select to_regclass('control.delivery')") == [(None,)]
    assert list(platform.store.list("")) == []


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit of the platform's database": lambda b: _flip(b / "databases" / "platform.dump"),
    "a bit of Airflow's database": lambda b: _flip(b / "databases" / "airflow.dump"),
    "a bit of a lake file": lambda b: _flip(next((b / "store" / "lake").rglob("*.parquet"))),
    "a lake file is gone": lambda b: next((b / "store" / "lake").rglob("*.parquet")).unlink(),
    "a delivered file is cut": lambda b: (b / "store" / "landing" / "h01" / "first" / "patient.csv").write_bytes(b"IPP"),
    "a dump is gone": lambda b: (b / "databases" / "platform.dump").unlink(),
    "the list of objects": lambda b: _flip(b / "objects.jsonl"),
    "the list of objects is gone": lambda b: (b / "objects.jsonl").unlink(),
    "the manifest": lambda b: (b / "manifest.json").write_text((b / "manifest.json").read_text().replace("first", "1st").replace('"lost": []', '"lost": ["x"]')),
    "the manifest is cut": lambda b: (b / "manifest.json").write_text("{"),
    "no manifest": lambda b: (b / "manifest.json").unlink(),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_refused_before_anything_is_written(
    backup: Path, target: New, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(backup, spoiled)
    damage(spoiled)
    again = target()
    with pytest.raises(BackupUnusable):
        restore(again, spoiled)
    nothing_written(again)


@pytest.mark.parametrize(("change", "told"), [({"migration": "9999"}, "of version 9999"), ({"format": 2}, "format 2")])
def test_a_newer_versions_backup_is_refused(
    backup: Path, target: New, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(backup, newer)
    document = json.loads((newer / "manifest.json").read_text())
    document.pop("sha256")
    document |= change
    document["sha256"] = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    (newer / "manifest.json").write_text(json.dumps(document))
    again = target()
    with pytest.raises(BackupUnusable, match=told):
        restore(again, newer)
    nothing_written(again)


def test_another_key_or_none_is_refused(backup: Path, target: New, tmp_path: Path) -> None:
    again = target()
    secrets = tmp_path / "secrets"
    shutil.copytree(again.settings.secrets_path, secrets)
    other = again.but(secrets_dir=secrets)
    (secrets / "pseudonym_key").write_text("ab" * 32 + "\n")
    with pytest.raises(PseudonymKeyRefused, match="not the one of the backup"):
        restore(other, backup)
    (secrets / "pseudonym_key").unlink()
    with pytest.raises(SecretUnusable):
        restore(other, backup)
    nothing_written(again)


def test_a_platform_that_holds_something_is_not_restored_into(
    source: SmallPlatform, backup: Path, target: New, new_platform: New
) -> None:
    with pytest.raises(RestoreRefused, match=r"in use: \d delivery"):
        restore(source, backup)
    with_objects = target()
    with_objects.store.put_bytes("landing/h01/x/patient.csv", b"x")
    with pytest.raises(RestoreRefused, match="store is not empty"):
        restore(with_objects, backup)
    with_runs = target()
    of_airflow(with_runs, "create table dag_run (id int); insert into dag_run values (1)")
    with pytest.raises(RestoreRefused, match="1 runs of Airflow"):
        restore(with_runs, backup)
    running = target()
    session = psycopg2.connect(running.database.dsn("airflow", running.settings.airflow_database))
    with pytest.raises(RestoreRefused, match="Airflow is running"):
        restore(running, backup)
    session.close()
    # an installation that was only set up (its tables made, another fingerprint in them) holds nothing
    ready = with_airflow(new_platform())
    ready.execute("update control.pseudonym_key set fingerprint = %s", "0" * 32)
    restore(ready, backup)


def test_a_folder_that_holds_something_or_lies_in_the_store_is_not_written_to(
    source: SmallPlatform, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(BackupUnusable, match="not empty"):
        make(source, tmp_path)
    with pytest.raises(BackupUnusable, match="in the store"):
        make(source, source.settings.store_path / "backup")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_lost_file_of_the_newest_snapshot_is_told_and_one_of_an_older_is_noted(
    source: SmallPlatform, target: New, tmp_path: Path
) -> None:
    path = Path(source.lake.list_files("consolidated", "administration")[0])
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(LakeFileUnreadable, match="lost"):
            make(source, tmp_path / "b")
    finally:
        path.write_bytes(kept)
    assert not (tmp_path / "b").exists()
    assert list(tmp_path.iterdir()) == []
    with source.database.transaction() as session, session.cursor() as cursor:
        old = next(one.key for one in facts.read(cursor).files if not one.current)
    victim = source.settings.store_path / old
    kept = victim.read_bytes()
    victim.unlink()
    try:
        made = make(source, tmp_path / "b")
    finally:
        victim.write_bytes(kept)
    assert made.manifest.lost == [old]
    assert "1 files that only older snapshots" in made.sentence()
    again = target()
    restore(again, tmp_path / "b")
    assert copied(again.settings) == copied(source.settings)


# ------------------------------------------------------------------------------------------------ ended half-way


def _killed(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: int, work: Callable[[], object]) -> None:
    """Do the work in a process of its own that is killed at the call number ``after`` of a function."""
    child = os.fork()
    if child == 0:
        real, calls = getattr(owner, name), iter(range(1, 10**9))

        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(calls) >= after:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(owner, name, counted)
        try:
            work()
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"it ended by itself: {status}"


@pytest.mark.parametrize("there", [False, True], ids=["new folder", "mounted folder"])
def test_a_backup_that_was_killed_is_none_and_is_made_again(
    source: SmallPlatform, target: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    folder = tmp_path / "b"
    if there:
        folder.mkdir()
    _killed(monkeypatch, making, "_copy", 4, lambda: make(source, folder))
    with pytest.raises(BackupUnusable, match="no whole backup"):
        restoring.check(folder)
    _killed(monkeypatch, Path, "rename", 2 if there else 1, lambda: make(source, folder))
    with pytest.raises(BackupUnusable, match="no whole backup"):
        restoring.check(folder)
    make(source, folder)
    restoring.check(folder)
    assert {p.name for p in folder.iterdir()} == {"databases", "store", "objects.jsonl", "manifest.json"}
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [(restoring, "_put_one", 4), (restoring.dumps, "restore", 1), (restoring.dumps, "restore", 2), (restoring, "_settle", 1),
     (restoring.migrations, "upgrade", 1)],
    ids=["in the store", "before Airflow's database", "before the platform's", "before it is settled", "when it is settled"],
)  # fmt: skip
def test_a_restore_that_was_killed_is_run_again(
    source: SmallPlatform, backup: Path, target: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: int
) -> None:  # fmt: skip
    again = target()
    _killed(monkeypatch, owner, name, after, lambda: restore(again, backup))
    assert restore_mark.unfinished(again.store)
    other = tmp_path / "other"
    make(source, other)
    with pytest.raises(RestoreRefused, match="another backup"):
        restore(again, other)
    restore(again, backup)
    assert content_of_lake(again) == content_of_lake(source)
    assert not restore_mark.unfinished(again.store)
    assert copied(again.settings) == copied(source.settings)


def test_no_run_begins_on_a_platform_that_is_half_restored(
    new_platform: New, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = with_airflow(new_platform())
    _killed(monkeypatch, restoring, "_put_one", 6, lambda: restore(again, backup))
    with pytest.raises(RestoreRefused, match="half-way"):
        tasks.discover(again, "ingest-1")
    assert again.ask("select count(*) from control.delivery") == [(0,)]


def test_what_ran_when_the_backup_was_made_has_ended_in_the_restored_platform(
    source: SmallPlatform, target: New, tmp_path: Path
) -> None:
    source.execute("insert into control.run (run_id, dag_id, state) values ('under-way', 'tests', 'running')")
    source.execute(
        "insert into control.stage_run (run_id, stage, token, state) values ('under-way', 'land', 9999, 'running')"
    )
    try:
        make(source, tmp_path / "b")
    finally:
        source.execute("delete from control.stage_run where run_id = 'under-way'")
        source.execute("delete from control.run where run_id = 'under-way'")
    again = target()
    restore(again, tmp_path / "b")
    assert again.ask("select state, retryable from control.stage_run where run_id = 'under-way'") == [("failed", True)]


# ------------------------------------------------------------------------------------------------ beside others


def test_two_at_once_are_refused(source: SmallPlatform, tmp_path: Path) -> None:
    with lock.alone(source.database), pytest.raises(UpkeepBusy):
        make(source, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_stages_that_run_meanwhile_are_not_hurt_and_the_backup_is_of_one_moment(
    source: SmallPlatform, target: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole chain goes through after the databases were dumped and before the first file is copied."""
    before, lake_before = copied(source.settings), content_of_lake(source)
    real = making._objects
    [(sequence,)] = source.ask("select max(sequence) + 1 from control.delivery")

    def meanwhile(*args: Any) -> Any:
        source.deliver("meanwhile", sequence, administration=[dose("b1"), dose("a2", "9")])
        _through(source)
        return real(*args)

    monkeypatch.setattr(making, "_objects", meanwhile)
    make(source, tmp_path / "b")
    assert copied(source.settings) != before
    again = target()
    restore(again, tmp_path / "b")
    assert (copied(again.settings), content_of_lake(again)) == (before, lake_before)
    # what came after the moment is in landing, and is found as any delivery is
    _through(again)
    assert copied(again.settings) == copied(source.settings)

"""`estuaire restore`: a platform again, on empty volumes, from a backup.

Nothing is written before every hash of the backup was checked and the target was seen to be empty. Files first, then Airflow's database, then
the platform's, each in one transaction: a restore that ended half-way is run again and goes on. Until it has ended no run starts
(``unfinished``).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from psycopg2.extensions import connection as Connection

from estuaire.base.errors import BackupUnusable, FileMissing, PseudonymKeyRefused, RestoreRefused
from estuaire.base.settings import Settings
from estuaire.operations.backup import dumps, facts
from estuaire.operations.backup import manifest as manifests
from estuaire.operations.backup.counting import Counting, in_turn
from estuaire.operations.backup.making import AIRFLOW, COPIERS, PLATFORM
from estuaire.operations.backup.manifest import BackupManifest, Dump, Stored, damaged
from estuaire.operations.upkeep import lock
from estuaire.storage import ledger, migrations, pseudonym_key
from estuaire.storage.database import Database
from estuaire.storage.object_store import ObjectStore
from estuaire.storage.platform import Platform
from estuaire.storage.restore_mark import MARK

Report = Callable[[str], None]
_EMPTY = "restore into a new installation: databases and a store that hold nothing (docs/engineers/backup.md)"


@dataclass(frozen=True)
class Restored:
    """A platform that was restored."""

    manifest: BackupManifest
    lake_files: int
    seconds: float

    def sentence(self) -> str:
        """For people and the ledger."""
        return (
            f"the backup of {self.manifest.made_at} is restored: {len(self.manifest.dumps)} databases, {self.manifest.objects:,} objects; "
            f"each of the {self.lake_files:,} files of the lake's catalog is there, {self.seconds:.0f} s"
        )


def check(folder: Path, report: Report = lambda _: None) -> tuple[BackupManifest, list[Stored]]:
    """Read a backup from end to end and compare it with its hashes; writes nothing.

    Raises:
        BackupUnusable: it is incomplete, damaged, or of a newer version than this code.
    """
    manifest = manifests.read(folder)
    objects = manifests.read_objects(folder, manifest)
    known = migrations.known()
    if manifest.migration not in known:
        raise BackupUnusable(
            f"the backup's tables are of version {manifest.migration}, this code knows {known[-1]}",
            remedy="restore it with the version of Estuaire that wrote it, or a newer one",
        )
    if {one.database for one in manifest.dumps} != {PLATFORM, AIRFLOW}:
        raise damaged(manifests.NAME)
    copies = [] if manifest.by_reference else [(manifests.path_of(folder, o.key), o.sha256, o.bytes) for o in objects]
    files = [*((folder / one.file, one.sha256, one.bytes) for one in manifest.dumps), *copies]
    counting = Counting(report, "checking", len(files), sum(size for _, _, size in files))
    with ThreadPoolExecutor(2) as pool:
        for (path, digest, size), told in in_turn(pool, _read, files):
            if told != (digest, size):
                raise damaged(path.relative_to(folder).as_posix())
            counting.add(size)
    return manifest, objects


def _read(file: tuple[Path, str, int]) -> tuple[str, int] | None:
    try:
        return manifests.sha256_of(file[0])
    except OSError:
        return None


def restore(platform: Platform, folder: Path, report: Report = lambda _: None) -> Restored:
    """Restore a backup into this installation, whose databases and store are empty and whose pseudonym key is the backup's.

    Raises:
        BackupUnusable: see ``check``; by reference: the store lacks an object, or has another one.
        PseudonymKeyRefused: this installation's key is not the one that the backup was made under.
        SecretUnusable: there is no key.
        RestoreRefused: the target is not empty or still runs, or pg_restore failed.
        DatabaseUnavailable, StoreUnavailable, DiskFull.
    """
    settings = platform.settings
    began, clock = datetime.now(UTC), time.monotonic()
    folder = folder.expanduser().resolve()
    manifest, objects = check(folder, report)
    _check_key(settings, manifest)
    store = platform.store
    going_on = _going_on(store, manifest)
    report("looking at the target")
    _refuse_running(settings)
    _refuse_used(settings, manifest, going_on)
    if manifest.by_reference:
        _compare(store, objects, report)
    elif not going_on:
        for prefix in ("landing/", "lake/"):
            if next(iter(store.list(prefix)), None) is not None:
                raise RestoreRefused(f"the store is not empty: objects stand below {prefix}", remedy=_EMPTY)
    begun = store.put_bytes(MARK, json.dumps({"backup": manifest.id}).encode(), if_none_match=True)
    if not begun and not going_on:
        raise RestoreRefused("another restore has just begun here", remedy="wait until it has ended")
    if not manifest.by_reference:
        _put(store, folder, objects, same_kind=manifest.store == settings.store, report=report)
    dumped = {one.database: one for one in manifest.dumps}
    _database(settings, "airflow", settings.airflow_database, folder, dumped[AIRFLOW], report)
    _database(settings, "estuaire", settings.postgres_database, folder, dumped[PLATFORM], report)
    files = _settle(platform, manifest, report)
    store.delete(MARK)
    done = Restored(manifest, files, time.monotonic() - clock)
    lock.note(
        platform.database, "restore", began, succeeded=True, freed=manifest.bytes, message=done.sentence(),
        done={"objects": manifest.objects, "id": manifest.id, "made_at": manifest.made_at},
    )  # fmt: skip
    return done


# ------------------------------------------------------------------------------------------------ before anything is written


def _check_key(settings: Settings, manifest: BackupManifest) -> None:
    if pseudonym_key.fingerprint(settings.secret(pseudonym_key.NAME)) != manifest.fingerprint:
        raise PseudonymKeyRefused(
            f"this installation's pseudonym key is not the one of the backup (fingerprint {manifest.fingerprint})",
            remedy=f"put the key that was kept apart from the backup into {settings.secrets_path / pseudonym_key.NAME}, with mode 0600",
        )


def _going_on(store: ObjectStore, manifest: BackupManifest) -> bool:
    """Whether a restore of this very backup ended half-way."""
    try:
        with store.open(MARK) as file:
            told = json.loads(file.read())
    except FileMissing:
        return False
    if told.get("backup") != manifest.id:
        raise RestoreRefused(
            "a restore of another backup ended half-way here", remedy=f"restore that one, or: {_EMPTY}"
        )
    return True


def _refuse_running(settings: Settings) -> None:
    with _session(settings, "airflow", settings.airflow_database) as session, session.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and usename = current_user and pid <> pg_backend_pid()"
        )
        [(others,)] = cursor.fetchall()
    if others:
        raise RestoreRefused(
            f"Airflow is running ({others} sessions in its database)",
            remedy="stop it (`estuaire down`; with containers `docker compose stop api-server scheduler dag-processor triggerer`), then try again",
        )


def _refuse_used(settings: Settings, manifest: BackupManifest, going_on: bool) -> None:
    with _session(settings, "estuaire", settings.postgres_database) as session, session.cursor() as cursor:
        counts = facts.read(cursor).counts
    if facts.used(counts) and not (going_on and counts == manifest.counts):
        held = ", ".join(
            f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n and name != "lake_snapshot"
        )
        raise RestoreRefused(f"the database {settings.postgres_database} is in use: {held}", remedy=_EMPTY)
    with _session(settings, "airflow", settings.airflow_database) as session, session.cursor() as cursor:
        cursor.execute("select to_regclass('public.dag_run') is not null")
        if cursor.fetchone() == (True,) and not going_on:
            cursor.execute("select count(*) from public.dag_run")
            [(runs,)] = cursor.fetchall()
            if runs:
                raise RestoreRefused(
                    f"the database {settings.airflow_database} holds {runs} runs of Airflow", remedy=_EMPTY
                )


def _session(settings: Settings, role: str, database: str) -> AbstractContextManager[Connection]:
    remedy = (
        "make roles and databases first: `estuaire init`, or on this machine alone `estuaire up` and `estuaire down`"
    )
    return Database.of(settings).session(role, database, remedy=remedy)


def _compare(store: ObjectStore, objects: list[Stored], report: Report) -> None:
    """Whether the store holds each object that was noted. Two ETags are compared where both are an MD5: a multipart one depends on its parts."""
    listed = {item.key: item for prefix in ("landing/", "lake/") for item in store.list(prefix)}
    counting = Counting(report, "comparing", len(objects), sum(one.bytes for one in objects))
    for one in objects:
        there = listed.get(one.key)
        same = there is not None and there.size == one.bytes
        if same and one.sha256:
            with store.open(one.key) as file:
                same = manifests.digest_of(iter(lambda: file.read(1 << 20), b""))[0] == one.sha256
        elif same and there is not None and "-" not in one.version + there.version:
            same = there.version == one.version
        if not same:
            raise BackupUnusable(
                "the store does not hold this object as it was when the backup was made",
                file=one.key,
                remedy="bring the store back to that time (its own versions or replica), then run the restore again",
            )
        counting.add(one.bytes)


# ------------------------------------------------------------------------------------------------ writing


def _put(store: ObjectStore, folder: Path, objects: list[Stored], *, same_kind: bool, report: Report) -> None:
    """Put the copies into the store. What an earlier try put there is whole, and stays."""
    there = {item.key: item.size for prefix in ("landing/", "lake/") for item in store.list(prefix)}
    missing = [one for one in objects if there.get(one.key) != one.bytes]
    counting = Counting(report, "putting", len(missing), sum(one.bytes for one in missing))
    with ThreadPoolExecutor(COPIERS) as pool:
        for _, size in in_turn(pool, partial(_put_one, store, folder, same_kind), missing):
            counting.add(size)


def _put_one(store: ObjectStore, folder: Path, same_kind: bool, one: Stored) -> int:
    store.put_file(one.key, manifests.path_of(folder, one.key))
    path = store.local_path(one.key)
    if path is not None and same_kind and one.version.isdecimal():
        # a file's time is part of what a delivery is known by: with another one landing would read all of them again
        os.utime(path, ns=(int(one.version), int(one.version)))
    return one.bytes


def _database(settings: Settings, role: str, database: str, folder: Path, dump: Dump, report: Report) -> None:
    report(f"database {database} ({dump.bytes / 2**20:,.1f} MiB)")
    dumps.empty(settings, role, database)
    dumps.restore(settings, role, database, folder / dump.file, report)


def _settle(platform: Platform, manifest: BackupManifest, report: Report) -> int:
    """Bring what was restored to this installation: where its store is, this code's tables, nothing that runs. Then look at it.

    Raises:
        RestoreRefused: what was restored is not what the backup holds.
    """
    settings = platform.settings
    report("comparing what was restored with the backup")
    with _session(settings, "estuaire", settings.postgres_database) as session, session.cursor() as cursor:
        told = facts.read(cursor)
    if told.counts != manifest.counts or told.fingerprint != manifest.fingerprint:
        raise _differs("the ledger or the catalog holds other numbers than the backup's manifest")
    listed = {item.key: item.size for item in platform.store.list("lake/")}
    lost = set(manifest.lost)
    for file in told.files:
        if listed.get(file.key) != file.bytes and file.key not in lost:
            raise _differs(f"{file.key}, which the lake's catalog names, is not there with its size")
    report("bringing the tables to this version")
    if told.files or told.counts["lake_snapshot"]:
        platform.lake.move_here()
    migrations.upgrade(platform.database)
    platform.lake.ensure()
    pseudonym_key.checked(platform)
    ledger.abandon_all(platform.database)
    with _session(settings, "estuaire", settings.postgres_database) as session, session.cursor() as cursor:
        session.autocommit = True
        cursor.execute("set client_min_messages = error")  # PostgreSQL's own tables are not ours to analyse
        cursor.execute("analyze")
    return len(told.files) - len(lost)


def _differs(what: str) -> RestoreRefused:
    return RestoreRefused(what, remedy="run the restore again; if it stays so, report it as a defect")

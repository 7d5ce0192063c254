"""`estuaire backup`: the databases as of one moment, then every file that they name.

Consistent without stopping anything: the platform's database is dumped as of one snapshot of PostgreSQL, ledger and catalog together. Files of
the lake are never overwritten, and none that the dumped catalog names is removed while this lasts: upkeep is locked out, and its grace is longer.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg2
from psycopg2 import errors

from estuaire.base import disk_space, private_files
from estuaire.base.errors import (
    BackupUnusable,
    DatabaseUnavailable,
    EntryRefused,
    FileMissing,
    LakeFileUnreadable,
    PathOutsideDelivery,
)
from estuaire.base.settings import Settings
from estuaire.operations.backup import dumps, facts
from estuaire.operations.backup import manifest as manifests
from estuaire.operations.backup.counting import Counting, in_turn
from estuaire.operations.backup.manifest import BackupManifest, Dump, Stored
from estuaire.operations.upkeep import lock
from estuaire.storage.database import Database
from estuaire.storage.object_store import ObjectInfo, ObjectStore
from estuaire.storage.platform import Platform

Report = Callable[[str], None]
PLATFORM, AIRFLOW = "platform", "airflow"
COPIERS = 4  # objects at once: of a bucket most of the time is waiting
_PATIENCE = "60min"  # for a publication or load under way to end
_PART = ".part"
_BLOCK = 1 << 20
_GONE = (FileMissing, EntryRefused, PathOutsideDelivery)


@dataclass(frozen=True)
class Made:
    """A backup that was made. ``passed_over``: entries of landing/ that are no plain objects or went away meanwhile."""

    folder: Path
    manifest: BackupManifest
    passed_over: int
    seconds: float

    def sentence(self) -> str:
        """For people and the ledger."""
        how = "noted, not copied" if self.manifest.by_reference else "copied"
        said = (
            f"{len(self.manifest.dumps)} databases ({sum(d.bytes for d in self.manifest.dumps) / 2**20:,.1f} MiB), "
            f"{self.manifest.objects:,} objects {how} ({self.manifest.object_bytes / 2**20:,.1f} MiB), {self.seconds:.0f} s"
        )
        if self.passed_over:
            said += f"; {self.passed_over} entries of landing/ passed over (links, or taken away meanwhile)"
        if self.manifest.lost:
            said += f"; {len(self.manifest.lost)} files that only older snapshots of the lake name are lost"
        return said


def make(platform: Platform, target: Path, *, by_reference: bool = False, report: Report = lambda _: None) -> Made:
    """Make a backup in a new or empty folder.

    Args:
        by_reference: note the store's objects instead of copying them, for a store that is replicated or versioned itself.

    Raises:
        BackupUnusable: the folder is not empty, or the platform cannot be backed up as it is.
        LakeFileUnreadable: a file of the lake's newest snapshot is lost.
        UpkeepBusy, DatabaseUnavailable, StoreUnavailable, DiskFull: as they say.
    """
    from estuaire.orchestration.tasks import code_version

    began, clock = datetime.now(UTC), time.monotonic()
    target = target.expanduser().resolve()
    settings, store = platform.settings, platform.store
    with lock.alone(platform.database), _draft(settings, target) as draft:
        try:
            database_facts = _platform_database(platform, draft, report)
            report("Airflow's database")
            dumps.dump(settings, "airflow", settings.airflow_database, _dump_file(draft, AIRFLOW), report=report)
            objects, lost, passed_over = _objects(store, draft, database_facts, by_reference, report)
            made = BackupManifest(
                made_at=began.isoformat(timespec="seconds"),
                code_version=code_version(),
                migration=database_facts.migration,
                fingerprint=database_facts.fingerprint,
                by_reference=by_reference,
                store=settings.store,
                dumps=[_described(draft, name) for name in (PLATFORM, AIRFLOW)],
                objects=len(objects),
                object_bytes=sum(one.bytes for one in objects),
                objects_sha256=manifests.write_objects(draft, objects),
                counts=database_facts.counts,
                lost=lost,
            )
            manifests.write(draft, made)
            report("writing through to the disk")
            os.sync()
        except OSError as error:
            raise disk_space.typed(error) or error from error
    done = Made(target, made, passed_over, time.monotonic() - clock)
    lock.note(
        platform.database, "backup", began, succeeded=True, freed=made.bytes, message=done.sentence(),
        done={"objects": made.objects, "by_reference": by_reference, "lost": len(lost), "id": made.id},
    )  # fmt: skip
    return done


# ------------------------------------------------------------------------------------------------ the folder


@contextmanager
def _draft(settings: Settings, target: Path) -> Iterator[Path]:
    """A folder to write in, which becomes the target at the end, its manifest last. What an earlier try left there is removed."""
    if target.is_relative_to(settings.store_path) and settings.store == "directory":
        raise BackupUnusable(
            "the folder lies in the store itself", remedy="name a folder elsewhere, best on another disk"
        )
    there = target.exists()
    names = {p.name for p in target.iterdir()} - {"lost+found"} if target.is_dir() else set()
    ours = {
        _PART,
        "databases",
        manifests.STORE,
        manifests.OBJECTS,
    }  # the manifest is moved last: without it nothing of this is a backup
    if (there and not target.is_dir()) or names - ours or (names and _PART not in names):
        raise BackupUnusable(f"{target} is not empty", remedy="name a folder that does not exist yet, or an empty one")
    draft = target / _PART if there else target.with_name(f".{target.name}{_PART}")
    try:
        for left in sorted(names):
            shutil.rmtree(target / left) if (target / left).is_dir() else (target / left).unlink()
        shutil.rmtree(draft, ignore_errors=True)
        private_files.folder(draft)
    except OSError as error:
        raise BackupUnusable(
            f"{target} cannot be written ({error.strerror})", remedy="name a folder where this account may write"
        ) from error
    try:
        yield draft
        if there:
            for name in sorted((p.name for p in draft.iterdir()), key=lambda n: n == manifests.NAME):
                (draft / name).rename(target / name)
            draft.rmdir()
            with suppress(OSError):  # a mounted folder of another account
                target.chmod(0o700)
        else:
            draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _dump_file(draft: Path, name: str) -> Path:
    private_files.folder(draft / "databases")
    return draft / "databases" / f"{name}.dump"


def _described(draft: Path, name: str) -> Dump:
    path = _dump_file(draft, name)
    digest, size = manifests.sha256_of(path)
    return Dump(name, path.relative_to(draft).as_posix(), size, digest)


# ------------------------------------------------------------------------------------------------ the databases


def _platform_database(platform: Platform, draft: Path, report: Report) -> facts.Facts:
    """Dump the platform's database; what it holds, as of the same moment."""
    report("the platform's database")
    with _calm(platform.database, report) as calm, _moment(platform.database) as (session, snapshot):
        with session.cursor() as cursor:
            database_facts = facts.read(cursor)
        if not database_facts.fingerprint or not database_facts.migration:
            raise BackupUnusable(
                "there is no platform yet in this database", remedy="run `estuaire up` or `estuaire init` first"
            )
        dumps.dump(
            platform.settings,
            "estuaire",
            platform.settings.postgres_database,
            _dump_file(draft, PLATFORM),
            snapshot=snapshot,
            report=report,
            locked=calm,
        )
    return database_facts


@contextmanager
def _calm(database: Database, report: Report) -> Iterator[Callable[[], None]]:
    """Let no release and no load be swapped in until what is yielded is called: pg_dump locks its tables one after the other, and a swap
    that replaces them meanwhile would be its deadlock. A publication under way is waited for.

    Raises:
        DatabaseUnavailable: it does not end.
    """
    with database.session() as session:
        for patience in ("2s", _PATIENCE):
            try:
                with session.cursor() as cursor:
                    cursor.execute("select set_config('lock_timeout', %s, true)", (patience,))
                    cursor.execute("lock table control.publish_lock in exclusive mode")  # in a publication's own order
                    cursor.execute("lock table control.load in share mode")
                break
            except errors.LockNotAvailable:
                session.rollback()
                if patience == _PATIENCE:
                    raise DatabaseUnavailable(
                        f"a publication or load has been under way for {_PATIENCE}",
                        remedy="run the backup again when it has ended",
                    ) from None
                report("waiting until the publication or load under way has ended")
        yield session.rollback


@contextmanager
def _moment(database: Database) -> Iterator[tuple[psycopg2.extensions.connection, str]]:
    """A session that sees one moment, and the moment's name for others."""
    with database.session() as session:
        session.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with session.cursor() as cursor:
            cursor.execute("select pg_export_snapshot()")
            [(name,)] = cursor.fetchall()
        yield session, name


# ------------------------------------------------------------------------------------------------ the store


def _objects(
    store: ObjectStore, draft: Path, database_facts: facts.Facts, by_reference: bool, report: Report
) -> tuple[list[Stored], list[str], int]:
    """What was copied or noted; files of the lake that are lost; how many entries of landing/ were passed over."""
    report("listing the store")
    lake, lost = _lake_objects(store, database_facts)
    walked = list(store.walk("landing/"))
    landing = [one for one in walked if not one.strange and manifests.plain(one.key)]
    total = sum(one.size for one in (*lake, *landing))
    if not by_reference and shutil.disk_usage(draft).free < total:
        raise disk_space.disk_full(str(draft))
    counting = Counting(report, "noting" if by_reference else "copying", len(lake) + len(landing), total)
    one_object = partial(_note if by_reference else _copy, store, draft)
    written: list[Stored] = []
    with ThreadPoolExecutor(COPIERS) as pool:
        for item, one in in_turn(pool, one_object, [*lake, *landing]):
            if one is None:
                if item.key.startswith("lake/"):
                    raise _lake_lost(item.key)
                continue
            if item.key.startswith("lake/") and one.bytes != item.size:
                raise _lake_lost(item.key)
            written.append(one)
            counting.add(one.bytes)
    return written, lost, len(walked) + len(lake) - len(written)


def _lake_objects(store: ObjectStore, database_facts: facts.Facts) -> tuple[list[ObjectInfo], list[str]]:
    """The files that the dumped catalog names, as the store has them; those of older snapshots that it has not.

    Raises:
        LakeFileUnreadable: a file of the newest snapshot is lost, or has another size.
    """
    listed = {item.key: item for item in store.list("lake/")}
    there, lost = [], []
    for file in database_facts.files:
        item = listed.get(file.key)
        if item is not None and item.size == file.bytes:
            there.append(item)
        elif file.current:
            raise _lake_lost(file.key)
        else:
            lost.append(file.key)
    return there, lost


def _lake_lost(key: str) -> LakeFileUnreadable:
    return LakeFileUnreadable(
        "a file that the lake's catalog names is lost or has another size",
        file=key,
        remedy="run the chain (`estuaire run`): it rebuilds the hospital's part; then run the backup again",
    )


def _copy(store: ObjectStore, draft: Path, item: ObjectInfo) -> Stored | None:
    """Copy an object, with the hash of what was written; None where it went away."""
    path = manifests.path_of(draft, item.key)
    try:
        source = store.open(item.key)
    except _GONE:
        return None
    private_files.folder(path.parent)
    private_files.new_file(path)

    def through() -> Iterator[bytes]:
        while block := source.read(_BLOCK):
            target.write(block)
            yield block

    with source, path.open("wb") as target:
        digest, size = manifests.digest_of(through())
    return Stored(item.key, size, digest, item.version)


def _note(store: ObjectStore, draft: Path, item: ObjectInfo) -> Stored | None:
    """An object by its size and hash: of a file its SHA-256, of an object in a bucket the ETag that the bucket tells."""
    if store.local_path(item.key) is None:
        return Stored(item.key, item.size, "", item.version)
    try:
        with store.open(item.key) as source:
            digest, size = manifests.digest_of(iter(lambda: source.read(_BLOCK), b""))
    except _GONE:
        return None
    return Stored(item.key, size, digest, item.version)

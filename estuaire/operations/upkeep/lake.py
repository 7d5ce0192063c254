"""The lake's old snapshots and the files that nobody can read any more. The catalog is changed by ``estuaire.storage.lake`` alone, under its lock.

Three steps, each long after the one before: a snapshot is forgotten once it was replaced ``keep_snapshots_days`` ago; a file that then no
snapshot holds stays another seven days (``grace``), so that whoever listed it can read it to its end; a file that was never registered
is removed when it is older than that grace and no attempt that may still register it is alive.
"""

from __future__ import annotations

import json
from datetime import datetime

from estuaire.operations.upkeep.part import Part, before, grace, plural
from estuaire.storage import ended_attempts, ledger
from estuaire.storage.database import Database
from estuaire.storage.object_store import ObjectInfo
from estuaire.storage.platform import Platform
from estuaire.storage.restore_mark import MARK

_PREFIXES = ("lake/", "work/")


def snapshots(platform: Platform, now: datetime, dry_run: bool) -> list[Part]:
    """Forget old snapshots, but those that a kept release names or that an unfinished attempt's commit is to be found by."""
    lake, moment = platform.lake, before(now, platform.settings.keep_snapshots_days)
    old = (
        lake.expirable(moment, pinned(platform.database))
        if dry_run
        else lake.expire(moment, lambda: pinned(platform.database))
    )
    return [Part("snapshots", len(old), 0, f"{plural(len(old), 'old snapshot')} of the lake")]


def pinned(database: Database) -> set[int]:
    """Snapshots that stay whatever their age: of each release whose tables are kept, and of each attempt that wrote what it would commit
    and no end (its commit is found by the snapshot's message)."""
    rows = ledger.fetch(
        database,
        "select snapshot_id from control.release where state = 'published' or archive_schema is not null union "
        "select snapshot_id from control.stage_run where intent is not null and state <> 'committed' and snapshot_id is not null",
    )
    kept = {int(row["snapshot_id"]) for row in rows}
    open_ends = {
        (row["run_id"], row["stage"], row["token"])
        for row in ledger.fetch(
            database,
            "select run_id, stage, token from control.stage_run where intent is not null and state <> 'committed'",
        )
    }
    if open_ends:
        for row in ledger.fetch(
            database,
            "select snapshot_id, commit_message from lake.ducklake_snapshot_changes where commit_message is not null",
        ):
            said = json.loads(row["commit_message"])
            if (said.get("run_id"), said.get("stage"), said.get("token")) in open_ends:
                kept.add(int(row["snapshot_id"]))
    return kept


def files(platform: Platform, now: datetime, dry_run: bool) -> list[Part]:
    """Remove the files that no snapshot has held for the grace."""
    lake, moment = platform.lake, now - grace(platform.settings)
    keys = lake.expired_files(moment)
    sizes = {item.key: item.size for item in lake.store.list("lake/")} if keys else {}
    if keys and not dry_run:
        lake.remove_expired(moment)
    size = sum(sizes.get(key, 0) for key in keys)
    return [Part("lake files", len(keys), size, f"{plural(len(keys), 'file')} of forgotten snapshots")]


def orphans(platform: Platform, now: datetime, dry_run: bool) -> list[Part]:
    """Remove files below lake/ and work/ that are older than the grace and that neither the catalog nor a living attempt knows, and uploads
    that were begun before it and never ended."""
    store = platform.store
    moment = (now - grace(platform.settings)).timestamp()
    # listed first, asked second: what is registered in between is known
    old = [
        item for prefix in _PREFIXES for item in store.list(prefix) if 0 < item.modified < moment and item.key != MARK
    ]
    lost = _unknown(platform, old) if old else []
    begun = [one for prefix in _PREFIXES for one in store.unfinished(prefix, moment)]
    if not dry_run:
        for item in lost:
            store.delete(item.key)
        for one in begun:
            store.abandon(one)
    size = sum(item.size for item in lost) + sum(one.size for one in begun)
    return [
        Part("orphans", len(lost), size, f"{plural(len(lost), 'file')} that nobody knows"),
        Part("uploads", len(begun), 0, f"{plural(len(begun), 'upload')} that never ended"),
    ]


def _unknown(platform: Platform, old: list[ObjectInfo]) -> list[ObjectInfo]:
    known = platform.lake.known_files()
    alive = [one for one in ended_attempts.attempts(platform) if not one.over]
    unknown = []
    for item in old:
        parts = item.key.split("/")
        registered = parts[0] == "lake" and ("/".join(parts[-2:]) in known or parts[-1] in known)
        if not registered and not any(one.named(parts[-1]) for one in alive):
            unknown.append(item)
    return unknown

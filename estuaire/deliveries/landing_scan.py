"""What stands in landing/: finds deliveries, checks their manifests, and notes each in the ledger.

A landed delivery that comes again with the same bytes is a no-op; with other bytes, a typed error. A blocked one stays blocked until its
bytes change or someone asks for a replay; one that a cause on our side blocks (registry, rights) is looked at again by every scan. One that
is not complete yet is ``arriving``; one that was taken away before it landed is ``withdrawn``. Whatever one delivery holds ends at it.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as Cursor

from estuaire.base.errors import (
    PASSING,
    ChecksumMismatch,
    ContractError,
    ContractVersionUnknown,
    DeliveryChanged,
    EntryRefused,
    ErrorFields,
    EstuaireError,
    FileMissing,
    ManifestInvalid,
    ManifestMissing,
    PathOutsideDelivery,
    StoreRefused,
    TaskFailed,
    UnknownHospital,
    unforeseen,
)
from estuaire.contract import manifest as manifests
from estuaire.contract.manifest import LANDING, Manifest, delivered_hash, parse_manifest
from estuaire.contract.registry import Registry
from estuaire.storage import error_columns
from estuaire.storage.database import Database
from estuaire.storage.ledger import fetch, unfinished
from estuaire.storage.object_store import ObjectInfo, ObjectStore, sha256_of
from estuaire.storage.platform import Platform

FOLDER = "(folder)"  # stands for a delivery where the hospital's own folder is none
_CLOCKS_DIFFER = 300.0  # seconds by which the store's clock may run ahead of ours
# their cause may lie with us: the same bytes pass once it is mended, so a delivery blocked by one is looked at again
OURS = frozenset(
    kind.code
    for kind in (ContractError, UnknownHospital, ContractVersionUnknown, StoreRefused, EntryRefused, TaskFailed)
)
Place = tuple[str, str]
Seen = tuple[str, str, str]  # hospital, delivery, fingerprint of its files


@dataclass
class ScannedDeliveries:
    """What a scan of landing/ found.

    ``pending`` are deliveries to land, ``blocked`` those refused by this scan, ``arriving`` those that are not complete yet,
    ``withdrawn`` those taken away before they landed, ``unread`` those for which the store did not answer, ``unchanged`` those already
    known.
    """

    pending: list[Place] = field(default_factory=list)
    blocked: list[Place] = field(default_factory=list)
    changed_after_landing: list[Place] = field(default_factory=list)
    arriving: list[Place] = field(default_factory=list)
    withdrawn: list[Place] = field(default_factory=list)
    unread: list[Place] = field(default_factory=list)
    unchanged: int = 0

    @property
    def hospitals(self) -> list[str]:
        """Hospitals that this run has something to say about."""
        return sorted({h for h, _ in (*self.pending, *self.blocked, *self.changed_after_landing)})

    @property
    def notes(self) -> list[str]:
        """What else there is to say: deliveries still arriving, those that were taken away, those that could not be looked at."""
        told = (
            ("still arriving", self.arriving),
            ("withdrawn", self.withdrawn),
            ("the store did not answer for", self.unread),
        )
        return [f"{word}: {', '.join('/'.join(p) for p in places)}" for word, places in told if places]


def _fingerprint(objects: list[ObjectInfo]) -> str:
    text = "\n".join(f"{o.key}\x1f{o.size}\x1f{o.version}" for o in objects)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of(store: ObjectStore, hospital: str, delivery: str) -> str | None:
    """What tells whether a delivery's folder changed since a scan; None where it is gone."""
    objects = list(store.walk(f"{LANDING}{hospital}/{delivery}/"))
    return _fingerprint(objects) if objects else None


def _folders(store: ObjectStore) -> dict[Place, list[ObjectInfo]]:
    """What stands in landing/, by (hospital, delivery) folder.

    Raises:
        EntryRefused: landing/ itself cannot be read.
    """
    folders: dict[Place, list[ObjectInfo]] = {}
    for item in store.walk(LANDING):
        parts = item.key.split("/")
        if len(parts) >= 4:
            folders.setdefault((parts[1], parts[2]), []).append(item)
        elif item.strange and len(parts) == 1:
            raise EntryRefused(f"landing/ is {item.strange}", remedy="let the platform's account read it")
        elif item.strange:
            folders.setdefault((parts[1], parts[2] if len(parts) == 3 else FOLDER), []).append(item)
    return folders


class _Arriving(Exception):
    """Its files are still being written: not an error yet. ``error``: what it is once nothing is written any more."""

    def __init__(self, error: EstuaireError) -> None:
        self.error = error
        super().__init__()


def _check_plain(objects: list[ObjectInfo], prefix: str) -> None:
    """Raises PathOutsideDelivery for a link, EntryRefused for anything else that is no plain file."""
    strange = next((o for o in objects if o.strange), None)
    if strange is None:
        return
    name = strange.key.removeprefix(prefix) or strange.key
    if "link" in strange.strange:
        raise PathOutsideDelivery(
            "a link stands in landing/, where only plain files and folders may",
            remedy="deliver plain files, no links",
            file=name,
        )
    raise EntryRefused(
        f"it is {strange.strange}", remedy="deliver plain files with simple names, or take it away", file=name
    )


def _check_present(manifest: Manifest, objects: list[ObjectInfo], prefix: str, arriving: bool) -> None:
    present = {o.key: o for o in objects}
    for file in manifest.files:
        uploaded = present.get(prefix + file.path)
        place = {"hospital": manifest.hospital, "delivery": manifest.delivery_id, "file": file.path}
        if uploaded is None:
            missing = FileMissing("the manifest names a file that was not delivered", remedy="upload the file", **place)
            raise _Arriving(missing) if arriving else missing
        if uploaded.size != file.bytes:
            wrong = ChecksumMismatch(
                f"the file has {uploaded.size} bytes, the manifest declares {file.bytes}",
                remedy="upload the file again, or write a new manifest with `estuaire deliver`",
                **place,
            )
            raise _Arriving(wrong) if arriving and uploaded.size < file.bytes else wrong


def read_manifest(store: ObjectStore, registry: Registry, hospital: str, delivery: str) -> Manifest:
    """The manifest of a delivery in landing/.

    Raises:
        ManifestMissing, ManifestInvalid, UnknownHospital, ContractVersionUnknown, PathOutsideDelivery, EntryRefused.
        ContractError: the hospital's own file of the registry is wrong.
    """
    try:
        registry.get(hospital)
        key = f"{LANDING}{hospital}/{delivery}/{manifests.NAME}"
        if store.stat(key) is None:
            raise ManifestMissing(
                "the delivery has no manifest",
                file=manifests.NAME,
                remedy="upload manifest.json last; `estuaire deliver` writes it",
            )
        try:
            with store.open(key) as stream:
                raw = manifests.read_bounded(stream, hospital=hospital, delivery=delivery)
        except EstuaireError as error:
            error.file = manifests.NAME
            raise
        return parse_manifest(raw, hospital=hospital, delivery=delivery, registry=registry)
    except EstuaireError as error:
        raise error.at(hospital, delivery) from error.__cause__


# ------------------------------------------------------------------------------------------------ what was received


def received_manifest(row: dict[str, Any], registry: Registry) -> Manifest:
    """The manifest as discovery checked it and the ledger keeps it: what lands is this, whatever stands in landing/ by now.

    Raises:
        DeliveryChanged: the ledger's copy is not the one of its hash.
        EstuaireError: the registry has changed since: see ``parse_manifest``.
    """
    hospital, delivery = row["hospital_id"], row["delivery_id"]
    try:
        raw = json.dumps(row["manifest"]).encode()
        manifest = parse_manifest(raw, hospital=hospital, delivery=delivery, registry=registry)
    except EstuaireError as error:
        raise error.at(hospital, delivery) from error.__cause__
    if manifest.content_hash != row["content_hash"]:
        raise _changed_since(hospital, delivery)
    return manifest


def check_unchanged(store: ObjectStore, registry: Registry, received: Manifest) -> None:
    """Whether landing/ still holds the manifest that was received; its files are checked by hash while they are read.

    Raises:
        DeliveryChanged: it holds another one.
        EstuaireError: see ``read_manifest``.
    """
    present = read_manifest(store, registry, received.hospital, received.delivery_id)
    if present.content_hash != received.content_hash:
        raise _changed_since(received.hospital, received.delivery_id)


def _changed_since(hospital: str, delivery: str) -> DeliveryChanged:
    return DeliveryChanged(
        "its manifest is no longer the one that was received; nothing of it was landed",
        hospital=hospital,
        delivery=delivery,
        file=manifests.NAME,
        remedy="nothing: the next run takes up what stands in landing/ by then",
    )


# ------------------------------------------------------------------------------------------------ the ledger's rows


def _note(cursor: Cursor, hospital: str, delivery: str, fingerprint: str, state: str, run_id: str) -> None:
    cursor.execute(
        "insert into control.delivery (hospital_id, delivery_id, state, fingerprint, run_id, error_code) "
        "values (%s, %s, %s, %s, %s, case when %s = 'blocked' then 'E_ESTUAIRE' end) "
        "on conflict (hospital_id, delivery_id) do update set state = excluded.state, fingerprint = excluded.fingerprint, "
        f"run_id = excluded.run_id, {error_columns.SET_EXCLUDED}, updated_at = now()",
        (hospital, delivery, state, fingerprint, run_id, state),
    )


def note_error(cursor: Cursor, hospital: str, delivery: str, error: ErrorFields, state: str) -> None:
    """Write a typed error on a delivery's row, in the caller's transaction."""
    cursor.execute(
        f"update control.delivery set state = %s, {error_columns.SET}, updated_at = now() "
        "where hospital_id = %s and delivery_id = %s",
        (state, *error_columns.values(error), hospital, delivery),
    )


def _note_received(cursor: Cursor, manifest: Manifest, fingerprint: str, run_id: str) -> None:
    _note(cursor, manifest.hospital, manifest.delivery_id, fingerprint, "received", run_id)
    cursor.execute(
        "update control.delivery set sequence = %s, kind = %s, contract_version = %s, period_from = %s, "
        "period_to = %s, extracted_at = %s, content_hash = %s, manifest = %s "
        "where hospital_id = %s and delivery_id = %s",
        (
            manifest.sequence, manifest.kind, manifest.contract_version, manifest.period_from,
            manifest.period_to, manifest.extracted_at, manifest.content_hash,
            manifest.to_json(), manifest.hospital, manifest.delivery_id,
        ),
    )  # fmt: skip


def _note_fingerprint(cursor: Cursor, place: Place, fingerprint: str) -> None:
    cursor.execute(
        "update control.delivery set fingerprint = %s where hospital_id = %s and delivery_id = %s",
        (fingerprint, *place),
    )


def _same_sequence(known: dict[tuple[str, str], dict[str, Any]], manifest: Manifest) -> None:
    for (hospital, delivery), row in known.items():
        if (
            hospital == manifest.hospital
            and delivery != manifest.delivery_id
            and row["state"] == "landed"
            and row["sequence"] == manifest.sequence
        ):
            raise ManifestInvalid(
                f"sequence {manifest.sequence} was used by another delivery of this hospital ({delivery})",
                hospital=hospital,
                delivery=manifest.delivery_id,
                file=manifests.NAME,
                remedy="number each delivery of a hospital once, counting up",
            )


def _still_the_same(store: ObjectStore, manifest: Manifest, landed: dict[str, Any], prefix: str) -> None:
    """Raises DeliveryChanged where it is not what was landed: the moment of extraction alone makes it no other delivery."""
    changed = delivered_hash(json.loads(manifest.to_json())) != delivered_hash(landed)
    for file in manifest.files:
        if changed:
            break
        changed = store.stat(prefix + file.path) is not None and sha256_of(store, prefix + file.path) != file.sha256
    if changed:
        raise DeliveryChanged(
            "this delivery was landed before and comes again with other bytes; what was landed stays",
            hospital=manifest.hospital,
            delivery=manifest.delivery_id,
            file=manifests.NAME,
            remedy="deliver the correction under a new delivery id with the next sequence",
        )


# ------------------------------------------------------------------------------------------------ the scan


def _written_lately(objects: list[ObjectInfo], now: float, arriving_minutes: float) -> bool:
    """Whether the newest of the files was written so lately that more may follow. A time to come is no such time."""
    age = now - max(o.modified for o in objects)
    return -_CLOCKS_DIFFER <= age < 60 * arriving_minutes


@dataclass(frozen=True)
class _Scan:
    """What every delivery of a scan is looked at with."""

    database: Database
    arriving_minutes: float
    store: ObjectStore
    registry: Registry
    run_id: str
    known: dict[Place, dict[str, Any]]
    now: float

    def look(self, place: Place, objects: list[ObjectInfo]) -> Manifest | None:
        """The manifest of a delivery to land; None of a landed one that is what it was.

        Raises:
            _Arriving: it is not complete, and may become so.
            EstuaireError: what is wrong with it.
        """
        row, prefix = self.known.get(place), f"{LANDING}{place[0]}/{place[1]}/"
        _check_plain(objects, prefix)
        arriving = _written_lately(objects, self.now, self.arriving_minutes)
        try:
            manifest = read_manifest(self.store, self.registry, *place)
        except ManifestMissing as error:
            if arriving:
                raise _Arriving(error) from None
            raise
        if row is not None and row["state"] == "landed":
            _still_the_same(self.store, manifest, row["manifest"], prefix)
            return None
        _same_sequence(self.known, manifest)
        _check_present(manifest, objects, prefix, arriving)
        return manifest


def discover(platform: Platform, run_id: str) -> ScannedDeliveries:
    """Scan landing/ and bring the ledger up to it. Whatever is wrong with one delivery never stops another.

    Raises:
        StoreUnavailable: the store does not answer: nothing could be read.
        DatabaseUnavailable: the ledger does not answer.
    """
    database, store, deliveries = platform.database, platform.store, ScannedDeliveries()
    rows = fetch(
        database,
        "select hospital_id, delivery_id, state, sequence, content_hash, fingerprint, error_code, manifest from control.delivery",
    )
    known = {(row["hospital_id"], row["delivery_id"]): row for row in rows}
    undecided = _undecided(database, known)
    scan = _Scan(
        database, platform.settings.arriving_minutes, store, platform.registry, run_id, dict(known), time.time()
    )
    folders = _folders(store)
    away: list[EstuaireError] = []
    for place, objects in sorted(folders.items()):
        if place in undecided:
            # the lake may hold it as the ledger has it: until landing has read that back, the ledger's row stays as it is
            deliveries.pending.append(place)
            continue
        error = _discover_one(scan, place, objects, deliveries)
        if error is not None:
            away.append(error)
            deliveries.unread.append(place)
    if away and len(away) == len(folders):
        raise away[0]
    gone = [
        p for p, r in known.items() if r["state"] in ("received", "blocked", "arriving", "held") and p not in folders
    ]
    _withdraw(database, run_id, [p for p in gone if p not in undecided], deliveries)
    return deliveries


def to_take_up(platform: Platform) -> frozenset[Seen]:
    """Deliveries that a scan would have something to say about: those with a manifest whose files are not as the last scan saw them, those
    without one, or unfinished, once nothing was written to them for longer than an upload may pause. A look: notes nothing.

    Raises:
        StoreUnavailable, DatabaseUnavailable, EntryRefused: landing/ or the ledger cannot be read.
    """
    rows = fetch(platform.database, "select hospital_id, delivery_id, state, fingerprint from control.delivery")
    known = {(row["hospital_id"], row["delivery_id"]): row for row in rows}
    now, to_scan = time.time(), set()
    for place, objects in _folders(platform.store).items():
        row, fingerprint = known.get(place), _fingerprint(objects)
        seen = row is not None and row["fingerprint"] == fingerprint
        unfinished_before = row is not None and row["state"] == "arriving"
        manifest = f"{LANDING}{place[0]}/{place[1]}/{manifests.NAME}"
        if seen and not unfinished_before:
            continue
        if (not seen and any(o.key == manifest for o in objects)) or not _written_lately(
            objects, now, platform.settings.arriving_minutes
        ):
            to_scan.add((*place, fingerprint))
    return frozenset(to_scan)


def _undecided(database: Database, known: dict[Place, dict[str, Any]]) -> set[Place]:
    """Deliveries of an earlier landing that wrote what it would commit, and no end: the lake may or may not hold them."""
    places = {
        (item["hospital_id"], item["delivery_id"])
        for attempt in unfinished(database, "land")
        for item in attempt["intent"]["deliveries"]
    }
    return {p for p in places if p in known and known[p]["state"] != "landed"}


def _discover_one(
    scan: _Scan, place: Place, objects: list[ObjectInfo], deliveries: ScannedDeliveries
) -> EstuaireError | None:
    """Look at one delivery and note what it is; returns the error of a store that did not answer, which says nothing of the delivery."""
    row, fingerprint = scan.known.get(place), _fingerprint(objects)
    same = row is not None and row["fingerprint"] == fingerprint
    state = row["state"] if row is not None else None
    if row and same and (state in ("landed", "held") or (state == "blocked" and row["error_code"] not in OURS)):
        deliveries.unchanged += 1
        return None
    try:
        manifest = scan.look(place, objects)
        with scan.database.transaction() as connection, connection.cursor() as cursor:
            if manifest is None:
                _note_fingerprint(cursor, place, fingerprint)
                deliveries.unchanged += 1
                return None
            _note_received(cursor, manifest, fingerprint, scan.run_id)
        deliveries.pending.append(place)
        # two deliveries of one scan with the same sequence: the second is refused as well
        scan.known[place] = {"state": "landed", "sequence": manifest.sequence}
        return None
    except _Arriving:
        if state == "landed":
            deliveries.unchanged += 1
        else:
            _note_arriving(scan, place, fingerprint, deliveries)
        return None
    except (psycopg2.OperationalError, psycopg2.InterfaceError, *PASSING):
        raise
    except BaseException as error:  # noqa: BLE001 - named, and noted with the delivery
        told = unforeseen(error, hospital=place[0], delivery=place[1])
    if told.retryable and not isinstance(told, TaskFailed):
        return told
    if row and same and state == "blocked" and row["error_code"] == told.code:
        deliveries.unchanged += 1
        return None
    _note_refusal(scan, place, fingerprint, told, deliveries)
    return None


def _note_arriving(scan: _Scan, place: Place, fingerprint: str, deliveries: ScannedDeliveries) -> None:
    with scan.database.transaction() as connection, connection.cursor() as cursor:
        _note(cursor, *place, fingerprint, "arriving", scan.run_id)
    deliveries.arriving.append(place)


def _note_refusal(
    scan: _Scan, place: Place, fingerprint: str, error: EstuaireError, deliveries: ScannedDeliveries
) -> None:
    row = scan.known.get(place)
    with scan.database.transaction() as connection, connection.cursor() as cursor:
        if row is not None and row["state"] == "landed":
            note_error(cursor, *place, error.fields, "landed")
            _note_fingerprint(cursor, place, fingerprint)
            deliveries.changed_after_landing.append(place)
        else:
            _note(cursor, *place, fingerprint, "blocked", scan.run_id)
            note_error(cursor, *place, error.fields, "blocked")
            deliveries.blocked.append(place)


def _withdraw(database: Database, run_id: str, gone: list[Place], deliveries: ScannedDeliveries) -> None:
    """Deliveries that were taken away before they landed, and what was set aside of them: nobody is waited for any more."""
    if not gone:
        return
    with database.transaction() as connection, connection.cursor() as cursor:
        for place in sorted(gone):
            cursor.execute(
                f"update control.delivery set state = 'withdrawn', {error_columns.SET_NULL}, run_id = %s, "
                "updated_at = now() where hospital_id = %s and delivery_id = %s and state <> 'landed'",
                (run_id, *place),
            )
            cursor.execute(
                "update control.rejected_record set state = 'abandoned' where hospital_id = %s and delivery_id = %s",
                place,
            )
            deliveries.withdrawn.append(place)

"""What stands in landing/: finds deliveries, checks their manifests, and notes each in the ledger.

A landed delivery that comes again with the same bytes is a no-op; with other bytes, a typed error. A blocked one stays blocked until its
bytes change or someone asks for a replay.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import cursor as Cursor

from estuaire import manifest as manifests
from estuaire.errors import (
    ChecksumMismatch,
    DeliveryChanged,
    EstuaireError,
    FileMissing,
    ManifestInvalid,
    ManifestMissing,
    UnknownHospital,
)
from estuaire.ledger import connect, fetch
from estuaire.manifest import Manifest, parse_manifest
from estuaire.objectstore import ObjectInfo, ObjectStore
from estuaire.registry import Registry
from estuaire.settings import Settings

PREFIX = "landing/"


@dataclass
class Found:
    """What a scan of landing/ found.

    ``pending`` are deliveries to land, ``blocked`` those refused by this scan, ``unchanged`` those already known.
    """

    pending: list[tuple[str, str]] = field(default_factory=list)
    blocked: list[tuple[str, str]] = field(default_factory=list)
    changed_after_landing: list[tuple[str, str]] = field(default_factory=list)
    unchanged: int = 0

    @property
    def hospitals(self) -> list[str]:
        """Hospitals that this run has something to say about."""
        return sorted({h for h, _ in (*self.pending, *self.blocked, *self.changed_after_landing)})


def _fingerprint(objects: list[ObjectInfo]) -> str:
    text = "\n".join(f"{o.key}\x1f{o.size}\x1f{o.version}" for o in objects)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of(store: ObjectStore, hospital: str, delivery: str) -> str | None:
    """What tells whether a delivery's folder changed since a scan; None where it is gone."""
    objects = list(store.list(f"{PREFIX}{hospital}/{delivery}/"))
    return _fingerprint(objects) if objects else None


def _folders(store: ObjectStore) -> dict[tuple[str, str], list[ObjectInfo]]:
    """Objects of landing/ by (hospital, delivery) folder."""
    folders: dict[tuple[str, str], list[ObjectInfo]] = {}
    for item in store.list(PREFIX):
        parts = item.key.split("/")
        if len(parts) >= 4:
            folders.setdefault((parts[1], parts[2]), []).append(item)
    return folders


def _sha256(store: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    with store.open(key) as stream:
        while data := stream.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def _check_present(manifest: Manifest, objects: list[ObjectInfo], prefix: str) -> None:
    present = {o.key: o for o in objects}
    for file in manifest.files:
        found = present.get(prefix + file.path)
        place = {"hospital": manifest.hospital, "delivery": manifest.delivery_id, "file": file.path}
        if found is None:
            raise FileMissing("the manifest names a file that was not delivered", remedy="upload the file", **place)
        if found.size != file.bytes:
            raise ChecksumMismatch(
                f"the file has {found.size} bytes, the manifest declares {file.bytes}",
                remedy="upload the file again, or write a new manifest with `estuaire deliver`",
                **place,
            )


def read_manifest(store: ObjectStore, registry: Registry, hospital: str, delivery: str) -> Manifest:
    """The manifest of a delivery in landing/.

    Raises:
        ManifestMissing, ManifestInvalid, UnknownHospital, ContractVersionUnknown, PathOutsideDelivery.
    """
    try:
        registry.get(hospital)
    except UnknownHospital as error:
        raise UnknownHospital(error.what, remedy=error.remedy, hospital=hospital, delivery=delivery) from None
    key = f"{PREFIX}{hospital}/{delivery}/{manifests.NAME}"
    if store.stat(key) is None:
        raise ManifestMissing(
            "the delivery has no manifest",
            hospital=hospital,
            delivery=delivery,
            file=manifests.NAME,
            remedy="upload manifest.json last; `estuaire deliver` writes it",
        )
    with store.open(key) as stream:
        return parse_manifest(stream.read(), hospital=hospital, delivery=delivery, registry=registry)


def _note(cursor: Cursor, hospital: str, delivery: str, fingerprint: str, state: str, run_id: str) -> None:
    cursor.execute(
        "insert into control.delivery (hospital_id, delivery_id, state, fingerprint, run_id, error_code) "
        "values (%s, %s, %s, %s, %s, case when %s = 'blocked' then 'E_ESTUAIRE' end) "
        "on conflict (hospital_id, delivery_id) do update set state = excluded.state, fingerprint = excluded.fingerprint, "
        "run_id = excluded.run_id, error_code = excluded.error_code, error = null, remedy = null, updated_at = now()",
        (hospital, delivery, state, fingerprint, run_id, state),
    )


def note_error(cursor: Cursor, hospital: str, delivery: str, code: str, sentence: str, remedy: str, state: str) -> None:
    """Write a typed error on a delivery's row, in the caller's transaction."""
    cursor.execute(
        "update control.delivery set state = %s, error_code = %s, error = %s, remedy = %s, updated_at = now() "
        "where hospital_id = %s and delivery_id = %s",
        (state, code, sentence, remedy, hospital, delivery),
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


def _still_the_same(store: ObjectStore, manifest: Manifest, known_hash: str, prefix: str) -> None:
    changed = manifest.content_hash != known_hash
    for file in manifest.files:
        if changed:
            break
        changed = store.stat(prefix + file.path) is not None and _sha256(store, prefix + file.path) != file.sha256
    if changed:
        raise DeliveryChanged(
            "this delivery was landed before and comes again with other bytes; what was landed stays",
            hospital=manifest.hospital,
            delivery=manifest.delivery_id,
            file=manifests.NAME,
            remedy="deliver the correction under a new delivery id with the next sequence",
        )


def discover(settings: Settings, store: ObjectStore, registry: Registry, run_id: str) -> Found:
    """Scan landing/ and bring the ledger up to it. Errors of one delivery never stop another."""
    found = Found()
    known = {
        (row["hospital_id"], row["delivery_id"]): row
        for row in fetch(
            settings,
            "select hospital_id, delivery_id, state, sequence, content_hash, fingerprint from control.delivery",
        )
    }
    for (hospital, delivery), objects in sorted(_folders(store).items()):
        fingerprint = _fingerprint(objects)
        row = known.get((hospital, delivery))
        prefix = f"{PREFIX}{hospital}/{delivery}/"
        if row and row["fingerprint"] == fingerprint and row["state"] in ("landed", "blocked", "held"):
            found.unchanged += 1
            continue
        landed = row is not None and row["state"] == "landed"
        with connect(settings) as connection, connection.cursor() as cursor:
            try:
                manifest = read_manifest(store, registry, hospital, delivery)
                if landed and row is not None:
                    _still_the_same(store, manifest, row["content_hash"], prefix)
                    cursor.execute(
                        "update control.delivery set fingerprint = %s where hospital_id = %s and delivery_id = %s",
                        (fingerprint, hospital, delivery),
                    )
                    found.unchanged += 1
                    continue
                _same_sequence(known, manifest)
                _check_present(manifest, objects, prefix)
                _note(cursor, hospital, delivery, fingerprint, "received", run_id)
                cursor.execute(
                    "update control.delivery set sequence = %s, kind = %s, contract_version = %s, period_from = %s, "
                    "period_to = %s, extracted_at = %s, content_hash = %s, manifest = %s "
                    "where hospital_id = %s and delivery_id = %s",
                    (
                        manifest.sequence, manifest.kind, manifest.contract_version, manifest.period_from,
                        manifest.period_to, manifest.extracted_at, manifest.content_hash,
                        json.dumps(json.loads(manifest.to_json())), hospital, delivery,
                    ),
                )  # fmt: skip
                found.pending.append((hospital, delivery))
                # two deliveries of one scan with the same sequence: the second is refused as well
                known[hospital, delivery] = {"state": "landed", "sequence": manifest.sequence}
            except EstuaireError as error:
                if error.retryable:
                    raise
                if landed:
                    note_error(cursor, hospital, delivery, error.code, error.sentence(), error.remedy, "landed")
                    cursor.execute(
                        "update control.delivery set fingerprint = %s where hospital_id = %s and delivery_id = %s",
                        (fingerprint, hospital, delivery),
                    )
                    found.changed_after_landing.append((hospital, delivery))
                else:
                    _note(cursor, hospital, delivery, fingerprint, "blocked", run_id)
                    note_error(cursor, hospital, delivery, error.code, error.sentence(), error.remedy, "blocked")
                    found.blocked.append((hospital, delivery))
    return found

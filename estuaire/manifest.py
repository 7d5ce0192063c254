"""manifest.json: what a delivery holds. Uploaded last, it commits the delivery.

Landing layout: ``landing/<hospital>/<delivery>/manifest.json`` beside the files that it names.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import Any

import jsonschema

from estuaire.contracts import VERSIONS, Contract, load_contract
from estuaire.errors import ContractVersionUnknown, ManifestInvalid, PathOutsideDelivery, UnknownHospital
from estuaire.registry import Registry

NAME = "manifest.json"

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Estuaire delivery manifest, contract v1",
    "type": "object",
    "required": [
        "contract_version",
        "finess",
        "delivery_id",
        "sequence",
        "extracted_at",
        "kind",
        "period",
        "files",
    ],
    "properties": {
        "contract_version": {"type": "string"},
        "finess": {"type": "string", "pattern": "^[0-9]{9}$"},
        "delivery_id": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
        "sequence": {"type": "integer", "minimum": 1},
        "extracted_at": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T"},
        "kind": {"enum": ["full", "delta"]},
        "period": {
            "type": "object",
            "required": ["from", "to"],
            "properties": {"from": {"$ref": "#/$defs/day"}, "to": {"$ref": "#/$defs/day"}},
        },
        "files": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["table", "path", "sha256", "bytes", "rows", "dialect"],
                "properties": {
                    "table": {"type": "string"},
                    "path": {"type": "string", "minLength": 1},
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "bytes": {"type": "integer", "minimum": 0},
                    "rows": {"type": "integer", "minimum": 0},
                    "dialect": {"type": "string"},
                },
            },
        },
    },
    "$defs": {"day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}},
}


_VALIDATOR = jsonschema.Draft202012Validator(
    SCHEMA
)  # made once: `jsonschema.validate` checks the schema itself every time


@dataclass(frozen=True)
class ManifestFile:
    """One file: ``rows`` is the hospital's own count of records (header not counted), ``dialect`` a registered name."""

    table: str
    path: str
    sha256: str
    bytes: int
    rows: int
    dialect: str


@dataclass(frozen=True)
class Manifest:
    """One delivery of one hospital. ``period`` is [from, to), the days that it covers."""

    contract_version: str
    hospital: str
    finess: str
    delivery_id: str
    sequence: int
    extracted_at: datetime
    kind: str
    period_from: date
    period_to: date
    files: tuple[ManifestFile, ...]

    def to_json(self) -> str:
        """The document that a hospital uploads."""
        return json.dumps(
            {
                "contract_version": self.contract_version,
                "finess": self.finess,
                "delivery_id": self.delivery_id,
                "sequence": self.sequence,
                "extracted_at": self.extracted_at.isoformat(),
                "kind": self.kind,
                "period": {"from": self.period_from.isoformat(), "to": self.period_to.isoformat()},
                "files": [asdict(f) for f in self.files],
            },
            indent=2,
            ensure_ascii=False,
        )

    @property
    def content_hash(self) -> str:
        """sha256 (hex) over what the delivery means: two manifests of the same bytes have the same hash."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def parse_manifest(raw: bytes, *, hospital: str, delivery: str, registry: Registry) -> Manifest:
    """The manifest of ``landing/<hospital>/<delivery>/``, checked against schema, registry and contract.

    Raises:
        ManifestInvalid: not JSON, wrong form, wrong dates, a table or dialect that the hospital does not have.
        UnknownHospital: the registry does not hold the folder's hospital, or its FINESS is another.
        ContractVersionUnknown: a contract version that is not served.
        PathOutsideDelivery: a path that leaves the delivery folder.
    """
    place = {"hospital": hospital, "delivery": delivery, "file": NAME}
    entry = registry.get(hospital)
    try:
        document = json.loads(raw.decode("utf-8-sig"))
        wrong = jsonschema.exceptions.best_match(_VALIDATOR.iter_errors(document))
        if wrong is not None:
            raise wrong
        period_from = date.fromisoformat(document["period"]["from"])
        period_to = date.fromisoformat(document["period"]["to"])
        extracted_at = datetime.fromisoformat(document["extracted_at"])
    except jsonschema.ValidationError as error:
        # error.message may repeat the value found; the path is enough to mend it
        raise ManifestInvalid(
            f"the manifest does not follow its schema at {error.json_path} ({error.validator})",
            remedy="correct it and upload it again; `estuaire deliver` writes a right one",
            **place,
        ) from None
    except ValueError:
        raise ManifestInvalid(
            "the manifest is not readable JSON, or holds a date that does not exist",
            remedy="upload it again; `estuaire deliver` writes a right one",
            **place,
        ) from None
    if document["contract_version"] not in VERSIONS:
        raise ContractVersionUnknown(
            f"contract version {document['contract_version'][:16]!r} is not served",
            remedy=f"deliver with contract version {VERSIONS[-1]}",
            **place,
        )
    if document["finess"] != entry.finess:
        raise UnknownHospital(
            "the manifest's FINESS number is not the one registered for this folder's hospital",
            remedy="deliver into the hospital's own folder, or correct the FINESS number",
            **place,
        )
    if document["delivery_id"] != delivery:
        raise ManifestInvalid(
            "the manifest's delivery_id is not its folder's name", remedy="give both the same name", **place
        )
    if period_to <= period_from:
        raise ManifestInvalid("the period ends before it begins", remedy="correct period.from and period.to", **place)
    contract: Contract = load_contract(document["contract_version"])
    files = []
    for item in document["files"]:
        path = PurePosixPath(item["path"])
        if path.is_absolute() or ".." in path.parts or "\\" in item["path"] or "\x00" in item["path"]:
            raise PathOutsideDelivery(
                "a file's path leaves the delivery folder", remedy="name files relative to the manifest", **place
            )
        if item["table"] not in contract.names:
            raise ManifestInvalid(
                "the manifest names a table that the contract does not have",
                remedy=f"use one of {', '.join(contract.names)}",
                **place,
            )
        if item["dialect"] not in entry.dialects:
            raise ManifestInvalid(
                "the manifest names a dialect that the registry does not hold for this hospital",
                remedy=f"use one of {', '.join(entry.dialects)}",
                **place,
            )
        files.append(ManifestFile(**{k: item[k] for k in ("table", "path", "sha256", "bytes", "rows", "dialect")}))
    if len({f.path for f in files}) != len(files):
        raise ManifestInvalid("the manifest names a file twice", remedy="name each file once", **place)
    return Manifest(
        contract_version=document["contract_version"],
        hospital=hospital,
        finess=document["finess"],
        delivery_id=delivery,
        sequence=document["sequence"],
        extracted_at=extracted_at,
        kind=document["kind"],
        period_from=period_from,
        period_to=period_to,
        files=tuple(files),
    )

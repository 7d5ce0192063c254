"""manifest.json: what a delivery holds. Uploaded last, it commits the delivery.

Landing layout: ``landing/<hospital>/<delivery>/manifest.json`` beside the files that it names. Whatever a manifest holds is bounded: its
size, each number, the number of files, and the alphabet of every name (docs/domain/deliveries.md, "The manifest").
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import jsonschema

from estuaire.base.errors import ContractVersionUnknown, ManifestInvalid, PathOutsideDelivery, UnknownHospital
from estuaire.contract.registry import Hospital, Registry
from estuaire.contract.tables import VERSIONS, Contract, load_contract

LANDING = "landing/"
NAME = "manifest.json"
MAX_BYTES = 5 << 20
MAX_FILES = 10_000
MAX_SEQUENCE = 2**63 - 1  # a bigint, wherever it goes
MAX_ROWS, MAX_FILE_BYTES = 10**12, 1 << 50  # so that the sums over a delivery's files are bigints, too
YEARS_EXTRACTED = (1970, 2199)
YEARS_COVERED = (1800, 2399)  # a shifted calendar may lie in another century
OFFSETS = (timedelta(hours=-12), timedelta(hours=14))  # of UTC, as the earth's clocks have them
_FOLDER = re.compile("by-content-[0-9a-f]{16}/")  # where a hand-in puts the files (estuaire.deliveries.hand_in)

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
        "contract_version": {"type": "string", "maxLength": 16},
        "finess": {"type": "string", "pattern": "^[0-9]{9}$"},
        "delivery_id": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
        "sequence": {"type": "integer", "minimum": 1, "maximum": MAX_SEQUENCE},
        "extracted_at": {
            "type": "string",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$",
        },
        "kind": {"enum": ["full", "delta"]},
        "period": {
            "type": "object",
            "required": ["from", "to"],
            "properties": {"from": {"$ref": "#/$defs/day"}, "to": {"$ref": "#/$defs/day"}},
        },
        "files": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_FILES,
            "items": {
                "type": "object",
                "required": ["table", "path", "sha256", "bytes", "rows", "dialect"],
                "properties": {
                    "table": {"type": "string", "maxLength": 64},
                    "path": {"type": "string", "minLength": 1, "maxLength": 240},
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "bytes": {"type": "integer", "minimum": 0, "maximum": MAX_FILE_BYTES},
                    "rows": {"type": "integer", "minimum": 0, "maximum": MAX_ROWS},
                    "dialect": {"type": "string", "maxLength": 64},
                },
            },
        },
    },
    "$defs": {"day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}},
}


def _whole(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pattern(_validator: object, pattern: str, value: object, _schema: object) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield jsonschema.ValidationError("another form is expected")


# JSON Schema takes 1.0 for an integer, and Python's "$" takes a line end before it: neither is meant here
_STRICT = jsonschema.validators.extend(  # type: ignore[no-untyped-call] # jsonschema does not type it
    jsonschema.Draft202012Validator,
    {"pattern": _pattern},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _whole),
)
_VALIDATOR = _STRICT(SCHEMA)  # made once: `jsonschema.validate` checks the schema itself every time
# one part of a file's path: Windows, S3 and a terminal read these characters alike, and SQL and shells give none a meaning in a name
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9 ._+=@()-]*[A-Za-z0-9_+=@()-])?")
MAX_PARTS = 8
PATH_REMEDY = (
    "name files and folders with letters without accents, digits, spaces and . _ + = @ ( ) -, and begin them with a letter, a digit "
    "or _"
)


def safe_path(path: str) -> bool:
    """Whether a file's path below its delivery folder is made of the safe alphabet."""
    parts = path.split("/")
    return len(parts) <= MAX_PARTS and all(_PART.fullmatch(p) for p in parts) and path != NAME


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


def delivered_hash(document: dict[str, Any]) -> str:
    """As ``Manifest.content_hash``, of the document and but for the moment of extraction and the folder that a hand-in puts files into:
    a delivery that is sent again says another moment each time, and is the same delivery."""
    files = [file | {"path": local_path(file["path"])} for file in document["files"]]
    told = {key: value for key, value in document.items() if key != "extracted_at"} | {"files": files}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def local_path(path: str) -> str:
    """A file's path as its hospital knows it, without the folder that a hand-in puts it into."""
    return _FOLDER.sub("", path) if _FOLDER.match(path) else path


def read_bounded(stream: BinaryIO, *, hospital: str, delivery: str) -> bytes:
    """The bytes of a manifest.

    Raises:
        ManifestInvalid: more of them than any manifest has.
    """
    raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ManifestInvalid(
            f"the manifest has more than {MAX_BYTES >> 20} MiB",
            remedy="upload it again; `estuaire deliver` writes a right one",
            hospital=hospital,
            delivery=delivery,
            file=NAME,
        )
    return raw


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def parse_manifest(raw: bytes, *, hospital: str, delivery: str, registry: Registry) -> Manifest:
    """The manifest of ``landing/<hospital>/<delivery>/``, checked against schema, registry and contract.

    Raises:
        ManifestInvalid: not JSON, wrong form, a number, date or offset out of its bounds, a name outside the safe alphabet, a table or
            dialect that the hospital does not have.
        UnknownHospital: the registry does not hold the folder's hospital, or its FINESS is another.
        ContractVersionUnknown: a contract version that is not served.
        PathOutsideDelivery: a path that leaves the delivery folder.
    """
    place = {"hospital": hospital, "delivery": delivery, "file": NAME}
    entry = registry.get(hospital)
    document = _document(raw, place)
    _check_sender(document, delivery, entry, place)
    extracted_at, period_from, period_to = _dates(document, place)
    contract = load_contract(document["contract_version"])
    files = tuple(_file(item, contract, entry, place) for item in document["files"])
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
        files=files,
    )


def _document(raw: bytes, place: dict[str, str]) -> dict[str, Any]:
    """The JSON document, of the schema's form, its dates existing.

    Raises:
        ManifestInvalid: it is none.
    """
    try:
        document: dict[str, Any] = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant)
        wrong = jsonschema.exceptions.best_match(_VALIDATOR.iter_errors(document))
        if wrong is not None:
            raise wrong
        for end in ("from", "to"):
            date.fromisoformat(document["period"][end])
        datetime.fromisoformat(document["extracted_at"])
    except jsonschema.ValidationError as error:
        # error.message may repeat the value found; the path is enough to mend it
        raise ManifestInvalid(
            f"the manifest does not follow its schema at {error.json_path} ({error.validator})",
            remedy="correct it and upload it again; `estuaire deliver` writes a right one",
            **place,
        ) from None
    except (ValueError, RecursionError, OverflowError):
        raise ManifestInvalid(
            "the manifest is not readable JSON, is nested too deep, or holds a date that does not exist",
            remedy="upload it again; `estuaire deliver` writes a right one",
            **place,
        ) from None
    return document


def _check_sender(document: dict[str, Any], delivery: str, entry: Hospital, place: dict[str, str]) -> None:
    """Raises as ``parse_manifest``: what the manifest says of itself is not what its folder says."""
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


def _dates(document: dict[str, Any], place: dict[str, str]) -> tuple[datetime, date, date]:
    """Moment of extraction, first day of the period and the day after its last.

    Raises:
        ManifestInvalid: one is out of its bounds, or the period ends before it begins.
    """
    extracted_at = datetime.fromisoformat(document["extracted_at"])
    offset = extracted_at.utcoffset()
    if not YEARS_EXTRACTED[0] <= extracted_at.year <= YEARS_EXTRACTED[1] or (
        offset is not None and not OFFSETS[0] <= offset <= OFFSETS[1]
    ):
        raise ManifestInvalid(
            "extracted_at is no time that a clock on earth shows: its year or its offset from UTC is out of range",
            remedy="write local time, or an offset between -12:00 and +14:00",
            **place,
        )
    first, end = (date.fromisoformat(document["period"][name]) for name in ("from", "to"))
    if end <= first:
        raise ManifestInvalid("the period ends before it begins", remedy="correct period.from and period.to", **place)
    if not YEARS_COVERED[0] <= first.year <= end.year <= YEARS_COVERED[1]:
        raise ManifestInvalid(
            "the period's years are out of range", remedy="correct period.from and period.to", **place
        )
    return extracted_at, first, end


def _file(item: dict[str, Any], contract: Contract, entry: Hospital, place: dict[str, str]) -> ManifestFile:
    """Raises as ``parse_manifest``: a path, table or dialect that is not taken."""
    path = PurePosixPath(item["path"])
    if path.is_absolute() or ".." in path.parts or "\\" in item["path"] or "\x00" in item["path"]:
        raise PathOutsideDelivery(
            "a file's path leaves the delivery folder", remedy="name files relative to the manifest", **place
        )
    if not safe_path(item["path"]):
        raise ManifestInvalid(
            "a file's path holds characters or folders that are not taken", remedy=PATH_REMEDY, **place
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
    return ManifestFile(**{k: item[k] for k in ("table", "path", "sha256", "bytes", "rows", "dialect")})

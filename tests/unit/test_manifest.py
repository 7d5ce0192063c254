"""manifest.json: what commits a delivery, and every way in which it can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from estuaire.errors import ContractVersionUnknown, EstuaireError, ManifestInvalid, PathOutsideDelivery, UnknownHospital
from estuaire.manifest import Manifest, parse_manifest
from estuaire.registry import load_registry


def _document() -> dict[str, Any]:
    return {
        "contract_version": "1",
        "finess": "990000013",
        "delivery_id": "2025-10-full",
        "sequence": 1,
        "extracted_at": "2025-11-01T03:15:00+01:00",
        "kind": "full",
        "period": {"from": "2021-01-01", "to": "2025-11-01"},
        "files": [
            {"table": "stay", "path": "stay.csv", "sha256": "ab" * 32, "bytes": 10, "rows": 1, "dialect": "main"},
            {"table": "stay", "path": "more/stay-2.csv", "sha256": "cd" * 32, "bytes": 0, "rows": 0, "dialect": "main"},
        ],
    }


def _parse(raw: bytes, hospital: str = "h01", delivery: str = "2025-10-full") -> Manifest:
    return parse_manifest(raw, hospital=hospital, delivery=delivery, registry=load_registry())


def test_a_right_manifest_is_read_and_written_back_alike() -> None:
    manifest = _parse(json.dumps(_document()).encode())
    assert (manifest.hospital, manifest.sequence, manifest.kind) == ("h01", 1, "full")
    assert (manifest.period_from, manifest.period_to) == (date(2021, 1, 1), date(2025, 11, 1))
    assert [f.path for f in manifest.files] == ["stay.csv", "more/stay-2.csv"]
    assert _parse(manifest.to_json().encode()) == manifest
    assert _parse(b"\xef\xbb\xbf" + manifest.to_json().encode()) == manifest


def test_the_content_hash_is_of_the_meaning_not_of_the_layout() -> None:
    document = _document()
    manifest = _parse(json.dumps(document).encode())
    assert _parse(json.dumps(document, indent=7, sort_keys=True).encode()).content_hash == manifest.content_hash
    document["files"][0]["sha256"] = "ef" * 32
    assert _parse(json.dumps(document).encode()).content_hash != manifest.content_hash


def _file(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda d: d["files"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (lambda d: d.pop("sequence"), ManifestInvalid, "required"),
        (lambda d: d.update(sequence=0), ManifestInvalid, r"\$\.sequence"),
        (lambda d: d.update(sequence="1"), ManifestInvalid, r"\$\.sequence"),
        (lambda d: d.update(kind="weekly"), ManifestInvalid, r"\$\.kind"),
        (lambda d: d.update(files=[]), ManifestInvalid, r"\$\.files"),
        (lambda d: d.update(period={"from": "2021-02-30", "to": "2025-11-01"}), ManifestInvalid, "date"),
        (lambda d: d.update(period={"from": "2025-11-01", "to": "2025-11-01"}), ManifestInvalid, "ends before"),
        (lambda d: d.update(extracted_at="2025-13-01T00:00:00"), ManifestInvalid, "date"),
        (lambda d: d.update(delivery_id="other"), ManifestInvalid, "folder's name"),
        (lambda d: d.update(delivery_id="a'b"), ManifestInvalid, "delivery_id"),
        (_file(sha256="AB" * 32), ManifestInvalid, "sha256"),
        (_file(rows=-1), ManifestInvalid, "rows"),
        (_file(bytes=1.5), ManifestInvalid, "bytes"),
        (_file(table="nothing"), ManifestInvalid, "table"),
        (_file(dialect="nothing"), ManifestInvalid, "dialect"),
        (_file(path="more/stay-2.csv"), ManifestInvalid, "twice"),
        (_file(path="../h02/stay.csv"), PathOutsideDelivery, "leaves"),
        (_file(path="a/../../stay.csv"), PathOutsideDelivery, "leaves"),
        (_file(path="/etc/passwd"), PathOutsideDelivery, "leaves"),
        (_file(path="..\\stay.csv"), PathOutsideDelivery, "leaves"),
        (_file(path="stay\x00.csv"), PathOutsideDelivery, "leaves"),
        (lambda d: d.update(contract_version="7"), ContractVersionUnknown, "'7'"),
        (lambda d: d.update(finess="990000021"), UnknownHospital, "FINESS"),
    ],
)
def test_each_mistake_has_its_typed_error_and_remedy(
    change: Callable[[dict[str, Any]], object], kind: type[EstuaireError], says: str
) -> None:
    document = _document()
    change(document)
    with pytest.raises(kind, match=says) as raised:
        _parse(json.dumps(document).encode())
    error = raised.value
    assert (error.hospital, error.delivery, error.file) == ("h01", "2025-10-full", "manifest.json")
    assert error.remedy
    assert not error.retryable


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe{}", b"[]", b"null"], ids=repr)
def test_what_is_no_manifest_at_all_is_invalid(raw: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        _parse(raw)


def test_an_unknown_folder_is_an_unknown_hospital() -> None:
    with pytest.raises(UnknownHospital):
        _parse(json.dumps(_document()).encode(), hospital="h77")


def test_an_error_never_repeats_what_the_manifest_said() -> None:
    document = _document()
    document["kind"] = "DUPONT Jean 01/02/1955"
    with pytest.raises(ManifestInvalid) as raised:
        _parse(json.dumps(document).encode())
    assert "DUPONT" not in raised.value.sentence()
    assert raised.value.__cause__ is None

"""manifest.json: what commits a delivery, and every way in which it can be wrong."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from estuaire.base.errors import (
    ContractVersionUnknown,
    EstuaireError,
    ManifestInvalid,
    PathOutsideDelivery,
    UnknownHospital,
)
from estuaire.contract.manifest import Manifest, delivered_hash, parse_manifest, read_bounded
from estuaire.contract.registry import load_registry


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
        # every number has bounds, and a whole number is one (C19)
        (lambda d: d.update(sequence=2**63), ManifestInvalid, r"\$\.sequence"),
        (lambda d: d.update(sequence=10**400), ManifestInvalid, r"\$\.sequence"),
        (lambda d: d.update(sequence=1.0), ManifestInvalid, r"\$\.sequence"),
        (lambda d: d.update(sequence=True), ManifestInvalid, r"\$\.sequence"),
        (lambda d: d.update(sequence=float("nan")), ManifestInvalid, "JSON"),
        (_file(rows=1.0), ManifestInvalid, r"\$\.files\[0\]\.rows"),
        (_file(rows=1e30), ManifestInvalid, r"\$\.files\[0\]\.rows"),
        (_file(rows=2**63), ManifestInvalid, r"\$\.files\[0\]\.rows"),
        (_file(bytes=2**63), ManifestInvalid, r"\$\.files\[0\]\.bytes"),
        (lambda d: d.update(files=d["files"][:1] * 10_001), ManifestInvalid, r"\$\.files"),
        # a time that some clock on earth shows
        (lambda d: d.update(extracted_at="2025-11-01T03:15:00+23:00"), ManifestInvalid, "offset"),
        (lambda d: d.update(extracted_at="2025-11-01T03:15:00-12:30"), ManifestInvalid, "offset"),
        (lambda d: d.update(extracted_at="2025-11-01T03:15:00+99:99"), ManifestInvalid, "date"),
        (lambda d: d.update(extracted_at="0001-01-01T00:00:00+14:00"), ManifestInvalid, "year"),
        (lambda d: d.update(extracted_at="9999-12-31T23:59:59-12:00"), ManifestInvalid, "year"),
        (lambda d: d.update(extracted_at="2025-11-01Tmidnight"), ManifestInvalid, r"\$\.extracted_at"),
        (lambda d: d.update(extracted_at="2025-11-01T03:15:00Z\n"), ManifestInvalid, r"\$\.extracted_at"),
        (lambda d: d.update(period={"from": "0001-01-01", "to": "9999-12-31"}), ManifestInvalid, "years"),
        # names from a safe alphabet, to their very end
        (lambda d: d.update(delivery_id="2025-10-full\n"), ManifestInvalid, r"\$\.delivery_id"),
        (lambda d: d.update(finess="990000013\n"), ManifestInvalid, r"\$\.finess"),
        (_file(sha256="ab" * 32 + "\n"), ManifestInvalid, "sha256"),
        (_file(path="stay.csv\n"), ManifestInvalid, "path"),
        (_file(path="sta\x1b[2Jy.csv"), ManifestInvalid, "path"),
        (_file(path="séjours.csv"), ManifestInvalid, "path"),
        (_file(path="stay\u202e.csv"), ManifestInvalid, "path"),
        (_file(path="a'b.csv"), ManifestInvalid, "path"),
        (_file(path="./stay.csv"), ManifestInvalid, "path"),
        (_file(path="a//stay.csv"), ManifestInvalid, "path"),
        (_file(path="a/./stay.csv"), ManifestInvalid, "path"),
        (_file(path="/".join("abcdefghi") + ".csv"), ManifestInvalid, "path"),
        (_file(path="manifest.json"), ManifestInvalid, "path"),
        (_file(path="x" * 241), ManifestInvalid, "path"),
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


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b"[" * 50_000 + b"]" * 50_000,
    ],
    ids=lambda raw: repr(raw[:8]),
)
def test_what_is_no_manifest_at_all_is_invalid(raw: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        _parse(raw)


def test_right_manifests_at_the_bounds_are_read() -> None:
    document = _document()
    document.update(sequence=2**63 - 1, extracted_at="2025-11-01T03:15:00+14:00")
    document["files"][0].update(rows=10**12, bytes=1 << 50, path="by-content-0123456789abcdef/Stay 2025 (1).csv.gz")
    manifest = _parse(json.dumps(document).encode())
    assert (manifest.sequence, manifest.files[0].rows) == (2**63 - 1, 10**12)
    for written in ("2025-11-01T03:15", "2025-11-01T03:15:00.123456Z", "2025-11-01T03:15:00-1200"):
        document["extracted_at"] = written
        assert _parse(json.dumps(document).encode()).extracted_at.year == 2025


def test_a_manifest_is_read_no_further_than_any_manifest_goes() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert size >= 0
            self.given += size
            return b" " * size

    endless = Endless()
    with pytest.raises(ManifestInvalid, match="more than 5 MiB"):
        read_bounded(endless, hospital="h01", delivery="d")  # type: ignore[arg-type]
    assert endless.given < 6 << 20


def test_the_moment_of_extraction_and_the_folder_of_a_hand_in_make_no_other_delivery() -> None:
    document = _document()
    again = copy.deepcopy(document) | {"extracted_at": "2025-11-02T03:15:00+01:00"}
    again["files"][0]["path"] = "by-content-0123456789abcdef/stay.csv"
    assert delivered_hash(again) == delivered_hash(document)
    again["files"][0]["rows"] = 2
    assert delivered_hash(again) != delivered_hash(document)


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

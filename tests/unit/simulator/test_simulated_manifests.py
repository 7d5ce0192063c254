"""Manifests are ones that the platform reads, and say what the files hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

from delivered_files import damage, records
from simulated_world import World, write

from estuaire.contract.manifest import parse_manifest
from estuaire.contract.registry import load_registry


def test_manifests_parse_and_match_the_files(world: World) -> None:
    registry = load_registry()
    for delivery in world.summary.deliveries:
        folder = world.folder / "landing" / delivery.hospital / delivery.delivery
        manifest = parse_manifest(
            (folder / "manifest.json").read_bytes(),
            hospital=delivery.hospital, delivery=delivery.delivery, registry=registry,
        )  # fmt: skip
        assert (manifest.sequence, manifest.kind) == (delivery.sequence, delivery.kind)
        assert {f.path for f in manifest.files} | {"manifest.json"} == {p.name for p in folder.iterdir()}
        for file in manifest.files:
            data = (folder / file.path).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
            place = (world.folder, delivery.hospital, delivery.delivery, file.table)
            assert len(records(*place)) + damage(*place).total() == file.rows


def test_large_tables_are_split_without_loss(world: World, tmp_path: Path) -> None:
    split = write(tmp_path, shared_share=0.2, max_rows_per_file=500)
    names = {p.name for p in (tmp_path / "landing" / "h02" / "2025-10-full").iterdir()}
    assert {"administration-001.csv.gz", "administration-002.csv.gz", "patient.csv.gz"} <= names
    for hospital in world.plan.hospitals:
        args = (hospital, "2025-10-full", "administration")
        assert records(split.folder, *args) == records(world.folder, *args)


def test_a_wrong_checksum_is_in_the_manifest_only(world: World, tmp_path: Path) -> None:
    bad = write(tmp_path, shared_share=0.2, bad_checksum=(("h03", "2025-11-delta"),))
    ours, theirs = bad.bytes(), world.bytes()
    assert {name for name in ours if ours[name] != theirs[name]} == {"h03/2025-11-delta/manifest.json"}
    manifest = parse_manifest(
        ours["h03/2025-11-delta/manifest.json"], hospital="h03", delivery="2025-11-delta", registry=load_registry()
    )
    wrong = [
        f.path for f in manifest.files
        if hashlib.sha256(ours[f"h03/2025-11-delta/{f.path}"]).hexdigest() != f.sha256
    ]  # fmt: skip
    assert len(wrong) == 1
    blocked = bad.truth["hospitals"]["h03"]["2025-11-delta"]
    assert blocked["blocked"]
    before = bad.truth["hospitals"]["h03"]["2025-10-full"]["tables"]["administration"]["current_after"]
    assert blocked["tables"]["administration"]["current_after"] == before

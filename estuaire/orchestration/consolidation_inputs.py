"""What each hospital's consolidation reads, and which hospitals are to be consolidated: those whose input is another one than their files were built from."""

from __future__ import annotations

import hashlib
from datetime import UTC
from typing import Any

from estuaire.contract.codes import registry_error
from estuaire.contract.registry import Registry
from estuaire.gates import consolidated as gate
from estuaire.kernel import consolidate as kernel
from estuaire.rules.rule_registry import load_rules
from estuaire.storage import set_aside
from estuaire.storage.database import Database
from estuaire.storage.ledger import fetch
from estuaire.storage.platform import Platform


def inputs(platform: Platform, only: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Per hospital (of ``only``, or all) what its consolidation reads, and the hash of it all."""
    database = platform.database
    registry = platform.registry
    inputs_by_hospital: dict[str, dict[str, Any]] = {}
    for row in fetch(
        database,
        "select hospital_id, table_name, key, rows from control.landed_file "
        "where %(only)s::text[] is null or hospital_id = any(%(only)s) order by hospital_id, table_name, key",
        {"only": only},
    ):
        entry = inputs_by_hospital.setdefault(row["hospital_id"], _nothing())
        entry["files"].append((row["table_name"], row["key"]))
        entry["rows"] += row["rows"]
    for row in fetch(
        database,
        "select hospital_id, sequence, period_from, period_to, manifest from control.delivery "
        "where state = 'landed' and kind = 'full' and (%(only)s::text[] is null or hospital_id = any(%(only)s)) "
        "order by hospital_id, sequence",
        {"only": only},
    ):
        tables = tuple(sorted({f["table"] for f in row["manifest"]["files"]}))
        full = kernel.Full(row["sequence"], row["period_from"], row["period_to"], tables)
        inputs_by_hospital.setdefault(row["hospital_id"], _nothing())["fulls"].append(full)
    for row in fetch(
        database,
        "select hospital_id, array_agg(period_to order by sequence) as ends, array_agg(extracted_at order by sequence) as extracted "
        "from control.delivery where state = 'landed' and exists (select 1 from jsonb_array_elements(manifest::jsonb -> 'files') f "
        "where f ->> 'table' = 'stay' and (f ->> 'rows')::bigint > 0) group by hospital_id",
    ):
        if row["hospital_id"] in inputs_by_hospital and row["hospital_id"] in registry.hospitals:
            inputs_by_hospital[row["hospital_id"]]["stays_until"] = kernel.stays_until(
                registry.hospitals[row["hospital_id"]], zip(row["ends"], row["extracted"], strict=True)
            )
    for row in fetch(
        database,
        "select r.hospital_id, r.table_name, r.business_key, r.sequence, r.source_updated_at "
        "from control.rejected_record r join control.delivery d using (hospital_id, delivery_id) "
        "where d.state = 'landed' and r.state in ('open', 'sent_to_hospital') and r.business_key is not null "
        "and (%(only)s::text[] is null or r.hospital_id = any(%(only)s)) "
        "order by r.hospital_id, r.table_name, r.business_key, r.sequence",
        {"only": only},
    ):
        updated = row["source_updated_at"]
        if row["hospital_id"] in inputs_by_hospital:
            inputs_by_hospital[row["hospital_id"]]["rejected"].append(
                kernel.Rejected(
                    row["table_name"], row["business_key"], row["sequence"], updated.isoformat() if updated else None
                )
            )
    for hospital, entry in inputs_by_hospital.items():
        maps = _maps(registry, hospital)
        until = entry["stays_until"] and entry["stays_until"].astimezone(UTC).isoformat()
        rules = None if "wrong" in maps else kernel.depends_on(registry.get(hospital))
        text = repr((rules, entry["files"], entry["fulls"], entry["rejected"], until, maps))
        entry["input_hash"] = hashlib.sha256(text.encode()).hexdigest()
    return inputs_by_hospital


def _maps(registry: Registry, hospital: str) -> dict[str, Any]:
    """A hospital's code maps as they stand; what is wrong with its entry or with one of them instead, so that it is said once."""
    wrong = registry_error(registry, hospital)
    if wrong is not None:
        return {"wrong": wrong.sentence()}
    maps = registry.get(hospital).code_maps
    return {s: p.read_text(encoding="utf-8") for s, p in sorted(maps.items())}


def _nothing() -> dict[str, Any]:
    return {"files": [], "rows": 0, "fulls": [], "rejected": [], "stays_until": None}


def changed(platform: Platform) -> list[str]:
    """Hospitals whose input is not the one that their consolidated files were built from, without those that the gate blocked on this
    very input."""
    return changed_of(platform.database, inputs(platform))


def forget_blocks(platform: Platform, given: dict[str, dict[str, Any]] | None = None) -> None:
    """Forget the block of a hospital whose input is again the one that its served files were built from."""
    if not fetch(platform.database, "select 1 from control.consolidation_block limit 1"):
        return
    given = inputs(platform) if given is None else given
    with platform.database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "delete from control.consolidation_block b using control.consolidation c where c.hospital_id = b.hospital_id "
            "and (b.hospital_id, c.input_hash) in (select * from unnest(%s::text[], %s::text[]))",
            (list(given), [entry["input_hash"] for entry in given.values()]),
        )


def changed_of(database: Database, given: dict[str, dict[str, Any]]) -> list[str]:
    built = {r["hospital_id"]: r["input_hash"] for r in fetch(database, "select * from control.consolidation")}
    standing = {r["hospital_id"]: r["input_hash"] for r in fetch(database, "select * from control.consolidation_block")}
    aside = set_aside.unresolved(database)
    return sorted(
        h
        for h, entry in given.items()
        if h not in aside and built.get(h) != entry["input_hash"] and standing.get(h) != with_rules(entry["input_hash"])
    )


def with_rules(input_hash: str) -> str:
    """What a block was decided on: the hospital's input, and the rules."""
    return hashlib.sha256(f"{input_hash} {load_rules(gate.STAGE)!r}".encode()).hexdigest()

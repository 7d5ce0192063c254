"""The same records under two pseudonym keys publish the same marts: what is published never depends on a pseudonym or a key."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import microbiology_world
import staging_world
from psycopg2.extensions import connection
from published import ROW_KEYS, copied

from estuaire.base.settings import Settings
from estuaire.storage.platform import Platform
from estuaire.warehouse.publish import build_and_publish

PSEUDONYMS = (
    "patient_id",
    "specimen_id",
    "draw_id",
    "stay_id",
    "whole_stay_id",
    "previous_stay_id",
    "merged_into",
    "patient_key",
)


def under(key: bytes, tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Every pseudonym of a world replaced, as another key would."""

    def other(value: Any) -> Any:
        return None if value is None else hmac.new(key, str(value).encode(), hashlib.sha256).hexdigest()[:32]

    return {
        name: [{c: other(v) if c in PSEUDONYMS else v for c, v in row.items()} for row in rows]
        for name, rows in tables.items()
    }


def published(settings: Settings) -> dict[str, bytes]:
    """The marts' rows, less what is a pseudonym itself."""
    return {name: rows for name, rows in copied(settings, ROW_KEYS).items() if name.startswith("marts.")}


def test_two_keys_publish_the_same_marts(warehouse: connection, warehouse_settings: Settings, rules: Path) -> None:
    world = microbiology_world.draw(7)
    seen = []
    for n, key in enumerate((b"one", b"another")):
        with warehouse.cursor() as cur:
            staging_world.reset(cur)
            staging_world.load(cur, under(key, world))
        outcome = build_and_publish(Platform(warehouse_settings), f"key-{n}", 42 + n, "abc123", rules=rules)
        assert outcome.state == "published"
        seen.append(published(warehouse_settings))
    assert {m for m in seen[0] if seen[0][m] != seen[1].get(m)} == set()
    assert {"first_isolate", "cumulative_antibiogram", "coverage"} <= {name.removeprefix("marts.") for name in seen[0]}

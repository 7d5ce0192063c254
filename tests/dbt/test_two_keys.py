"""The same records under two pseudonym keys make the same marts: what is published never depends on a pseudonym or a key. Built, not
published: gates and release are other tests' matter, and hospital 38 is published under two keys (tests/integration/test_hospital_38.py)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import microbiology_world
import staging_world
from psycopg2.extensions import connection
from published import ROW_KEYS, copied

from estuaire.base.settings import Settings
from estuaire.warehouse import dbt_build

WITHOUT_TESTS = ("--exclude-resource-type=test", "--exclude-resource-type=unit_test")
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


def built(settings: Settings) -> dict[str, bytes]:
    """The candidate's marts, less what is a pseudonym itself."""
    dbt_build.run(settings, ["build", "--selector=publish", *WITHOUT_TESTS], log=settings.logs / "two_keys.log")
    return copied(settings, ROW_KEYS, schemas=("marts_next",))


def test_two_keys_make_the_same_marts(warehouse: connection, warehouse_settings: Settings) -> None:
    world = microbiology_world.draw(7)
    seen = []
    for key in (b"one", b"another"):
        with warehouse.cursor() as cur:
            staging_world.reset(cur)
            staging_world.load(cur, under(key, world))
        seen.append(built(warehouse_settings))
    assert seen[0]["marts_next.first_isolate"]
    assert {m for m in seen[0] if seen[0][m] != seen[1].get(m)} == set()
    assert {"first_isolate", "cumulative_antibiogram", "coverage"} <= {
        name.removeprefix("marts_next.") for name in seen[0]
    }

"""Which hospitals' rows a publish has to compute anew: those of which it reads other rows than the served release did.

The others' rows are taken over from that release, in models whose rows are each of one hospital alone (``dbt_project/macros/rows_of.sql``;
docs/decisions/0032-incremental-publish.md).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from psycopg2 import sql

from estuaire.storage.held_hospitals import STAGING, Held
from estuaire.warehouse import last_good_content
from estuaire.warehouse.dbt_sources import DERIVED_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg2.extensions import cursor

    from estuaire.warehouse.releases import Release


def read_of_each(cur: cursor) -> dict[str, str]:
    """Hospital -> hash of all rows of its own that a build reads: the loaded content, and its rows in the tables that each load rebuilds (registry,
    guidelines, patient map, days of administrations)."""
    parts: dict[str, list[str]] = {h: [content] for h, content in last_good_content.loaded(cur).items()}
    for table in sorted(DERIVED_TABLES):
        cur.execute(
            sql.SQL(
                "select hospital_id, count(*) || ' ' || sum(hashtextextended(t::text, 0)) from {} as t group by 1 order by 1"
            ).format(sql.Identifier(STAGING, table))
        )
        for hospital, rows in cur.fetchall():
            parts.setdefault(hospital, []).append(f"{table}={rows}")
    return {h: hashlib.sha256("\0".join(one).encode()).hexdigest() for h, one in sorted(parts.items())}


def to_rebuild(
    served: Release | None, code_hash: str, now: Mapping[str, str], held: Mapping[str, Held]
) -> tuple[str, ...] | None:
    """Hospitals to compute anew, in order; None where all are: nothing is served, or by other models, or more than half of the hospitals changed.

    A hospital that is or was held back is computed: its rows are not those that its hash speaks of.

    Args:
        now: what ``read_of_each`` says of staging.
    """
    before = None if served is None else served.built_from
    if served is None or before is None or before.get("code") != code_hash:
        return None
    known = before["hospitals"]
    changed = {h for h in {*known, *now} if known.get(h) != now.get(h)} | {*held, *served.held_back}
    if not changed or 2 * len(changed) > len(now):
        return None
    return tuple(sorted(changed))

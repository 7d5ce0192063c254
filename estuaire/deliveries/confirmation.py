"""Full deliveries that would end more than a share of what stands: held until somebody confirms them (docs/decisions/0017).

A full delivery ends what it omits, and an export cut at a record's end omits as a true one does. Landing weighs it by the very rules of the
consolidation; above the share (``full_may_end``) the delivery is ``held`` and nothing of it counts. A confirmation is one of these bytes: the
next run lands them; other bytes under the same id are weighed anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from estuaire.base.errors import DatabaseUnavailable, EstuaireError, FullHeld, UnknownName
from estuaire.base.settings import Settings
from estuaire.base.texts import say
from estuaire.contract.manifest import Manifest
from estuaire.runs.held_fulls import share
from estuaire.storage import error_columns
from estuaire.storage.database import Database
from estuaire.storage.ledger import fetch
from estuaire.storage.platform import Platform

Ends = dict[str, tuple[int, int]]  # table -> (records that a full ends, records that lie in its period)


class NotHeld(EstuaireError):
    """A delivery that does not wait for a confirmation."""

    code = "E_NOT_HELD"


def too_many(settings: Settings, ends: Ends) -> list[str]:
    """Tables of which a full delivery ends more than it may."""
    return sorted(table for table, (ended, standing) in ends.items() if ended > share(settings, table) * standing)


def held(settings: Settings, hospital: str, delivery: str, ends: Ends) -> FullHeld:
    """The error that a held delivery shows."""
    told = ", ".join(
        f"{table}: {ends[table][0]} of {ends[table][1]} (more than {share(settings, table):.0%})"
        for table in too_many(settings, ends)
    )
    return FullHeld(
        f"this full delivery would end records that stand: {told}; it waits for a confirmation, nothing of it counts",
        remedy=f"if the export is whole, `estuaire confirm {hospital} {delivery} --by NAME`, then `estuaire run`; else deliver it again, "
        "whole, under a new id",
        hospital=hospital,
        delivery=delivery,
    )


def note_ends(cursor: Cursor, hospital: str, delivery: str, ends: Ends | None) -> None:
    """Keep what a held delivery would end, in the caller's transaction."""
    cursor.execute(
        "update control.delivery set ends = %s where hospital_id = %s and delivery_id = %s",
        (None if ends is None else json.dumps(ends), hospital, delivery),
    )


def confirmed(database: Database) -> set[tuple[str, str, str]]:
    """(hospital, delivery, content hash) of what somebody confirmed."""
    rows = fetch(database, "select hospital_id, delivery_id, content_hash from control.confirmation")
    return {(r["hospital_id"], r["delivery_id"], r["content_hash"]) for r in rows}


def confirm(database: Database, hospital: str, delivery: str, by: str, reason: str = "") -> Ends:
    """Let a held delivery be landed by the next run; what it will end.

    Raises:
        UnknownName: no such delivery.
        NotHeld: it does not wait for a confirmation.
    """
    by = by.strip()
    if not by:
        raise NotHeld("a confirmation needs the name of whoever gives it", remedy="add --by NAME")
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "select state, content_hash, ends from control.delivery where hospital_id = %s and delivery_id = %s for update",
            (hospital, delivery),
        )
        row = cursor.fetchone()
        if row is None:
            raise UnknownName(
                "no such delivery", remedy="see `estuaire deliveries`", hospital=hospital, delivery=delivery
            )
        state, content_hash, ends = row
        if state != "held":
            raise NotHeld(
                f"the delivery is {state}: it does not wait for a confirmation",
                remedy=f"see `estuaire explain {hospital}/{delivery}`",
                hospital=hospital,
                delivery=delivery,
            )
        cursor.execute(
            "insert into control.confirmation (hospital_id, delivery_id, content_hash, ends, confirmed_by, reason) "
            "values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
            (hospital, delivery, content_hash, json.dumps(ends), by, reason),
        )
        cursor.execute(
            f"update control.delivery set state = 'received', {error_columns.SET_NULL}, updated_at = now() "
            "where hospital_id = %s and delivery_id = %s",
            (hospital, delivery),
        )
    return {table: (int(ended), int(standing)) for table, (ended, standing) in ends.items()}


@dataclass(frozen=True)
class Fewer:
    """A table of which a full delivery holds fewer records than stand in the ledger: at least ``standing - delivered`` will end."""

    table: str
    standing: int
    delivered: int
    asks: bool

    def text(self, language: str) -> str:
        """One sentence for whoever delivers."""
        return say(
            language,
            "full.fewer_asks" if self.asks else "full.fewer",
            table=self.table,
            delivered=self.delivered,
            standing=self.standing,
            ended=self.standing - self.delivered,
        )


def would_end(platform: Platform, manifest: Manifest) -> list[Fewer]:
    """What a full delivery would end, by the ledger's counts; nothing for a delta, for a period that does not span what was delivered
    before (landing decides exactly), or where the ledger is not within reach (a hospital's own machine)."""
    if manifest.kind != "full":
        return []
    try:
        spans = fetch(
            platform.database,
            "select coalesce(bool_and(period_from >= %s and period_to <= %s), false) as spans from control.delivery "
            "where hospital_id = %s and state = 'landed'",
            (manifest.period_from, manifest.period_to, manifest.hospital),
        )
        rows = fetch(
            platform.database,
            "select a.table_name, sum(a.rows_out)::bigint as standing from control.accounting a join control.consolidation c "
            "on c.hospital_id = a.hospital_id and c.run_id = a.run_id where a.stage = 'consolidate' and a.hospital_id = %s group by 1",
            (manifest.hospital,),
        )
    except DatabaseUnavailable:
        return []
    if not spans[0]["spans"]:
        return []
    delivered: dict[str, int] = {}
    for file in manifest.files:
        delivered[file.table] = delivered.get(file.table, 0) + file.rows
    fewer = []
    for row in rows:
        table, standing = row["table_name"], int(row["standing"])
        if table in delivered and delivered[table] < standing:
            ended = standing - delivered[table]
            fewer.append(Fewer(table, standing, delivered[table], ended > share(platform.settings, table) * standing))
    return sorted(fewer, key=lambda one: one.table)

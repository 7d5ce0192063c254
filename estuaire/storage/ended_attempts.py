"""What attempts that failed or were killed left behind: swept by age, never by doubt.

Swept is what bears the name of attempts that have ended (or were fenced) longer ago than ``sweep_after_hours``, and of no other, and that
neither the lake's catalog (any snapshot) nor staging knows: files below ``lake/`` and ``work/``, tables that a load filled and never swapped
in. What bears no attempt's name is nobody's business here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from psycopg2 import sql

from estuaire.contract.tables import load_contract
from estuaire.storage.database import Database
from estuaire.storage.lake import Lake
from estuaire.storage.ledger import fetch
from estuaire.storage.platform import Platform


@dataclass(frozen=True)
class Attempt:
    """One attempt of a stage; ``over``: it has ended, or a newer one has fenced it, longer ago than the age to sweep at."""

    run_id: str
    stage: str
    token: int
    over: bool

    def named(self, name: str) -> bool:
        """Whether a file's name is one that this attempt gives."""
        stem = f"{self.run_id}-{self.token}"
        return name == f"{stem}.parquet" or f"{stem}-" in name


@dataclass(frozen=True)
class Swept:
    """What was removed: keys of the store, tables of staging."""

    files: list[str]
    tables: list[str]


def attempts(platform: Platform) -> list[Attempt]:
    """Every attempt that the ledger knows."""
    rows = fetch(
        platform.database,
        "select s.run_id, s.stage, s.token, (s.state <> 'running' or s.token < f.token) "
        "and coalesce(s.ended_at, s.started_at) < now() - make_interval(hours => %s) as over "
        "from control.stage_run s join control.fence f using (stage)",
        (platform.settings.sweep_after_hours,),
    )
    return [Attempt(r["run_id"], r["stage"], int(r["token"]), bool(r["over"])) for r in rows]


def left_over(name: str, known: Iterable[Attempt]) -> bool:
    """Whether the file's name is that of attempts that are over, and of no other."""
    namers = [one for one in known if one.named(name)]
    return bool(namers) and all(one.over for one in namers)


def sweep(platform: Platform) -> Swept:
    """Remove what attempts left that are over."""
    known = attempts(platform)
    return Swept(_sweep_files(platform.lake, known), _sweep_tables(platform.database, known))


def _sweep_files(lake: Lake, known: list[Attempt]) -> list[str]:
    store = lake.store
    registered = lake.known_files()
    of_files = [one for one in known if one.stage in ("land", "consolidate")]
    stale_keys = []
    for prefix in ("lake/", "work/"):
        for item in store.list(prefix):
            parts = item.key.split("/")
            if (
                left_over(parts[-1], of_files)
                and "/".join(parts[-2:]) not in registered
                and parts[-1] not in registered
            ):
                stale_keys.append(item.key)
    for key in stale_keys:
        store.delete(key)
    return stale_keys


def _sweep_tables(database: Database, known: list[Attempt]) -> list[str]:
    over = {one.token: one.over for one in known if one.stage == "load"}
    names = "|".join(map(re.escape, load_contract().names))
    dropped = []
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = 'staging' and c.relkind = 'r' and not c.relispartition"
        )
        for (name,) in cursor.fetchall():
            match = re.fullmatch(rf"(?:{names})_[a-z0-9]+_(\d+)", name)
            if match is not None and over.get(int(match[1]), False):
                cursor.execute(sql.SQL("drop table if exists staging.{}").format(sql.Identifier(name)))
                dropped.append(name)
    return dropped

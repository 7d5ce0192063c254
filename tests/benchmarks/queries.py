"""The analysts' standard queries (docs/analysts/standard_queries.sql) at full size, as the role analyst: time and plan of each.

Needs a stack with a release: ESTUAIRE_HOME and its ports name it (`make demo-full` makes one at the study's size). First: in a session of
its own, after the system was asked to forget the marts' files (what PostgreSQL's own buffers hold stays); warm: the median of five after
that. Milliseconds include planning and fetching every row.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from pathlib import Path
from typing import Any

from estuaire.base.settings import Settings
from estuaire.storage.database import Database
from tests.standard_queries import standard_queries

LIMIT_SECONDS = 1.0
ROUNDS = 5
_FILES = (
    "select pg_relation_filepath(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where n.nspname = 'marts' and c.relkind in ('r', 'i')"
)


def _forget(data: Path, files: list[str]) -> None:
    """Ask the system to drop the files' pages from its cache; a file of more than 1 GiB has further segments."""
    for name in files:
        for segment in [data / name, *data.glob(f"{name}.*")]:
            descriptor = os.open(segment, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _nodes(plan: dict[str, Any]) -> list[str]:
    """Kinds of the plan's nodes that read a table or an index, with its name."""
    read = f"{plan['Node Type']} {plan['Relation Name']}" if "Relation Name" in plan else None
    return [*([read] if read else []), *(n for child in plan.get("Plans", []) for n in _nodes(child))]


def _timed(cursor: Any, statement: str) -> tuple[float, int]:
    began = time.perf_counter()
    cursor.execute(statement)
    rows = len(cursor.fetchall())
    return time.perf_counter() - began, rows


def measure(settings: Settings) -> None:
    """Print the table, and the longest of its times."""
    database = Database.of(settings)
    with contextlib.closing(database.connect("estuaire")) as owner, owner.cursor() as cursor:
        cursor.execute(_FILES)
        files = [str(row[0]) for row in cursor.fetchall()]
    longest = 0.0
    print("| query | rows | first, ms | warm, ms | reads |\n|---|---|---|---|---|")
    for query in standard_queries():
        _forget(settings.postgres_data, files)
        with contextlib.closing(database.connect("analyst")) as session, session.cursor() as cursor:
            cursor.execute("set search_path to marts")
            first, rows = _timed(cursor, query.statement)
            warm = statistics.median(_timed(cursor, query.statement)[0] for _ in range(ROUNDS))
            cursor.execute("explain (format json) " + query.statement)
            nodes = ", ".join(dict.fromkeys(_nodes(cursor.fetchone()[0][0]["Plan"])))
        longest = max(longest, first, warm)
        print(f"| {query.name} | {rows:,} | {1000 * first:.0f} | {1000 * warm:.0f} | {nodes} |")
    print(f"\nLongest: {longest:.2f} s (target: under {LIMIT_SECONDS:.0f} s)")


def main() -> None:
    measure(Settings())

"""Swaps under readers: how long a rollback takes while analysts read, and 10,000 reads during swaps without an error or a mixed release."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime
from typing import Any

import psycopg2

from estuaire.base.settings import Settings
from estuaire.storage import migrations
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import releases
from tests.conftest import temporary_settings

READS = 10_000
ROWS = 200_000  # of each table: a mart's size at full size


def _publish(settings: Settings, owner: Any) -> releases.Release:
    with releases.connect(Database.of(settings)) as session:
        number = releases.reserve_id(session)
    owner.execute("create schema marts_next; create schema conformed_next")
    for name in ("alpha", "beta", "gamma"):
        # the readers join the tables: one row that they read, and the bulk that a swap has to carry in another one
        owner.execute(f"create table marts_next.{name} as select {number} as release_id from generate_series(1, 50)")
        owner.execute(
            f"create table marts_next.{name}_bulk as select {number} as release_id, g from generate_series(1, {ROWS}) g"
        )
    candidate = releases.Candidate(number, f"run-{number}", 7, "abc", datetime.now(UTC), f"hash-{number}")
    return releases.swap_in(Platform(settings), candidate, lambda _: True)


def main() -> None:
    import swap_storm

    from estuaire.stack import postgres as server
    from estuaire.stack import roles

    with temporary_settings() as settings:
        try:
            server.start(settings)
            roles.ensure(settings, server.ensure_passwords(settings))
            migrations.upgrade(Database.of(settings))
            session = psycopg2.connect(Database.of(settings).dsn("estuaire"))
            session.autocommit = True
            with session.cursor() as owner:
                found = swap_storm.storm(settings, owner, _publish, reads=READS)
                quiet = []
                for _ in range(5):
                    began = datetime.now(UTC)
                    releases.rollback(
                        Platform(settings),
                        to=min(r.release_id for r in releases.list_releases(Database.of(settings)) if r.archive_schema),
                    )
                    quiet.append((datetime.now(UTC) - began).total_seconds())
            session.close()
        finally:
            server.stop(settings)
    print(
        f"reads {found.reads:,} in {found.seconds:.0f} s, {found.swaps} swaps, {len(found.releases_seen)} releases seen"
    )
    print(f"errors and mixed releases: {len(found.problems)}")
    under = found.rollback_seconds
    print(f"rollback under readers: median {statistics.median(under):.2f} s, longest {max(under):.2f} s (limit 5 s)")
    print(f"rollback without readers: median {statistics.median(quiet):.2f} s")
    assert found.problems == [], found.problems[:3]
    assert max(under) < 5.0

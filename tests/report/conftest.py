"""A migrated database of its own, for a ledger and marts that are written by hand."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
import report_world
from psycopg2.extensions import cursor

from estuaire.base.settings import Settings
from estuaire.storage import migrations
from estuaire.storage.database import Database

DATABASE = "estuaire_report"


@pytest.fixture(scope="session")
def settings(postgres: Settings) -> Settings:
    """Settings of a migrated, empty platform."""
    admin = psycopg2.connect(Database.of(postgres).dsn("postgres", "postgres"))
    admin.autocommit = True
    with admin.cursor() as cur:
        cur.execute(f"create database {DATABASE} owner estuaire")
        cur.execute(f"revoke all on database {DATABASE} from public")
        cur.execute(f"grant connect on database {DATABASE} to analyst")
    admin.close()
    own = postgres.model_copy(update={"postgres_database": DATABASE})
    migrations.upgrade(Database.of(own))
    return own


@pytest.fixture
def owner(settings: Settings) -> Iterator[cursor]:
    """The owner's session on a platform without run, release or mart."""
    session = psycopg2.connect(Database.of(settings).dsn("estuaire"))
    session.autocommit = True
    with session.cursor() as cur:
        report_world.empty(cur)
        yield cur
    session.close()

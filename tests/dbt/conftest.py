"""A database of its own on the shared PostgreSQL, and a staging area that a test file fills with a small world."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
import staging_world
from psycopg2.extensions import connection

from estuaire import migrations
from estuaire.settings import Settings

DATABASE = "estuaire_dbt"


@pytest.fixture(scope="session")
def warehouse_settings(postgres: Settings) -> Settings:
    """Settings of a migrated, empty warehouse that no other test folder touches."""
    admin = psycopg2.connect(postgres.dsn("postgres", "postgres"))
    admin.autocommit = True
    with admin.cursor() as cur:
        cur.execute(f"create database {DATABASE} owner estuaire")
        cur.execute(f"revoke all on database {DATABASE} from public")
        cur.execute(f"grant connect on database {DATABASE} to analyst")
    admin.close()
    settings = postgres.model_copy(update={"postgres_database": DATABASE})
    migrations.upgrade(settings)
    return settings


@pytest.fixture(scope="module")
def warehouse(warehouse_settings: Settings) -> Iterator[connection]:
    """The owner's session (autocommit) on a warehouse with empty staging tables, no release, no marts: one per test file."""
    session = psycopg2.connect(warehouse_settings.dsn("estuaire"))
    session.autocommit = True
    with session.cursor() as cur:
        staging_world.reset(cur)
    yield session
    session.close()

"""A database of its own on the shared PostgreSQL, and a staging area that a test file fills with a small world."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import staging_world
import yaml
from psycopg2.extensions import connection

from estuaire.base.settings import Settings
from estuaire.rules.rule_registry import FOLDER
from estuaire.storage import migrations
from estuaire.storage.database import Database

DATABASE = "estuaire_dbt"
# What the random worlds of these tests break on purpose: unmapped codes, orphans, a few patients who die too early, idle months.
BROKEN_ON_PURPOSE = {
    "diagnosis.stay.known",
    "isolate.specimen.known",
    "isolate.organism.mapped",
    "susceptibility.agent.mapped",
    "dates_in_life.stay.within_life",
    "coverage.volume.zero",
}


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rule registry, with those rules warning that the worlds of these tests break on purpose; every other one as it is."""
    folder = tmp_path_factory.mktemp("rules") / "expectations"
    shutil.copytree(FOLDER, folder)
    changed = set()
    for stage in ("conformed", "marts"):
        for file in (folder / stage).glob("*.yml"):
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
            for rule in document["rules"]:
                if rule["id"] in BROKEN_ON_PURPOSE:
                    rule["action"] = "warn"
                    changed.add(rule["id"])
            file.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    assert changed == BROKEN_ON_PURPOSE
    return folder


@pytest.fixture(scope="session")
def warehouse_settings(postgres: Settings) -> Settings:
    """Settings of a migrated, empty warehouse that no other test folder touches."""
    admin = psycopg2.connect(Database.of(postgres).dsn("postgres", "postgres"))
    admin.autocommit = True
    with admin.cursor() as cur:
        cur.execute(f"create database {DATABASE} owner estuaire")
        cur.execute(f"revoke all on database {DATABASE} from public")
        cur.execute(f"grant connect on database {DATABASE} to analyst")
    admin.close()
    settings = postgres.model_copy(update={"postgres_database": DATABASE})
    migrations.upgrade(Database.of(settings))
    return settings


@pytest.fixture(scope="module")
def warehouse(warehouse_settings: Settings) -> Iterator[connection]:
    """The owner's session (autocommit) on a warehouse with empty staging tables, no release, no marts: one per test file."""
    session = psycopg2.connect(Database.of(warehouse_settings).dsn("estuaire"))
    session.autocommit = True
    with session.cursor() as cur:
        staging_world.reset(cur)
    yield session
    session.close()

"""A platform per seed on the shared PostgreSQL and Spark; the twenty seeds run only when asked for (``make test-seeds``)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from local_spark import spark
from pyspark.sql import functions
from small_platform import SmallPlatform

from estuaire.base.settings import Settings
from estuaire.gates.gx import Suites
from estuaire.simulator.catalogue import INDEX_ORGANISM
from estuaire.simulator.effects import HOSPITAL_NULL
from estuaire.storage import migrations, pseudonym_key
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import dbt_build

__all__ = ["spark"]

TEMPLATE = "seeds_template"
PSEUDONYM_KEY = (
    "5eed" * 16
)  # of simulated people; with a key drawn at random, ties between bottles would fall otherwise in every run
_NUMBERS = itertools.count(1)


def _administer(settings: Settings, statement: str) -> None:
    connection = psycopg2.connect(Database.of(settings).dsn("postgres", "postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


@pytest.fixture(scope="session")
def template(postgres: Settings) -> Settings:
    """A migrated database that holds dbt's seeds already: they are the same for every simulated world."""
    _administer(postgres, f"create database {TEMPLATE} owner estuaire")
    settings = postgres.model_copy(update={"postgres_database": TEMPLATE})
    migrations.upgrade(Database.of(settings))
    key = settings.secrets_path / "pseudonym_key"
    key.write_text(PSEUDONYM_KEY + "\n", encoding="utf-8")
    key.chmod(0o600)
    pseudonym_key.ensure(Platform(settings))
    dbt_build.run(settings, ["seed"], log=settings.logs / "seeds.log")
    # the true null is no question of the study: a new question is a row
    with psycopg2.connect(Database.of(settings).dsn("estuaire")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into conformed_next.exposure_effect (effect, exposure_atc, organism_code, agent_code) values (%s, %s, %s, %s)",
            (HOSPITAL_NULL.name, HOSPITAL_NULL.atc, INDEX_ORGANISM, HOSPITAL_NULL.agent),
        )
    return settings


@pytest.fixture
def counted_without_great_expectations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gates count natively and once more with Spark sums; building Great Expectations' suites costs a third of a seed's time and is
    tested elsewhere, and in the one seed of every test run."""

    def frames(self: Suites, frames: Any) -> dict[str, dict[str, int]]:
        counts = {}
        for name, (make, rules) in frames.items():
            sums = make().agg(*[functions.sum(r.mark).alias(r.mark) for r in rules]).first() if rules else ()
            counts[name] = {r.id: int(value or 0) for r, value in zip(rules, sums, strict=True)}
        return counts

    monkeypatch.setattr(Suites, "frames", frames)


@pytest.fixture
def new_platform(
    template: Settings, spark: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], SmallPlatform]]:
    """Makes an empty platform; one at a time, its database is dropped when the next one is made."""
    made: list[str] = []

    def drop() -> None:
        while made:
            _administer(template, f"drop database {made.pop()} with (force)")

    def make() -> SmallPlatform:
        drop()
        name = f"seed_{next(_NUMBERS)}"
        _administer(template, f"create database {name} owner estuaire template {TEMPLATE}")
        made.append(name)
        update = {"postgres_database": name, "store_root": tmp_path_factory.mktemp(name)}
        platform = SmallPlatform(template.model_copy(update=update), spark)
        platform.lake.ensure()
        return platform

    yield make
    drop()

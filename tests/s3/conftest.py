"""The three stores that every test of this folder runs on: a folder, MinIO and versitygw.

Tests on a server are marked ``s3`` and run when asked for (``make test-s3``). On a machine that cannot build a server they fail and say why.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_spark import spark_with
from servers import SERVERS, Running, running, with_store
from small_platform import SmallPlatform, create_database, migrated

from estuaire.base.settings import Settings
from estuaire.storage import s3a
from estuaire.storage.object_store import ObjectStore
from estuaire.storage.s3 import S3Store
from estuaire.storage.stores import open_store

__all__ = ["migrated"]

_NUMBERS = itertools.count(1)
STORES = ["directory", *(pytest.param(name, marks=pytest.mark.s3) for name in SERVERS)]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Running]]:
    """A running server by its name, started once, with its bucket."""
    started: dict[str, Any] = {}

    def get(name: str) -> Running:
        if name not in started:
            context = running(SERVERS[name], tmp_path_factory.mktemp(name))
            found = context.__enter__()
            started[name] = (context, found)
            S3Store(with_store(Settings(_env_file=None), found)).client.make_bucket(found.bucket)
        return started[name][1]  # type: ignore[no-any-return]

    yield get
    for context, _ in started.values():
        context.__exit__(None, None, None)


@pytest.fixture(params=STORES)
def store_settings(request: pytest.FixtureRequest, server: Callable[[str], Running], tmp_path: Path) -> Settings:
    """Settings of each store in turn."""
    settings = Settings(_env_file=None, home=tmp_path / "home")
    return settings if request.param == "directory" else with_store(settings, server(request.param))


@pytest.fixture
def store(store_settings: Settings) -> ObjectStore:
    """Each store in turn; emptied first, since a server is shared."""
    found = open_store(store_settings)
    for item in list(found.list("")):
        found.delete(item.key)
    return found


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A Spark session that has s3a."""
    yield from spark_with(s3a.packages())


@pytest.fixture(scope="session")
def new_platform(
    migrated: Settings, spark: Any, server: Callable[[str], Running], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], SmallPlatform]:
    """Makes an empty platform on a folder, or in a bucket of its own on a server."""

    def make(store: str) -> SmallPlatform:
        name = f"platform_{next(_NUMBERS)}"
        create_database(migrated, name, "empty_platform")
        settings = migrated.model_copy(update={"postgres_database": name, "store_root": tmp_path_factory.mktemp(name)})
        if store != "directory":
            settings = with_store(settings, server(store), name.replace("_", "-"))
            S3Store(settings).client.make_bucket(settings.s3_bucket)
            s3a.open_to(spark, settings)
        platform = SmallPlatform(settings, spark)
        platform.lake.ensure()
        return platform

    return make

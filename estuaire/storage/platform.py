"""The platform that the settings describe, built once in each process and handed down: functions below take the part that they use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from estuaire.base.settings import Settings
from estuaire.storage.database import Database
from estuaire.storage.object_store import ObjectStore
from estuaire.storage.stores import open_store

if TYPE_CHECKING:
    from estuaire.contract.registry import Registry
    from estuaire.storage.lake import Lake


@dataclass(frozen=True)
class Platform:
    """Settings, and what they name. It holds nothing open, so that it goes to Spark's tasks, and is whole before the first server is
    started: a part is opened when it is asked for, and what costs anything is kept for the process below it (the client of S3,
    the registry)."""

    settings: Settings

    @cached_property
    def database(self) -> Database:
        """PostgreSQL, which holds ledger, catalog and warehouse."""
        return Database.of(self.settings)

    @property
    def store(self) -> ObjectStore:
        """The object store. Raises SecretUnusable."""
        return open_store(self.settings)

    @property
    def registry(self) -> Registry:
        """The hospitals. Raises ContractError where there is none at all."""
        from estuaire.contract.registry import load_registry

        return load_registry(self.settings.registry_dir)

    @property
    def lake(self) -> Lake:
        """The lake's catalog, written as the pipeline's role. Raises SecretUnusable."""
        from estuaire.storage.lake import Lake  # DuckDB, a second that most commands need not wait

        return Lake(self.database, self.store)

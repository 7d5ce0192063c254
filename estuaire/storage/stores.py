"""The object store that the settings name."""

from __future__ import annotations

from estuaire.base.settings import Settings
from estuaire.storage.object_store import DirectoryStore, ObjectStore


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings name."""
    if settings.store == "s3":
        from estuaire.storage.s3 import S3Store

        return S3Store(settings)
    return DirectoryStore(settings.store_path)

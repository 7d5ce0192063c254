"""The object store that the settings name."""

from __future__ import annotations

from estuaire.base.errors import SetupError
from estuaire.base.settings import CARRIED, SETTINGS_ROOT, Settings
from estuaire.storage.object_store import DirectoryStore, ObjectStore


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings name."""
    if settings.store == "s3":
        from estuaire.storage.s3 import S3Store

        return S3Store(settings)
    return DirectoryStore(settings.store_path)


def open_platforms_store(settings: Settings) -> ObjectStore:
    """The same, to hand something in.

    Raises:
        SetupError: in the hospitals' package, where none is named: the default folder is one that no platform reads.
    """
    if CARRIED and settings.store == "directory" and settings.store_root is None:
        raise SetupError(
            "no store is named where a platform would find the delivery",
            remedy=f"name it in {SETTINGS_ROOT / '.env'} (ESTUAIRE_STORE=s3 ..., or ESTUAIRE_STORE_ROOT), or check only, by --prepare-only",
        )
    return open_store(settings)

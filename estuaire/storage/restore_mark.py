"""The mark of a restore that has begun and not ended: nothing is taken up into half a platform."""

from __future__ import annotations

from estuaire.storage.object_store import ObjectStore

MARK = "work/restore.json"


def unfinished(store: ObjectStore) -> bool:
    """Whether a restore into this platform has begun and not ended."""
    return store.stat(MARK) is not None

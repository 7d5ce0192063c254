"""Files of the lake that are lost or damaged, those of former runs and those just written: they end at the hospital whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from estuaire.base.errors import LakeFileUnreadable
from estuaire.storage.duck import readable, reading
from estuaire.storage.object_store import ObjectStore


def hospital_of(path: str) -> str:
    """The hospital of a file of the lake, by its path or key."""
    return path.split("/hospital=")[1].split("/")[0]


def unreadable_files(store: ObjectStore, keys: list[str]) -> list[str]:
    """Of these files of the lake those that are lost or damaged, read whole."""
    with reading(store) as connection:
        return [key for key in keys if store.stat(key) is None or not readable(connection, store.url(key))]


def lost_files(hospital: str, paths: list[str]) -> LakeFileUnreadable:
    """The typed error of files of a hospital that are lost or damaged."""
    named = ", ".join(sorted("/".join(p.split("/")[-4:]) for p in paths)[:3])
    return LakeFileUnreadable(
        f"{len(paths)} of its files in the lake cannot be read: {named}; what was published of it stays served",
        remedy="put the file back from a backup of the store, or look at the disk; the next run takes it up",
        hospital=hospital,
    )


def not_readable_back(keys: Sequence[str], hospital: str, delivery: str | None = None) -> LakeFileUnreadable:
    """The typed error of files that were written a moment ago and are lost or damaged now."""
    named = ", ".join(sorted("/".join(key.split("/")[-4:]) for key in keys)[:3])
    return LakeFileUnreadable(
        f"{len(keys)} of the files just written of it cannot be read back: {named}; nothing of them counts, what was published stays served",
        remedy="the next run writes them anew; if it happens again, look at the disk or the store",
        hospital=hospital,
        delivery=delivery,
    )


def unreadable(store: ObjectStore, results: Mapping[str, list[dict[str, Any]]]) -> dict[str, LakeFileUnreadable]:
    """Of these hospitals' new files (see ``consolidate_one``) those that cannot be read whole, as the error of each hospital.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    lost = {h: unreadable_files(store, [o["output"] for o in outcomes]) for h, outcomes in results.items()}
    return {h: not_readable_back(keys, h) for h, keys in lost.items() if keys}

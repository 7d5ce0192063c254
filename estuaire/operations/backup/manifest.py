"""What a backup says of itself: ``manifest.json``, written last, and ``objects.jsonl``, one line per object of the store.

A folder without a manifest is no backup. The manifest holds the SHA-256 of every other file, and of itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from estuaire.base import private_files
from estuaire.base.errors import BackupUnusable

FORMAT = 1
NAME, OBJECTS, STORE = "manifest.json", "objects.jsonl", "store"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """One object of the store. ``sha256`` is empty and ``version`` (an ETag) stands alone where an object in a bucket was noted, not copied.

    ``version`` in a copy from a folder is the time of the last change, in nanoseconds since 1970.
    """

    key: str
    bytes: int
    sha256: str
    version: str


@dataclass(frozen=True)
class Dump:
    """A database in a file: ``database`` is ``platform`` or ``airflow``."""

    database: str
    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class BackupManifest:
    """See the module.

    Attributes:
        migration: version of the platform's tables; code that does not know it cannot restore them.
        fingerprint: of the pseudonym key; never the key.
        by_reference: objects are noted, not copied.
        store: directory or s3.
        lost: files of the lake that only older snapshots name and that could not be read when the backup was made.
        counts: what the ledger and the catalog hold; the restored ones must hold the same.
    """

    made_at: str
    code_version: str
    migration: str
    fingerprint: str
    by_reference: bool
    store: str
    dumps: list[Dump]
    objects: int
    object_bytes: int
    objects_sha256: str
    counts: dict[str, int]
    lost: list[str] = field(default_factory=list)
    format: int = FORMAT

    @property
    def id(self) -> str:
        """What tells two backups apart: 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """Of all that the backup holds."""
        return sum(one.bytes for one in self.dumps) + (0 if self.by_reference else self.object_bytes)


def write(folder: Path, manifest: BackupManifest) -> None:
    """Write ``manifest.json``."""
    document = {**asdict(manifest), "sha256": manifest.id}
    private_files.new_file(folder / NAME)
    (folder / NAME).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(folder: Path) -> BackupManifest:
    """The manifest of a backup.

    Raises:
        BackupUnusable: there is none (it is incomplete), it was changed, or a newer version wrote it.
    """
    try:
        document: dict[str, Any] = json.loads((folder / NAME).read_text(encoding="utf-8"))
        told, version = document.pop("sha256"), int(document["format"])
    except (FileNotFoundError, NotADirectoryError):
        raise BackupUnusable(
            f"{folder} holds no whole backup (no {NAME})",
            remedy="name the folder that `estuaire backup` wrote; one that was ended half-way is none",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(NAME) from error
    if version != FORMAT:
        raise BackupUnusable(
            f"the backup has format {version}, this version reads {FORMAT}",
            remedy="restore it with the version of Estuaire that wrote it",
        )
    try:
        manifest = BackupManifest(**{**document, "dumps": [Dump(**one) for one in document["dumps"]]})
    except (TypeError, KeyError) as error:
        raise damaged(NAME) from error
    if manifest.id != told:
        raise damaged(NAME)
    return manifest


def write_objects(folder: Path, objects: Iterable[Stored]) -> str:
    """Write ``objects.jsonl``, by key; its SHA-256."""
    private_files.new_file(folder / OBJECTS)
    digest = hashlib.sha256()
    with (folder / OBJECTS).open("wb") as file:
        for one in sorted(objects, key=lambda o: o.key):
            line = json.dumps(asdict(one), sort_keys=True).encode() + b"\n"
            digest.update(line)
            file.write(line)
    return digest.hexdigest()


def read_objects(folder: Path, manifest: BackupManifest) -> list[Stored]:
    """The objects of a backup.

    Raises:
        BackupUnusable: the list is missing or was changed, or names what is no key of a store.
    """
    try:
        data = (folder / OBJECTS).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest.objects_sha256:
            raise damaged(OBJECTS)
        objects = [Stored(**json.loads(line)) for line in data.splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise damaged(OBJECTS) from error
    if len(objects) != manifest.objects or not all(plain(one.key) for one in objects):
        raise damaged(OBJECTS)
    return objects


def plain(key: str) -> bool:
    """Whether a key is also a path below a folder, and no other key has the same path."""
    pure = PurePosixPath(key)
    return pure.as_posix() == key and not pure.is_absolute() and ".." not in pure.parts and "\x00" not in key


def path_of(folder: Path, key: str) -> Path:
    """Where the copy of an object stands."""
    return folder / STORE / key


def sha256_of(path: Path) -> tuple[str, int]:
    """SHA-256 and size in bytes of a file."""
    with path.open("rb") as file:
        return digest_of(iter(lambda: file.read(_BLOCK), b""))


def digest_of(blocks: Iterator[bytes]) -> tuple[str, int]:
    """SHA-256 and number of bytes of what comes in blocks."""
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def damaged(name: str) -> BackupUnusable:
    return BackupUnusable(
        "the backup is damaged: it is not as it was written",
        file=name,
        remedy="take another copy of it, or an earlier backup",
    )

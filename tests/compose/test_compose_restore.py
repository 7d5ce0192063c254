"""Backup, everything gone, restore into empty volumes (docs/engineers/runbooks.md): the same tables, and the next delivery lands.
And the same with the other store server."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from beside import published_beside, same
from compose_project import Project
from published import copied
from small_platform import SmallPlatform

from estuaire.storage import ledger
from estuaire.storage.database import Database

pytestmark = [pytest.mark.compose]

KEPT = (
    "select hospital_id, delivery_id, state, content_hash from control.delivery order by 1, 2",
    "select hospital_id, delivery_id, table_name, key, rows, bytes from control.landed_file order by 4",
    "select release_id, state, input_hash from control.release order by 1",
)


@dataclass(frozen=True)
class Kept:
    """A backup, and what was served and noted when it was made."""

    folder: Path
    marts: dict[str, bytes]
    ledger: list[list[dict[str, Any]]]


@pytest.fixture(scope="module")
def kept(up: Project, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    if up.sequence == 0:
        up.wait_published(up.deliver())
    folder = tmp_path_factory.mktemp("backup")
    os.chown(folder, 10001, 10001)
    began = time.monotonic()
    up.compose("run", "--rm", "--no-deps", "-T", "-v", f"{folder}:/out", "cli", "backup", "/out", timeout=900)
    size = sum(f.stat().st_size for f in folder.rglob("*")) / 2**20
    print(f"\nbackup {time.monotonic() - began:.0f} s, {size:.1f} MiB")
    return Kept(folder, copied(up.settings()), [ledger.fetch(Database.of(up.settings()), asked) for asked in KEPT])


def _restored(up: Project, kept: Kept) -> None:
    up.remove()
    up.compose("up", "-d", "--quiet-pull", "postgres", "store", "init", timeout=900)
    up.compose("wait", "init", timeout=300)
    began = time.monotonic()
    up.compose("run", "--rm", "--no-deps", "-T", "-v", f"{kept.folder}:/in:ro", "cli", "restore", "/in", timeout=900)
    print(f"restore {time.monotonic() - began:.0f} s")
    up.start()
    same(copied(up.settings()), kept.marts)
    assert [ledger.fetch(Database.of(up.settings()), asked) for asked in KEPT] == kept.ledger


def test_a_backup_holds_no_secret(up: Project, kept: Kept) -> None:
    secrets = up.secret_values().values()
    for file in kept.folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not [s for s in secrets if s.encode() in content], file.name


def test_a_backup_makes_the_platform_again_on_empty_volumes(up: Project, kept: Kept, embedded: SmallPlatform) -> None:
    _restored(up, kept)
    up.wait_published(up.deliver())
    same(copied(up.settings()), published_beside(embedded, up.sequence))


def test_and_on_the_other_store(up: Project, kept: Kept, embedded: SmallPlatform) -> None:
    """MinIO takes versitygw's place by a setting; what the backup does not hold is delivered again, and the next beside it."""
    up.environment["ESTUAIRE_STORE_SERVER"] = "minio"
    up.compose("build", "--quiet", "store", timeout=3600)
    _restored(up, kept)
    assert up.container("store")["Config"]["Image"].startswith("estuaire/minio:")
    up.wait_published(up.deliver())
    same(copied(up.settings()), published_beside(embedded, up.sequence))

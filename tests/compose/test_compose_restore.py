"""Backup, everything gone, restore into empty volumes (docs/engineers/runbooks.md): the same tables, and the next delivery lands."""

from __future__ import annotations

import os
import time
from pathlib import Path

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


def test_a_backup_makes_the_platform_again_on_empty_volumes(
    up: Project, embedded: SmallPlatform, tmp_path: Path
) -> None:
    if up.sequence == 0:
        up.wait_published(up.deliver())
    before = copied(up.settings())
    ledger_before = [ledger.fetch(Database.of(up.settings()), asked) for asked in KEPT]
    folder = tmp_path / "backup"
    folder.mkdir()
    os.chown(folder, 10001, 10001)
    began = time.monotonic()
    up.compose("run", "--rm", "--no-deps", "-T", "-v", f"{folder}:/out", "cli", "backup", "/out", timeout=900)
    print(
        f"\nbackup {time.monotonic() - began:.0f} s, {sum(f.stat().st_size for f in folder.rglob('*')) / 2**20:.1f} MiB"
    )
    secrets = up.secret_values().values()
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not [s for s in secrets if s.encode() in content], file.name
    up.remove()
    up.compose("up", "-d", "--quiet-pull", "postgres", "store", "init", timeout=900)
    up.compose("wait", "init", timeout=300)
    began = time.monotonic()
    up.compose("run", "--rm", "--no-deps", "-T", "-v", f"{folder}:/in:ro", "cli", "restore", "/in", timeout=900)
    print(f"restore {time.monotonic() - began:.0f} s")
    up.start()
    same(copied(up.settings()), before)
    assert [ledger.fetch(Database.of(up.settings()), asked) for asked in KEPT] == ledger_before
    up.wait_published(up.deliver())
    same(copied(up.settings()), published_beside(embedded, up.sequence))

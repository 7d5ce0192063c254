"""What only a folder as object store has to see to; what every store does is in tests/s3/test_store.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from estuaire.errors import PathOutsideDelivery
from estuaire.objectstore import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def test_an_object_still_being_written_is_not_listed(store: DirectoryStore) -> None:
    store.put_bytes("landing/h01/d1/a.csv", b"abc")
    (store.root / "landing/h01/d1/.tmp-123").write_bytes(b"half")
    assert [o.key for o in store.list("landing/")] == ["landing/h01/d1/a.csv"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_never_leads_out(store: DirectoryStore, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.csv").write_bytes(b"secret")
    folder = store.root / "landing" / "h01"
    folder.mkdir(parents=True)
    if kind == "folder":
        (folder / "d1").symlink_to(secret)
    else:
        (folder / "d1").mkdir()
        (folder / "d1" / "a.csv").symlink_to(secret / "a.csv")
    with pytest.raises(PathOutsideDelivery):
        store.open("landing/h01/d1/a.csv")

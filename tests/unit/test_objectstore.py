"""The object store over a folder: whole objects, no accidental overwriting, no way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from estuaire.errors import FileMissing, PathOutsideDelivery
from estuaire.objectstore import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def test_what_is_put_is_read_listed_and_deleted(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"from a file")
    assert store.put_bytes("landing/h01/d1/a.csv", b"abc")
    assert store.put_file("landing/h01/d1/b.csv", tmp_path / "local")
    assert store.put_bytes("landing/h010/d1/a.csv", b"")
    with store.open("landing/h01/d1/b.csv") as stream:
        assert stream.read() == b"from a file"
    assert [(o.key, o.size) for o in store.list("landing/")] == [
        ("landing/h01/d1/a.csv", 3), ("landing/h01/d1/b.csv", 11), ("landing/h010/d1/a.csv", 0),
    ]  # fmt: skip
    assert [o.key for o in store.list("landing/h01/")] == ["landing/h01/d1/a.csv", "landing/h01/d1/b.csv"]
    assert [o.key for o in store.list("landing/h010")] == ["landing/h010/d1/a.csv"]
    store.delete("landing/h01/d1/a.csv")
    store.delete("landing/h01/d1/a.csv")
    assert store.stat("landing/h01/d1/a.csv") is None
    assert list(store.list("nothing/")) == []


def test_if_none_match_keeps_what_is_there(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"second")
    assert store.put_bytes("k", b"first", if_none_match=True)
    assert not store.put_bytes("k", b"second", if_none_match=True)
    assert not store.put_file("k", tmp_path / "local", if_none_match=True)
    with store.open("k") as stream:
        assert stream.read() == b"first"
    assert store.put_bytes("k", b"third")
    with store.open("k") as stream:
        assert stream.read() == b"third"
    assert [p.name for p in store.root.iterdir()] == ["k"]  # no temporary file is left


def test_the_version_changes_with_the_bytes(store: DirectoryStore) -> None:
    store.put_bytes("k", b"one")
    before = store.stat("k")
    store.put_bytes("k", b"two")
    assert before is not None
    assert store.stat("k") not in (None, before)


def test_an_object_still_being_written_is_not_listed(store: DirectoryStore) -> None:
    store.put_bytes("landing/h01/d1/a.csv", b"abc")
    (store.root / "landing/h01/d1/.tmp-123").write_bytes(b"half")
    assert [o.key for o in store.list("landing/")] == ["landing/h01/d1/a.csv"]


@pytest.mark.parametrize("key", ["../outside", "landing/../../outside", "/etc/passwd", "a\x00b"])
def test_a_key_never_leads_out(store: DirectoryStore, key: str) -> None:
    for use in (store.open, store.stat, store.delete, store.url, lambda k: store.put_bytes(k, b"")):
        with pytest.raises(PathOutsideDelivery):
            use(key)


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


def test_a_missing_object_is_a_typed_error(store: DirectoryStore) -> None:
    with pytest.raises(FileMissing) as raised:
        store.open("landing/h01/d1/a.csv")
    assert raised.value.file == "landing/h01/d1/a.csv"
    store.put_bytes("folder/a", b"")
    with pytest.raises(FileMissing):
        store.open("folder")

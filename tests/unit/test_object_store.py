"""What only a folder as object store has to see to; what every store does is in tests/s3/test_store.py."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from estuaire.base.errors import EntryRefused, FileMissing, PathOutsideDelivery
from estuaire.storage.object_store import DirectoryStore


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


def test_a_link_to_another_hospitals_file_is_none(store: DirectoryStore) -> None:
    store.put_bytes("landing/h02/d1/a.csv", b"another hospital's")
    folder = store.root / "landing" / "h01" / "d1"
    folder.mkdir(parents=True)
    (folder / "a.csv").symlink_to("../../h02/d1/a.csv")
    (folder / "b").symlink_to("../../h02/d1")
    for key in ("landing/h01/d1/a.csv", "landing/h01/d1/b/a.csv"):
        for read in (store.open, store.stat):
            with pytest.raises(PathOutsideDelivery):
                read(key)
    assert [o.key for o in store.list("landing/h01/")] == []
    assert {o.key: o.strange for o in store.walk("landing/h01/")} == dict.fromkeys(
        ("landing/h01/d1/a.csv", "landing/h01/d1/b"), "a link"
    )


def test_whatever_stands_in_a_folder_is_walked_and_nothing_strange_is_an_object(store: DirectoryStore) -> None:
    store.put_bytes("landing/h01/d1/a.csv", b"abc")
    folder = store.root / "landing" / "h01"
    os.mkfifo(folder / "d1" / "pipe")
    os.mkdir(os.fsencode(folder) + b"/\xe9t\xe9")
    deep = folder / "deep"
    deep.mkdir()
    handle = os.open(deep, os.O_RDONLY)
    for _ in range(1500):  # deeper than a path may be long, and than Python recurses
        os.mkdir("x", dir_fd=handle)
        below = os.open("x", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    try:
        assert [o.key for o in store.list("landing/")] == ["landing/h01/d1/a.csv"]
        strange = {o.key[:28]: o.strange for o in store.walk("landing/") if o.strange}
    finally:
        subprocess.run(["rm", "-rf", str(deep)], check=True)
    assert strange == {
        "landing/h01/d1/pipe": "no plain file",
        "landing/h01/deep/x/x/x/x/x/x": "below more than 32 folders",
        "landing/h01/\\xe9t\\xe9": "a name that is not UTF-8",
    }


def test_a_pipe_in_a_files_place_does_not_hang(store: DirectoryStore) -> None:
    (store.root / "k").mkdir(parents=True)
    os.mkfifo(store.root / "k" / "pipe")
    assert store.stat("k/pipe") is None
    with pytest.raises(FileMissing, match="no plain file"):
        store.open("k/pipe")


def test_what_another_account_keeps_to_itself_is_said(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_bytes("landing/h01/d1/manifest.json", b"{}")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)  # tests may run as root, to whom nothing is closed
    with pytest.raises(EntryRefused, match="Permission denied") as raised:
        store.open("landing/h01/d1/manifest.json")
    assert raised.value.file == "landing/h01/d1/manifest.json"
    monkeypatch.undo()
    monkeypatch.setattr(os, "scandir", refused)
    [folder] = store.walk("landing/")
    assert (folder.key, folder.strange) == ("landing", "a folder that cannot be read (Permission denied)")

"""The server's account gets the right to pass through a closed folder: it alone, and only that."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from estuaire.stack import account

USER, MASK = 0x02, 0x10
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another account")


def _entries(raw: bytes) -> dict[tuple[int, int], int]:
    return {(tag, ident): bits for tag, bits, ident in struct.iter_unpack("<HHI", raw[4:])}


def test_acl_of_a_closed_folder() -> None:
    entries = _entries(account.acl_with_search(None, 0o700, 1234))
    assert entries[(USER, 1234)] == 0o1
    assert entries[(MASK, 0xFFFFFFFF)] == 0o1
    assert entries[(0x01, 0xFFFFFFFF)] == 0o7, "the owner keeps all"
    assert entries[(0x20, 0xFFFFFFFF)] == 0, "others still have nothing"


def test_acl_keeps_what_was_there() -> None:
    before = account.acl_with_search(None, 0o750, 1)
    entries = _entries(account.acl_with_search(before, 0o750, 2))
    assert entries[(USER, 1)] == 0o1
    assert entries[(USER, 2)] == 0o1
    assert entries[(0x04, 0xFFFFFFFF)] == 0o5


def test_acl_is_stable_when_given_twice() -> None:
    once = account.acl_with_search(None, 0o700, 7)
    assert account.acl_with_search(once, 0o700, 7) == once


@as_root
def test_account_passes_through_a_closed_folder_and_cannot_list_it() -> None:
    user = account.server_user()
    assert user is not None
    with tempfile.TemporaryDirectory() as name:  # mode 0700
        inside = Path(name) / "open.txt"
        inside.write_text("x")
        inside.chmod(0o644)

        def runs(*command: str) -> bool:
            done = subprocess.run(
                command, user=user[0], group=user[1], extra_groups=[], capture_output=True, check=False
            )
            return done.returncode == 0

        assert not runs("cat", str(inside)), "the test needs a folder that is closed at first"
        assert account.open_path(inside, user[0]) == [Path(name)]
        assert runs("cat", str(inside))
        assert not runs("ls", name)
        assert account.open_path(inside, user[0]) == [], "the second time there is nothing to do"


@as_root
def test_account_is_not_root() -> None:
    user = account.server_user()
    assert user is not None
    assert user[0] != 0

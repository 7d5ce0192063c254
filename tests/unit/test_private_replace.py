"""A file that others read is written whole or not at all: ``private_files.replace``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from estuaire.base import private_files


def test_what_is_replaced_is_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "below" / "page.html"
    private_files.replace(path, "old")
    private_files.replace(path, "né 1")
    assert path.read_bytes() == "né 1".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["page.html"]


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    private_files.replace(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        private_files.replace(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_folder_that_stood_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "deep"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    private_files.closed_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    private_files.closed_folder(tmp_path / "new" / "deep")
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "new", tmp_path / "new" / "deep")} == {0o700}

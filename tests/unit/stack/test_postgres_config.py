"""The embedded PostgreSQL's configuration and files, as text."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from estuaire.base import secret_files
from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.stack import postgres as server
from estuaire.stack import postgres_config


def test_no_trust_anywhere() -> None:
    methods = {line.split()[-1] for line in postgres_config.HBA.splitlines() if line and not line.startswith("#")}
    assert methods == {"scram-sha-256"}


def test_passfile_escapes_what_libpq_would_split() -> None:
    assert postgres_config.passfile({"a": r"x:y\z"}) == "*:*:*:a:x\\:y\\\\z\n"


def test_values_are_quoted() -> None:
    assert "unix_socket_directories = '/run/it''s'" in postgres_config.render({"unix_socket_directories": "/run/it's"})


def test_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("old")
    path.chmod(0o644)
    secret_files.write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_socket_folder_made_by_another_account_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make a folder of another account")
    settings = Settings(_env_file=None, home=tmp_path)
    settings.socket_dir.mkdir(parents=True)
    os.chown(settings.socket_dir, 65534, 65534)
    with pytest.raises(SetupError, match="belongs to another account"):
        server.start(settings)

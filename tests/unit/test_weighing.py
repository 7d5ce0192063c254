"""What a full delivery would end cannot always be told: the file of the lake that is at fault is named, and whatever else happens names the
hospital (the whole way: tests/integration/test_full_held.py)."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from estuaire.base.errors import LakeFileUnreadable
from estuaire.base.settings import Settings
from estuaire.kernel.consolidate import Full
from estuaire.storage.platform import Platform
from spark_jobs import land
from spark_jobs.session import Failed, attempted

FULL = Full(2, date(2024, 1, 1), date(2025, 1, 1), ("stay",))
WEIGHING = land.Weighing(
    "h01", (("stay", "lake/landed/stay/hospital=h01/a.parquet"),), (), (), (land.Arriving("d2", (), FULL, (), False),)
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A store without that file, and a kernel that falls on it."""

    def falls(*_: object) -> None:
        raise KeyError("SECRET77")

    monkeypatch.setattr(land.kernel, "ended_by", falls)
    return Settings(_env_file=None, home=tmp_path / "home", store_root=tmp_path / "store")


def test_a_lost_file_of_the_lake_is_named(settings: Settings) -> None:
    hospital, found = land.ends_one(Platform(settings), WEIGHING)
    error = found["d2"]
    assert hospital == "h01"
    assert isinstance(error, LakeFileUnreadable)
    assert "hospital=h01/a.parquet" in error.what


def test_whatever_else_happens_is_the_hospitals_and_tells_no_value(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(land, "unreadable_files", lambda *_: [])
    outcome: Any = attempted(lambda work: land.ends_one(Platform(settings), work), WEIGHING)
    assert isinstance(outcome, Failed)
    assert (outcome.error.hospital, outcome.error.code) == ("h01", "E_TASK")
    assert "KeyError" in outcome.error.what
    assert "SECRET77" not in outcome.error.sentence()

"""What a look at landing/ finds to be taken up, and what it does not."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from small_platform import SmallPlatform, create_database, dose

from estuaire.deliveries.landing_scan import to_take_up


@pytest.fixture
def platform(migrated: Any, tmp_path: Path, request: pytest.FixtureRequest) -> SmallPlatform:
    name = "arrivals_" + str(abs(hash(request.node.name)) % 10**8)
    create_database(migrated, name, "empty_platform")
    return SmallPlatform(migrated.model_copy(update={"postgres_database": name, "store_root": tmp_path}), None)


def found(platform: SmallPlatform) -> list[tuple[str, str]]:
    return sorted((hospital, delivery) for hospital, delivery, _ in to_take_up(platform))


def age(folder: Path, minutes: float) -> None:
    moment = time.time() - 60 * minutes
    for file in folder.rglob("*"):
        os.utime(file, (moment, moment))


def test_a_delivery_is_found_until_a_scan_has_seen_it_as_it_is(platform: SmallPlatform) -> None:
    assert found(platform) == []
    platform.deliver("d1", 1, headers=None, administration=[dose("1")])
    assert found(platform) == [("h01", "d1")]
    assert found(platform) == [("h01", "d1")]  # a look notes nothing
    platform.discover()
    assert found(platform) == []
    file = platform.settings.store_path / "landing" / "h01" / "d1" / "administration.csv"
    file.write_bytes(file.read_bytes() + b"\n")
    assert found(platform) == [("h01", "d1")]


def test_files_without_a_manifest_are_an_upload_until_they_have_been_left_for_long(platform: SmallPlatform) -> None:
    folder = platform.settings.store_path / "landing" / "h01" / "d1"
    folder.mkdir(parents=True)
    (folder / "administration.csv").write_bytes(b"x\n")
    assert found(platform) == []
    age(folder, platform.settings.arriving_minutes + 1)
    assert found(platform) == [("h01", "d1")]  # a scan says what is wrong with it
    platform.discover()
    assert platform.state("d1") == ("blocked", "E_MANIFEST_MISSING")
    assert found(platform) == []


def test_files_of_a_time_to_come_are_no_upload(platform: SmallPlatform) -> None:
    """A clock that was wrong must not hide a delivery without a manifest for ever."""
    folder = platform.settings.store_path / "landing" / "h01" / "d1"
    folder.mkdir(parents=True)
    (folder / "administration.csv").write_bytes(b"x\n")
    age(folder, -24 * 60)
    assert found(platform) == [("h01", "d1")]


def test_an_unfinished_delivery_is_looked_at_again_when_more_comes_or_nothing_for_long(platform: SmallPlatform) -> None:
    platform.deliver("d1", 1, headers=None, administration=[dose("1")])
    folder = platform.settings.store_path / "landing" / "h01" / "d1"
    whole = (folder / "administration.csv").read_bytes()
    (folder / "administration.csv").write_bytes(whole[:-5])
    platform.discover()
    assert platform.state("d1")[0] == "arriving"
    assert found(platform) == []
    (folder / "administration.csv").write_bytes(whole[:-3])
    assert found(platform) == [("h01", "d1")]
    platform.discover()
    age(folder, platform.settings.arriving_minutes + 1)
    assert found(platform) == [("h01", "d1")]
    platform.discover()
    assert platform.state("d1")[0] == "blocked"
    assert found(platform) == []

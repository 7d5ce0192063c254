"""A disk that is really full (a small file system of its own) in mid-run: its delivery waits, nothing half-written counts, with room it lands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from small_platform import SmallPlatform, dose

RECORDS = 20_000


@pytest.fixture
def small_disk(platform: SmallPlatform) -> Iterator[SmallPlatform]:
    """The platform with its store on a disk that the deliveries nearly fill."""
    if os.geteuid() != 0:
        pytest.skip("a file system is mounted by root alone")
    disk = platform.settings.store_path
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "estuaire-test", str(disk)], check=True)
    try:
        yield platform
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_named_and_with_room_the_run_goes_on(
    small_disk: SmallPlatform, capfd: pytest.CaptureFixture[str]
) -> None:
    stays = ["900;77;10/03/2025 08:00;MCO"]
    patients = ["77;02/01/1950;1;"]
    doses = [dose(str(n)) for n in range(RECORDS)]
    small_disk.deliver("d1", 1, patient=patients, stay=stays, administration=doses)
    disk = small_disk.settings.store_path
    with (disk / "ballast").open("wb") as ballast:
        left = os.statvfs(disk)
        ballast.write(b"\0" * max(0, left.f_bavail * left.f_frsize - 40_000))
    assert small_disk.land() == {"landed": 0, "blocked": 0, "rows": 0, "waiting": 1}
    assert "[E_DISK_FULL] delivery h01/d1" in capfd.readouterr().out
    assert small_disk.state("d1")[0] == "received"  # it waits: the next run takes it up
    assert small_disk.ask("select count(*) from control.landed_file") == [(0,)]
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    small_disk.land()
    assert small_disk.state("d1") == ("landed", None)
    assert small_disk.in_lake("select count(*) from lake.landed.administration") == [(RECORDS,)]

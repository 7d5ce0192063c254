"""Parts of the server killed in mid-run, and the machine "rebooted": the run finishes by itself, with nothing lost or doubled."""

from __future__ import annotations

import time

import pytest
from beside import published_beside, same
from compose_project import HOSPITALS, Project
from published import copied
from small_platform import SmallPlatform

from estuaire.storage import ledger
from estuaire.storage.database import Database

pytestmark = [pytest.mark.compose]


@pytest.mark.parametrize(
    ("part", "stage"),
    [
        ("spark-worker", "land"),
        ("store", "land"),
        ("postgres", "land"),
        ("scheduler", "consolidate"),
        ("postgres", "consolidate"),
        ("store", "consolidate"),
        ("postgres", "publish"),
    ],
)
def test_a_part_killed_in_mid_run_loses_nothing(up: Project, embedded: SmallPlatform, part: str, stage: str) -> None:
    deliveries = up.deliver()
    up.wait_for_stage(stage)
    if part == "spark-worker":
        up.wait_until_it_works()
    before = up.container(part)["RestartCount"]
    began = time.monotonic()
    up.kill(part)
    up.wait_published(deliveries)
    print(f"\n{part} killed in {stage}: published {time.monotonic() - began:.0f} s later")
    assert up.container(part)["RestartCount"] > before
    _nothing_lost_or_doubled(up, embedded, deliveries)


def test_a_reboot_in_mid_run_loses_nothing(up: Project, embedded: SmallPlatform) -> None:
    deliveries = up.deliver()
    up.wait_for_stage("land")
    began = time.monotonic()
    up.reboot()
    up.wait_published(deliveries)
    print(f"\nall killed in land: published {time.monotonic() - began:.0f} s later")
    _nothing_lost_or_doubled(up, embedded, deliveries)


def _nothing_lost_or_doubled(up: Project, embedded: SmallPlatform, deliveries: int) -> None:
    settings = up.settings()
    states = ledger.fetch(Database.of(settings), "select state, count(*) as n from control.delivery group by 1")
    assert {row["state"]: row["n"] for row in states} == {"landed": deliveries}
    assert deliveries >= up.sequence * len(HOSPITALS)
    unbalanced = "select 1 from control.stage_run where state = 'running'"
    assert ledger.fetch(Database.of(settings), unbalanced) == []
    same(copied(settings), published_beside(embedded, up.sequence))

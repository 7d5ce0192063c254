"""Two platforms of two hospitals whose stages run whole, but for Spark and Great Expectations: what a task does is done in this process, and
the gates find nothing. For tests of what the stages do to lake, ledger and staging, in seconds."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from small_platform import Platform, create_database, dose

from estuaire.gates import consolidated as gate_consolidated
from estuaire.gates import landed as gate_landed
from estuaire.registry import FOLDER
from spark_jobs import consolidate, land, load, session

HOSPITALS = ("h01", "h02")
STAGES = {"land": land, "consolidate": consolidate, "load": load}
_NUMBERS = itertools.count(1)


def _here(spark: Any, items: Any, work: Callable[[Any], Any], **more: Any) -> tuple[list[Any], list[Any]]:
    return [work(item) for _, item in items], []


@pytest.fixture(scope="module")
def without_spark() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "spread_survivors", _here)
        for module in (land, consolidate):
            patch.setattr(module, "warm_up", lambda: None)
        patch.setattr(
            gate_landed,
            "audit",
            lambda settings, spark, run_id, landed: gate_landed.Audit(
                {(m.hospital, m.delivery_id): gate_landed.Finding(m.hospital, m.delivery_id) for m, _ in landed}, []
            ),
        )
        patch.setattr(
            gate_consolidated,
            "audit",
            lambda settings, spark, run_id, outcomes: gate_consolidated.Audit(
                {h: gate_consolidated.Finding(h) for h in outcomes}, []
            ),
        )
        yield


@dataclass
class Pair:
    """The platform that meets faults, and one that gets the same deliveries and meets none."""

    tried: Platform
    calm: Platform
    deliveries: int = 0

    def deliver(self) -> None:
        """Two records of each hospital."""
        self.deliveries += 1
        n = self.deliveries
        for platform in (self.tried, self.calm):
            for hospital in HOSPITALS:
                platform.deliver(
                    f"d{n}", n, hospital=hospital, headers=None, administration=[dose(f"A{n}"), dose(f"B{n}")]
                )

    def run(self, stage: str, platform: Platform | None = None) -> None:
        on = platform or self.tried
        if stage == "land":
            on.discover()
        STAGES[stage].run(on.settings, on.new_run(), None)


@pytest.fixture(scope="module")
def pair(migrated: Any, tmp_path_factory: pytest.TempPathFactory, without_spark: None) -> Pair:
    registry = tmp_path_factory.mktemp("registry")
    shutil.copytree(FOLDER.parent if FOLDER.name == "hospitals" else FOLDER, registry, dirs_exist_ok=True)
    own = (registry / "hospitals" / "h01.yml").read_text(encoding="utf-8")
    for file in (registry / "hospitals").glob("*.yml"):
        if file.stem != "h01":
            file.unlink()
    second = own.replace("id: h01", "id: h02").replace("990000013", "990000021")
    (registry / "hospitals" / "h02.yml").write_text(second, encoding="utf-8")
    maps = registry / "code_maps"
    shutil.rmtree(maps / "h02", ignore_errors=True)
    shutil.copytree(maps / "h01", maps / "h02")
    made = []
    number = next(_NUMBERS)
    for name in (f"tried_{number}", f"calm_{number}"):
        create_database(migrated, name, "empty_platform")
        folder = tmp_path_factory.mktemp(name)
        settings = migrated.model_copy(
            update={"postgres_database": name, "store_root": folder, "registry_dir": registry, "sweep_after_hours": 0}
        )
        made.append(Platform(settings, None))
        made[-1].lake.ensure()
    return Pair(*made)

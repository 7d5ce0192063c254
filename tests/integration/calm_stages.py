"""Two platforms of two hospitals whose stages run whole, but for Spark, dbt and Great Expectations: what a task does is done in this process,
the marts are two tables of what staging holds, and the gates find nothing. For tests of what the stages do to lake, ledger, staging and
releases, in seconds."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from small_platform import SmallPlatform, create_database, dose

from estuaire.base.settings import Settings
from estuaire.contract.registry import FOLDER
from estuaire.gates import consolidated as gate_consolidated
from estuaire.gates import landed as gate_landed
from estuaire.orchestration import tasks
from estuaire.storage.database import Database
from estuaire.warehouse import dbt_build, publish, releases
from spark_jobs import consolidate, land, load, session

HOSPITALS = ("h01", "h02")
STAGES: dict[str, Callable[..., object]] = {
    "land": land.run,
    "consolidate": consolidate.run,
    "load": load.run,
    "publish": tasks.publish,
}
_NUMBERS = itertools.count(1)


def _here(spark: Any, items: Any, work: Callable[[Any], Any], **more: Any) -> tuple[list[Any], list[Any]]:
    return [work(item) for _, item in items], []


@pytest.fixture(scope="module")
def without_engines() -> Iterator[None]:
    """No Spark, no dbt, no Great Expectations, no report."""
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
        patch.setattr(dbt_build, "run", _marts_of_staging)
        patch.setattr(publish, "_audit", lambda *_: [])
        patch.setattr(publish, "warm_up", lambda: None)
        patch.setattr(tasks, "build_quietly", lambda *_: None)
        yield


def _marts_of_staging(settings: Settings, *_: Any, release: dict[str, str], **__: Any) -> list[dbt_build.Node]:
    """In dbt's place: the candidate's tables, each of one statement."""
    number, staging = int(release["ESTUAIRE_RELEASE_ID"]), release["ESTUAIRE_STAGING_SCHEMA"]
    with releases.connect(Database.of(settings)) as session, session.cursor() as cursor:
        cursor.execute(
            "create schema marts_next; create schema conformed_next; "
            f"create table conformed_next.administration as select * from {staging}.administration; "
            f"create table marts_next.antibiotic_consumption as select count(*) as records, {number} as release_id "
            "from conformed_next.administration"
        )
        session.commit()
    return []


@dataclass
class Pair:
    """The platform that meets faults, and one that gets the same deliveries and meets none."""

    tried: SmallPlatform
    calm: SmallPlatform
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

    def run(self, stage: str, platform: SmallPlatform | None = None) -> None:
        on = platform or self.tried
        if stage == "land":
            on.discover()
        STAGES[stage](on, on.new_run(), None)


@pytest.fixture(scope="module")
def pair(migrated: Any, tmp_path_factory: pytest.TempPathFactory, without_engines: None) -> Pair:
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
        made.append(SmallPlatform(settings, None))
        made[-1].lake.ensure()
    return Pair(*made)

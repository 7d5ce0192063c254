"""Landing, consolidation and load killed or failed at every step boundary (``estuaire.faults``), then run again: each record once, the same
hashes as without a fault, nothing left over.

The stages run whole, but for Spark and Great Expectations, which are no boundary of their own: what a task does is done here in this process
and the gates find nothing. ``make test`` takes the points around the commits; ``make test-faults`` all of them.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from small_platform import Platform, dose

from estuaire import faults, leftovers
from estuaire.gates import consolidated as gate_consolidated
from estuaire.gates import landed as gate_landed
from estuaire.ledger import Stage
from estuaire.registry import FOLDER
from spark_jobs import consolidate, land, load

COMMIT = ["stage.rehearsed", "stage.intended", "lake.begun", "lake.filled", "lake.committed"]
END = ["stage.noted", "stage.ended"]
BEGIN = ["stage.begun", "stage.recovered"]
ALL = {
    "land": [*BEGIN, "land.written", "land.judged", *COMMIT, "land.tidied", *END],
    "consolidate": [
        *BEGIN, "consolidate.written", "consolidate.judged", "consolidate.mapped", "consolidate.accounted", *COMMIT, *END,
    ],
    "load": [*BEGIN, "load.filled", "load.accounted", "load.swapped", "load.committed", *END],
}  # fmt: skip
ALWAYS = {
    ("land", "lake.filled"),
    ("land", "lake.committed"),
    ("consolidate", "lake.committed"),
    ("load", "load.committed"),
}
HOSPITALS = ("h01", "h02")
STAGES = {"land": land, "consolidate": consolidate, "load": load}


class Killed(BaseException):
    """The process dies here."""


def _cases() -> list[Any]:
    return [
        pytest.param(
            stage, point, how, marks=() if how == "killed" and (stage, point) in ALWAYS else pytest.mark.faults
        )
        for stage, points in ALL.items()
        for point in points
        for how in ("killed", "failed")
    ]


def test_every_point_is_tried() -> None:
    assert {p for points in ALL.values() for p in points} == set(faults.POINTS)


def _here(spark: Any, items: Any, work: Callable[[Any], Any], **more: Any) -> list[Any]:
    return [work(item) for _, item in items]


@pytest.fixture(scope="module")
def without_spark() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in STAGES.values():
            patch.setattr(module, "spread", _here)
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
    from small_platform import create_database

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
    for name in ("faults_tried", "faults_calm"):
        create_database(migrated, name, "empty_platform")
        folder = tmp_path_factory.mktemp(name)
        settings = migrated.model_copy(
            update={"postgres_database": name, "store_root": folder, "registry_dir": registry, "sweep_after_hours": 0}
        )
        made.append(Platform(settings, None))
        made[-1].lake.ensure()
    return Pair(*made)


@pytest.mark.parametrize(("stage", "point", "how"), _cases())
def test_a_stage_that_ends_anywhere_is_finished_by_the_next_run(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, stage: str, point: str, how: str
) -> None:
    pair.deliver()
    for before in itertools.takewhile(lambda s: s != stage, STAGES):
        pair.run(before)
    error: type[BaseException] = Killed if how == "killed" else RuntimeError

    def strike() -> None:
        faults.clear()  # once
        raise error(point)

    with monkeypatch.context() as patched:
        if how == "killed":  # nobody is left to note the failure
            patched.setattr(Stage, "fail", lambda *a: None)
        faults.at(point, strike)
        try:
            with pytest.raises(error):
                pair.run(stage)
        finally:
            faults.clear()
    for again in itertools.dropwhile(lambda s: s != stage, STAGES):
        pair.run(again)
    _whole(pair)


def _whole(pair: Pair) -> None:
    records = 4 * pair.deliveries
    for layer in ("landed", "consolidated"):
        counted = f"select count(*), count(distinct (row_uid_hi, row_uid_lo)) from lake.{layer}.administration"
        assert pair.tried.in_lake(counted) == [(records, records)], layer
    assert pair.tried.ask(
        "select count(*), count(distinct (hospital_id, administration_id)) from staging.administration"
    ) == [(records, records)]
    assert pair.tried.ask("select count(*) from control.delivery where state <> 'landed'") == [(0,)]
    assert pair.tried.ask("select count(*) from control.set_aside") == [(0,)]
    # nothing left over, once what is over is old enough
    leftovers.sweep(pair.tried.settings, pair.tried.lake)
    known = pair.tried.lake.known_files()
    assert [o.key for o in pair.tried.store.list("work/")] == []
    stored = {"/".join(o.key.split("/")[-2:]) for o in pair.tried.store.list("lake/")}
    assert {s for s in stored if s not in known and s.split("/")[-1] not in known} == set()
    loose = pair.tried.ask(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'staging' and c.relkind = 'r' "
        "and not c.relispartition and c.relname ~ '_[0-9]+$'"
    )
    assert loose == []


def test_the_hashes_are_those_of_a_platform_that_met_no_fault(pair: Pair) -> None:
    """The last test of the module: the same deliveries, landed, consolidated and loaded once."""
    if not pair.deliveries:
        pair.deliver()
        for stage in STAGES:
            pair.run(stage)
    for stage in STAGES:
        pair.run(stage, pair.calm)
    asked = "select hospital_id, content_hash from control.{} order by 1"
    for table in ("consolidation", "load"):
        assert pair.tried.ask(asked.format(table)) == pair.calm.ask(asked.format(table))
    rows = "select count(*), sum(hashtextextended(t::text, 0)) from staging.administration t"
    assert pair.tried.ask(rows) == pair.calm.ask(rows)

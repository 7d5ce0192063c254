"""A Python worker that is killed outright (SIGKILL, as the kernel does when memory ends) on one hospital's file ends at that hospital."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_platform import SmallPlatform, clones, dose

from estuaire.base import metering
from estuaire.base.errors import TaskKilled
from estuaire.runs.explain import explain
from estuaire.storage import set_aside
from spark_jobs import consolidate, land, load
from spark_jobs.session import spread_each, spread_survivors


def dies(marks: Path, hospital: str, times: int) -> Callable[[Any], Any]:
    """Work that notes each call and kills its own process where the hospital is named, the first ``times``."""

    def work(item: Any) -> tuple[str, int]:
        with (marks / item.hospital).open("a") as file:
            file.write(f"{item.index} {os.getpid()}\n")
        if item.hospital == hospital and len((marks / hospital).read_text().splitlines()) <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return item.hospital, item.index

    return work


ITEMS = [(9 - n, land.Work(f"h{n % 4 + 1:02d}", "d1", n, "run", 1, "")) for n in range(8)]


def test_a_worker_killed_once_loses_nothing(spark: Any, tmp_path: Path) -> None:
    results, failed = spread_each(spark, ITEMS, dies(tmp_path, "h02", 1), per_core=1)
    assert failed == []
    assert sorted(n for _, n in results) == list(range(8))
    # packets are jobs of their own: what stood in another than the killed one was done once
    done = [(tmp_path / h).read_text().splitlines() for h in ("h01", "h02", "h03", "h04")]
    assert 8 < sum(map(len, done)) <= 12


def test_a_worker_killed_each_time_ends_at_its_hospital_and_names_it(spark: Any, tmp_path: Path) -> None:
    results, failed = spread_each(spark, ITEMS, dies(tmp_path, "h02", 99), per_core=1)
    assert sorted(n for _, n in results) == [0, 2, 3, 4, 6, 7]
    assert {(f.item.index, f.error.code, f.error.hospital) for f in failed} == {
        (1, "E_TASK_KILLED", "h02"),
        (5, "E_TASK_KILLED", "h02"),
    }
    done, killed = spread_survivors(spark, ITEMS, dies(tmp_path, "h02", 99))
    assert len(done) == 6
    assert {(k.item.index, k.error.code) for k in killed} == {(1, "E_TASK_KILLED"), (5, "E_TASK_KILLED")}


def test_where_every_hospitals_worker_is_killed_it_is_the_stages(spark: Any) -> None:
    def work(item: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(TaskKilled):
        spread_each(spark, ITEMS, work)


def test_what_a_clusters_workers_use_is_metered(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their processes are none of the driver's tree; on one machine they are, and are not counted twice."""

    def busy(item: Any) -> float:
        began = time.process_time()
        while time.process_time() - began < 0.4:
            sum(range(1000))
        return time.process_time() - began

    def metered() -> tuple[float, float, int]:
        """CPU seconds that the work itself measured, those that were metered, and the peak of memory."""
        before = metering.elsewhere.cpu_seconds
        done, _ = spread_survivors(spark, ITEMS[:3], busy)
        return sum(done), metering.elsewhere.cpu_seconds - before, metering.elsewhere.peak_memory_bytes

    assert metered()[1] == 0
    monkeypatch.setattr(spark.sparkContext, "master", "spark://elsewhere:7077")
    with metering.Meter(os.getpid()) as meter:
        worked, seconds, peak = metered()
        assert 1.2 <= worked <= seconds
        assert meter.cost().cpu_seconds >= seconds
    assert peak > 20_000_000


def _killing(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, hospital: str) -> None:
    """Let the stage's work on a hospital kill the worker that does it. The closure travels to the workers by value."""
    path = module.__name__

    def work(platform: Any, item: Any) -> Any:
        import importlib

        if (item[0] if isinstance(item, tuple) else item).hospital == hospital:
            os.kill(os.getpid(), signal.SIGKILL)
        return getattr(importlib.import_module(path), name)(platform, item)

    monkeypatch.setattr(module, name, work)


def test_land_consolidate_and_load_go_on_without_the_hospital_whose_work_kills(
    platform: SmallPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = clones(platform, tmp_path, "h01", "h02", "h03")
    for n in (1, 2):
        for hospital in ("h01", "h02", "h03"):
            platform.deliver(f"d{n}", n, hospital=hospital, administration=[dose(f"A{n}")])
        with monkeypatch.context() as patch:
            if n == 2:
                _killing(patch, land, "land_one", "h02")
            landed = platform.land()
    assert (landed["landed"], landed["blocked"], landed["waiting"]) == (2, 0, 1)
    assert platform.state("d2", "h02") == ("received", "E_TASK_KILLED")
    [error] = platform.errors("control.delivery", "hospital_id = 'h02' and delivery_id = 'd2'")
    assert "delivery h02/d2: file administration.csv: the process that worked on it was killed" in error.sentence()
    assert explain(platform, "h02/d2").stopped[0].code == "E_TASK_KILLED"
    assert platform.state("d2", "h03") == ("landed", None)

    with monkeypatch.context() as patch:
        _killing(patch, consolidate, "consolidate_one", "h01")
        assert platform.consolidate()["hospitals"] == ["h02", "h03"]
    with monkeypatch.context() as patch:
        _killing(patch, load, "load_one", "h02")
        assert platform.load()["hospitals"] == ["h03"]
    aside = [(r["hospital_id"], r["stage"], r["error_code"]) for r in set_aside.standing(platform.database)]
    assert aside == [("h01", "consolidate", "E_TASK_KILLED"), ("h02", "load", "E_TASK_KILLED")]

    assert platform.land()["landed"] == 1
    assert platform.consolidate()["hospitals"] == ["h01", "h02"]
    assert platform.load()["hospitals"] == ["h01", "h02"]
    assert set_aside.standing(platform.database) == []
    counted = "select hospital_id, count(*) from staging.administration group by 1 order by 1"
    assert platform.ask(counted) == [("h01", 2), ("h02", 2), ("h03", 2)]

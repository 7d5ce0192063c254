"""The stages on each store: the same published tables, byte by byte, and nothing lost where the store goes away in between."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from published import copied
from servers import SERVERS, Running
from small_platform import SmallPlatform, dose

from estuaire.base.errors import StoreUnavailable
from estuaire.gates.gx import Suites, frame_of_files
from estuaire.rules.rule_registry import load_rules
from estuaire.simulator import SimulationPlan, simulate

pytestmark = pytest.mark.s3

HISTORY = SimulationPlan(patients=90, upto_sequence=1)
DELTA = SimulationPlan(patients=90, upto_sequence=2)
Made = Callable[[str], SmallPlatform]


def _steps(platform: SmallPlatform) -> dict[str, float]:
    """Land, consolidate, load and publish what is delivered; seconds of each."""
    seconds = {}
    for name in ("land", "consolidate", "load", "publish"):
        began = time.monotonic()
        outcome = getattr(platform, name)()
        seconds[name] = time.monotonic() - began
    assert outcome.state == "published", outcome
    return seconds


def _sorted_out(platform: SmallPlatform) -> None:
    """Every record is accounted for, and no object or file is left that nobody refers to."""
    assert platform.ask("select distinct state from control.delivery") == [("landed",)]
    unbalanced = (
        "select count(*) from control.accounting "
        "where rows_in <> rows_out + rows_quarantined + rows_superseded + rows_unparseable + rows_not_loaded"
    )
    assert platform.ask(unbalanced) == [(0,)]
    assert list(platform.store.list("work/")) == []
    scratch = platform.settings.scratch
    assert not scratch.exists() or not any(scratch.iterdir())


@pytest.fixture(scope="module")
def published(new_platform: Made) -> Callable[[str], tuple[SmallPlatform, dict[str, float], dict[str, bytes]]]:
    """A platform on a store that published the history, the seconds it took, and what it published."""

    @cache
    def get(store: str) -> tuple[SmallPlatform, dict[str, float], dict[str, bytes]]:
        platform = new_platform(store)
        began = time.monotonic()
        simulate(platform.settings, HISTORY)
        seconds = {"simulate": time.monotonic() - began} | _steps(platform)
        print(f"\n{store}: " + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()))
        return platform, seconds, copied(platform.settings)

    return get


@pytest.mark.parametrize("store", SERVERS)
def test_the_published_tables_are_those_of_a_folder_byte_by_byte(published: Any, store: str) -> None:
    _, _, expected = published("directory")
    platform, _, found = published(store)
    assert len(expected) > 15
    assert sum(map(len, expected.values())) > 100_000
    assert found.keys() == expected.keys()
    assert {name for name in expected if found[name] != expected[name]} == set()
    _sorted_out(platform)
    bucket = platform.settings.s3_bucket
    files = platform.lake.list_files("consolidated", "administration")
    assert files
    assert all(f.startswith(f"s3://{bucket}/lake/consolidated/administration/hospital=") for f in files)


@pytest.fixture(scope="module")
def after_delta(published: Any) -> dict[str, bytes]:
    """What the platform on a folder publishes once the delta is in."""
    reference, _, _ = published("directory")
    simulate(reference.settings, DELTA)
    _steps(reference)
    return copied(reference.settings)


def _killed(server: Running) -> Callable[..., None]:
    """A hook that kills the server."""
    return lambda *_: server.stop(signal.SIGKILL)


@pytest.mark.outage
@pytest.mark.parametrize("store", SERVERS)
def test_a_store_that_dies_in_mid_run_costs_a_rerun_and_nothing_else(
    published: Any, after_delta: dict[str, bytes], server: Callable[[str], Running], store: str
) -> None:
    platform, _, before = published(store)
    running = server(store)
    simulate(platform.settings, DELTA)

    # landed files are written, not yet read back
    with pytest.raises(StoreUnavailable):
        platform.land(before_commit=_killed(running))
    assert copied(platform.settings) == before
    assert platform.ask("select count(*) from control.delivery where state = 'received'") != [(0,)]
    assert platform.ask("select distinct retryable from control.stage_run where state = 'failed'") == [(True,)]
    running.start()
    assert platform.land()["blocked"] == 0

    # consolidated files are written, not yet audited: what Great Expectations cannot read is no finding
    with pytest.raises(StoreUnavailable):
        platform.consolidate(before_audit=_killed(running))
    assert platform.ask("select count(*) from control.consolidation_block") == [(0,)]
    running.start()
    platform.consolidate()

    running.stop(signal.SIGKILL)
    with pytest.raises(StoreUnavailable):
        platform.load()
    assert copied(platform.settings) == before
    running.start()
    platform.load()
    assert platform.publish().state == "published"
    assert copied(platform.settings) == after_delta
    _sorted_out(platform)


@pytest.mark.outage
@pytest.mark.parametrize("store", SERVERS)
def test_a_store_that_is_back_within_seconds_costs_no_rerun(
    new_platform: Made, server: Callable[[str], Running], store: str
) -> None:
    platform = new_platform(store)
    running = server(store)
    simulate(platform.settings, HISTORY)
    platform.discover()
    running.stop(signal.SIGKILL)
    back = threading.Timer(3.0, running.start)
    back.start()
    landed = platform.land()
    back.join()
    assert (landed["landed"], landed["blocked"]) == (3, 0)
    assert platform.ask("select sum(rows_in) from control.accounting") == [(landed["rows"],)]


@pytest.mark.parametrize("store", SERVERS)
def test_a_file_that_spark_cannot_read_is_the_stores_fault_not_the_hospitals(published: Any, store: str) -> None:
    platform, _, _ = published(store)
    rules = load_rules("landed")["patient"][:1]
    key = "work/gone.parquet"
    [source, *_] = platform.lake.list_files("landed", "patient")
    with platform.store.open(source.partition(f"{platform.settings.s3_bucket}/")[2]) as stream:
        platform.store.put_bytes(key, stream.read())
    frame = frame_of_files(platform.spark, [platform.store.url(key)], [f"0 as {rules[0].mark}"])
    platform.store.delete(key)
    with pytest.raises(StoreUnavailable):
        Suites().frames({"patient": (lambda: frame, rules)})


@pytest.mark.outage
@pytest.mark.parametrize("store", SERVERS)
def test_one_delivery_goes_through_a_server_that_dies_at_each_stage(
    new_platform: Made, server: Callable[[str], Running], store: str
) -> None:
    platform, running = new_platform(store), server(store)
    platform.deliver("d1", 1, administration=[dose("A"), dose("B"), dose("C")])
    with pytest.raises(StoreUnavailable):
        platform.land(before_commit=_killed(running))
    assert platform.state("d1") == ("received", None)
    running.start()
    assert platform.land()["landed"] == 1
    with pytest.raises(StoreUnavailable):
        platform.consolidate(before_audit=_killed(running))
    assert platform.ask("select count(*) from control.consolidation_block") == [(0,)]
    running.start()
    assert platform.consolidate()["rows"] == 3
    assert len(platform.through_spark("consolidated", "administration")) == 3
    assert platform.in_lake("select count(*) from lake.landed.administration") == [(3,)]
    assert platform.load()["hospitals"] == ["h01"]
    assert platform.ask("select count(*) from staging.administration") == [(3,)]

"""Landing, consolidation, load and publish killed or failed at every step boundary (``estuaire.base.faults``), then run again: each record once,
the same hashes as without a fault, nothing left over.

The stages run whole, but for Spark, dbt and Great Expectations, which are no boundary of their own: what a task does is done here in this
process, the marts are two tables of what staging holds, and the gates find nothing. What is killed is a process of its own, by SIGKILL.
``make test`` takes the points around the commits; ``make test-faults`` all of them.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from typing import Any

import pytest
from calm_stages import STAGES, Pair, pair, without_engines

from estuaire.base import faults
from estuaire.storage import ended_attempts
from estuaire.warehouse import releases

__all__ = ["pair", "without_engines"]

COMMIT = ["stage.rehearsed", "stage.intended", "lake.begun", "lake.filled", "lake.committed"]
END = ["stage.noted", "stage.ended"]
BEGIN = ["stage.begun", "stage.recovered"]
ALL = {
    "land": [*BEGIN, "land.written", "land.audited", "land.judged", *COMMIT, "land.tidied", *END],
    "consolidate": [
        *BEGIN, "consolidate.written", "consolidate.judged", "consolidate.mapped", "consolidate.accounted", *COMMIT, *END,
    ],
    "load": [*BEGIN, "load.filled", "load.accounted", "load.swapped", "load.committed", *END],
    "publish": [
        "stage.begun", "publish.numbered", "publish.built", "publish.judged", "publish.swapped", "publish.served", "publish.pruned",
        "stage.noted", "publish.ended",
    ],
}  # fmt: skip
ALWAYS = {
    ("land", "lake.filled"),
    ("land", "lake.committed"),
    ("consolidate", "lake.committed"),
    ("load", "load.committed"),
    ("publish", "publish.judged"),
    ("publish", "publish.served"),
}


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


@pytest.mark.parametrize(("stage", "point", "how"), _cases())
def test_a_stage_that_ends_anywhere_is_finished_by_the_next_run(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, stage: str, point: str, how: str
) -> None:
    pair.deliver()
    for before in itertools.takewhile(lambda s: s != stage, STAGES):
        pair.run(before)
    _strike(pair, stage, point, how)
    for again in itertools.dropwhile(lambda s: s != stage, STAGES):
        pair.run(again)
    _whole(pair)


def _strike(pair: Pair, stage: str, point: str, how: str) -> None:
    """Run the stage up to the point, where it fails, or its process is killed."""
    if how == "failed":

        def fail(*_: object) -> None:
            faults.clear()  # once
            raise RuntimeError(point)

        faults.at(point, fail)
        try:
            with pytest.raises(RuntimeError, match=point):
                pair.run(stage)
        finally:
            faults.clear()
        return

    def in_a_process() -> None:
        faults.at(point, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        pair.run(stage)

    process = multiprocessing.get_context("fork").Process(target=in_a_process)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


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
    _served(pair, records)
    assert pair.tried.ask("select count(*) from control.stage_run where state = 'running'") == [(0,)]
    # nothing left over, once what is over is old enough
    ended_attempts.sweep(pair.tried)
    known = pair.tried.lake.known_files()
    assert [o.key for o in pair.tried.store.list("work/")] == []
    stored = {"/".join(o.key.split("/")[-2:]) for o in pair.tried.store.list("lake/")}
    assert {s for s in stored if s not in known and s.split("/")[-1] not in known} == set()
    loose = pair.tried.ask(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'staging' and c.relkind = 'r' "
        "and not c.relispartition and c.relname ~ '_[0-9]+$'"
    )
    assert loose == []


def _served(pair: Pair, records: int) -> None:
    """The newest release holds every record; each release before it as many as were there then; no candidate is left."""
    schemas = [
        r[0] for r in pair.tried.ask("select nspname from pg_namespace where nspname ~ '^(marts|conformed)' order by 1")
    ]
    known = releases.list_releases(pair.tried.database)
    kept = [r.release_id for r in known if r.archive_schema]
    assert sorted(schemas) == sorted(
        ["marts", "conformed", *(f"{s}_r{k}" for s in ("marts", "conformed") for k in kept)]
    )
    assert [r.state for r in known] == ["published", *["replaced"] * (len(known) - 1)]
    assert [r.release_id for r in known] == list(
        range(len(known), 0, -1)
    )  # a number is used once, and none is left out
    assert len(kept) == min(len(known) - 1, releases.KEPT_ARCHIVES)
    assert pair.tried.ask("select records, release_id from marts.antibiotic_consumption") == [
        (records, known[0].release_id)
    ]
    assert pair.tried.ask("select count(*) from conformed.administration") == [(records,)]


def test_the_hashes_are_those_of_a_platform_that_met_no_fault(pair: Pair) -> None:
    """The last test of the module: the same deliveries, landed, consolidated and loaded once."""
    if not pair.deliveries:
        pair.deliver()
        for stage in STAGES:
            pair.run(stage)
    for stage in STAGES:
        pair.run(stage, pair.calm)
    asked = "select hospital_id, content_hash from control.{} order by 1"
    newest = "select input_hash, contents from control.release order by release_id desc limit 1"
    assert pair.tried.ask(newest) == pair.calm.ask(newest)
    for table in ("consolidation", "load"):
        assert pair.tried.ask(asked.format(table)) == pair.calm.ask(asked.format(table))
    rows = "select count(*), sum(hashtextextended(t::text, 0)) from staging.administration t"
    assert pair.tried.ask(rows) == pair.calm.ask(rows)

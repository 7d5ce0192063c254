"""Landing, consolidation and load killed or failed at every step boundary (``estuaire.faults``), then run again: each record once, the same
hashes as without a fault, nothing left over.

The stages run whole, but for Spark and Great Expectations, which are no boundary of their own: what a task does is done here in this process
and the gates find nothing. ``make test`` takes the points around the commits; ``make test-faults`` all of them.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from calm_stages import STAGES, Pair, pair, without_spark

from estuaire import faults, leftovers
from estuaire.ledger import Stage

__all__ = ["pair", "without_spark"]

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

"""A3: whatever a piece of work of one hospital raises ends at that hospital, named; `spread_each` is what every stage goes through."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import duckdb
import pyarrow as pa
import pytest
from spark_here import Here

from estuaire.base import errors
from estuaire.base.errors import DiskFull, EstuaireError, SetupError, StoreUnavailable, TaskFailed
from estuaire.runs.explain import stop_of
from spark_jobs.session import Failed, guarded, spread_each


class Panic(BaseException):
    """As polars raises: not below Exception."""


FOREIGN: list[BaseException] = [
    UnicodeDecodeError("utf-8", b"SECRET77", 0, 1, "SECRET77"), OverflowError("SECRET77"), MemoryError("SECRET77"),
    csv.Error("SECRET77"), duckdb.ConversionException("SECRET77"), pa.ArrowInvalid("SECRET77"), OSError(28, "SECRET77"),
    ValueError("SECRET77"), KeyError("SECRET77"), RecursionError("SECRET77"), Panic("SECRET77"),
]  # fmt: skip


def ours(kind: type[EstuaireError]) -> Iterator[type[EstuaireError]]:
    for below in kind.__subclasses__():
        yield below
        yield from ours(below)


OURS = [
    kind("it is wrong", remedy="mend it") for kind in ours(EstuaireError) if kind.__module__.startswith(errors.__name__)
]


@dataclass(frozen=True)
class Work:
    hospital: str
    delivery: str = ""
    file: str = ""


def fails(error: BaseException, item: Work) -> str:
    if item.hospital == "h01":
        raise error
    return item.hospital


@pytest.mark.parametrize("error", [*OURS, *FOREIGN], ids=lambda e: type(e).__name__)
def test_an_error_of_any_class_ends_at_its_hospital_and_names_it(error: BaseException) -> None:
    items = [(1, Work(h, f"{h}-d", f"{h}.csv")) for h in ("h01", "h02", "h03")]
    results, failed = spread_each(Here(), items, partial(fails, error))
    assert sorted(results) == ["h02", "h03"]
    [one] = failed
    assert one == Failed(items[0][1], one.error)
    assert (one.error.hospital, one.error.delivery, one.error.file) == ("h01", "h01-d", "h01.csv")
    assert "SECRET77" not in one.error.sentence()
    if isinstance(error, OSError):
        assert type(one.error) is DiskFull
    elif not isinstance(error, EstuaireError):
        assert type(one.error) is TaskFailed
        assert type(error).__name__ in one.error.what
    # what a stage says of it is what `explain` shows, in its parts
    stop = stop_of("land", one.error.fields)
    assert (stop.where, stop.file, stop.code) == ("h01/h01-d", "h01.csv", one.error.code)


def test_the_explain_of_a_task_of_a_whole_hospital_names_it() -> None:
    """`explain` dropped a place without a delivery: "load: KeyError at x.py:1", of whom nobody knew."""
    for item in (Work("h01"), (Work("h01"), Work("h01"))):  # one, or a packet as load has them
        with pytest.raises(TaskFailed) as raised:
            guarded(partial(fails, KeyError("x")), item)  # type: ignore[arg-type]
        assert stop_of("load", raised.value.fields).where == "h01: load"


def test_what_may_pass_is_tried_once_more_and_nothing_else_is() -> None:
    calls: list[str] = []

    def work(item: Work) -> str:
        calls.append(item.hospital)
        if item.hospital == "h01" and calls.count("h01") == 1:
            raise StoreUnavailable("it does not answer", remedy="wait")
        if item.hospital == "h02":
            raise SetupError("no", remedy="mend it")
        return item.hospital

    results, failed = spread_each(Here(), [(1, Work(h)) for h in ("h01", "h02", "h03")], work)
    assert sorted(results) == ["h01", "h03"]
    assert [f.item.hospital for f in failed] == ["h02"]
    assert sorted(calls) == ["h01", "h01", "h02", "h03"]


@pytest.mark.parametrize("kind", [StoreUnavailable, SetupError])
def test_where_nothing_could_be_done_for_a_cause_of_ours_it_is_the_stage_that_failed(kind: type[EstuaireError]) -> None:
    def work(item: Work) -> str:
        raise kind("no", remedy="mend it")

    with pytest.raises(kind):
        spread_each(Here(), [(1, Work(h)) for h in ("h01", "h02")], work)

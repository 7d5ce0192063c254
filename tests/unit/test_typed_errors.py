"""An error of ours that went through Spark is ours again."""

from __future__ import annotations

import pickle

import pytest

from estuaire.base.errors import ContractError, EstuaireError, StoreUnavailable, TaskFailed, typed

ERRORS = [
    ContractError(
        "code map h39/organism.csv line 4: 'X' is no standard code of organism", remedy="write a standard code"
    ),
    StoreUnavailable("the object store did not answer", remedy="look at the store. Then run again"),
    TaskFailed("KeyError at land_file.py:3 in a Spark task", remedy="report it", hospital="h01", delivery="d1"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.code)
def test_what_spark_makes_of_an_error_of_ours_is_that_error(error: EstuaireError) -> None:
    trace = "\n".join(
        [
            "An exception was thrown from the Python worker:",
            "Traceback:",
            f"  spark_jobs.X: {error}",
            "",
            "\tat org.apache",
        ]
    )
    found = typed(trace)
    assert type(found) is type(error)
    assert str(found) == str(error) == str(pickle.loads(pickle.dumps(error)))  # noqa: S301 - our own
    assert found.retryable == error.retryable


@pytest.mark.parametrize("text", ["", "KeyError: [E_NOTHING] x. What to do: y.", "E_CONTRACT somewhere"])
def test_what_is_not_ours_stays_what_it_is(text: str) -> None:
    assert typed(text) is None

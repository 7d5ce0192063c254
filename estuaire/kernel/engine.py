"""The thread's in-memory DuckDB, and how much it plans a query before it runs it.

Planning costs milliseconds; what the optimizer saves, above all by finding common expressions, it saves record by record. So few records are read
faster unplanned: most files of a delta are small.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import duckdb

FEW_RECORDS = 2_000  # break-even measured at 3,300 of the one statement that typed all columns, before decision 30 (docs/benchmarks.md, "After \"Nothing stuck, nothing lost\"")
_ENGINES = threading.local()


def engine() -> duckdb.DuckDBPyConnection:
    """The thread's in-memory DuckDB, in UTC: opening one costs more than a small file does."""
    if not hasattr(_ENGINES, "connection"):
        _ENGINES.connection = duckdb.connect(config={"threads": 1})
        _ENGINES.connection.execute("set timezone = 'UTC'")
    connection: duckdb.DuckDBPyConnection = _ENGINES.connection
    return connection


@contextlib.contextmanager
def planned_for(connection: duckdb.DuckDBPyConnection, records: int) -> Iterator[None]:
    """Run queries over so many records with no more planning than they are worth. Within one for few records, more are as few."""
    if records > FEW_RECORDS or getattr(_ENGINES, "unplanned", False):
        yield
        return
    connection.execute("pragma disable_optimizer")
    _ENGINES.unplanned = True
    try:
        yield
    finally:
        connection.execute("pragma enable_optimizer")
        _ENGINES.unplanned = False

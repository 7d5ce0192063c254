"""DuckDB connections that read the object store's files, and the extensions that come as wheels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from estuaire.base.errors import StoreRefused, StoreUnavailable
from estuaire.base.sql import Sql, Statements, literal, texts
from estuaire.contract.layer_columns import LayerColumn
from estuaire.storage.object_store import ObjectStore

REFUSED_REMEDY = (
    "look at ESTUAIRE_S3_ENDPOINT and ESTUAIRE_S3_REGION, at the keys and at what the bucket's policy allows them"
)
STATEMENTS = Statements(Path(__file__).parent / "sql")
_ROWS_AT_ONCE = 10_000
_FORBIDDEN = re.compile(
    r"\(HTTP 40[13]\)|HTTP 40[13]\b|: 40[13] \(|\b40[13] (?:Forbidden|Unauthorized)|Status Code: 40[13]|AccessDenied|InvalidAccessKeyId"
    r"|SignatureDoesNotMatch"
)


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load a DuckDB extension from its wheel (signed by DuckDB, checked at LOAD)."""
    module = __import__(f"duckdb_extension_{name}")
    path = next(Path(module.__file__ or "").parent.rglob("*.duckdb_extension"))
    connection.execute(f"load {literal(path)}")


@contextmanager
def reading(store: ObjectStore, *, threads: int = 1) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB that reads the store's files by their ``url``.

    Raises:
        StoreUnavailable: the store did not answer, or not with the file.
        StoreRefused: it answered that this is forbidden.
    """
    connection = duckdb.connect(config={"threads": threads})
    try:
        store.open_to(connection)
        yield connection
    except duckdb.IOException as error:  # an HTTPException is one; where nobody listens it is a bare one
        if isinstance(error, duckdb.HTTPException) or "HTTP" in str(error):
            raise store_error(f"HTTP {getattr(error, 'status_code', '')} {error}") from error
        raise
    finally:
        connection.close()


def relation(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Mapping[str, str],
    rows: Sequence[Sequence[str | int | None]],
) -> None:
    """Temporary table of these rows. Without a bound parameter: DuckDB looks for pandas to bind one, and imports it (3 s a process).

    Args:
        columns: name -> type of DuckDB.
    """
    typed = {name: Sql(kind) for name, kind in columns.items()}
    connection.execute(STATEMENTS("relation", table=table, columns=typed))
    shape = literal(json.dumps([dict.fromkeys(columns, "VARCHAR")]))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        held = [dict(zip(columns, row, strict=True)) for row in rows[start : start + _ROWS_AT_ONCE]]
        given = literal(json.dumps(held, ensure_ascii=False))
        connection.execute(STATEMENTS("relation_rows", table=table, columns=typed, rows=given, shape=shape))


def of_files(connection: duckdb.DuckDBPyConnection, paths: Sequence[str], columns: Sequence[LayerColumn]) -> Sql:
    """SQL of the rows of Parquet files with all of a layer's columns: one that a file lacks, written before it was added, is null there."""
    listed = texts(paths)
    present = {row[0] for row in connection.execute(STATEMENTS("columns_of_files", paths=listed)).fetchall()}
    missing = [c for c in columns if c.name not in present]
    return STATEMENTS("rows_of_files", paths=listed, missing=_typed(missing))


def nothing(columns: Sequence[LayerColumn]) -> Sql:
    """SQL of no rows with a layer's columns."""
    return STATEMENTS("no_rows", typed=_typed(columns))


def _typed(columns: Sequence[LayerColumn]) -> list[dict[str, str]]:
    return [{"name": c.name, "type": Sql(c.duckdb)} for c in columns]


def readable(connection: duckdb.DuckDBPyConnection, path: str) -> bool:
    """Whether a Parquet file is there and can be read to its last value."""
    try:
        connection.execute(STATEMENTS("readable", path=literal(path))).fetchall()
    except duckdb.Error:
        return False
    return True


def store_error(told: str) -> StoreRefused | StoreUnavailable:
    """The typed error of a read through DuckDB or Spark that the store refused or did not answer, by what they tell of it."""
    if _FORBIDDEN.search(told):
        return StoreRefused("the object store refused the request (403)", remedy=REFUSED_REMEDY)
    return StoreUnavailable(
        "the object store did not answer, or not with the file that was asked for",
        remedy="look at the store (`estuaire up` checks it), then run again",
    )

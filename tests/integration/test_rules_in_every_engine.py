"""Rules: one expression, the same verdict in DuckDB (the kernel), Spark (Great Expectations) and PostgreSQL (the warehouse)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
import sqlglot
from psycopg2.extras import execute_values
from sqlglot import exp

from estuaire.base.settings import Settings
from estuaire.contract.layer_columns import LayerColumn, consolidated_columns, landed_columns
from estuaire.contract.tables import load_contract
from estuaire.rules.rule_registry import load_rules
from estuaire.rules.rule_subset import ALLOWED, check_expression
from estuaire.storage.database import Database

PARIS = timezone(timedelta(hours=1))
POOLS: dict[str, list[Any]] = {
    "VARCHAR": [None, "", " ", "a", "é", "abc", "J01DD04"],
    "BOOLEAN": [None, True, False],
    "BIGINT": [None, -2, 0, 1, 2, 3],
    "DECIMAL(18,6)": [None, Decimal("-1"), Decimal("0"), Decimal("0.000001"), Decimal("1.5"), Decimal("2.5")],
    "DATE": [None, date(1879, 12, 31), date(1880, 1, 1), date(2025, 3, 1), date(2249, 12, 31), date(2250, 1, 1)],
    "TIMESTAMP": [
        None,
        datetime(2025, 3, 1, 10),
        datetime(2025, 3, 1),
        datetime(2025, 3, 2, 0, 0, 0, 1),
        datetime(1900, 1, 1),
    ],
    "TIMESTAMPTZ": [None, datetime(2025, 3, 1, 10, tzinfo=PARIS), datetime(2025, 3, 2, tzinfo=PARIS)],
}

# one column of each type; every construct of the subset, so that adding one without proof fails
SUBSET_COLUMNS = [
    LayerColumn("i", "BIGINT", "bigint", ""), LayerColumn("j", "BIGINT", "bigint", ""),
    LayerColumn("d", "DECIMAL(18,6)", "numeric(18,6)", ""), LayerColumn("s", "VARCHAR", "text", ""),
    LayerColumn("day", "DATE", "date", ""), LayerColumn("at_local", "TIMESTAMP", "timestamp", ""),
    LayerColumn("since", "TIMESTAMPTZ", "timestamptz", ""), LayerColumn("until", "TIMESTAMPTZ", "timestamptz", ""),
]  # fmt: skip
SUBSET = (
    "i = 1 or j <> 2 and d > 0",
    "not (i >= 1 and j <= 1)",
    "i < j or s is null",
    "s in ('a', 'é') and i not in (1, 2)",
    "i in (1, null)",
    "d between 0 and 1.5",
    "i + j - 1 > i * 2",
    "-i = 2 or abs(d) = 1",
    "coalesce(i, j, 0) = 0",
    "length(s) = 1",
    "cast(at_local as date) = cast('2025-03-01' as date)",
    "day >= cast('1880-01-01' as date) and day < cast('2250-01-01' as date)",
    "since <= until",
    "case when i > 1 then true when i is null then false else j > 1 end",
    "s = 'abc' is true",
    "coalesce(strpos(s, 'bc'), 0) = 0",
    "strpos(s, 'é') > 0",
)


def _rows(columns: list[LayerColumn], count: int = 400) -> list[tuple[Any, ...]]:
    rng = random.Random(3)  # noqa: S311
    return [tuple(rng.choice(POOLS[c.duckdb]) for c in columns) for _ in range(count)]


@pytest.fixture
def engines(postgres: Settings, spark: Any, tmp_path: Path) -> Callable[..., dict[str, list[list[bool | None]]]]:
    """Evaluates expressions over the same rows in each engine: engine -> one list of verdicts per expression."""

    def evaluate(columns: list[LayerColumn], expressions: dict[str, list[str]]) -> dict[str, list[list[bool | None]]]:
        rows = _rows(columns)
        path = str(tmp_path / "rows.parquet")
        with duckdb.connect() as duck:
            duck.execute("set timezone = 'UTC'")
            listed = ", ".join(f"{c.name} {c.duckdb}" for c in columns)
            duck.execute(f"create table t (n bigint, {listed})")
            marks = ", ".join("?" * (len(columns) + 1))
            duck.executemany(f"insert into t values ({marks})", [(n, *r) for n, r in enumerate(rows)])
            duck.execute(f"copy t to '{path}' (format parquet)")
            found = {"duckdb": duck.execute(f"select {', '.join(expressions['duckdb'])} from t order by n").fetchall()}
        selected = [f"({e}) as e{i}" for i, e in enumerate(expressions["spark"])]
        frame = spark.read.parquet(path).orderBy("n").selectExpr(*selected)
        found["spark"] = [tuple(r) for r in frame.collect()]
        with psycopg2.connect(Database.of(postgres).dsn()) as connection, connection.cursor() as cursor:
            cursor.execute("set time zone 'UTC'")
            typed = ", ".join(f"{c.name} {c.postgres}" for c in columns)
            cursor.execute(f"create temp table t (n bigint, {typed}) on commit drop")
            execute_values(cursor, "insert into t values %s", [(n, *r) for n, r in enumerate(rows)])
            cursor.execute(f"select {', '.join(expressions['postgres'])} from t order by n")
            found["postgres"] = cursor.fetchall()
        connection.close()
        return {engine: [list(column) for column in zip(*result, strict=True)] for engine, result in found.items()}

    return evaluate


DIALECTS = ("duckdb", "spark", "postgres")


@pytest.mark.parametrize("table", [t.name for t in load_contract().tables])
def test_each_rule_says_the_same_in_every_engine(table: str, engines: Callable[..., Any]) -> None:
    rules = load_rules("landed")[table]
    found = engines(landed_columns(load_contract().table(table)), {d: [r.sql(d) for r in rules] for d in DIALECTS})
    for i, rule in enumerate(rules):
        assert found["spark"][i] == found["duckdb"][i], rule.id
        assert found["postgres"][i] == found["duckdb"][i], rule.id
        assert {True, False} <= set(found["duckdb"][i]), f"{rule.id}: the rows show no difference"


@pytest.mark.parametrize("table", [t.name for t in load_contract().tables])
def test_each_rule_of_consolidated_records_says_the_same_in_every_engine(
    table: str, engines: Callable[..., Any]
) -> None:
    rules = [r for r in load_rules("consolidated")[table] if not r.unique]
    found = engines(
        consolidated_columns(load_contract().table(table)), {d: [r.sql(d) for r in rules] for d in DIALECTS}
    )
    for i, rule in enumerate(rules):
        assert found["spark"][i] == found["duckdb"][i], rule.id
        assert found["postgres"][i] == found["duckdb"][i], rule.id
        assert found["duckdb"][i].count(True) or found["duckdb"][i].count(False), f"{rule.id}: applies to no row"


def test_every_construct_of_the_subset_says_the_same_in_every_engine(engines: Callable[..., Any]) -> None:
    written = {d: [sqlglot.transpile(e, read="duckdb", write=d)[0] for e in SUBSET] for d in DIALECTS}
    found = engines(SUBSET_COLUMNS, written)
    for i, expression in enumerate(SUBSET):
        check_expression(expression, "test")
        assert found["spark"][i] == found["duckdb"][i], expression
        assert found["postgres"][i] == found["duckdb"][i], expression
        assert set(found["duckdb"][i]) - {None}, expression
    used = {type(node) for e in SUBSET for node in sqlglot.parse_one(e, read="duckdb").walk()}
    assert set(ALLOWED) - used <= {exp.DataType}, "a construct is allowed that no engine was asked about"

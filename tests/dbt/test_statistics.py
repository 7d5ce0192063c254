"""The functions of schema stats against scipy, on docs/domain/exposure.md's vectors and on a grid from the smallest to the largest counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg2.extensions import connection
from psycopg2.extras import execute_values
from scipy import stats

from estuaire.base.settings import Settings
from estuaire.warehouse import dbt_build

PAIRS = sorted(
    {(n, d) for d in (*range(1, 41), 97, 120, 1350) for n in range(d + 1)}
    | {
        (n, d)
        for d in (5_000, 100_000, 3_000_000)
        for n in (0, 1, 2, 29, 67, 999, d // 3, d // 2, d - 999, d - 2, d - 1, d)
    }
)


@pytest.fixture(scope="module")
def functions(warehouse: connection, warehouse_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Made by dbt, as every command of it does."""
    log = tmp_path_factory.mktemp("statistics") / "dbt.log"
    dbt_build.run(warehouse_settings, ["seed", "--select", "exposure_lookback"], log=log)


@pytest.fixture
def owner(warehouse: connection, functions: None) -> Iterator[Any]:
    with warehouse.cursor() as cur:
        yield cur


def bounds(owner: Any, function: str, pairs: list[tuple[int, int]]) -> dict[tuple[int, int], tuple[float, float]]:
    rows = execute_values(
        owner,
        f"select n, d, low, high from (values %s) as v (n, d) cross join lateral stats.{function}(n, d) as ci",
        pairs,
        template="(%s::bigint, %s::bigint)",
        page_size=len(pairs),
        fetch=True,
    )
    return {row[:2]: row[2:] for row in rows}


@pytest.mark.parametrize(("function", "method"), [("wilson", "wilson"), ("clopper_pearson", "exact")])
def test_intervals_of_proportions_equal_scipy(owner: Any, function: str, method: str) -> None:
    assert len(PAIRS) > 2000
    found = bounds(owner, function, PAIRS)
    assert set(found) == set(PAIRS)
    for (n, d), interval in found.items():
        wanted = stats.binomtest(n, d).proportion_ci(method=method)
        assert interval == pytest.approx((wanted.low, wanted.high), rel=1e-8, abs=1e-12), (n, d)


def test_exact_rates_equal_scipy(owner: Any) -> None:
    counts = [*range(200), 999, 12_345, 1_000_000]
    rows = execute_values(
        owner,
        "select n, low, high from (values %s) as v (n) cross join lateral stats.poisson_exact(n, 2) as ci",
        [(n,) for n in counts],
        template="(%s::bigint)",
        page_size=len(counts),
        fetch=True,
    )
    assert [r[0] for r in rows] == counts
    for n, low, high in rows:
        wanted = (stats.chi2.ppf(0.025, 2 * n) / 4 if n else 0.0, stats.chi2.ppf(0.975, 2 * n + 2) / 4)
        assert (low, high) == pytest.approx(wanted, rel=1e-8), n


@pytest.mark.parametrize(
    ("call", "per", "low", "high"),
    [  # docs/domain/exposure.md: percents, and a rate per 1,000 patient-days
        ("stats.wilson(18, 120)", 100, "9.70", "22.47"),
        ("stats.clopper_pearson(18, 120)", 100, "9.14", "22.67"),
        ("stats.clopper_pearson(804, 1350)", 100, "56.882", "62.187"),
        ("stats.poisson_exact(67, 100000)", 1000, "0.519", "0.851"),
    ],
)
def test_vectors(owner: Any, call: str, per: int, low: str, high: str) -> None:
    digits = len(low.split(".")[1])
    owner.execute(
        f"select round(({per} * low)::numeric, {digits}), round(({per} * high)::numeric, {digits}) from {call}"
    )
    assert [str(v) for v in owner.fetchone()] == [low, high]


@pytest.mark.parametrize(("n", "d"), [(0, 0), (-1, 10), (11, 10), (None, 10), (1, None), (3, -5)])
def test_what_is_no_proportion_has_no_interval(owner: Any, n: int | None, d: int | None) -> None:
    for function in ("wilson", "clopper_pearson", "poisson_exact"):
        if function == "poisson_exact" and (n, d) == (11, 10):
            continue  # eleven events in ten units of exposure are a rate
        owner.execute(f"select low, high from stats.{function}(%s::bigint, %s::bigint)", (n, d))
        assert owner.fetchone() == (None, None), function


def test_the_functions_may_run_in_parallel_and_be_folded(owner: Any) -> None:
    owner.execute(
        "select proname, provolatile, proparallel from pg_proc join pg_namespace as n on n.oid = pronamespace where nspname = 'stats'"
    )
    rows = owner.fetchall()
    assert {"wilson", "clopper_pearson", "poisson_exact", "episode_start"} <= {r[0] for r in rows}
    assert {r[1:] for r in rows} == {("i", "s")}


def test_the_analyst_has_no_right_on_the_functions(owner: Any) -> None:
    owner.execute("select has_schema_privilege('analyst', 'stats', 'usage')")
    assert owner.fetchone() == (False,)

"""dbt by hand builds into the developer's schemas; what is served, a candidate and staging stay as they are."""

from __future__ import annotations

from typing import Any

import pytest
import staging_world
from psycopg2.extensions import connection

from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.storage.database import Database
from estuaire.warehouse import dbt_build, dbt_by_hand

NAME = "marie_2"
# every table, view and index with what it stores (a rewritten one has another file), its rows' count as estimated and its rights
_THERE = """
select n.nspname, c.relname, c.oid::bigint, c.relfilenode::bigint, c.relacl::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where not starts_with(n.nspname, 'pg_') and not starts_with(n.nspname, 'dev_') and n.nspname <> 'information_schema' order by 1, 2
"""


@pytest.fixture(scope="module")
def owner(warehouse: connection, warehouse_settings: Settings) -> Any:
    with warehouse.cursor() as cur:
        staging_world.load(cur, staging_world.small())
        cur.execute("create schema conformed; create schema marts_next; create schema conformed_next")
        for table in ("marts.coverage", "conformed.stay", "marts_next.coverage", "conformed_next.stay"):
            cur.execute(f"create table {table} as select 42 as served")
        yield cur
        dbt_by_hand.drop(Database.of(warehouse_settings), NAME)


def _ask(cur: Any, query: str) -> list[tuple[Any, ...]]:
    cur.execute(query)
    found: list[tuple[Any, ...]] = cur.fetchall()
    return found


def test_it_builds_into_the_developers_schemas_and_touches_no_other(
    owner: Any, warehouse_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _ask(owner, _THERE)
    monkeypatch.setenv("ESTUAIRE_DBT_SCHEMA", "marts")  # what a shell exports does not count
    assert dbt_by_hand.run(warehouse_settings, NAME, ["build", "--select", "+coverage", "--quiet"]) == 0
    assert _ask(owner, _THERE) == before
    for table in ("marts.coverage", "conformed.stay", "marts_next.coverage", "conformed_next.stay"):
        assert _ask(owner, f"select served from {table}") == [(42,)]
    assert _ask(owner, "select count(*) > 0 from dev_marie_2_marts.coverage") == [(True,)]
    schemas = {row[0] for row in _ask(owner, "select nspname from pg_namespace where starts_with(nspname, 'dev_')")}
    assert schemas == {"dev_marie_2_staging", "dev_marie_2_conformed", "dev_marie_2_marts", "dev_marie_2_stats"}
    # an analyst sees nothing of it, and a load may replace a table of staging: nothing hangs on it
    assert _ask(
        owner,
        "select bool_or(has_schema_privilege('analyst', nspname, 'usage')) from pg_namespace where nspname ~ '^dev_'",
    ) == [(False,)]
    owner.execute("begin")
    for (table,) in _ask(
        owner, "select tablename from pg_tables where schemaname = 'staging' and tablename !~ '_h[0-9]+$'"
    ):
        owner.execute(f"drop table staging.{table}")
    owner.execute("rollback")


def test_a_failing_command_gives_dbts_code(warehouse_settings: Settings, owner: Any) -> None:
    assert dbt_by_hand.run(warehouse_settings, NAME, ["run", "--select", "no_such_selector_method:x"]) != 0


def test_a_publish_builds_a_candidate_whatever_the_shell_exports(
    warehouse_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESTUAIRE_DBT_SCHEMA", "dev_marie_2")
    given = dbt_build.environment(warehouse_settings)
    assert given["ESTUAIRE_DBT_SCHEMA"] == ""
    assert given["ESTUAIRE_DBT_APPLICATION"] == dbt_build.APPLICATION != dbt_by_hand.APPLICATION


def test_drop_removes_the_developers_schemas_alone(owner: Any, warehouse_settings: Settings) -> None:
    for schema in ("dev_marie_2_marts", "dev_marie_20_marts", "dev_other_marts"):
        owner.execute(f"create schema if not exists {schema}")
    dropped = dbt_by_hand.drop(Database.of(warehouse_settings), NAME)
    assert "dev_marie_2_marts" in dropped
    left = {row[0] for row in _ask(owner, "select nspname from pg_namespace where starts_with(nspname, 'dev_')")}
    assert left == {"dev_marie_20_marts", "dev_other_marts"}
    owner.execute("drop schema dev_marie_20_marts; drop schema dev_other_marts")
    assert dbt_by_hand.drop(Database.of(warehouse_settings), NAME) == []


@pytest.mark.parametrize("name", ["", "Marie", "1st", "a-b", "x; drop schema marts", "a" * 32])
def test_a_name_that_is_none_is_refused(warehouse_settings: Settings, name: str) -> None:
    for use in (
        lambda: dbt_by_hand.run(warehouse_settings, name, ["ls"]),
        lambda: dbt_by_hand.drop(Database.of(warehouse_settings), name),
    ):
        with pytest.raises(SetupError, match="no name for a schema"):
            use()


def test_without_arguments_it_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert dbt_by_hand.main(["marie"]) == 2
    assert "make dbt ARGS" in capsys.readouterr().err

"""A build on a real PostgreSQL: numbers, lineage, comments, who may read, what a failure leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import independent
import psycopg2
import pytest
import staging_world
from psycopg2 import errors
from psycopg2.extensions import connection

from estuaire import dbt_build, releases
from estuaire.errors import PublishFailed
from estuaire.publish import PublishOutcome, build_and_publish
from estuaire.settings import Settings

World = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def world(warehouse: connection) -> World:
    """The hand-written hospitals and three random ones, in staging."""
    small, drawn = staging_world.small(), staging_world.random_world(20240101)
    together = {name: small[name] + drawn[name] for name in small}
    with warehouse.cursor() as cur:
        staging_world.load(cur, together)
    return together


@pytest.fixture(scope="module")
def outcome(world: World, warehouse_settings: Settings) -> PublishOutcome:
    return build_and_publish(warehouse_settings, "run-1", 42, "abc123")


@pytest.fixture
def owner(warehouse: connection, outcome: PublishOutcome) -> Iterator[Any]:
    with warehouse.cursor() as cur:
        yield cur


def test_the_mart_equals_an_independent_computation(owner: Any, world: World) -> None:
    owner.execute(
        "select hospital_id, month, scope, covered, patient_days, days_of_therapy, length_of_therapy, "
        "dot_per_1000_patient_days from marts.antibiotic_days_of_therapy"
    )
    rows = owner.fetchall()
    found = {row[:3]: row[3:7] for row in rows}
    assert found == independent.mart(world)
    for *_, nights, therapy, _lot, rate in rows:
        assert (rate is None) == (not nights)
        if nights:
            assert float(rate) == pytest.approx(1000 * therapy / nights, abs=0.0005)


def test_hand_counted_month(owner: Any) -> None:
    # h01, January: person-1 in for the nights of the 1st to the 21st (two overlapping records), person-2 for the 30th and
    # 31st; ceftriaxone 7 days, metronidazole 5 days, oral vancomycin 1 day (scope all only).
    owner.execute(
        "select scope, patient_days, days_of_therapy, length_of_therapy from marts.antibiotic_days_of_therapy "
        "where hospital_id = 'h01' and month = '2024-01-01' order by scope"
    )
    assert owner.fetchall() == [("all", 23, 13, 8), ("esac", 23, 12, 7), ("spares", 23, 12, 7)]


def test_every_published_table_says_which_release_it_is(owner: Any, outcome: PublishOutcome) -> None:
    owner.execute("select tablename from pg_tables where schemaname = 'marts'")
    names = [row[0] for row in owner.fetchall()]
    assert set(names) == {"antibiotic_days_of_therapy", "release"}
    for name in names:
        owner.execute(f"select distinct release_id, lake_snapshot, built_at is not null from marts.{name}")
        assert owner.fetchall() == [(outcome.release_id, 42, True)]


def test_the_ledger_holds_the_release(owner: Any, outcome: PublishOutcome) -> None:
    owner.execute("select release_id, run_id, snapshot_id, code_version, state, input_hash from control.release")
    assert owner.fetchall() == [(outcome.release_id, "run-1", 42, "abc123", "published", outcome.input_hash)]
    assert outcome.rows == {"antibiotic_days_of_therapy": outcome.rows["antibiotic_days_of_therapy"], "release": 1}  # type: ignore[index]


def test_every_table_and_column_is_described_in_the_database(owner: Any) -> None:
    owner.execute(
        "select c.relname, a.attname, col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class') from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid "
        "where n.nspname in ('marts', 'conformed') and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped"
    )
    rows = owner.fetchall()
    assert len(rows) > 50
    assert [row for row in rows if not row[2]] == []
    assert all(row[3].startswith("Grain: one row") for row in rows)
    owner.execute("select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = 'marts'")
    assert owner.fetchone() == ("The published release: what analysts query",)


def test_candidates_are_gone(owner: Any) -> None:
    owner.execute("select nspname from pg_namespace where nspname like '%\\_next'")
    assert owner.fetchall() == []


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("select count(*) from marts.antibiotic_days_of_therapy", True),
        ("select count(*) from marts.release", True),
        ("select count(*) from conformed.patient", False),
        ("select count(*) from staging.patient", False),
        ("select count(*) from control.release", False),
        ("delete from marts.release", False),
        ("create table marts.mine (x int)", False),
        ("create table public.mine (x int)", False),
        ("create schema mine", False),
    ],
)
def test_what_an_analyst_may_do(statement: str, allowed: bool, owner: Any, warehouse_settings: Settings) -> None:
    session = psycopg2.connect(warehouse_settings.dsn("analyst"))
    try:
        session.set_session(readonly=False)  # the grants alone must hold, not only the role's read-only default
        with session.cursor() as cur:
            cur.execute("set transaction read write")
            if allowed:
                cur.execute(statement)
            else:
                with pytest.raises(errors.InsufficientPrivilege):
                    cur.execute(statement)
    finally:
        session.close()


def test_nothing_new_makes_no_release(outcome: PublishOutcome, warehouse_settings: Settings) -> None:
    again = build_and_publish(warehouse_settings, "run-2", 43, "abc124")
    assert (again.state, again.release_id, again.input_hash) == ("unchanged", outcome.release_id, outcome.input_hash)
    assert [r.release_id for r in releases.list_releases(warehouse_settings)] == [outcome.release_id]


def test_another_publish_under_way_is_waited_for(outcome: PublishOutcome, warehouse_settings: Settings) -> None:
    with releases.only_publisher(warehouse_settings), pytest.raises(releases.MartsBusy) as caught:
        build_and_publish(warehouse_settings, "run-2", 43, "abc124")
    assert caught.value.retryable


def test_a_failing_test_leaves_the_old_marts(
    owner: Any, outcome: PublishOutcome, warehouse_settings: Settings, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(dbt_build.PROJECT, project)
    (project / "tests" / "nobody_was_born.sql").write_text("select birth_year from {{ ref('patient') }}")
    with pytest.raises(PublishFailed) as caught:
        build_and_publish(warehouse_settings, "run-3", 43, "abc124", project=project)
    assert "test nobody_was_born (" in caught.value.what
    assert "1950" not in str(caught.value)
    assert not caught.value.retryable
    owner.execute("select distinct release_id from marts.antibiotic_days_of_therapy")
    assert owner.fetchall() == [(outcome.release_id,)]
    test_candidates_are_gone(owner)
    assert [r.state for r in releases.list_releases(warehouse_settings)] == ["published"]


def test_a_model_that_does_not_compile_is_named_too(
    outcome: PublishOutcome, warehouse_settings: Settings, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(dbt_build.PROJECT, project)
    (project / "tests" / "broken.sql").write_text("select * from {{ ref('no_such_model') }}")
    with pytest.raises(PublishFailed, match="dbt could not run"):
        build_and_publish(warehouse_settings, "run-3", 43, "abc124", project=project)


def test_staging_that_changes_during_the_build_is_not_published(
    owner: Any, outcome: PublishOutcome, warehouse_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: Any, **__: Any) -> list[dbt_build.Node]:
        owner.execute("update control.load set content_hash = 'later' where hospital_id = 'h02'")
        for schema in ("marts_next", "conformed_next"):
            owner.execute(f"create schema {schema}")
        return []

    owner.execute("update control.load set content_hash = 'new' where hospital_id = 'h02'")
    monkeypatch.setattr(dbt_build, "run", meanwhile)
    monkeypatch.setattr("estuaire.publish._audit", lambda *_: None)  # the candidate of this test holds no table
    with pytest.raises(PublishFailed, match="staging changed"):
        build_and_publish(warehouse_settings, "run-4", 43, "abc124")
    owner.execute("select distinct release_id from marts.antibiotic_days_of_therapy")
    assert owner.fetchall() == [(outcome.release_id,)]


def test_a_candidate_without_a_model_that_rules_are_about_is_a_typed_error(
    owner: Any, outcome: PublishOutcome, warehouse_settings: Settings
) -> None:
    def plant(session: connection) -> None:
        with session.cursor() as cur:
            cur.execute("drop table conformed_next.patient_day")
        session.commit()

    owner.execute("update control.load set content_hash = 'newer' where hospital_id = 'h02'")
    with pytest.raises(PublishFailed, match=r"conformed\.patient_day is not in the candidate"):
        build_and_publish(warehouse_settings, "run-5", 43, "abc124", before_gates=plant)
    owner.execute("select distinct release_id from marts.release")
    assert owner.fetchall() == [(outcome.release_id,)]
    test_candidates_are_gone(owner)

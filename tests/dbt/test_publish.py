"""A build on a real PostgreSQL: numbers, lineage, comments, who may read, what a failure leaves."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import independent
import independent_coverage
import psycopg2
import pytest
import staging_world
from dbt_pages import page_manifest
from psycopg2 import errors
from psycopg2.extensions import connection

from estuaire.base import faults
from estuaire.base.errors import PublishFailed
from estuaire.base.settings import Settings
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import dbt_build, dbt_page, releases
from estuaire.warehouse.patient_level import BANNER
from estuaire.warehouse.publish import PublishOutcome, build_and_publish

World = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def world(warehouse: connection) -> World:
    """The hand-written hospitals, three random ones and the worked courses, in staging."""
    whole = staging_world.together(staging_world.small(), staging_world.random_world(20240101), staging_world.courses())
    with warehouse.cursor() as cur:
        staging_world.load(cur, whole)
    return whole


@pytest.fixture(scope="module")
def outcome(world: World, warehouse_settings: Settings, rules: Path) -> PublishOutcome:
    return build_and_publish(Platform(warehouse_settings), "run-1", 42, "abc123", rules=rules)


@pytest.fixture
def owner(warehouse: connection, outcome: PublishOutcome) -> Iterator[Any]:
    with warehouse.cursor() as cur:
        yield cur


def test_the_mart_equals_an_independent_computation(owner: Any, world: World) -> None:
    owner.execute(
        "select hospital_id, month, scope, grouping, item, covered, patient_days, ddd, days_of_therapy, length_of_therapy, "
        "doses, doses_without_ddd, doses_unmapped, ddd_per_1000_patient_days, dot_per_1000_patient_days "
        "from marts.antibiotic_consumption"
    )
    rows = owner.fetchall()
    assert {row[:5]: row[5:13] for row in rows} == {k: tuple(v) for k, v in independent.mart(world).items()}
    assert {row[3] for row in rows} == {"total", "class", "atc", "aware"}
    assert {"unclassified", "Reserve"} <= {row[4] for row in rows}
    for row in rows:
        nights, ddd, therapy, ddd_rate, dot_rate = row[6], row[7], row[8], row[13], row[14]
        assert (ddd_rate is None) == (dot_rate is None) == (not nights)
        if nights:
            assert float(ddd_rate) == pytest.approx(1000 * float(ddd) / nights, abs=0.0006)
            assert float(dot_rate) == pytest.approx(1000 * therapy / nights, abs=0.0006)


def test_coverage_equals_an_independent_computation(owner: Any, world: World) -> None:
    owner.execute(
        "select hospital_id, month, table_name, records, expected_median, status, in_group from marts.coverage"
    )
    found = {r[:3]: (r[3], None if r[4] is None else float(r[4]), r[5], r[6]) for r in owner.fetchall()}
    assert found == independent_coverage.coverage(world)
    assert {"ok", "low", "high", "zero", "no_reference"} == {status for *_, status, _ in found.values()}


def test_worked_courses_from_doses_to_rates(owner: Any) -> None:
    # docs/domain/consumption.md: h07 gives each course to a patient of its own, from doses in the hospital's units
    owner.execute(
        "select item, ddd::float, days_of_therapy, patient_days from marts.antibiotic_consumption "
        "where hospital_id = 'h07' and grouping = 'atc' and scope = 'esac' and doses_without_ddd = 0 order by month, item"
    )
    assert owner.fetchall() == [
        ("J01CR02", 14, 7, 100),
        ("J01CR05", 5.7143, 5, 100),
        ("J01DD04", 3.5, 7, 100),
        ("J01XD01", 5, 5, 100),
        ("J01CE01", 28, 7, 75),
        ("J01EE01", 10, 10, 75),
        ("J01XB01", 5, 5, 75),
    ]
    owner.execute(
        "select round(ddd_per_1000_patient_days, 1)::float, dot_per_1000_patient_days::float from marts.antibiotic_consumption "
        "where hospital_id = 'h07' and month = '2024-01-01' and grouping = 'total' and scope = 'spares'"
    )
    assert owner.fetchall() == [(282.1, 240.0)]


def test_hand_counted_month(owner: Any) -> None:
    # h01, January: person-1 in for the nights of the 1st to the 21st (two overlapping records), person-2 for the 30th and
    # 31st; ceftriaxone 7 days, metronidazole 5 days, oral vancomycin 1 day (scope all only).
    owner.execute(
        "select scope, patient_days, days_of_therapy, length_of_therapy from marts.antibiotic_consumption "
        "where hospital_id = 'h01' and month = '2024-01-01' and grouping = 'total' order by scope"
    )
    assert owner.fetchall() == [("all", 23, 13, 8), ("esac", 23, 12, 7), ("spares", 23, 12, 7)]


def test_every_published_table_says_which_release_it_is(owner: Any, outcome: PublishOutcome) -> None:
    owner.execute("select tablename from pg_tables where schemaname = 'marts'")
    names = [row[0] for row in owner.fetchall()]
    assert set(names) == {
        "antibiotic_consumption",
        "antibiotic_consumption_year",
        "coverage",
        "cumulative_antibiogram",
        "exposure_resistance",
        "exposure_resistance_stratum",
        "first_isolate",
        "release",
    }
    for name in names:
        owner.execute(f"select distinct release_id, lake_snapshot, built_at is not null from marts.{name}")
        # no isolate of this world was tested: tests/dbt/test_microbiology.py has one with results
        without_rows = name == "cumulative_antibiogram"
        assert owner.fetchall() == ([] if without_rows else [(outcome.release_id, 42, True)]), name


def test_the_ledger_holds_the_release(owner: Any, outcome: PublishOutcome) -> None:
    owner.execute("select release_id, run_id, snapshot_id, code_version, state, input_hash from control.release")
    assert owner.fetchall() == [(outcome.release_id, "run-1", 42, "abc123", "published", outcome.input_hash)]
    assert outcome.rows is not None
    assert outcome.rows["release"] == 1
    assert outcome.rows["antibiotic_consumption"] > 100
    assert outcome.rows["coverage"] > 100
    assert outcome.rows["exposure_resistance"] == 2 * 5 * 4  # questions x windows x estimates


def test_each_model_and_seed_tells_its_seconds(outcome: PublishOutcome) -> None:
    project = dbt_build.PROJECT
    models = {p.stem for p in (project / "models").rglob("*.sql")}
    assert models <= set(outcome.model_seconds)
    # what else it built are seeds; not each is one of the warehouse's (a list that only suggestions read)
    assert set(outcome.model_seconds) - models <= {p.stem for p in (project / "seeds").rglob("*.csv")}
    assert all(seconds > 0 for seconds in outcome.model_seconds.values())
    assert outcome.models == len(models)


def test_the_models_page_shows_what_is_served_with_its_lineage(
    owner: Any, outcome: PublishOutcome, warehouse_settings: Settings
) -> None:
    page = dbt_page.write(warehouse_settings, outcome.model_seconds).read_text(encoding="utf-8")
    manifest = page_manifest(page)
    owner.execute("select schemaname, tablename from pg_tables where schemaname in ('marts', 'conformed')")
    tables = {
        (n["schema"], n["name"])
        for n in manifest["nodes"].values()
        if n["resource_type"] in ("model", "seed") and n["schema"] != "staging"
    }
    assert tables == set(owner.fetchall())
    assert "model.estuaire.hospital_month" in manifest["parent_map"]["model.estuaire.antibiotic_consumption"]
    assert "source.estuaire.staging.stay" in manifest["parent_map"]["model.estuaire.stg_stay"]
    assert not re.search(r"(marts|conformed|staging)_next\\?\"", page)
    assert str(warehouse_settings.root) not in page


def test_every_table_and_column_is_described_in_the_database(owner: Any) -> None:
    owner.execute(
        "select c.relname, a.attname, col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class') from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid "
        "where n.nspname in ('marts', 'conformed') and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped"
    )
    rows = owner.fetchall()
    assert len(rows) > 50
    assert [row for row in rows if not row[2]] == []
    assert [row for row in rows if not row[3].removeprefix(f"{BANNER}\n").startswith("Grain: one row")] == []
    owner.execute("select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = 'marts'")
    assert owner.fetchone() == ("The published release: what analysts query",)


def test_a_publish_leaves_out_the_key_tests_that_the_gates_count_and_no_other(
    outcome: PublishOutcome, warehouse_settings: Settings
) -> None:
    manifest = json.loads((warehouse_settings.root / "dbt" / "target" / "manifest.json").read_text(encoding="utf-8"))
    every = [n for n in manifest["nodes"].values() if n["resource_type"] == "test"]
    gated = [n for n in every if "gate" in n["tags"]]
    assert len(gated) > 15
    assert outcome.tests == len(every) - len(gated)


def test_candidates_are_gone(owner: Any) -> None:
    owner.execute("select nspname from pg_namespace where nspname like '%\\_next'")
    assert owner.fetchall() == []


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("select count(*) from marts.antibiotic_consumption", True),
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
    session = psycopg2.connect(Database.of(warehouse_settings).dsn("analyst"))
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
    again = build_and_publish(Platform(warehouse_settings), "run-2", 43, "abc124")
    assert (again.state, again.release_id, again.input_hash) == ("unchanged", outcome.release_id, outcome.input_hash)
    assert [r.release_id for r in releases.list_releases(Database.of(warehouse_settings))] == [outcome.release_id]


def test_another_publish_under_way_is_waited_for(outcome: PublishOutcome, warehouse_settings: Settings) -> None:
    with releases.only_publisher(Database.of(warehouse_settings)), pytest.raises(releases.MartsBusy) as caught:
        build_and_publish(Platform(warehouse_settings), "run-2", 43, "abc124")
    assert caught.value.retryable


def test_a_failing_test_leaves_the_old_marts(
    owner: Any, outcome: PublishOutcome, warehouse_settings: Settings, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(dbt_build.PROJECT, project)
    (project / "tests" / "nobody_was_born.sql").write_text("select birth_year from {{ ref('patient') }}")
    with pytest.raises(PublishFailed) as caught:
        build_and_publish(Platform(warehouse_settings), "run-3", 43, "abc124", project=project)
    assert "test nobody_was_born (" in caught.value.what
    assert "1950" not in str(caught.value)
    assert not caught.value.retryable
    owner.execute("select distinct release_id from marts.antibiotic_consumption")
    assert owner.fetchall() == [(outcome.release_id,)]
    test_candidates_are_gone(owner)
    assert [r.state for r in releases.list_releases(Database.of(warehouse_settings))] == ["published"]


def test_a_model_that_does_not_compile_is_named_too(
    outcome: PublishOutcome, warehouse_settings: Settings, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(dbt_build.PROJECT, project)
    (project / "tests" / "broken.sql").write_text("select * from {{ ref('no_such_model') }}")
    with pytest.raises(PublishFailed, match="dbt could not run"):
        build_and_publish(Platform(warehouse_settings), "run-3", 43, "abc124", project=project)


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
    monkeypatch.setattr("estuaire.warehouse.publish._audit", lambda *_: [])  # the candidate of this test holds no table
    with pytest.raises(PublishFailed, match="staging changed"):
        build_and_publish(Platform(warehouse_settings), "run-4", 43, "abc124")
    owner.execute("select distinct release_id from marts.antibiotic_consumption")
    assert owner.fetchall() == [(outcome.release_id,)]


def test_a_candidate_without_a_model_that_rules_are_about_is_a_typed_error(
    owner: Any, outcome: PublishOutcome, warehouse_settings: Settings
) -> None:
    def plant(session: connection) -> None:
        with session.cursor() as cur:
            cur.execute("drop table conformed_next.patient_day")
        session.commit()

    owner.execute("update control.load set content_hash = 'newer' where hospital_id = 'h02'")
    with (
        faults.during(publish_built=plant),
        pytest.raises(PublishFailed, match=r"conformed\.patient_day is not in the candidate"),
    ):
        build_and_publish(Platform(warehouse_settings), "run-5", 43, "abc124")
    owner.execute("select distinct release_id from marts.release")
    assert owner.fetchall() == [(outcome.release_id,)]
    test_candidates_are_gone(owner)

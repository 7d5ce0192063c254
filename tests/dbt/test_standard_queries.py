"""The analysts' standard queries on a small released world: each runs as the role analyst, has rows, and tells nothing of one patient."""

from __future__ import annotations

from pathlib import Path

import microbiology_world
import pytest
import staging_world
import standard_queries
from psycopg2.extensions import connection

from estuaire.base.errors import QueryRefused
from estuaire.base.settings import Settings
from estuaire.storage.platform import Platform
from estuaire.warehouse.publish import build_and_publish
from estuaire.warehouse.query import QueryResult, run_query

QUERIES = standard_queries.standard_queries()
PATIENTS_OWN = ("patient_key", "isolate_key", "specimen_key", "stay_key", "collected_at_local", "collected_on")


@pytest.fixture(scope="module")
def analysts(warehouse: connection, warehouse_settings: Settings, rules: Path) -> Platform:
    """A platform that serves a release of hand-written courses, three random hospitals and a world of isolates."""
    whole = staging_world.together(
        staging_world.small(),
        staging_world.random_world(20240101),
        staging_world.courses(),
        microbiology_world.draw(20240501),
    )
    with warehouse.cursor() as cur:
        staging_world.load(cur, whole)
    platform = Platform(warehouse_settings)
    assert build_and_publish(platform, "run-1", 42, "abc123", rules=rules).state == "published"
    return platform


@pytest.fixture(scope="module")
def keys(analysts: Platform, warehouse: connection) -> set[str]:
    """Every key of a person, stay, specimen and isolate that the release holds."""
    with warehouse.cursor() as cur:
        cur.execute(
            "select patient_key from conformed.patient union select stay_key from conformed.stay "
            "union select specimen_key from conformed.specimen union select isolate_key from conformed.isolate"
        )
        return {str(row[0]) for row in cur.fetchall()}


def _run(platform: Platform, query: standard_queries.StandardQuery) -> QueryResult:
    return run_query(platform, query.statement, limit=100_000)


@pytest.mark.parametrize("query", [q for q in QUERIES if "patient-level" in q.en], ids=lambda q: q.name)
def test_one_that_reads_rows_of_patients_is_refused_where_a_hospital_may_be_real(
    analysts: Platform, query: standard_queries.StandardQuery
) -> None:
    with pytest.raises(QueryRefused):
        _run(analysts, query)


def test_there_are_twenty_each_with_a_name_of_its_own_and_an_answer_in_both_languages() -> None:
    text = standard_queries.FILE.read_text(encoding="utf-8")
    assert len({q.name for q in QUERIES}) == len(QUERIES) == text.count("-- name:") == text.count(";\n") == 20
    assert all(q.fr != q.en for q in QUERIES)


@pytest.fixture(scope="module")
def opened(analysts: Platform, warehouse: connection) -> Platform:
    """The same, with patient-level marts open to analysts, as where no hospital's patients are real: the hospitals of this world are none that
    the registry knows."""
    with warehouse.cursor() as cur:
        cur.execute("grant select on all tables in schema marts to analyst")
    return analysts


@pytest.mark.parametrize("query", QUERIES, ids=lambda q: q.name)
def test_a_standard_query_answers(opened: Platform, keys: set[str], query: standard_queries.StandardQuery) -> None:
    result = _run(opened, query)
    assert result.rows, "the small world has nothing that this query asks for"
    assert not result.truncated
    assert not set(result.columns) & set(PATIENTS_OWN)
    assert keys
    assert not {str(value) for row in result.rows for value in row} & keys
    assert ("patient-level" in query.en) == bool(result.patient_level)

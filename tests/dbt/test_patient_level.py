"""Patient-level marts: the banner, and who may read them. The attacks run as the role analyst, past ``estuaire query`` and through it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection
from typer.testing import CliRunner

from estuaire.base.errors import QueryRefused
from estuaire.base.settings import Settings
from estuaire.contract import registry
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.warehouse import patient_level, query, releases

CANARY = "PATIENT-CANARY-7"
READS = {
    "plain": "select * from first_isolate",
    "qualified": "select * from marts.first_isolate",
    "quoted": 'select * from "marts"."first_isolate"',
    "upper case": "SELECT * FROM MARTS.FIRST_ISOLATE",
    "table command": "table first_isolate",
    "table command in a union": "select isolate_key, patient_key, release_id from first_isolate where false union all (table first_isolate)",
    "subquery": "select (select max(patient_key) from first_isolate) as worst",
    "cte": "with a as (select patient_key from marts.first_isolate), b as (select * from a) select * from b",
    "cte of the same name": "with first_isolate as (select * from first_isolate) select * from first_isolate",
    "only": "select * from only first_isolate",
    "lateral": "select x.* from release r, lateral (select * from first_isolate) x",
    "whole row": "select to_jsonb(f) from first_isolate f",
    "comment between": "select * from marts./* */first_isolate",
    "exists": "select 1 as x where exists (select from first_isolate where patient_key like 'P%')",
    "query_to_xml": "select query_to_xml('select * from marts.first_'||'isolate', true, false, '')",
    "table_to_xml": "select table_to_xml(('marts.first_'||'isolate')::regclass, true, false, '')",
    "schema_to_xml": "select schema_to_xml('marts', true, false, '')",
    "database_to_xml": "select database_to_xml(true, false, '')",
    "code points": r'select * from U&"first\005fisolate"',
}
XML = ("query_to_xml", "table_to_xml", "schema_to_xml", "database_to_xml")


@pytest.fixture
def real_registry(tmp_path: Path) -> Path:
    """The registry, with one hospital that is neither fictional nor open data."""
    folder = tmp_path / "registry"
    for part in ("hospitals", "code_maps"):
        shutil.copytree(registry.FOLDER / part, folder / part)
    file = folder / "hospitals" / "h02.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("fictional: true\n", ""), encoding="utf-8")
    return folder


@pytest.fixture
def owner(warehouse: connection) -> Iterator[Any]:
    with warehouse.cursor() as cur:
        cur.execute("select nspname from pg_namespace where nspname ~ '^(marts|conformed)'")
        for (schema,) in cur.fetchall():
            cur.execute(f"drop schema {schema} cascade")
        cur.execute("truncate control.release restart identity")
        cur.execute("create schema marts; grant usage on schema marts to analyst")
        yield cur


@pytest.fixture
def serve(owner: Any) -> Callable[[Settings], None]:
    """Serves a release with a mart of counts and two patient-level ones, as dbt would have built them."""

    def serve(settings: Settings) -> None:
        with releases.connect(Database.of(settings)) as session:
            number = releases.reserve_id(session)
        owner.execute("create schema marts_next; create schema conformed_next")
        owner.execute(f"create table conformed_next.patient as select '{CANARY}' as patient_key")
        owner.execute(f"create table marts_next.release as select {number} as release_id")
        owner.execute(
            f"create table marts_next.first_isolate as select 'i'||g as isolate_key, '{CANARY}' as patient_key, "
            f"{number} as release_id from generate_series(1, 40) g; analyze marts_next.first_isolate"
        )
        owner.execute("comment on table marts_next.first_isolate is 'Grain: one row per isolate'")
        owner.execute(f"create table marts_next.someone as select '{CANARY}' as patient_key, {number} as release_id")
        candidate = releases.Candidate(number, f"run-{number}", 7, "abc", datetime.now(UTC), f"hash-{number}")
        releases.swap_in(Platform(settings), candidate, lambda _: True)

    return serve


def as_analyst(settings: Settings, text: str) -> list[tuple[Any, ...]]:
    session = psycopg2.connect(Database.of(settings).dsn("analyst"))
    try:
        with session.cursor() as cur:
            cur.execute("set search_path = marts")
            cur.execute(text)
            return cur.fetchall()
    finally:
        session.close()


def comment(owner: Any, name: str) -> str:
    owner.execute("select obj_description(%s::regclass, 'pg_class')", (f"marts.{name}",))
    return str(owner.fetchone()[0])


def test_the_comment_begins_with_a_warning_in_both_languages(
    owner: Any, serve: Callable[[Settings], None], warehouse_settings: Settings
) -> None:
    serve(warehouse_settings)
    assert comment(owner, "first_isolate") == f"{patient_level.BANNER}\nGrain: one row per isolate"
    assert comment(owner, "someone") == patient_level.BANNER
    assert comment(owner, "release") == "None"
    assert "ATTENTION" in patient_level.BANNER
    assert "WARNING" in patient_level.BANNER
    serve(warehouse_settings)
    releases.rollback(Platform(warehouse_settings))
    assert comment(owner, "first_isolate").count("ATTENTION") == 1


@pytest.mark.parametrize("how", READS)
def test_a_query_that_reads_one_says_so(
    how: str, serve: Callable[[Settings], None], warehouse_settings: Settings, owner: Any
) -> None:
    assert patient_level.read_by(READS[how], ["first_isolate"]) == ["first_isolate"]
    if how not in XML:
        serve(warehouse_settings)
        assert "first_isolate" in query.run_query(Platform(warehouse_settings), READS[how]).patient_level


def test_a_query_that_reads_none_says_nothing(
    serve: Callable[[Settings], None], warehouse_settings: Settings, owner: Any
) -> None:
    serve(warehouse_settings)
    for text in ("select * from release", "select 'first_isolate' as name", "select 1 as first_isolates"):
        assert query.run_query(Platform(warehouse_settings), text).patient_level == (), text


@pytest.mark.parametrize("how", READS)
def test_refused_where_the_registry_holds_real_hospitals(
    how: str, serve: Callable[[Settings], None], warehouse_settings: Settings, real_registry: Path, owner: Any
) -> None:
    real = warehouse_settings.model_copy(update={"registry_dir": real_registry})
    serve(real)
    with pytest.raises(QueryRefused, match=r"real hospitals \(h02\).*What to do: read a mart of counts") as caught:
        query.run_query(Platform(real), READS[how])
    assert CANARY not in str(caught.value)
    # and the database refuses the same, whatever the command thinks
    if how not in XML:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            as_analyst(real, READS[how])
    else:  # a whole schema as XML leaves out what the role may not read; a server built without libxml knows none of them
        with contextlib.suppress(psycopg2.errors.InsufficientPrivilege, psycopg2.errors.FeatureNotSupported):
            assert CANARY not in str(as_analyst(real, READS[how]))
    assert as_analyst(real, "select count(*) from release") == [(1,)]


def test_the_text_is_refused_before_the_next_swap(
    serve: Callable[[Settings], None], warehouse_settings: Settings, real_registry: Path, owner: Any
) -> None:
    serve(warehouse_settings)
    with pytest.raises(QueryRefused, match="real hospitals"):
        query.run_query(Platform(warehouse_settings.model_copy(update={"registry_dir": real_registry})), READS["plain"])


def test_open_data_is_no_reason_to_refuse(
    serve: Callable[[Settings], None], warehouse_settings: Settings, real_registry: Path, owner: Any
) -> None:
    file = real_registry / "hospitals" / "h02.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("study_member:", "open_data: true\nstudy_member:"), encoding="utf-8")
    settings = warehouse_settings.model_copy(update={"registry_dir": real_registry})
    serve(settings)
    assert query.run_query(Platform(settings), READS["plain"]).patient_level == ("first_isolate",)


@pytest.mark.parametrize(
    "text",
    [
        "select * from marts_r1.first_isolate",
        "select * from conformed.patient",
        "select * from conformed_r1.patient",
        "select query_to_xml('select * from marts_r1.first_isolate', true, false, '')",
        "create view mine as select 1",
        "create temp table mine as select 1",
        "set role estuaire",
        "select pg_read_file('base')",
        "copy (select 1) to program 'id'",
        "grant select on first_isolate to public",
        "select stavalues1 from pg_statistic",
    ],
)
def test_no_way_round(
    text: str, serve: Callable[[Settings], None], warehouse_settings: Settings, real_registry: Path, owner: Any
) -> None:
    real = warehouse_settings.model_copy(update={"registry_dir": real_registry})
    serve(real)
    serve(real)
    with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction)):
        as_analyst(real, text)


def test_statistics_show_no_value(
    serve: Callable[[Settings], None], warehouse_settings: Settings, real_registry: Path, owner: Any
) -> None:
    """``pg_stats`` holds the most common values of every analysed table that one may read."""
    seen = "select most_common_vals::text from pg_stats where tablename in ('first_isolate', 'patient')"
    serve(warehouse_settings)
    assert CANARY in str(as_analyst(warehouse_settings, seen)), "the test must be able to fail"
    real = warehouse_settings.model_copy(update={"registry_dir": real_registry})
    serve(real)
    assert as_analyst(real, seen) == []
    releases.rollback(Platform(real))  # an archive was served while all were fictional: its rights are looked at again
    assert as_analyst(real, seen) == []
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        as_analyst(real, READS["plain"])
    releases.rollback(Platform(warehouse_settings), to=2)
    assert len(as_analyst(warehouse_settings, READS["plain"])) == 40


def test_nothing_runs_with_the_rights_of_its_owner(warehouse_settings: Settings, owner: Any) -> None:
    owner.execute(
        "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
        "where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema')"
    )
    assert owner.fetchall() == []


def test_the_command_prints_the_banner_on_stderr_and_json_stays_a_list(
    serve: Callable[[Settings], None], warehouse_settings: Settings, monkeypatch: pytest.MonkeyPatch, owner: Any
) -> None:
    import json

    import typer

    import estuaire.base.settings
    from estuaire.cli import query as command

    serve(warehouse_settings)
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    monkeypatch.setattr(estuaire.base.settings, "settings", lambda: warehouse_settings)
    answer = CliRunner().invoke(app, ["query", "select isolate_key from first_isolate limit 2", "--json"])
    assert len(json.loads(answer.stdout)) == 2
    assert answer.stderr == f"{patient_level.BANNER} (first_isolate)\n"
    assert CliRunner().invoke(app, ["query", "select * from release", "--json"]).stderr == ""

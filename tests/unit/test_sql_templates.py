"""SQL from templates: a text that somebody delivered is a name or a value, whatever stands in it, and never a statement."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import jinja2
import pytest

from estuaire.base.settings import PROJECT_ROOT
from estuaire.base.sql import Sql, Statements, identifier, literal, texts
from estuaire.contract.layer_columns import LayerColumn
from estuaire.storage.duck import nothing, of_files, readable, relation

HOSTILE = (
    "it's", "''", 'a "b"', '""', "back\\slash", "\\'", "line\nbreak\ttab", "'; drop table kept; --", "*/ select 1 /*", "é€𝄞\u2028",
    "{{ 7 * 7 }}", "{% raw %}", "%s ? $1 :name", "<b>&amp;</b>",
)  # fmt: skip
FOLDERS = sorted({p.parent for room in ("estuaire", "spark_jobs") for p in (PROJECT_ROOT / room).rglob("*.sql")})


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    opened = duckdb.connect(config={"threads": 1})
    opened.execute("set timezone = 'UTC'")
    opened.execute("create table kept as select 1 as a")
    return opened


def _template(folder: Path, text: str) -> Statements:
    (folder / "asked.sql").write_text(text, encoding="utf-8")
    return Statements(folder)


# ------------------------------------------------------------------------------------------------ names and values


@pytest.mark.parametrize("text", HOSTILE)
def test_a_value_comes_back_as_it_was(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    assert connection.execute(f"select {literal(text)}, [{texts([text, 'x'])}]").fetchall() == [(text, [text, "x"])]
    assert connection.execute("from kept").fetchall() == [(1,)]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_is_the_name_of_a_column_and_of_a_table(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, text: str
) -> None:
    statements = _template(
        tmp_path, "create table {{ name ~ '_x' }} as select 1 as {{ name }}, 2 as {{ name ~ '__bad' }}"
    )
    connection.execute(statements("asked", name=text))
    assert [c[0] for c in connection.execute(f"from {identifier(text + '_x')}").description or []] == [
        text, f"{text}__bad",
    ]  # fmt: skip
    assert connection.execute("from kept").fetchall() == [(1,)]


def test_what_ends_a_text_for_the_parser_is_an_error_and_no_other_statement(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    with pytest.raises(duckdb.Error):
        connection.execute(f"select {literal(chr(0) + '; drop table kept')}")
    assert connection.execute("from kept").fetchall() == [(1,)]


def test_days_and_moments_are_literals_to_be_cast(connection: duckdb.DuckDBPyConnection) -> None:
    moment = datetime(2025, 3, 30, 1, 2, 3, 456, tzinfo=UTC)
    row = connection.execute(
        f"select {literal(date(2025, 1, 2))}::date, epoch_us({literal(moment)}::timestamptz), {literal(None)}"
    ).fetchone()
    assert row == (date(2025, 1, 2), int(moment.timestamp() * 1_000_000), None)


# ------------------------------------------------------------------------------------------------ templates


def test_a_template_prints_names_numbers_and_sql_and_nothing_else(tmp_path: Path) -> None:
    statements = _template(tmp_path, "select {{ given }}")
    assert statements("asked", given='a"b') == 'select "a""b"'
    assert statements("asked", given=5) == "select 5"
    assert statements("asked", given=Sql("now() < 'x' & 1")) == "select now() < 'x' & 1"
    for given in (None, True, 1.5, ["a"], date(2025, 1, 1)):
        with pytest.raises(TypeError, match="names, numbers and SQL"):
            statements("asked", given=given)
    with pytest.raises(jinja2.UndefinedError):
        statements("asked")


def test_names_are_joined_each_as_a_name_and_macros_give_sql(tmp_path: Path) -> None:
    statements = _template(
        tmp_path,
        "{% macro of(name) %}t.{{ name }}{% endmacro %}"
        "select {{ names | join(', ') }}, {{ of('x') }}, {% for n in names %}{{ of(n) }}{% endfor %}",
    )
    assert statements("asked", names=['a"b']) == 'select "a""b", t."x", t."a""b"'
    assert statements("asked", names=["a", "b"]) == 'select "a", "b", t."x", t."a"t."b"'


def test_a_fingerprint_tells_what_a_template_does_and_not_how_it_is_laid_out(tmp_path: Path) -> None:
    first = _template(tmp_path, "-- why\nselect 1,\n  2").fingerprint()
    assert _template(tmp_path, "{# another\nreason #}\nselect 1, 2").fingerprint() == first
    assert _template(tmp_path, "select 1, 3").fingerprint() != first


# ------------------------------------------------------------------------------------------------ relations and files


def test_a_relation_holds_hostile_rows_under_hostile_names(connection: duckdb.DuckDBPyConnection) -> None:
    table, name = 'of "x"', "it's"
    rows = [(text, i, None) for i, text in enumerate(HOSTILE)] + [(None, None, "2025-01-02T03:04:05.000006+00:00")]
    relation(connection, table, {name: "varchar", 'n"': "bigint", "t": "timestamptz"}, rows)
    asked = f"select {identifier(name)}, {identifier('n' + chr(34))}, epoch_us(t) from {identifier(table)}"
    held = connection.execute(asked).fetchall()
    assert held == [(a, n, None if t is None else 1735787045000006) for a, n, t in rows]
    relation(connection, table, {"a": "bigint"}, [])
    assert connection.execute(f"from {identifier(table)}").fetchall() == []


def test_files_at_hostile_paths_are_read(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    paths = [str(tmp_path / f'it\'s {i} "x".parquet') for i in range(2)]
    for i, path in enumerate(paths):
        connection.execute(f"copy (select {i} as a) to {literal(path)} (format parquet)")
    assert readable(connection, paths[0])
    assert not readable(connection, str(tmp_path / "no'ne.parquet"))
    columns = [LayerColumn("a", "BIGINT", "bigint", ""), LayerColumn('we"ird', "VARCHAR", "text", "")]
    rows = of_files(connection, paths, columns)
    assert sorted(connection.execute(rows).fetchall()) == [(0, None), (1, None)]
    assert connection.execute(f"describe {nothing(columns)}").fetchall()[1][:2] == ('we"ird', "VARCHAR")


# ------------------------------------------------------------------------------------------------ the house


def test_no_module_quotes_by_hand() -> None:
    """A quote doubled by hand is a helper of its own. PostgreSQL's configuration file and libpq's address are no SQL."""
    by_hand = re.compile(r"""replace\(\s*(?:"'",\s*"''"|'"',\s*'""')\s*\)""")
    allowed = {"estuaire/stack/postgres_config.py"}
    files = [p for room in ("estuaire", "spark_jobs", "examples", "dags") for p in (PROJECT_ROOT / room).rglob("*.py")]
    assert len(files) > 200
    found = {str(p.relative_to(PROJECT_ROOT)) for p in files if by_hand.search(p.read_text(encoding="utf-8"))}
    assert found == allowed


def test_every_folder_of_templates_is_linted_and_part_of_the_package() -> None:
    assert PROJECT_ROOT / "estuaire" / "kernel" / "sql" / "consolidate" in FOLDERS
    linted = re.search(r"sqlfluff lint -q -p 2 (.+)", (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8"))
    assert linted is not None
    rooms = {PROJECT_ROOT / room for room in linted[1].split()}
    assert [f for f in FOLDERS if not rooms & set(f.parents)] == []
    assert [f for f in FOLDERS if not (f / ".sqlfluff").is_file()] == []
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "*.sql" in project["tool"]["setuptools"]["package-data"]["*"]
    assert project["tool"]["setuptools"]["packages"]["find"].get("namespaces", True)  # the folders are no modules

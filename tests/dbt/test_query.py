"""``estuaire query``: what it answers, what it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg2.extensions import connection

from estuaire.base.errors import QueryRefused
from estuaire.base.settings import Settings
from estuaire.storage.platform import Platform
from estuaire.warehouse import query


@pytest.fixture(scope="module", autouse=True)
def marts(warehouse: connection) -> Iterator[None]:
    with warehouse.cursor() as cur:
        cur.execute(
            "create table marts.sample (n bigint, label text, day date, rate numeric(8, 3));"
            "insert into marts.sample values (1, 'é; \"x\"', '2024-01-31', 12.5), (2, null, null, 3);"
            "grant select on marts.sample to analyst; create table control.secret (x int)"
        )
        yield
        cur.execute("drop table marts.sample, control.secret")


def test_rows_and_columns(warehouse_settings: Settings) -> None:
    result = query.run_query(
        Platform(warehouse_settings), "select n, label from sample order by n; -- the marts are found by themselves"
    )
    assert (result.columns, result.truncated) == (("n", "label"), False)
    assert result.rows == [(1, 'é; "x"'), (2, None)]


def test_json_is_a_list_of_objects(warehouse_settings: Settings) -> None:
    result = query.run_query(Platform(warehouse_settings), "select * from sample order by n")
    assert json.loads(query.as_json(result)) == [
        {"n": 1, "label": 'é; "x"', "day": "2024-01-31", "rate": 12.5},
        {"n": 2, "label": None, "day": None, "rate": 3},
    ]
    assert query.as_json(query.run_query(Platform(warehouse_settings), "select n from sample where false")) == "[]"


def test_two_columns_of_one_name_are_told_apart(warehouse_settings: Settings) -> None:
    twice = query.run_query(
        Platform(warehouse_settings), "select n, 7 as n_2, label, n + 10 as n from sample where n = 1"
    )
    assert (twice.columns, twice.renamed) == (("n", "n_2", "label", "n_3"), ("n_3",))
    assert json.loads(query.as_json(twice)) == [{"n": 1, "n_2": 7, "label": 'é; "x"', "n_3": 11}]
    assert query.as_csv(twice).splitlines()[0] == "n,n_2,label,n_3"


def test_csv_reads_back(warehouse_settings: Settings) -> None:
    result = query.run_query(Platform(warehouse_settings), "select n, label, day from sample order by n")
    rows = list(csv.reader(io.StringIO(query.as_csv(result))))
    assert rows == [["n", "label", "day"], ["1", 'é; "x"', "2024-01-31"], ["2", "", ""]]


def test_csv_holds_nothing_that_a_spreadsheet_executes(warehouse_settings: Settings) -> None:
    """Texts alone: numbers, a lone sign and a sign before a number stay, and --json gives all as they are."""
    values = [
        "=cmd|' /C calc'!A0",
        "+1+cmd",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "＝1+1",
        "-",
        "+",
        "-1.5",
        "+12",
        "<=0.5",
        "E. coli",
        "a=b",
    ]
    told = ", ".join("'" + v.replace("'", "''") + "'" for v in values)
    result = query.run_query(
        Platform(warehouse_settings),
        f'select v as "=1+1", -3.5 as n from unnest(array[{told}]) with ordinality as t (v, i) order by i',
    )
    head, *rows = csv.reader(io.StringIO(query.as_csv(result)))
    assert head == ["'=1+1", "n"]
    assert [v for v, _ in rows] == [f"'{v}" for v in values[:6]] + values[6:]
    assert {n for _, n in rows} == {"-3.5"}
    assert query.formulas(result) == 7
    assert [row["=1+1"] for row in json.loads(query.as_json(result))] == values


def test_more_rows_than_the_limit_are_announced(warehouse_settings: Settings) -> None:
    result = query.run_query(Platform(warehouse_settings), "select n from generate_series(1, 11) as n", limit=10)
    assert (len(result.rows), result.truncated) == (10, True)
    assert not query.run_query(
        Platform(warehouse_settings), "select n from generate_series(1, 10) as n", limit=10
    ).truncated


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no statement"),
        (" ; ", "no statement"),
        ("select 1; select 2", "several statements"),
        ("select 1; drop table sample", "several statements"),
        ("insert into sample values (9)", "INSERT does not read"),
        ("/* select */ delete from sample", "DELETE does not read"),
        ("set role estuaire", "SET does not read"),
        ("commit", "COMMIT does not read"),
        ("copy sample to '/tmp/x'", "COPY does not read"),
        ("with gone as (delete from sample returning n) select * from gone", "writes|may not|PostgreSQL says"),
        ("select n into other from sample", "PostgreSQL says|writes"),
        ("select * from sample for update", "may not|writes"),
        (
            "select set_config('transaction_read_only', 'off', false), nextval('control.release_release_id_seq')",
            "may not|PostgreSQL says",
        ),
        ("select * from control.secret", "may not"),
        ("select * from staging.patient", "may not"),
        ("select pg_read_file('/etc/passwd')", "may not"),
        ("select nothing from sample", 'column "nothing" does not exist'),
        ("select 'open", "not closed"),
        ("select 1 from", "PostgreSQL says"),
    ],
)
def test_what_is_refused(text: str, what: str, warehouse_settings: Settings, warehouse: connection) -> None:
    with pytest.raises(QueryRefused, match=what) as caught:
        query.run_query(Platform(warehouse_settings), text)
    assert "\n" not in str(caught.value)
    with warehouse.cursor() as cur:
        cur.execute("select count(*) from marts.sample")
        assert cur.fetchone() == (2,)


def test_a_query_that_takes_too_long_ends(warehouse_settings: Settings) -> None:
    with pytest.raises(QueryRefused, match="more than 1 s"):
        query.run_query(Platform(warehouse_settings), "select pg_sleep(20)", timeout_seconds=1)


def test_commands_are_registered_and_print(warehouse_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer
    from typer.testing import CliRunner

    import estuaire.base.settings
    from estuaire.cli import query as query_command
    from estuaire.cli import releases as releases_command

    app = typer.Typer()
    query_command.register(app)
    releases_command.register(app)
    monkeypatch.setattr(estuaire.base.settings, "settings", lambda: warehouse_settings)

    def call(*arguments: str) -> Any:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result

    assert "12.5" in call("query", "select rate from sample").stdout
    # a year is no count, a sum of whole numbers is whole, small rates keep their digits
    printed = call(
        "query", "select 2025 as year, sum(n) as records, 1234567 as key, 0.03125 as rate, 12.500 as pct from sample"
    ).stdout
    assert {"2025", "3", "1234567", "0.03125", "12.5"} <= set(re.findall(r"[\d.,]+", printed))
    assert not {"2,025", "3.0", "1,234,567", "0.0"} & set(re.findall(r"[\d.,]+", printed))
    assert "n_2; name them" in call("query", "select n, n from sample").stderr
    limited = call("query", "select n from sample", "--csv", "--limit", "1")
    assert limited.stdout == "n\n1\n"
    assert "Only the first 1 rows" in limited.stderr
    assert json.loads(call("query", "select 1 as one", "--json").stdout) == [{"one": 1}]
    assert json.loads(call("releases", "--json").stdout) == []
    assert "release" in call("releases").stdout

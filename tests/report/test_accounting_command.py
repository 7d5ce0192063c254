"""`estuaire accounting`: totals first, then as narrow as asked; it printed one line per delivery and table, 3,000 of them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import report_world
from psycopg2.extensions import cursor
from report_pages import HOSPITALS
from typer.testing import CliRunner

import estuaire.base.settings as module
from estuaire.base.settings import Settings
from estuaire.cli import build


@pytest.fixture
def call(settings: Settings, owner: cursor, monkeypatch: pytest.MonkeyPatch) -> Any:
    report_world.ledger(owner, HOSPITALS)
    owner.execute(
        "insert into control.accounting (run_id, stage, token, hospital_id, delivery_id, table_name, rows_in, rows_out, rows_quarantined, "
        "rows_superseded, rows_unparseable, hash_in, hash_out, hash_quarantined, hash_superseded, hash_unparseable, rows_not_loaded, "
        "not_loaded) values ('consolidate-1', 'load', 1, 'h01', '2025-10-full', 'administration', 50, 20, 0, 0, 0, 0, 0, 0, 0, 0, 30, "
        '\'{"not_an_antibacterial": 28, "drug_without_standard_code": 2}\')'
    )
    monkeypatch.setattr(module, "settings", lambda: settings)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(build(), ["accounting", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    return run


def _lines(shown: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("│┃ ").split("│")] for line in shown.splitlines() if line.startswith("│")]


def test_without_options_it_is_one_line_a_stage_and_table_and_their_totals(call: Any, owner: cursor) -> None:
    lines = _lines(call())
    assert [line[3] for line in lines if line[0] == "land"] == [*sorted(report_world.TABLES), "TOTAL"]
    owner.execute(
        "select sum(rows_in), sum(rows_out), sum(rows_quarantined) from control.accounting where stage = 'land'"
    )
    [total] = [line for line in lines if line[0] == "land" and line[3] == "TOTAL"]
    assert tuple(int(n.replace(",", "")) for n in total[4:7]) == owner.fetchone()
    assert total[1:3] == ["37 hospitals", "74 deliveries"]
    [load] = [line for line in lines if line[0] == "load" and line[3] == "TOTAL"]
    assert load[4:] == ["50", "20", "0", "0", "0", "30", "yes"]
    assert "not an antibacterial 28, drug without standard code 2" in call("--stage", "load")


@pytest.mark.parametrize(
    ("asked", "rows", "place"),
    [
        (("--hospital", "h05"), 16, ("land", "h05")),
        (("--delivery", "h05/2025-12-delta"), 8, ("land", "h05")),
        (("--table", "stay", "--stage", "land"), 74, ("land", None)),
        (("--hospital", "h05", "--table", "stay"), 2, ("land", "h05")),
        (("--hospital", "h01", "--stage", "load"), 1, ("load", "h01")),
    ],
)
def test_a_filter_shows_single_lines_and_their_total(
    call: Any, asked: tuple[str, ...], rows: int, place: tuple[str, str | None]
) -> None:
    lines = _lines(call(*asked))
    single = [line for line in lines if line[3] != "TOTAL"]
    assert len(single) == rows
    assert {line[0] for line in single} == {place[0]}
    assert place[1] is None or {line[1] for line in single} == {place[1]}
    assert len(lines) == rows + 1
    assert len(json.loads(call(*asked, "--json"))) == rows


def test_more_lines_than_the_limit_are_announced_and_the_totals_count_all(call: Any) -> None:
    shown = call("--each", "--stage", "land", "--limit", "5")
    assert len(_lines(shown)) == 6
    assert "5 of 592 lines are shown" in shown
    whole = _lines(call("--stage", "land"))[-1]
    assert _lines(shown)[-1] == whole


def test_what_matches_nothing_says_so(call: Any) -> None:
    assert "No account matches" in call("--hospital", "h99")
    refused = CliRunner().invoke(build(), ["accounting", "--stage", "publish"])
    assert refused.exit_code != 0
    assert re.search(r"land, consolidate,\s+load", refused.output.replace("│", ""))

"""Ledger and verdicts keep an error as its fields, and no sentence; what an older version's ledger kept can still be read (migration 0014)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from alembic import command
from small_platform import SmallPlatform, create_database

from estuaire.base.errors import ColumnMissing, ErrorFields, Fenced, LakeFileUnreadable, SetupError
from estuaire.base.metering import Cost
from estuaire.base.settings import Settings
from estuaire.deliveries import landing_scan
from estuaire.gates import consolidated, landed, warehouse
from estuaire.gates.results import Result
from estuaire.operations.alerts import conditions
from estuaire.orchestration import tasks
from estuaire.rules.rule_registry import load_rules
from estuaire.runs.explain import explain
from estuaire.storage import error_columns, ledger, migrations, set_aside
from estuaire.storage.database import Database

_NUMBERS = itertools.count(1)
NO_COST = Cost(0.0, 0.0, 0)
MISSING = ColumnMissing(
    "required columns are not in the header: a: b",
    remedy="deliver it again. What to do: this",
    hospital="h01",
    delivery="d 1: x",
    table="stay",
    file="s: t.csv",
)


@pytest.fixture
def platform(migrated: Settings) -> SmallPlatform:
    name = f"error_fields_{next(_NUMBERS)}"
    create_database(migrated, name, "empty_platform")
    return SmallPlatform(migrated.model_copy(update={"postgres_database": name}), None)


def written(platform: SmallPlatform, write: Callable[[Any], object]) -> None:
    with platform.database.transaction() as connection, connection.cursor() as cursor:
        write(cursor)


def sentences(settings: Settings) -> list[tuple[str, str]]:
    """(table, column) of control and quality where a sentence of an error stands."""
    columns = ledger.fetch(
        Database.of(settings),
        "select table_schema || '.' || table_name as name, column_name from information_schema.columns "
        "where table_schema in ('control', 'quality') and data_type in ('text', 'jsonb')",
    )
    assert len(columns) > 100
    return [
        (c["name"], c["column_name"])
        for c in columns
        if ledger.fetch(
            Database.of(settings),
            f"select 1 from {c['name']} where {c['column_name']}::text ~ '\\[E_[A-Z_]+\\] ' limit 1",
        )
    ]


# ------------------------------------------------------------------------------------------------ what is kept


def test_a_failed_landing_is_kept_in_fields_at_its_stage_its_run_its_delivery_and_its_verdict(
    platform: SmallPlatform,
) -> None:
    run = platform.new_run()
    stage = ledger.begin_stage(platform.database, run, "land")

    def note(cursor: Any) -> None:
        cursor.execute(
            "insert into control.delivery (hospital_id, delivery_id, state, run_id) values ('h01', 'd 1: x', 'received', %s)",
            (run,),
        )
        landing_scan.note_error(cursor, "h01", "d 1: x", MISSING.fields, "blocked")
        landed.write_block(cursor, run, ("h01", "d 1: x"), MISSING)

    written(platform, note)
    stage.fail(NO_COST, MISSING)
    with pytest.raises(tasks.RunFailed) as raised:
        tasks.accept(platform, run)
    assert raised.value.what == f"landing did not finish: {MISSING.sentence()}"
    for table in ("control.delivery", "control.stage_run", "control.run", "quality.verdict"):
        assert platform.errors(table) == [MISSING.fields], table
    assert sentences(platform.settings) == []

    # what is shown is made of them: no place or remedy is lost to a name or a word that looks like a part of a sentence
    found = explain(platform, run)
    of_delivery, of_stage = found.stopped
    assert (of_delivery.where, of_delivery.code, of_delivery.file) == ("h01/d 1: x", "E_COLUMN_MISSING", "s: t.csv")
    assert of_delivery.what == "required columns are not in the header: a: b."
    assert of_delivery.remedy == of_stage.remedy == "deliver it again. What to do: this."
    assert {f.kind for f in conditions.find(platform, conditions.today())[0]} >= {
        "delivery_blocked",
        "run_failed",
    }


def test_a_failed_stage_keeps_the_class_alone_of_an_error_that_nobody_typed(platform: SmallPlatform) -> None:
    run = platform.new_run()
    ledger.begin_stage(platform.database, run, "load").fail(NO_COST, KeyError("a value"))
    assert platform.ask("select message, error_code, error_what from control.stage_run") == [("KeyError", None, None)]
    ledger.begin_stage(platform.database, run, "load").fail(NO_COST, Fenced.of("load"))
    assert platform.ask("select state, error_code from control.stage_run order by token") == [
        ("failed", None),
        ("fenced", "E_FENCED"),
    ]


def test_discovery_that_died_is_kept_in_fields_and_said_before_its_run_begins_anew(
    platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = SetupError("a setting is wrong", remedy="mend it")

    def dies(*_: object) -> None:
        raise wrong

    monkeypatch.setattr(tasks, "_discover", dies)
    with pytest.raises(SetupError):
        tasks.discover(platform, "r")
    assert platform.ask("select state, message from control.run") == [("failed", "discovery did not finish")]
    assert platform.errors("control.run") == [wrong.fields]
    [stop] = explain(platform, "r").stopped
    assert (stop.what, stop.remedy) == ("discovery did not finish: [E_SETUP] a setting is wrong.", "mend it.")
    ledger.start_run(platform.database, "r", "ingest_deliveries")
    assert platform.errors("control.run") == []


def test_a_hospital_set_aside_is_kept_in_fields(platform: SmallPlatform) -> None:
    lost = LakeFileUnreadable("a file is lost", remedy="put it back", hospital="h01")
    written(platform, lambda cursor: set_aside.note(cursor, "h01", "load", "r", lost))
    [row] = set_aside.standing(platform.database)
    assert error_columns.read(row) == lost.fields
    assert set_aside.not_loaded([lost.fields]) == f"not loaded, to be tried again: {lost.sentence()}"


def _blocking(stage: str, *, agree: bool = True) -> Result:
    """A result that blocks: of a rule that every row breaks, or on which the engines disagree."""
    results = [
        Result(table, rule, 1000, 1000, gx_agrees=agree) for table, rules in load_rules(stage).items() for rule in rules
    ]
    return next(r for r in results if r.blocks)


def test_a_failed_gate_is_kept_in_fields_and_each_result_says_what_it_decided(platform: SmallPlatform) -> None:
    run = platform.new_run()
    differ = _blocking("landed", agree=False)
    broken = landed.Finding("h01", "d1", 1000, 0, [differ])
    rejected = landed.Finding("h02", "d1", 1000, 500)
    for finding in (broken, rejected):
        with platform.database.transaction() as connection, connection.cursor() as cursor:
            error = landed.write(cursor, run, finding)
        assert error is not None
        assert platform.errors("quality.verdict", f"hospital_id = '{finding.hospital}'") == [error.fields]
    codes = platform.ask("select hospital_id, verdict, error_code, error_delivery from quality.verdict order by 1")
    assert codes == [("h01", "block", "E_GATE_BLOCKED", "d1"), ("h02", "block", "E_REJECTED_RATE", "d1")]
    assert platform.ask("select rule_id, decided from quality.result") == [(differ.rule.id, "block")]

    gate2 = consolidated.Finding("h01", [_blocking("consolidated")])
    written(platform, lambda cursor: consolidated.write(cursor, run, consolidated.Audit({"h01": gate2}, [])))
    [fields] = platform.errors("quality.verdict", "stage = 'consolidated'")
    assert (fields.code, fields.hospital) == ("E_GATE_BLOCKED", "h01")

    share = _blocking("conformed")
    fine = Result(share.table, share.rule, 1000, 0, gx_agrees=True)
    gate3 = warehouse.Finding("conformed", [share], {"h01": [share], "h02": [fine]})
    written(platform, lambda cursor: warehouse._write(cursor, run, gate3))
    assert platform.ask(
        "select hospital_id, verdict, error_code, error_hospital from quality.verdict where stage = 'conformed' order by 1"
    ) == [
        ("*", "block", "E_GATE_BLOCKED", None),
        ("h01", "block", "E_GATE_BLOCKED", "h01"),
        ("h02", "pass", None, None),
    ]
    assert platform.ask("select hospital_id, decided from quality.result where stage = 'conformed' order by 1") == [
        ("*", "block"), ("h01", "block"), ("h02", None),
    ]  # fmt: skip
    assert sentences(platform.settings) == []


# ------------------------------------------------------------------------------------------------ what an older version kept


@pytest.fixture
def older(postgres: Settings) -> SmallPlatform:
    """A ledger as version 0013 left it."""
    name = f"older_{next(_NUMBERS)}"
    create_database(postgres, name, "template1")
    platform = SmallPlatform(postgres.model_copy(update={"postgres_database": name}), None)
    config = migrations._config()
    config.attributes["url"] = platform.database.sqlalchemy_url()
    command.upgrade(config, "0013")
    return platform


OLD = [
    ErrorFields("E_CHECKSUM", "its bytes are others", "upload it again", "h01", "d1", file="a.csv"),
    ErrorFields("E_MANIFEST_MISSING", "there is no manifest.json", "write it", "h01", "d2"),
    # a name with a space stays in front of what was wrong: the sentence is the same
    ErrorFields("E_FILE_MISSING", "file a b.csv: it is not there", "upload it", "h01", "d3"),
    ErrorFields("E_CONTRACT", "it is wrong: see there", "mend it. Then run again", "h01"),
    ErrorFields("E_ACCOUNTING", "1 of 2", "report it", "h01", "d1", table="stay"),
    ErrorFields("E_SETUP", "a secret is not there", "run `estuaire up`"),
]


def test_a_ledger_of_an_older_version_says_what_it_said(older: SmallPlatform) -> None:
    old = [e.sentence() for e in OLD]
    execute = older.execute
    for error, sentence in zip(OLD[:3], old, strict=False):
        execute(
            "insert into control.delivery (hospital_id, delivery_id, state, error_code, error, remedy) values (%s, %s, 'blocked', %s, %s, %s)",
            error.hospital, error.delivery, error.code, sentence, error.remedy,
        )  # fmt: skip
    execute("insert into control.delivery (hospital_id, delivery_id, state) values ('h01', 'fine', 'received')")
    runs = [
        ("r1", "failed", f"discovery did not finish: {old[5]}"), ("r2", "failed", old[4]), ("r3", "failed", "0 landed, 1 blocked"),
        ("r4", "success", f"not loaded, to be tried again: {old[3]}"), ("r5", "running", None),
    ]  # fmt: skip
    for row in runs:
        execute("insert into control.run (run_id, dag_id, state, message) values (%s, 'x', %s, %s)", *row)
    for token, message in enumerate((old[5], "KeyError", "ended without a word (killed)"), start=1):
        execute("insert into control.stage_run (run_id, stage, token, state, message) values ('r1', 'land', %s, 'failed', %s)", token, message)  # fmt: skip
    for hospital, sentence in (("h01", old[3]), ("h02", "no sentence")):
        execute("insert into control.consolidation_block (hospital_id, input_hash, run_id, error) values (%s, 'x', 'r1', %s)", hospital, sentence)  # fmt: skip
    execute("insert into control.set_aside (hospital_id, stage, run_id, error_code, error, remedy) values ('h01', 'load', 'r1', 'E_CONTRACT', %s, %s)", old[3], OLD[3].remedy)  # fmt: skip
    verdicts = [
        ("d1", "block", old[0]),
        ("d2", "block", "a.x: 9 of 9; b.y: 1 of 9; c.z: 2 of 9"),
        ("d3", "warn", "b.y: 1 of 9"),
    ]
    for row in verdicts:
        execute("insert into quality.verdict (run_id, stage, hospital_id, delivery_id, verdict, reasons) values ('r1', 'landed', 'h01', %s, %s, %s)", *row)  # fmt: skip
    results = [("d2", "a.x", "warn", "fail"), ("d2", "b.y", "warn", "fail"), ("d2", "c.z", "fail", "fail"),
               ("d2", "d.w", "warn", "fail"), ("d3", "b.y", "fail", "fail"), ("d3", "a.x", "fail", "pass")]  # fmt: skip
    for delivery, rule, action, status in results:
        execute(
            "insert into quality.result (run_id, stage, hospital_id, delivery_id, table_name, rule_id, rule_version, category, severity, "
            "action, status, rows_checked, rows_failed) values ('r1', 'landed', 'h01', %s, 't', %s, 1, 'c', 'error', %s, %s, 9, 1)",
            delivery, rule, action, status,
        )  # fmt: skip

    migrations.upgrade(older.database)

    assert older.errors("control.delivery") == OLD[:3]
    assert older.errors("control.set_aside") == [OLD[3]]
    assert older.errors("control.stage_run") == [OLD[5]]
    assert older.errors("control.consolidation_block", "hospital_id = 'h01'") == [OLD[3]]
    assert older.errors("control.consolidation_block", "hospital_id = 'h02'") == [ErrorFields("", "no sentence", "")]
    assert older.errors("quality.verdict") == [OLD[0]]
    said = {r["run_id"]: error_columns.said(r) for r in ledger.fetch(older.database, "select * from control.run")}
    assert said == {run: message or "" for run, _, message in runs}
    assert older.errors("control.run", "run_id in ('r1', 'r2')") == [OLD[4], OLD[5]]
    assert older.ask("select message from control.stage_run order by token") == [
        (None,), ("KeyError",), ("ended without a word (killed)",),
    ]  # fmt: skip
    rows = ledger.fetch(older.database, "select * from quality.verdict order by delivery_id")
    assert [error_columns.reasons(r) for r in rows] == [reasons for _, _, reasons in verdicts]
    assert older.ask("select delivery_id, rule_id, decided from quality.result order by 1, 2") == [
        ("d2", "a.x", "block"), ("d2", "b.y", "warn"), ("d2", "c.z", "block"), ("d2", "d.w", None), ("d3", "a.x", None), ("d3", "b.y", "warn"),
    ]  # fmt: skip
    with pytest.raises(psycopg2.errors.UndefinedColumn):
        older.ask("select error from control.delivery")

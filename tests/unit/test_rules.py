"""The rule registry: what lies outside the subset is refused, what stands in the files is right, a mistake is a typed error."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import yaml

from estuaire.base.errors import ContractError
from estuaire.contract.tables import load_contract
from estuaire.rules.rule_registry import FOLDER, Rule, load_rules
from estuaire.rules.rule_subset import check_expression


@pytest.mark.parametrize(
    "expression",
    [
        "regexp_matches(s, '^a')",
        "s like 'a%'",
        "s similar to 'a'",
        "date_diff('day', a, b) > 1",
        "a - interval 1 day > b",
        "s collate nocase = 'a'",
        "d = cast('NaN' as double)",
        "cast(d as float) > 1",
        "cast(i as varchar) = '1'",
        "cast(d as bigint) = 2",  # DuckDB and PostgreSQL round, Spark cuts
        "at_local >= cast('2025-03-01 10:00:00' as timestamp)",
        "i / 2 = 1",
        "i % 2 = 1",
        "lower(s) = 'a'",
        "s || 'x' = 'ax'",
        "random() < 0.5",
        "current_date > a",
        "strpos(s, '') = 0",
        "strpos(s, t) = 0",
        "instr(s, 'a', 2) > 0",
        "contains(s, 'a')",
        "i in (select 1)",
        "exists (select 1)",
        "sum(i) > 1",
        "row_number() over () = 1",
        "read_text('/etc/passwd') is not null",
        "i = ?",
        "select 1",
        "i = 1; drop table x",
        "i = (",
    ],
)
def test_what_lies_outside_the_subset_is_refused(expression: str) -> None:
    with pytest.raises(ContractError) as raised:
        check_expression(expression, "a rule")
    assert raised.value.what.startswith("a rule")


def test_the_projects_rules_are_right_and_complete() -> None:
    rules = load_rules("landed")
    assert set(rules) == set(load_contract().names)
    for table in load_contract().tables:
        implied = [r for r in rules[table.name] if r.implied]
        assert [r.columns[0] for r in implied if r.id.endswith(".required")] == list(table.required)
        dates = [c.name for c in table.columns if c.type in ("date", "datetime") and not c.may_be_planned]
        assert [r.columns[0] for r in implied if r.id.endswith(".future")] == dates
        assert {r.action for r in implied} == {"quarantine"}
        assert [r for r in rules[table.name] if not r.implied], f"{table.name} has rules of its own"
        assert all(r.label_fr and r.label_en for r in rules[table.name])


def test_every_stage_has_rules_and_they_are_right() -> None:
    for stage in ("consolidated", "conformed", "marts"):
        rules = [r for rs in load_rules(stage).values() for r in rs]
        assert rules, stage
        assert all(r.label_fr and r.label_en and bool(r.expression) != bool(r.unique) for r in rules)
        assert not [r.id for r in rules if r.action == "quarantine"]
        assert len({r.mark for r in rules}) == len(rules)


def test_what_the_contract_asks_of_consolidated_records() -> None:
    rules = {r.id: r for r in load_rules("consolidated")["susceptibility"]}
    # the laboratory's own drug code is the key: an unmapped one is null in the standard column
    assert rules["susceptibility.key.unique"].unique == (
        "specimen_id", "isolate_number", "drug_code_source", "method_source", "breakpoint_indication_source"
    )  # fmt: skip
    assert rules["susceptibility.drug_code.required"].expression == "drug_code_source is not null"
    orphan = rules["susceptibility.isolate_number.orphan"]
    assert (orphan.threshold, orphan.action) == (0.005, "warn")


MODELS = """
models:
  - name: isolate
    columns:
      - {name: hospital_id, data_type: text}
      - {name: status, data_type: text}
      - {name: n, data_type: bigint}
"""


def _conformed(tmp_path: Path, text: str) -> dict[str, tuple[Rule, ...]]:
    for folder in ("rules/conformed", "models/conformed", "models/marts"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "models" / "conformed" / "_models.yml").write_text(MODELS, encoding="utf-8")
    (tmp_path / "rules" / "conformed" / "one.yml").write_text(text, encoding="utf-8")
    return load_rules("conformed", tmp_path / "rules", tmp_path / "models")


def _document(table: str = "isolate", more: str = "expression: n > 0", head: str = "", action: str = "fail") -> str:
    return (
        f"table: {table}\n{head}rules:\n  - {{id: {table}.x, version: 1, category: completeness, severity: error, "
        f"action: {action}, threshold: 0.0, owner: platform, label: {{fr: x, en: x}}, {more}}}\n"
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (_document("isolates"), "no table or model isolates"),
        (_document(more="expression: m > 0"), "no column m"),
        (_document(more="expression: status > 'a'"), "GT of a text"),
        (_document(more="unique: [m]"), "no column m"),
        (_document(more="unique: [n], expression: n > 0"), "valid under each of"),
        (_document(action="quarantine"), "only landing quarantines"),
        (_document("sums", head="relation: select 1 as n from {conformed.gone}\ncolumns: {n: bigint}\n"), "no model conformed.gone"),
        (_document("sums", head="relation: select 1 as n from {staging.x}\ncolumns: {n: bigint}\n"), "no model staging.x"),
        (_document("sums", head="relation: select 1 as n\n"), "dependency"),
        (_document(head="relation: select 1 as n\ncolumns: {n: bigint}\n"), "isolate is a model"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_rule_on_a_model_is_a_typed_error(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(ContractError, match=where):
        _conformed(tmp_path, text)


def test_a_rule_applies_where_it_says_and_where_dates_are_real(tmp_path: Path) -> None:
    [rule] = _conformed(tmp_path, _document(more="when: n > 1, needs_real_calendar: true, expression: status = 'a'"))[
        "isolate"
    ]
    with duckdb.connect() as duck:
        duck.execute(
            "create table t as select * from (values ('h01', 'b', 2), ('h38', 'b', 2), ('h01', 'b', 1)) v(hospital_id, status, n)"
        )
        assert duck.execute(f"select {rule.sql('duckdb', ['h38'])} from t").fetchall() == [(False,), (None,), (None,)]
        assert duck.execute(f"select {rule.sql('duckdb')} from t").fetchall() == [(False,), (False,), (None,)]


def test_a_rule_for_landing_looks_at_one_record(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="min_rows is not for landing"):
        _changed(tmp_path, min_rows=5)


def _changed(tmp_path: Path, **changes: object) -> dict[str, tuple[Rule, ...]]:
    document = yaml.safe_load((FOLDER / "landed" / "stay.yml").read_text(encoding="utf-8"))
    document["rules"][0].update(changes)
    (tmp_path / "landed").mkdir()
    (tmp_path / "landed" / "stay.yml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return load_rules("landed", tmp_path)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"action": "ignore"}, "action"),
        ({"threshold": 2}, "threshold"),
        ({"label": {"fr": "x"}}, "label"),
        ({"category": "nice"}, "category"),
        ({"expression": "nothing > 1"}, "no column nothing"),
        ({"expression": "lower(exit_mode) = 'a'"}, "outside the rule subset"),
        ({"expression": "exit_mode > entry_mode"}, "GT of a text"),
        ({"expression": "admitted_at > '2025-01-01'"}, "GT of a text"),
        ({"expression": "legal_finess between '1' and '2'"}, "Between of a text"),
        ({"expression": "cast(legal_finess as date) is null"}, "Cast of a text"),
        ({"id": "patient.x"}, "does not begin with its table"),
        ({"id": "stay.stay_id.required"}, "stands twice"),
    ],
)
def test_a_mistake_in_a_rule_is_a_typed_error(tmp_path: Path, changes: dict[str, object], where: str) -> None:
    with pytest.raises(ContractError, match=where):
        _changed(tmp_path, **changes)


def test_a_rule_may_be_changed_in_its_file_alone(tmp_path: Path) -> None:
    own = [r for r in _changed(tmp_path, threshold=0.5)["stay"] if not r.implied]
    assert (own[0].id, own[0].threshold) == ("stay.discharge_after_admission", 0.5)
    assert {r.threshold for r in own[1:]} == {0.0}

"""The hospitals of the study together have one name, and it stands once in Python and once in dbt."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract.registry import GROUP
from estuaire.rules.rule_registry import FOLDER, THE_GROUP, stage_rules

PROJECT = PROJECT_ROOT / "dbt_project"
_LITERAL = f"'{GROUP}'"


def test_dbt_and_python_call_it_alike() -> None:
    told = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]
    assert told["group"] == GROUP


def test_no_hospital_can_bear_its_name() -> None:
    assert not re.fullmatch(r"h\d+", GROUP)


def test_rule_files_get_it_where_they_are_read() -> None:
    naming = [p for p in FOLDER.rglob("*.yml") if THE_GROUP in p.read_text(encoding="utf-8")]
    assert len(naming) >= 4
    marts = stage_rules("marts")
    assert f"<> {_LITERAL}" in (marts.relations["consumption_doses"].query or "")
    [scope] = [r for r in marts.rules["first_isolate"] if r.id == "first_isolate.dedup_scope.code"]
    assert scope.expression == f"dedup_scope in ('hospital', {_LITERAL})"
    queries = [r.query or "" for r in marts.relations.values()]
    expressions = [r.expression + r.when for rules in marts.rules.values() for r in rules]
    assert [text for text in queries + expressions if THE_GROUP in text] == []


# dbt's unit tests hold tables written by hand, beside what is to come of them
MODELS = [p for p in PROJECT.rglob("models/**/*.yml") if not p.name.endswith("_unit_tests.yml")]
SQL = [*PROJECT.glob("m*/**/*.sql"), *PROJECT.glob("tests/**/*.sql"), *FOLDER.rglob("*.yml")]


def test_no_sql_writes_it_by_hand() -> None:
    assert len(SQL) > 100
    found = [
        p.name for p in SQL if _LITERAL in re.sub(r"\{#.*?#\}|--[^\n]*", "", p.read_text("utf-8"), flags=re.DOTALL)
    ]
    assert found == []


def test_no_list_of_accepted_values_names_it() -> None:
    lists = [v for p in MODELS for v in _accepted(yaml.safe_load(p.read_text(encoding="utf-8")))]
    assert any("{{ var('group') }}" in values for values in lists)
    assert [values for values in lists if GROUP in values] == []


def _accepted(node: Any) -> list[list[Any]]:
    """Every list named ``values`` in a document."""
    if isinstance(node, list):
        return [found for part in node for found in _accepted(part)]
    if not isinstance(node, dict):
        return []
    own = [node["values"]] if isinstance(node.get("values"), list) else []
    return own + [found for part in node.values() for found in _accepted(part)]


def _python() -> list[Path]:
    return sorted(p for folder in ("estuaire", "spark_jobs", "dags") for p in (PROJECT_ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("quoted", [_LITERAL, "whole"])
def test_no_python_writes_it_by_hand(quoted: str) -> None:
    found = []
    for path in _python():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # a process's group, and the report's heading of that key
        others = {
            id(part)
            for node in ast.walk(tree)
            for part in (
                node.keys
                if isinstance(node, ast.Dict)
                else node.args
                if isinstance(node, ast.Call) and _says(node)
                else ()
            )
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in others:
                wrong = node.value == GROUP if quoted == "whole" else _LITERAL in node.value
                if wrong:
                    found.append(f"{path.relative_to(PROJECT_ROOT)}:{node.lineno}")
    [own] = [f for f in found if f.startswith("estuaire/contract/registry/")] if quoted == "whole" else [None]
    assert [f for f in found if f != own] == []


def _says(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "text"

"""The glossary's last column names tables and columns that there are: a renamed one is renamed there as well."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from estuaire.base import yaml_text
from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract.tables import load_contract

PAGE = PROJECT_ROOT / "docs" / "glossary.md"
_LEDGER = re.compile(r"create table (?:if not exists )?((?:control|quality)\.\w+)")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| English")
]


def _held() -> dict[str, set[str]]:
    """Tables of the contract, of dbt and of the ledger, with the columns that are declared."""
    found: dict[str, set[str]] = {t.name: {c.name for c in t.columns} for t in load_contract().tables}
    for kind, folder in (("models", "models"), ("seeds", "seeds")):
        for file in (PROJECT_ROOT / "dbt_project" / folder).rglob("_*.yml"):
            for node in (yaml_text.read(file.read_text(encoding="utf-8")) or {}).get(kind, []):
                found.setdefault(node["name"], set()).update(c["name"] for c in node.get("columns", []))
    for file in (PROJECT_ROOT / "infra" / "postgres" / "migrations" / "versions").glob("*.py"):
        found |= {name: set() for name in _LEDGER.findall(file.read_text(encoding="utf-8"))}
    return found


HELD = _held()


def absent(cell: str) -> list[str]:
    """Names of a cell that are no table, and no column of one."""
    wrong = []
    for name in re.findall(r"`([^`]+)`", cell):
        table, _, column = name.rpartition(".")
        if name not in HELD and column not in HELD.get(table, ()):
            wrong.append(name)
    return wrong


def test_each_term_has_both_languages_and_one_meaning() -> None:
    assert len(ROWS) > 80
    assert [row for row in ROWS if len(row) != 4 or not all(row[:3])] == []
    assert [term for term, n in Counter(row[0] for row in ROWS).items() if n > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_term_is_called_in_the_data_is_there(row: list[str]) -> None:
    assert absent(row[3]) == []


def test_a_name_that_is_not_there_is_found() -> None:
    assert absent("`stay.gone`, `gone`, `control.gone`, `stay.stay_id`, `control.run`") == [
        "stay.gone",
        "gone",
        "control.gone",
    ]


def test_every_table_of_the_contract_and_every_mart_has_its_word() -> None:
    named = {name.split(".")[0] for row in ROWS for name in re.findall(r"`([^`]+)`", row[3])}
    marts = {p.stem for p in (PROJECT_ROOT / "dbt_project" / "models" / "marts").glob("*.sql")}
    # of these the word is that of what they are made of
    assert {*load_contract().names, *marts} - named <= {"antibiotic_consumption_year"}

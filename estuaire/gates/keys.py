"""Keys that gate 3 or 4 counts: the dbt tests that would group the same rows for them once more, and that a publish leaves out.

The gate counts them twice (natively, and through Great Expectations) and blocks; dbt's own key tests stay for who works on the models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estuaire.gates.warehouse import STAGES
from estuaire.rules.rule_registry import FOLDER, load_rules
from estuaire.rules.rule_relations import MODELS, declared

if TYPE_CHECKING:
    from pathlib import Path

_ONE, _SEVERAL = "unique", "unique_combination"


def counted_by_gates(folder: Path = FOLDER, models: Path = MODELS) -> list[str]:
    """dbt selectors, each of the one key test of a model whose very columns are the key of a rule that blocks at the first row.

    A model with two tests of one kind is not among them: a selector could not tell them apart.

    Raises:
        ContractError: the rule registry is wrong.
    """
    found = []
    for stage in STAGES:
        rules = load_rules(stage, folder, models)
        keys = {
            (name, frozenset(rule.unique))
            for name, own in rules.items()
            for rule in own
            if rule.unique
            and rule.action == "fail"
            and rule.threshold == 0
            and not rule.min_rows
            and rule.confidence is None
        }
        for model in declared(models, stage):
            tests = _key_tests(model)
            kinds = [kind for kind, _ in tests]
            found += [
                f"test_name:{kind},{model['name']}"
                for kind, columns in tests
                if (model["name"], columns) in keys and kinds.count(kind) == 1
            ]
    return sorted(found)


def _key_tests(model: dict[str, Any]) -> list[tuple[str, frozenset[str]]]:
    """(kind, columns) of each test of a model that asks for unique values."""
    found = [(_ONE, frozenset([c["name"]])) for c in model.get("columns", []) if _ONE in c.get("data_tests", [])]
    for test in model.get("data_tests", []):
        if isinstance(test, dict) and _SEVERAL in test:
            found.append((_SEVERAL, frozenset(test[_SEVERAL]["arguments"]["columns"])))
    return found

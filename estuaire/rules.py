"""The rule registry: ``expectations/<stage>/<entity>.yml``, plus the rules that the contract itself implies.

One boolean SQL expression per rule, in a subset that DuckDB, Spark and PostgreSQL read alike: it drives the quarantine natively,
and the Great Expectations suite that gates the stage is made from the same expression. A null result means the rule does not apply
to the row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import sqlglot
import yaml
from sqlglot import exp

from estuaire.contracts import Table, load_contract
from estuaire.errors import ContractError
from estuaire.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "expectations"

# What sqlglot writes for all three engines without a change of meaning (tests/unit/test_rules.py proves it on each engine).
# Regular expressions, collation, date_diff and floating NaN lie outside.
_ALLOWED: tuple[type[exp.Expression], ...] = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.EQ, exp.NEQ,
    exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In, exp.Between, exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Coalesce,
    exp.Length, exp.Cast, exp.DataType, exp.Case, exp.If, exp.Abs,
)  # fmt: skip
_CAST_TYPES = {exp.DataType.Type.DATE}
_ORDERED = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)


@dataclass(frozen=True)
class Rule:
    """One rule. ``action`` quarantine drops the record (kept in landing), warn flags it, fail blocks the delivery.

    ``threshold`` is the share of records that may break a warn rule before the verdict becomes warn, or for fail, block.
    """

    id: str
    version: int
    table: str
    category: str
    severity: str
    action: str
    threshold: float
    owner: str
    label_fr: str
    label_en: str
    expression: str
    columns: tuple[str, ...]
    implied: bool = False

    def sql(self, dialect: str) -> str:
        """The expression in ``duckdb``, ``spark`` or ``postgres``."""
        return _translated(self.expression, dialect)


@lru_cache(maxsize=4096)
def _translated(expression: str, dialect: str) -> str:
    return str(sqlglot.transpile(expression, read="duckdb", write=dialect)[0])


def check_expression(text: str, where: str) -> tuple[str, ...]:
    """Columns that an expression reads.

    Raises:
        ContractError: it does not parse, or uses something outside the tested subset.
    """
    try:
        tree = sqlglot.parse_one(text, read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise ContractError(f"{where}: the expression is no SQL", remedy="write one boolean SQL expression") from error
    for node in tree.walk():
        if not isinstance(node, _ALLOWED):
            raise ContractError(
                f"{where}: {type(node).__name__} is outside the rule subset",
                remedy="use comparisons, and/or/not, in, between, is null, coalesce, length, abs, case, cast to date, + - *",
            )
        if isinstance(node, exp.Cast) and node.to.this not in _CAST_TYPES:
            raise ContractError(f"{where}: cast to {node.to.sql()} is outside the subset", remedy="cast to date")
    return tuple(sorted({c.name for c in tree.find_all(exp.Column)}))


def _check_texts(expression: str, table: Table, where: str) -> None:
    """Texts are compared for equality only: their order hangs on the engine's collation, and casting a wrong one stops the stage."""
    texts = {c.name for c in table.columns if c.type in ("string", "code")}
    for node in sqlglot.parse_one(expression, read="duckdb").find_all(exp.Cast, *_ORDERED):
        operands = node.iter_expressions() if isinstance(node, _ORDERED) else [node.this]
        for operand in operands:
            literal = isinstance(operand, exp.Literal) and operand.is_string and not isinstance(node, exp.Cast)
            if literal or (isinstance(operand, exp.Column) and operand.name in texts):
                raise ContractError(
                    f"{where}: {type(node).__name__} of a text is outside the subset",
                    remedy="compare texts by =, <> and in; write dates as cast('2025-01-31' as date)",
                )


def implied_rules(table: Table) -> list[Rule]:
    """What the contract's ``required`` asks, as rules (``<table>.<column>.required``)."""
    return [
        Rule(
            id=f"{table.name}.{c.name}.required",
            version=1,
            table=table.name,
            category="completeness",
            severity="error",
            action="quarantine",
            threshold=0.0,
            owner="contract",
            label_fr=f"{c.label_fr} : présence obligatoire",
            label_en=f"{c.label_en}: must be present",
            expression=f"{c.name} is not null",
            columns=(c.name,),
            implied=True,
        )
        for c in table.columns
        if c.required
    ]


def _parse(document: Any, where: str) -> list[Rule]:
    schema = json.loads((FOLDER / "rules.schema.json").read_text(encoding="utf-8"))
    try:
        jsonschema.validate(document, schema)
    except jsonschema.ValidationError as error:
        raise ContractError(
            f"{where} at {error.json_path}: {error.message}", remedy="correct the file; rules.schema.json says the form"
        ) from error
    table = load_contract().table(document["table"])
    known = {c.name for c in table.columns} | {f"{c.name}_local" for c in table.columns if c.type == "datetime"}
    rules = []
    for raw in document["rules"]:
        place = f"{where}, rule {raw['id']}"
        columns = check_expression(raw["expression"], place)
        for name in columns:
            if name not in known:
                raise ContractError(f"{place}: {table.name} has no column {name}", remedy="name a contract column")
        _check_texts(raw["expression"], table, place)
        if not raw["id"].startswith(f"{table.name}."):
            raise ContractError(f"{place}: the id does not begin with its table", remedy=f"name it {table.name}.…")
        rules.append(
            Rule(
                id=raw["id"],
                version=raw["version"],
                table=table.name,
                category=raw["category"],
                severity=raw["severity"],
                action=raw["action"],
                threshold=raw["threshold"],
                owner=raw["owner"],
                label_fr=raw["label"]["fr"],
                label_en=raw["label"]["en"],
                expression=raw["expression"],
                columns=columns,
            )
        )
    return rules


@lru_cache(maxsize=8)
def load_rules(stage: str = "landed", folder: Path = FOLDER) -> dict[str, tuple[Rule, ...]]:
    """Rules of a stage by table; the contract's implied rules first.

    Raises:
        ContractError: a file does not follow rules.schema.json, an expression leaves the subset, an id stands twice.
    """
    rules: dict[str, list[Rule]] = {t.name: implied_rules(t) for t in load_contract().tables}
    for file in sorted((folder / stage).glob("*.yml")):
        for rule in _parse(yaml.safe_load(file.read_text(encoding="utf-8")), f"{stage}/{file.name}"):
            rules[rule.table].append(rule)
    ids = [r.id for rs in rules.values() for r in rs]
    if len(set(ids)) != len(ids):
        raise ContractError(f"a rule id of stage {stage} stands twice", remedy="give each rule its own id")
    return {name: tuple(rs) for name, rs in rules.items()}

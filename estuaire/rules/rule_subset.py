"""The SQL subset of rule expressions: what DuckDB, Spark and PostgreSQL read alike (tests/integration/test_rules_in_every_engine.py asks each).

Regular expressions, collation, date_diff and floating NaN lie outside. Of texts only equality, ``in`` and the place of a literal within
one (``strpos``) are compared: their order hangs on the engine's collation.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import sqlglot
from sqlglot import exp

from estuaire.base.errors import ContractError

ALLOWED: tuple[type[exp.Expression], ...] = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.EQ, exp.NEQ,
    exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In, exp.Between, exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Coalesce,
    exp.Length, exp.Cast, exp.DataType, exp.Case, exp.If, exp.Abs, exp.StrPosition,
)  # fmt: skip
_CAST_TYPES = {exp.DataType.Type.DATE}
_ORDERED = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)


@lru_cache(maxsize=4096)
def translated(expression: str, dialect: str) -> str:
    """An expression of the subset in ``duckdb``, ``spark`` or ``postgres``."""
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
        if not isinstance(node, ALLOWED):
            raise ContractError(
                f"{where}: {type(node).__name__} is outside the rule subset",
                remedy="use comparisons, and/or/not, in, between, is null, coalesce, length, abs, case, cast to date, strpos, + - *",
            )
        if isinstance(node, exp.Cast) and node.to.this not in _CAST_TYPES:
            raise ContractError(f"{where}: cast to {node.to.sql()} is outside the subset", remedy="cast to date")
        if isinstance(node, exp.StrPosition):
            _check_place(node, where)
    return tuple(sorted({c.name for c in tree.find_all(exp.Column)}))


def _check_place(node: exp.Expression, where: str) -> None:
    """``strpos(column, 'literal')``, nothing else: a start or an occurrence is not read alike."""
    wanted = node.args.get("substr")
    literal = isinstance(wanted, exp.Literal) and wanted.is_string and wanted.name
    if not literal or any(node.args.get(extra) for extra in ("position", "occurrence")):
        raise ContractError(
            f"{where}: strpos looks for something else than a text", remedy="write strpos(column, 'text')"
        )


def check_texts(expression: str, texts: Collection[str], where: str) -> None:
    """Texts are not ordered, and not cast: a wrong one would stop the stage.

    Args:
        texts: columns that hold text.

    Raises:
        ContractError: one is.
    """
    for node in sqlglot.parse_one(expression, read="duckdb").find_all(exp.Cast, *_ORDERED):
        operands = node.iter_expressions() if isinstance(node, _ORDERED) else [node.this]
        for operand in operands:
            literal = isinstance(operand, exp.Literal) and operand.is_string and not isinstance(node, exp.Cast)
            if literal or (isinstance(operand, exp.Column) and operand.name in texts):
                raise ContractError(
                    f"{where}: {type(node).__name__} of a text is outside the subset",
                    remedy="compare texts by =, <> and in; write dates as cast('2025-01-31' as date)",
                )

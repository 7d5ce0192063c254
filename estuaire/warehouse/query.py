"""One read-only query on the published marts, as the role ``analyst``.

Security property: whatever the text says, the role may only read ``marts`` (of it no patient-level table where patients are real) and
the transaction is read-only; the checks on the text serve a clear answer, not safety.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from estuaire.base.errors import DatabaseUnavailable, QueryRefused
from estuaire.contract.registry import Registry
from estuaire.storage.platform import Platform
from estuaire.warehouse import patient_level

READING = ("SELECT", "WITH", "VALUES", "TABLE", "(")
_REMEDY = "send one statement that reads (select, with, values or table)"


@dataclass(frozen=True)
class QueryResult:
    """Columns and rows of a query. ``truncated``: there were more rows than the limit. ``patient_level``: such marts that it reads.

    No two columns have one name: a second ``n`` is ``n_2``, and stands in ``renamed``.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    truncated: bool
    patient_level: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()


def run_query(platform: Platform, text: str, *, limit: int = 1000, timeout_seconds: float = 60.0) -> QueryResult:
    """Run one reading statement with ``search_path`` = marts and return at most ``limit`` rows.

    Raises:
        QueryRefused: several statements, a write, a table that analysts may not read (a patient-level mart where the registry holds
            real hospitals among them), wrong SQL, or out of time.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    import psycopg2

    statement = single_statement(text)
    try:
        session = platform.database.connect("analyst")
    except DatabaseUnavailable as error:
        said = str(error.__cause__)
        if "authentication failed" in said:
            raise QueryRefused(
                "the analysts' password is not the one that was drawn: somebody changed it",
                remedy="run `estuaire up`, which gives the role its password again",
            ) from error
        if "too many connections for role" in said:
            raise QueryRefused(
                "analysts have all their connections open", remedy="end one of their sessions"
            ) from error
        raise
    try:
        session.set_session(readonly=True)
        with session.cursor() as cur:
            reads = patient_level.read_by(statement, patient_level.tables(cur))
            if reads:
                _refuse_real_patients(platform.registry, reads)
            cur.execute("select set_config('search_path', 'marts', true)")
            cur.execute("select set_config('statement_timeout', %s, true)", (f"{int(timeout_seconds * 1000)}",))
        # A server-side cursor: PostgreSQL itself takes one reading statement only, and sends no more rows than asked.
        with session.cursor("estuaire_query") as reader:
            reader.itersize = limit + 1
            reader.execute(statement)
            rows = reader.fetchmany(limit + 1)
            columns, renamed = unique_names([d.name for d in reader.description or ()])
        return QueryResult(columns, rows[:limit], len(rows) > limit, tuple(reads), renamed)
    except psycopg2.Error as error:
        raise _refusal(error, timeout_seconds) from error
    finally:
        session.close()


def unique_names(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names, of which no two are the same, and those that are new: n, n becomes n, n_2 (a join of two tables has such columns)."""
    taken, unique, renamed = set(names), [], []
    seen: set[str] = set()
    for name in names:
        candidate, number = name, 1
        while candidate in seen or (number > 1 and candidate in taken):
            number += 1
            candidate = f"{name}_{number}"
        seen.add(candidate)
        unique.append(candidate)
        if candidate != name:
            renamed.append(candidate)
    return tuple(unique), tuple(renamed)


def _refuse_real_patients(registry: Registry, reads: list[str]) -> None:
    real = patient_level.real_hospitals(registry)
    if real:
        more = f" and {len(real) - 3} more" if len(real) > 3 else ""
        raise QueryRefused(
            f"{', '.join(reads)} holds rows of single patients, and the registry has real hospitals ({', '.join(real[:3])}{more})",
            remedy="read a mart of counts, such as cumulative_antibiogram; patient-level reading comes with disclosure control",
        )


def single_statement(text: str) -> str:
    """The statement without its final semicolon.

    Raises:
        QueryRefused: nothing, several statements, or one that does not begin as a reading one does.
    """
    from sqlglot.dialects.postgres import Postgres
    from sqlglot.errors import TokenError
    from sqlglot.tokens import TokenType

    try:
        tokens = Postgres().tokenize(text)
    except TokenError as error:
        raise QueryRefused("a quote or comment is not closed", remedy=_REMEDY) from error
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        raise QueryRefused("there is no statement", remedy=_REMEDY)
    if any(token.token_type is TokenType.SEMICOLON for token in tokens):
        raise QueryRefused("there are several statements", remedy=_REMEDY)
    if tokens[0].text.upper() not in READING:
        raise QueryRefused(f"a statement that begins with {tokens[0].text[:20].upper()} does not read", remedy=_REMEDY)
    return text[: tokens[-1].end + 1]


def as_json(result: QueryResult) -> str:
    """A list of objects; dates as ISO text, decimals as numbers."""
    import json

    objects = [dict(zip(result.columns, (_value(v) for v in row), strict=True)) for row in result.rows]
    return json.dumps(objects, ensure_ascii=False, indent=2)


def as_csv(result: QueryResult) -> str:
    """Comma-separated text with a header; a null is an empty field. What a spreadsheet would execute has an apostrophe before it
    (``formulas`` counts them): https://owasp.org/www-community/attacks/CSV_Injection."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(_inert, result.columns))
    writer.writerows(["" if v is None else _inert(v) for v in row] for row in result.rows)
    return buffer.getvalue()


def formulas(result: QueryResult) -> int:
    """How many names and values ``as_csv`` writes with an apostrophe before them."""
    return sum(_inert(v) != _plain(v) for row in (result.columns, *result.rows) for v in row if v is not None)


# signs with which a spreadsheet's formula begins, the full-width ones of East Asian settings too; a number or a lone sign is none
_FORMULA = re.compile(r"(?![+-]?[0-9]+([.,][0-9]+)?$)[=+@\t\r＝＋－＠-].", re.DOTALL)


def _inert(value: Any) -> str:
    text = _plain(value)
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) else text


def _refusal(error: Any, timeout_seconds: float) -> QueryRefused | DatabaseUnavailable:
    from psycopg2 import errors

    said = (error.diag.message_primary or str(error).strip().split("\n")[0]).strip()
    if isinstance(error, errors.QueryCanceled):
        return QueryRefused(f"the query took more than {timeout_seconds:.0f} s", remedy="aggregate or filter more")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return QueryRefused(f"the query writes ({said})", remedy=_REMEDY)
    if isinstance(error, errors.InsufficientPrivilege):
        return QueryRefused(f"analysts may not do that ({said})", remedy="read the published marts only")
    if error.pgcode is None:
        return DatabaseUnavailable("PostgreSQL ended the session", remedy="see `estuaire status`, then try again")
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    return QueryRefused(f"PostgreSQL says: {said}{hint}", remedy="correct the query")


def _value(value: Any) -> Any:
    from decimal import Decimal

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Sequence):
        return [_value(v) for v in value]
    return _plain(value)


def _plain(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)

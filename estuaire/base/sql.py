"""SQL from templates: statements stand in ``.sql`` files in a folder beside the module that runs them, where a linter reads them.

A template prints three kinds of things, and nothing else: a name (``str``), which is quoted as an identifier; a number (``int``); and text
that is SQL already (``Sql``): what another template gave, an expression of the rule registry that sqlglot wrote, or a ``literal``. So a text
that somebody delivered can be a strange name or a strange value, and never becomes a statement.

Values are bound (``?``) or come as a relation where the engine takes them so. ``literal`` is for what is left; which that is, and why:
docs/decisions/0027-sql-in-files.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined
from sqlglot import exp

_COMMENT = re.compile(r"\{#.*?#\}|^\s*--[^\n]*$", re.DOTALL | re.MULTILINE)


class Sql(str):
    """Text that is SQL already."""

    __slots__ = ()

    def __html__(self) -> str:
        """Jinja's word for a text that needs no more escaping."""
        return self


@lru_cache(maxsize=4096)
def identifier(name: str) -> Sql:
    """A name as DuckDB and PostgreSQL read it, whatever stands in it."""
    return Sql(exp.to_identifier(name, quoted=True).sql(dialect="duckdb"))


def literal(value: str | Path | date | None) -> Sql:
    """A text, day or moment (as ISO 8601; cast it), or NULL, where a value can be neither bound nor a relation's."""
    if value is None:
        return Sql("NULL")
    text = value.isoformat() if isinstance(value, date) else str(value)
    return Sql(exp.Literal.string(text).sql(dialect="duckdb"))


def texts(values: Iterable[str | Path | date]) -> Sql:
    """A list of literals, without brackets."""
    return Sql(", ".join(literal(v) for v in values))


def _printed(value: Any) -> Any:
    # Sql, what a macro gave, or what raises as it is printed
    if hasattr(value, "__html__") or isinstance(value, Undefined):
        return value
    if isinstance(value, str):
        return identifier(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Sql(value)
    raise TypeError(f"a template of SQL prints names, numbers and SQL, not {type(value).__name__}")


def _joined(values: Iterable[Any], between: str = "") -> Sql:
    return Sql(between.join(_printed(v) for v in values))


class Statements:
    """The templates of a folder; each is compiled once.

    >>> statements = Statements(Path("estuaire/storage/sql"))
    >>> statements("readable", path=literal("it's.parquet"))
    "select sum(hash(columns(*))) from read_parquet('it''s.parquet', hive_partitioning = false)"
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            finalize=_printed,
            autoescape=True,  # with it, what a macro gives is told from a name
            auto_reload=False,
            cache_size=-1,
        )
        self._environment.filters["join"] = _joined

    def __call__(self, statement: str, **given: Any) -> Sql:
        """The SQL of ``<statement>.sql``.

        Raises:
            jinja2.UndefinedError: the template prints something that was not given.
            TypeError: it prints what is no name, number or SQL.
        """
        return Sql(self._environment.get_template(f"{statement}.sql").render(given))

    def fingerprint(self) -> str:
        """Hash of what the folder's templates do: of their text without comments and layout."""
        digest = hashlib.sha256()
        for path in sorted(self._folder.glob("*.sql")):
            text = " ".join(_COMMENT.sub("", path.read_text(encoding="utf-8")).split())
            digest.update(f"{path.name}\0{text}\0".encode())
        return digest.hexdigest()

"""Marts that hold rows of single patients: which they are, the banner they carry, and who may read them.

Disclosure control comes later. Until then analysts read these marts only where no patient can be real: every hospital of the registry
is fictional, or its data is open (``Hospital.fictional``, ``Hospital.open_data``).

Security property: where a hospital is real and not open, the role ``analyst`` has no right on these tables in the database itself,
set in the transaction that serves them (``estuaire.warehouse.releases``); what ``estuaire query`` finds in a text only makes the answer clear.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg2 import sql

from estuaire.base import yaml_text
from estuaire.contract.registry import Registry
from estuaire.warehouse.dbt_build import PROJECT

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

BANNER = (
    "ATTENTION : données individuelles de patients, ne pas diffuser. / "
    "WARNING: rows of single patients, do not pass on."
)
KEY = "patient_key"
# Functions that run a text as SQL, or show a table that the text need not name as one.
RUNS_SQL = (
    "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "table_to_xml", "table_to_xmlschema",
    "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xmlschema", "schema_to_xml_and_xmlschema", "database_to_xml",
    "database_to_xmlschema", "database_to_xml_and_xmlschema", "cursor_to_xml", "cursor_to_xmlschema", "dblink", "ts_stat",
    "ts_rewrite", "crosstab", "connectby",
)  # fmt: skip


def real_hospitals(registry: Registry) -> list[str]:
    """Hospitals whose patients may be real and whose data is not open; of a hospital whose file is wrong nobody can say."""
    known = [h.id for h in registry.hospitals.values() if not h.fictional and not h.open_data]
    return sorted([*known, *registry.wrong])


def declared(models: dict[str, Any]) -> set[str]:
    """Of dbt's models (name -> its YAML or manifest entry) those that say ``meta: {patient_level: true}``."""
    return {
        name
        for name, model in models.items()
        if {**(model.get("meta") or {}), **((model.get("config") or {}).get("meta") or {})}.get("patient_level") is True
    }


@lru_cache(maxsize=4)
def declared_marts(folder: Path = PROJECT / "models" / "marts") -> frozenset[str]:
    """The marts that this code's YAML declares as patient-level."""
    models: dict[str, Any] = {}
    for file in sorted(folder.glob("*.yml")):
        document = yaml_text.read(file.read_text(encoding="utf-8")) or {}
        models |= {m["name"]: m for m in document.get("models") or []}
    return frozenset(declared(models))


def tables(cur: cursor, schema: str = "marts") -> list[str]:
    """Patient-level relations of a schema: declared, with a patient key, or marked when an earlier version served them.

    An archive of another code version may hold a mart that this version does not declare: its key and its mark tell.
    """
    cur.execute(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f') and (c.relname = any(%s) "
        "or starts_with(coalesce(obj_description(c.oid, 'pg_class'), ''), %s) "
        "or exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = %s and not a.attisdropped)) "
        "order by c.relname",
        (schema, sorted(declared_marts()), BANNER, KEY),
    )
    return [str(row[0]) for row in cur.fetchall()]


def mark_and_guard(cur: cursor, reader: str, registry: Registry) -> None:
    """Of the schema ``marts``: put the banner before each patient-level table's comment; take the reader's rights where patients are real.

    Called in the transaction that serves the schema, after the reader's rights were granted.
    """
    closed = bool(real_hospitals(registry)) or _unknown_loaded(cur, registry)
    for name in tables(cur):
        table = sql.Identifier("marts", name)
        cur.execute("select c.relkind, obj_description(c.oid, 'pg_class') from pg_class c where c.oid = %s::regclass",
                    (table.as_string(cur),))  # fmt: skip
        row = cur.fetchone()
        kind, comment = row if row else ("r", None)
        if not (comment or "").startswith(BANNER):
            what = {"v": "view", "m": "materialized view"}.get(kind, "table")
            cur.execute(
                sql.SQL(f"comment on {what} {{}} is {{}}").format(
                    table, sql.Literal(f"{BANNER}\n{comment or ''}".strip())
                )
            )
        if closed:
            cur.execute(sql.SQL("revoke all on {} from {}, public").format(table, sql.Identifier(reader)))


def _unknown_loaded(cur: cursor, registry: Registry) -> bool:
    """Whether a hospital was loaded that this registry does not know as fictional or open: an installation keeps its own registry, and a
    command that is given another one must not open what that one knows nothing of. The FINESS number tells two hospitals of one id apart."""
    cur.execute("select to_regclass('staging.hospital') is not null and to_regclass('control.load') is not null")
    if not (cur.fetchone() or [False])[0]:
        return False
    cur.execute(
        "select hospital_id, finess from staging.hospital where hospital_id in (select hospital_id from control.load)"
    )
    harmless = {(h.id, h.finess) for h in registry.hospitals.values() if h.fictional or h.open_data}
    return not {(str(hospital), str(finess)) for hospital, finess in cur.fetchall()} <= harmless


def read_by(text: str, patient_level: list[str]) -> list[str]:
    """Patient-level marts that a statement may read, by the words of the text.

    Any identifier of that name counts, however it is qualified or quoted and wherever it stands (subquery, CTE, ``table x``): a parser
    knows fewer forms than PostgreSQL does. A function that runs a text as SQL may read any of them. A text that cannot be cut into
    words, or that writes identifiers by code points, counts as one that reads all.
    """
    from sqlglot.dialects.postgres import Postgres
    from sqlglot.errors import TokenError
    from sqlglot.tokens import TokenType

    if not patient_level:
        return []
    try:
        tokens = Postgres().tokenize(text)
    except TokenError:
        return patient_level
    words = {token.text.lower() for token in tokens if token.token_type is not TokenType.STRING}
    if words & set(RUNS_SQL) or 'u&"' in text.lower():
        return patient_level
    return [name for name in patient_level if name.lower() in words]
